package awstest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

const (
	askEvery = 100 * time.Millisecond // the load balancer a target for its health
	askTime  = 3 * time.Second
	decides  = 2 // answers in a row
)

type targetGroup struct {
	types.TargetGroup
	tags    []types.Tag
	members map[*task]*member
}

// member is a task behind a target group.
type member struct {
	address string
	port    int32
	state   types.TargetHealthStateEnum
	reason  types.TargetHealthReasonEnum
	text    string
	end     context.CancelFunc
}

type rule struct {
	types.Rule
	host string
	tags []types.Tag
}

// SeedRule puts a rule for the host there, as somebody else would have.
func (c *Cloud) SeedRule(host string) {
	c.set(func() {
		c.rules = append(c.rules, &rule{host: host, Rule: types.Rule{RuleArn: p(ruleARN("theirs")), Priority: p("1"), IsDefault: p(false),
			Conditions: []types.RuleCondition{{Field: p("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{Values: []string{host}}}}}})
	})
}

func ruleARN(id string) string {
	return strings.Replace(listenerARN, ":listener/", ":listener-rule/", 1) + "/" + id
}

// Listener is the ARN of the load balancer's listener.
func (c *Cloud) Listener() string { return listenerARN }

func (c *Cloud) group(at *string) (*targetGroup, error) {
	if g := c.targets[deref(at)]; g != nil {
		return g, nil
	}
	return nil, refuse("TargetGroupNotFound", "One or more target groups not found")
}

// used tells whether a rule leads to the group.
func (c *Cloud) used(g *targetGroup) bool {
	return slices.ContainsFunc(c.rules, func(r *rule) bool {
		return slices.ContainsFunc(groupsOf(r), func(t types.TargetGroupTuple) bool { return deref(t.TargetGroupArn) == deref(g.TargetGroupArn) })
	})
}

func groupsOf(r *rule) []types.TargetGroupTuple {
	for _, a := range r.Actions {
		if a.ForwardConfig != nil {
			return a.ForwardConfig.TargetGroups
		}
	}
	return nil
}

// answerELB answers Elastic Load Balancing.
func (c *Cloud) answerELB(action string, form url.Values) (any, error) {
	switch action {
	case "DescribeListeners":
		return answerForm(form, c.describeListeners)
	case "DescribeLoadBalancers":
		return answerForm(form, c.describeBalancers)
	case "DescribeTargetGroups":
		return answerForm(form, c.describeGroups)
	case "CreateTargetGroup":
		return answerForm(form, c.createGroup)
	case "ModifyTargetGroupAttributes":
		return answerForm(form, c.modifyAttributes)
	case "DeleteTargetGroup":
		return answerForm(form, c.deleteGroup)
	case "DescribeTargetHealth":
		return answerForm(form, c.describeHealth)
	case "DescribeTags":
		return answerForm(form, c.describeTags)
	case "DescribeRules":
		return answerForm(form, c.describeRules)
	case "CreateRule":
		return answerForm(form, c.createRule)
	case "ModifyRule":
		return answerForm(form, c.modifyRule)
	case "DeleteRule":
		return answerForm(form, c.deleteRule)
	}
	return nil, refuse("InvalidAction", "%s", action)
}

func answerForm[I, O any](form url.Values, answer func(*I) (*O, error)) (any, error) {
	in := new(I)
	if err := fromForm(form, in); err != nil {
		return nil, err
	}
	return answer(in)
}

func (c *Cloud) describeListeners(in *elb.DescribeListenersInput) (*elb.DescribeListenersOutput, error) {
	if !slices.Equal(in.ListenerArns, []string{listenerARN}) {
		return nil, refuse("ListenerNotFound", "One or more listeners not found")
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(c.proxy.URL, "http://"))
	n, _ := strconv.Atoi(port)
	return &elb.DescribeListenersOutput{Listeners: []types.Listener{{ListenerArn: p(listenerARN), LoadBalancerArn: p(balancerARN), Protocol: types.ProtocolEnumHttp, Port: p(int32(n))}}}, nil
}

func (c *Cloud) describeBalancers(*elb.DescribeLoadBalancersInput) (*elb.DescribeLoadBalancersOutput, error) {
	return &elb.DescribeLoadBalancersOutput{LoadBalancers: []types.LoadBalancer{{LoadBalancerArn: p(balancerARN), Type: types.LoadBalancerTypeEnumApplication, VpcId: p(VPC), DNSName: p(balancerName), CreatedTime: p(time.Now())}}}, nil
}

func (c *Cloud) describeGroups(in *elb.DescribeTargetGroupsInput) (*elb.DescribeTargetGroupsOutput, error) {
	for _, g := range c.targets {
		if slices.Contains(in.Names, deref(g.TargetGroupName)) {
			return &elb.DescribeTargetGroupsOutput{TargetGroups: []types.TargetGroup{g.TargetGroup}}, nil
		}
	}
	return nil, refuse("TargetGroupNotFound", "One or more target groups not found")
}

func (c *Cloud) createGroup(in *elb.CreateTargetGroupInput) (*elb.CreateTargetGroupOutput, error) {
	if len(deref(in.Name)) > 32 || in.TargetType != types.TargetTypeEnumIp || deref(in.VpcId) != VPC || *in.HealthCheckTimeoutSeconds >= *in.HealthCheckIntervalSeconds {
		return nil, refuse("ValidationError", "The target group is not valid.")
	}
	at := arn("elasticloadbalancing", "targetgroup/"+deref(in.Name)+"/"+c.id()[16:])
	c.targets[at] = &targetGroup{TargetGroup: types.TargetGroup{TargetGroupArn: &at, TargetGroupName: in.Name, Port: in.Port, HealthCheckPath: in.HealthCheckPath, Matcher: in.Matcher, VpcId: in.VpcId}, tags: in.Tags, members: map[*task]*member{}}
	return &elb.CreateTargetGroupOutput{TargetGroups: []types.TargetGroup{c.targets[at].TargetGroup}}, nil
}

func (c *Cloud) modifyAttributes(in *elb.ModifyTargetGroupAttributesInput) (*elb.ModifyTargetGroupAttributesOutput, error) {
	_, err := c.group(in.TargetGroupArn)
	return &elb.ModifyTargetGroupAttributesOutput{}, err
}

func (c *Cloud) deleteGroup(in *elb.DeleteTargetGroupInput) (*elb.DeleteTargetGroupOutput, error) {
	g, err := c.group(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	if c.used(g) {
		return nil, refuse("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", deref(in.TargetGroupArn))
	}
	for k := range g.members {
		g.leave(k)
	}
	delete(c.targets, deref(in.TargetGroupArn))
	return &elb.DeleteTargetGroupOutput{}, nil
}

func (c *Cloud) describeHealth(in *elb.DescribeTargetHealthInput) (*elb.DescribeTargetHealthOutput, error) {
	g, err := c.group(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	out := &elb.DescribeTargetHealthOutput{}
	for _, m := range g.members {
		out.TargetHealthDescriptions = append(out.TargetHealthDescriptions, types.TargetHealthDescription{
			Target: &types.TargetDescription{Id: p(m.address), Port: p(m.port)}, TargetHealth: &types.TargetHealth{State: m.state, Reason: m.reason, Description: p(m.text)},
		})
	}
	return out, nil
}

func (c *Cloud) describeTags(in *elb.DescribeTagsInput) (*elb.DescribeTagsOutput, error) {
	if len(in.ResourceArns) > 20 || len(in.ResourceArns) == 0 {
		return nil, refuse("ValidationError", "The number of resources has to be from 1 to 20.")
	}
	out := &elb.DescribeTagsOutput{}
	for _, at := range in.ResourceArns {
		if g := c.targets[at]; g != nil {
			out.TagDescriptions = append(out.TagDescriptions, types.TagDescription{ResourceArn: p(at), Tags: g.tags})
		}
		for _, r := range c.rules {
			if deref(r.RuleArn) == at {
				out.TagDescriptions = append(out.TagDescriptions, types.TagDescription{ResourceArn: p(at), Tags: r.tags})
			}
		}
	}
	return out, nil
}

func (c *Cloud) describeRules(*elb.DescribeRulesInput) (*elb.DescribeRulesOutput, error) {
	out := &elb.DescribeRulesOutput{}
	for _, r := range c.rules {
		out.Rules = append(out.Rules, r.Rule)
	}
	out.Rules = append(out.Rules, types.Rule{RuleArn: p(ruleARN("default")), Priority: p("default"), IsDefault: p(true)})
	return out, nil
}

// forwards checks the actions: at most five groups, all of them there.
func (c *Cloud) forwards(all []types.Action) error {
	for _, a := range all {
		if a.ForwardConfig == nil || len(a.ForwardConfig.TargetGroups) > 5 {
			return refuse("ValidationError", "A forward action takes from 1 to 5 target groups.")
		}
		for _, t := range a.ForwardConfig.TargetGroups {
			if w := weight(t); w < 0 || w > 999 {
				return refuse("ValidationError", "The weight of a target group has to be from 0 to 999.")
			}
			if _, err := c.group(t.TargetGroupArn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cloud) createRule(in *elb.CreateRuleInput) (*elb.CreateRuleOutput, error) {
	if err := c.forwards(in.Actions); err != nil {
		return nil, err
	}
	priority := strconv.Itoa(int(*in.Priority))
	if slices.ContainsFunc(c.rules, func(r *rule) bool { return deref(r.Priority) == priority }) {
		return nil, refuse("PriorityInUse", "Priority '%s' is currently in use", priority)
	}
	r := &rule{host: in.Conditions[0].HostHeaderConfig.Values[0], tags: in.Tags, Rule: types.Rule{RuleArn: p(ruleARN(c.id()[16:])), Priority: &priority, Actions: in.Actions, Conditions: in.Conditions, IsDefault: p(false)}}
	c.rules = append(c.rules, r)
	return &elb.CreateRuleOutput{Rules: []types.Rule{r.Rule}}, nil
}

func (c *Cloud) modifyRule(in *elb.ModifyRuleInput) (*elb.ModifyRuleOutput, error) {
	if err := c.forwards(in.Actions); err != nil {
		return nil, err
	}
	for _, r := range c.rules {
		if deref(r.RuleArn) == deref(in.RuleArn) {
			r.Actions = in.Actions
			return &elb.ModifyRuleOutput{Rules: []types.Rule{r.Rule}}, nil
		}
	}
	return nil, refuse("RuleNotFound", "One or more rules not found")
}

func (c *Cloud) deleteRule(in *elb.DeleteRuleInput) (*elb.DeleteRuleOutput, error) {
	c.rules = slices.DeleteFunc(c.rules, func(r *rule) bool { return deref(r.RuleArn) == deref(in.RuleArn) })
	return &elb.DeleteRuleOutput{}, nil
}

// join registers the task and asks it for its health until it leaves. Mu is held.
func (c *Cloud) join(g *targetGroup, k *task, port int32) {
	if g == nil {
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	m := &member{address: k.ip, port: port, state: types.TargetHealthStateEnumInitial, reason: types.TargetHealthReasonEnumRegistrationInProgress, text: "Target registration is in progress", end: cancel}
	g.members[k] = m
	path, codes := deref(g.HealthCheckPath), deref(g.Matcher.HttpCode)
	c.work.Go(func() { c.ask(ctx, m, path, codes) })
}

// leave takes the task out of the group. Mu is held.
func (g *targetGroup) leave(k *task) {
	if g == nil || g.members[k] == nil {
		return
	}
	g.members[k].end()
	delete(g.members, k)
}

// healthy tells whether the load balancer finds the task healthy. Mu is held.
func (g *targetGroup) healthy(k *task) bool {
	return g != nil && g.members[k] != nil && g.members[k].state == types.TargetHealthStateEnumHealthy
}

// ask asks a member for its health until ctx ends.
func (c *Cloud) ask(ctx context.Context, m *member, path, codes string) {
	client := &http.Client{Timeout: askTime, Transport: &http.Transport{DisableKeepAlives: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	url := "http://" + net.JoinHostPort(m.address, fmt.Sprint(m.port)) + path
	good, bad := 0, 0
	for {
		reason, text := probe(ctx, client, url, codes)
		if reason == "" {
			good, bad = good+1, 0
		} else {
			good, bad = 0, bad+1
		}
		c.mu.Lock()
		switch {
		case good >= decides:
			m.state, m.reason, m.text = types.TargetHealthStateEnumHealthy, "", ""
		case bad >= decides:
			m.state, m.reason, m.text = types.TargetHealthStateEnumUnhealthy, reason, text
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(askEvery):
		}
	}
}

func probe(ctx context.Context, client *http.Client, url, codes string) (types.TargetHealthReasonEnum, string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return types.TargetHealthReasonEnumFailedHealthChecks, err.Error()
	}
	res, err := client.Do(req)
	if err != nil {
		return types.TargetHealthReasonEnumFailedHealthChecks, "Health checks failed"
	}
	res.Body.Close()
	var from, to int
	if _, err := fmt.Sscanf(codes, "%d-%d", &from, &to); err != nil || res.StatusCode < from || res.StatusCode > to {
		return types.TargetHealthReasonEnumResponseCodeMismatch, fmt.Sprintf("Health checks failed with these codes: [%d]", res.StatusCode)
	}
	return "", ""
}

// visit is the load balancer: the rule of the host name, a group by weight, a healthy member.
func (c *Cloud) visit(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	to := c.choose(host)
	if to == "" {
		http.Error(w, "503 Service Temporarily Unavailable", http.StatusServiceUnavailable)
		return
	}
	(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: to})
		p.Out.Host = p.In.Host
	}}).ServeHTTP(w, r)
}

func (c *Cloud) choose(host string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.rules {
		if r.host != host {
			continue
		}
		g := c.targets[weighed(groupsOf(r))]
		if g == nil {
			continue
		}
		for _, m := range g.members {
			if m.state == types.TargetHealthStateEnumHealthy {
				return net.JoinHostPort(m.address, fmt.Sprint(m.port))
			}
		}
	}
	return ""
}

// weighed chooses one of the groups by chance, as their weights say; "" where none weighs anything.
func weighed(all []types.TargetGroupTuple) string {
	sum := int32(0)
	for _, t := range all {
		sum += weight(t)
	}
	if sum == 0 {
		return ""
	}
	n := rand.Int32N(sum)
	for _, t := range all {
		if n -= weight(t); n < 0 {
			return deref(t.TargetGroupArn)
		}
	}
	return ""
}

// weight is the group's; one that has none weighs 1.
func weight(t types.TargetGroupTuple) int32 {
	if t.Weight == nil {
		return 1
	}
	return *t.Weight
}
