package aws_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/aws/awstest"
)

const onlyEC2 = "launch"

// TestFailuresAreSaidInWords rolls out into an account that fails in one way, and reads what a person is told.
func TestFailuresAreSaidInWords(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	gone := at
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	for what, c := range map[string]struct {
		script  func(cloud *awstest.Cloud, r *deploy.Release)
		change  map[string]string
		after   func(cloud *awstest.Cloud, r *deploy.Release) // once it was started
		stage   string
		message []string // words that are in it
	}{
		"throttled for too long": {
			script: func(cloud *awstest.Cloud, _ *deploy.Release) {
				cloud.Fail("ecs:CreateService", 10, "ThrottlingException", "Rate exceeded")
			},
			stage: deploy.StageTarget, message: []string{"takes no more calls", "make the service", "Wait a minute"},
		},
		"a permission of ECS is missing": {
			script: func(cloud *awstest.Cloud, _ *deploy.Release) { cloud.Deny("ecs:CreateService") },
			stage:  deploy.StageTarget, message: []string{"the permission ecs:CreateService is missing", "docs/aws.md"},
		},
		"a permission of the load balancer is missing": {
			script: func(cloud *awstest.Cloud, _ *deploy.Release) { cloud.Deny("elasticloadbalancing:CreateRule") },
			stage:  deploy.StageTarget, message: []string{"the permission elasticloadbalancing:CreateRule is missing"},
		},
		"the execution role may not be passed on": {
			script: func(cloud *awstest.Cloud, _ *deploy.Release) { cloud.Deny("iam:PassRole") },
			stage:  deploy.StageTarget, message: []string{"the permission iam:PassRole on " + awstest.ExecutionRole + " is missing"},
		},
		"a quota of target groups": {
			script: func(cloud *awstest.Cloud, _ *deploy.Release) {
				cloud.Fail("elasticloadbalancing:CreateTargetGroup", 1, "TooManyTargetGroups", "You have reached the limit on the number of target groups")
			},
			stage: deploy.StageStart, message: []string{"quota", "limit on the number of target groups", "Service Quotas"},
		},
		"a quota of rules": {
			script: func(cloud *awstest.Cloud, _ *deploy.Release) {
				cloud.Fail("elasticloadbalancing:CreateRule", 1, "TooManyRules", "You have reached the limit on the number of rules on your load balancer")
			},
			stage: deploy.StageStart, message: []string{"quota", "make the listener's rule"},
		},
		"a quota of vCPUs": {
			script: func(cloud *awstest.Cloud, r *deploy.Release) {
				cloud.NoRoom("You've reached the limit on the number of vCPUs you can run concurrently")
				r.Patience = 6 * time.Second
			},
			stage: deploy.StageStart, message: []string{"can't place a task", "limit on the number of vCPUs", "Service Quotas"},
		},
		"no instance has room": {
			script: func(cloud *awstest.Cloud, r *deploy.Release) {
				cloud.AddCluster("production", 1)
				cloud.NoRoom("no container instance met all of its requirements. The closest matching (container-instance 1) has insufficient memory available.")
				r.Patience = 6 * time.Second
			},
			change: map[string]string{onlyEC2: "EC2", "cluster": "production"},
			stage:  deploy.StageStart, message: []string{"can't place a task", "insufficient memory", "Add instances to the cluster"},
		},
		"an image that is gone": {
			script: func(_ *awstest.Cloud, r *deploy.Release) { r.Image = gone },
			stage:  deploy.StageImage, message: []string{"is not in the registry any more"},
		},
		"a registry that is each machine itself": {
			script: func(_ *awstest.Cloud, r *deploy.Release) {
				r.Image = deploy.Image{Repository: "localhost:1/payments/checkout", Digest: gone.Digest}
			},
			stage: deploy.StageImage, message: []string{"localhost:1", "ECR"},
		},
		"a container that ends": {
			script: func(_ *awstest.Cloud, r *deploy.Release) { r.Env["CRASH"], r.Plain = "1", append(r.Plain, "CRASH") },
			stage:  deploy.StageStart, message: []string{"exit code 3"},
		},
		"too little memory": {
			script: func(cloud *awstest.Cloud, r *deploy.Release) {
				cloud.AddCluster("production", 1)
				r.Env["EAT"], r.Plain, r.Scale.Memory = "1", append(r.Plain, "EAT"), 32<<20
			},
			change: map[string]string{onlyEC2: "EC2", "cluster": "production"},
			stage:  deploy.StageStart, message: []string{"more memory than it may"},
		},
		"a health check that never passes": {
			script: func(_ *awstest.Cloud, r *deploy.Release) {
				r.Env["BAD"], r.Plain, r.Patience = "1", append(r.Plain, "BAD"), 8*time.Second
			},
			stage: deploy.StageHealth, message: []string{"GET /healthz on port 8080", "HTTP 500", "security groups"},
		},
		"the execution role may not read secrets": {
			script: func(cloud *awstest.Cloud, _ *deploy.Release) { cloud.Deny("secretsmanager:GetSecretValue") },
			stage:  deploy.StageStart, message: []string{"slipway-execution may not read the app's secrets", "secretsmanager:GetSecretValue"},
		},
		"subnets without a way out": {
			script: func(cloud *awstest.Cloud, _ *deploy.Release) {
				cloud.Break("ResourceInitializationError: unable to pull secrets or registry auth: The task cannot pull registry auth from Amazon ECR: RequestError: send request failed caused by: dial tcp: i/o timeout")
			},
			stage: deploy.StageStart, message: []string{"gave the release up", "circuit breaker", "NAT gateway"},
		},
		"ECS rolls back": {
			script: func(_ *awstest.Cloud, r *deploy.Release) { r.Env["BAD"], r.Plain = "1", append(r.Plain, "BAD") },
			after:  func(cloud *awstest.Cloud, r *deploy.Release) { cloud.RollBack(r.ID) },
			stage:  deploy.StageStart, message: []string{"ECS rolled the service back to earlier:7", "circuit breaker"},
		},
		"no such cluster": {
			script: func(*awstest.Cloud, *deploy.Release) {}, change: map[string]string{"cluster": "nowhere"},
			stage: deploy.StageTarget, message: []string{"no cluster nowhere"},
		},
		"no such listener": {
			script: func(*awstest.Cloud, *deploy.Release) {},
			change: map[string]string{"listener": "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/apps/50dc6c495c0c9188/0000000000000000"},
			stage:  deploy.StageTarget, message: []string{"There is no listener"},
		},
		"an image's own health check": {
			script: func(_ *awstest.Cloud, r *deploy.Release) { r.Health = models.HealthImage },
			stage:  deploy.StageHealth, message: []string{"HEALTHCHECK"},
		},
		"a scale that Fargate has not": {
			script: func(_ *awstest.Cloud, r *deploy.Release) { r.Scale.CPU = 32_000 },
			stage:  deploy.StageCheck, message: []string{"at most 16 processors"},
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			cloud := awstest.New(t)
			r := release(at, from)
			c.script(cloud, &r)
			target := open(t, cloud, c.change)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			err := target.Start(ctx, r)
			if err == nil {
				if c.after != nil {
					c.after(cloud, &r)
				}
				_, err = target.Wait(ctx, r, nothing)
			}
			f := failure(t, err)
			if f.Stage != c.stage {
				t.Errorf("it failed at %q, want %q", f.Stage, c.stage)
			}
			for _, word := range c.message {
				if !strings.Contains(f.Message, word) {
					t.Errorf("the message has no %q: %s", word, f.Message)
				}
			}
			if strings.Contains(f.Message+strings.Join(f.Logs, ""), "hidden") {
				t.Error("it tells a secret")
			}
			t.Log(f.Message)
		})
	}
}

func TestCallsThatAreThrottledAreMadeAgain(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	for _, action := range []string{"ecs:CreateService", "ecs:DescribeServices", "elasticloadbalancing:DescribeRules", "logs:CreateLogGroup"} {
		cloud.Fail(action, 2, "ThrottlingException", "Rate exceeded")
	}
	cloud.Fail("elasticloadbalancing:CreateRule", 2, "PriorityInUse", "Priority '1000' is currently in use") // another one was faster
	up(t, open(t, cloud, nil), release(at, from))
	if n := cloud.Calls("elasticloadbalancing:CreateRule"); n != 3 {
		t.Errorf("the rule was asked for %d times", n)
	}
	if n := cloud.Calls("ecs:CreateService"); n != 3 {
		t.Errorf("the service was asked for %d times", n)
	}
}

func TestARolloutGoesOnAfterAnAPIThatWasAway(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	r := release(at, from, "START_DELAY=2s")
	target := open(t, cloud, nil)
	cloud.Down(true)
	short, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, ok := errors.AsType[*deploy.Failure](target.Start(short, r)); ok {
		t.Error("an API that is away is the release's fault")
	}
	if f := failure(t, second(target.Check(t.Context()))); !strings.Contains(f.Message, "does not answer in eu-central-1") {
		t.Errorf("an admin is told: %s", f.Message)
	}
	cloud.Down(false)
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	cloud.Down(true)
	timer := time.AfterFunc(time.Second, func() { cloud.Down(false) })
	defer timer.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if found, err := target.Wait(ctx, r, nothing); err != nil || len(found) != 1 {
		t.Errorf("%+v, %v", found, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestAnotherWorkerGoesOnWhereOneWasKilled(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	for _, died := range []string{"logs:PutRetentionPolicy", "ecs:RegisterTaskDefinition", "elasticloadbalancing:ModifyTargetGroupAttributes", "elasticloadbalancing:CreateRule", "ecs:CreateService", "elasticloadbalancing:ModifyRule"} {
		t.Run(died, func(t *testing.T) {
			t.Parallel()
			cloud := awstest.New(t)
			id, r := models.NewID(), release(at, from)
			cloud.Fail(died, 1, "ExpiredTokenException", "gone") // a call that is not made again, as the worker is not there any more
			cloud.Fail(died, 1, "ExpiredTokenException", "gone")
			first := openAs(t, cloud, id, nil, nil)
			err := first.Start(t.Context(), r)
			if err == nil {
				if _, err = first.Wait(t.Context(), r, nothing); err == nil {
					_, err = first.Route(t.Context(), r)
				}
			}
			if err == nil {
				t.Fatal("the first worker came through")
			}
			next := openAs(t, cloud, id, nil, nil)
			up(t, next, r)
			url, err := next.Route(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if status, _ := cloud.Visit(t, url, "/version"); status != 200 {
				t.Errorf("a visitor got %d", status)
			}
			for kind, n := range map[string]int{"service ": 1, "task definition ": 1, "target group ": 1, "rule ": 1, "secret ": 1, "task ": 2} { // "task " begins two
				if got := count(cloud.Left(), kind); got != n {
					t.Errorf("there are %d of %q: %q", got, kind, cloud.Left())
				}
			}
			if err := next.Remove(t.Context(), r.ID, 0); err != nil {
				t.Fatal(err)
			}
			if left := cloud.Left(); count(left, "log group ") != 1 || count(left, "cluster ") != 1 || len(left) != 2 {
				t.Errorf("left are %q", left)
			}
		})
	}
}

func count(all []string, prefix string) (n int) {
	for _, one := range all {
		if strings.HasPrefix(one, prefix) {
			n++
		}
	}
	return n
}
