package aws

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"slipway.dev/services/deploy"
)

// Check proves the credential and looks whether what the settings name is there.
func (t *target) Check(ctx context.Context) (deploy.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	c := t.as(deploy.Subject{})
	me, err := t.caller(ctx, c)
	if err != nil {
		return deploy.Info{}, err
	}
	if err := t.checkCluster(ctx, c); err != nil {
		return deploy.Info{}, err
	}
	if t.settings.listener != "" {
		if _, err := t.balancer(ctx, c); err != nil {
			return deploy.Info{}, t.reached(t.explain(ctx, deploy.StageTarget, err, "look for the listener"))
		}
	}
	info := deploy.Info{Version: fmt.Sprintf("Amazon ECS in %s, account %s", t.settings.region, me.account), Platform: platform(t.settings.architecture)}
	if t.settings.launch == types.LaunchTypeFargate {
		info.CPU, info.Memory = largest()
	}
	return info, nil
}

func (t *target) checkCluster(ctx context.Context, c *clients) error {
	_, err := t.cluster(ctx, c)
	switch {
	case errors.Is(err, errGone) && t.settings.cluster != "":
		return deploy.Failf(deploy.StageTarget, nil, "%s", t.noCluster())
	case errors.Is(err, errGone):
		return nil
	}
	return t.reached(t.explain(ctx, deploy.StageTarget, err, "look for the cluster "+t.clusterName()))
}

// caller is whom AWS takes Slipway for.
type caller struct {
	account, arn, partition string
}

func (t *target) caller(ctx context.Context, c *clients) (caller, error) {
	out, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return caller{}, t.reached(t.explain(ctx, deploy.StageTarget, err, "prove the credential"))
	}
	me := caller{account: deref(out.Account), arn: deref(out.Arn), partition: "aws"}
	if parts := strings.SplitN(me.arn, ":", 3); len(parts) == 3 {
		me.partition = parts[1]
	}
	return me, nil
}

// principal is the user or role whose policies count: of a session it is the role.
func (m caller) principal() string {
	parts := strings.Split(m.arn, "/")
	if strings.Contains(m.arn, ":assumed-role/") && len(parts) > 1 {
		return fmt.Sprintf("arn:%s:iam::%s:role/%s", m.partition, m.account, parts[1])
	}
	return m.arn
}
