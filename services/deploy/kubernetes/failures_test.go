package kubernetes_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// pod is a pod of the release with its container in the state.
func (s *stub) pod(id string, r deploy.Release, status map[string]any) {
	s.seed("/api/v1/namespaces/x/pods/checkout-1", map[string]any{
		"metadata": map[string]any{"labels": map[string]any{"slipway.target": id, "slipway.deployment": r.ID, "slipway.part": "app"}},
		"spec":     map[string]any{"containers": []any{map[string]any{"name": "app", "ports": []any{map[string]any{"containerPort": int64(8080)}}}}},
		"status":   status,
	})
}

func container(state, last map[string]any) map[string]any {
	return map[string]any{"phase": "Running", "containerStatuses": []any{map[string]any{"name": "app", "restartCount": int64(1), "state": state, "lastState": last}}}
}

func waiting(reason, message string) map[string]any {
	return map[string]any{"waiting": map[string]any{"reason": reason, "message": message}}
}

func terminated(code int64, reason, message string) map[string]any {
	return map[string]any{"terminated": map[string]any{"exitCode": code, "reason": reason, "message": message}}
}

func TestWhyAReleaseDoesNotStartIsASentence(t *testing.T) {
	t.Parallel()
	three, zero, killed, missing := 3, 0, 137, 127
	for what, c := range map[string]struct {
		status map[string]any
		stage  string
		want   string
		code   *int
		oom    bool
	}{
		"a crash loop": {container(waiting("CrashLoopBackOff", "back-off 10s"), terminated(3, "Error", "")), deploy.StageStart, "exit code 3", &three, false},
		"an end":       {container(terminated(0, "Completed", ""), nil), deploy.StageStart, "by itself", &zero, false},
		"no memory":    {container(terminated(137, "OOMKilled", ""), nil), deploy.StageStart, "more memory than it may", &killed, true},
		"no command":   {container(terminated(127, "StartError", "exec: \"x\": executable file not found"), nil), deploy.StageStart, "executable file not found", &missing, false},
		"no image":     {container(waiting("ErrImagePull", "rpc error: manifest unknown"), nil), deploy.StageImage, "not in the registry any more", nil, false},
		"no login":     {container(waiting("ImagePullBackOff", "Back-off pulling image: 401 Unauthorized"), nil), deploy.StageImage, "refuses the credential", nil, false},
		"no platform":  {container(waiting("ErrImagePull", "no match for platform in manifest: not found"), nil), deploy.StageImage, "another kind of processor", nil, false},
		"no TLS":       {container(waiting("ErrImagePull", "http: server gave HTTP response to HTTPS client"), nil), deploy.StageImage, "speaks no HTTPS", nil, false},
		"no trust":     {container(waiting("ErrImagePull", "x509: certificate signed by unknown authority"), nil), deploy.StageImage, "do not trust the certificate", nil, false},
		"no way":       {container(waiting("ErrImagePull", "dial tcp: i/o timeout"), nil), deploy.StageImage, "can't pull", nil, false},
		"no config":    {container(waiting("CreateContainerConfigError", "secret \"x\" not found"), nil), deploy.StageStart, "secret \"x\" not found", nil, false},
		"evicted":      {map[string]any{"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}, deploy.StageStart, "low on resource", nil, false},
	} {
		s := newStub(t)
		s.logs = "2026-01-02T03:04:05.000000001Z last words\n"
		target, id := s.open(nil)
		r := release()
		if err := target.Start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		s.pod(id, r, c.status)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_, err := target.Wait(ctx, r, func(string) {})
		cancel()
		f, ok := errors.AsType[*deploy.Failure](err)
		if !ok || f.Stage != c.stage || !strings.Contains(f.Message, c.want) || !strings.HasSuffix(f.Message, ".") || f.OOM != c.oom {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if c.code != nil && (f.ExitCode == nil || *f.ExitCode != *c.code) {
			t.Errorf("%s: the exit code is %v", what, f.ExitCode)
		}
		if c.code != nil && what != "no command" && (len(f.Logs) != 1 || f.Logs[0] != "last words") {
			t.Errorf("%s: the last lines are %q", what, f.Logs)
		}
	}
}

func TestWhatKeepsAPodFromStartingIsSaidWhenTimeIsUp(t *testing.T) {
	t.Parallel()
	event := func(reason, message string) map[string]any {
		return map[string]any{"metadata": map[string]any{"labels": map[string]any{}}, "involvedObject": map[string]any{"kind": "Pod", "name": "checkout-1"}, "reason": reason, "message": message, "count": int64(2)}
	}
	unschedulable := map[string]any{"phase": "Pending", "conditions": []any{map[string]any{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient memory. preemption: no."}}}
	for what, c := range map[string]struct {
		status      map[string]any
		event       map[string]any
		stage, want string
		told        string
	}{
		"no room":   {unschedulable, nil, deploy.StageStart, "3 Insufficient memory", "No node of the cluster"},
		"no volume": {map[string]any{"phase": "Pending"}, event("FailedMount", "MountVolume.SetUp failed: secret not found"), deploy.StageStart, "can't be mounted", "can't be mounted"},
		"slow pull": {map[string]any{"phase": "Pending"}, event("Pulling", "Pulling image"), deploy.StageImage, "still pulling", "the node pulls it"},
		"unhealthy": {map[string]any{"phase": "Running"}, event("Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 500"), deploy.StageHealth, "GET /healthz on port 8080", "GET :8080/healthz → HTTP 500"},
		"deaf":      {map[string]any{"phase": "Running"}, event("Unhealthy", "Readiness probe failed: Get \"http://10.0.0.1:8080/healthz\": dial tcp 10.0.0.1:8080: connect: connection refused"), deploy.StageHealth, "never answered", "connection refused"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newStub(t)
			target, id := s.open(nil)
			r := release()
			if err := target.Start(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			s.pod(id, r, c.status)
			if c.event != nil {
				namespace := strings.TrimPrefix(s.written[0], "APPLY /api/v1/namespaces/")
				s.seed("/api/v1/namespaces/"+namespace+"/events/one", c.event)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			var said []string
			_, err := target.Wait(ctx, r, func(line string) { said = append(said, line) })
			f, ok := errors.AsType[*deploy.Failure](err)
			if !ok || f.Stage != c.stage || !strings.Contains(f.Message, c.want) || !strings.HasSuffix(f.Message, ".") {
				t.Error(err)
			}
			if !strings.Contains(strings.Join(said, "\n"), c.told) {
				t.Errorf("said was %q", said)
			}
		})
	}
}

func TestWhatTheClusterRefusesIsNamed(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		status              int
		reason, text, stage string
		want                []string
	}{
		"a right": {403, "Forbidden", `deployments.apps "x" is forbidden: User "system:serviceaccount:slipway:slipway" cannot patch resource "deployments" in API group "apps" in the namespace "slipway-payments"`,
			deploy.StageTarget, []string{"patch deployments.apps", "in the namespace slipway-payments", "docs/kubernetes.md"}},
		"a quota": {403, "Forbidden", `deployments.apps "x" is forbidden: exceeded quota: small, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1`,
			deploy.StageStart, []string{"quota small", "raise the quota"}},
		"a namespace that goes": {403, "Forbidden", `unable to create new content in namespace x because it is being terminated`, deploy.StageStart, []string{"being deleted"}},
		"a webhook":             {403, "Forbidden", `admission webhook "policy" denied the request: no`, deploy.StageStart, []string{"forbids it", "admission webhook"}},
		"a field":               {422, "Invalid", `Deployment.apps "x" is invalid: spec.replicas: Invalid value: -1`, deploy.StageStart, []string{"refuses the Deployment", "spec.replicas"}},
		"a stranger":            {401, "Unauthorized", "Unauthorized", deploy.StageTarget, []string{"does not know the credential"}},
		"a bad moment":          {503, "ServiceUnavailable", "etcd is away", deploy.StageTarget, []string{"etcd is away", "Deploy again"}},
	} {
		s := newStub(t)
		target, _ := s.open(nil)
		r := release()
		r.Scale = models.Scale{Replicas: 1}
		s.refuse("PATCH "+"/deployments/checkout-"+r.ID[24:], c.status, c.reason, c.text)
		err := target.Start(t.Context(), r)
		f, ok := errors.AsType[*deploy.Failure](err)
		if !ok || f.Stage != c.stage {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(f.Message, want) {
				t.Errorf("%s: %q has no %q", what, f.Message, want)
			}
		}
	}
}

func TestAnImagesOwnHealthCheckIsRefusedBeforeAnythingStarts(t *testing.T) {
	s := newStub(t)
	target, _ := s.open(nil)
	r := release()
	r.Health = models.HealthImage
	err := target.Start(t.Context(), r)
	if f, ok := errors.AsType[*deploy.Failure](err); !ok || f.Stage != deploy.StageHealth || len(s.written) > 0 {
		t.Errorf("%v; written was %v", err, s.written)
	}
}
