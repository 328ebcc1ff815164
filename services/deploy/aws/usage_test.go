package aws_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/aws/awstest"
)

// used asks what the target's tasks take.
func used(t *testing.T, target deploy.Target) []deploy.Usage {
	t.Helper()
	all, err := target.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// said is what Inspect says of measuring, which has to pass.
func said(t *testing.T, target deploy.Target, r deploy.Release) string {
	t.Helper()
	checks, err := target.(deploy.Inspector).Inspect(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if c.Name == "CPU and memory in use" {
			if !c.OK {
				t.Errorf("it speaks against a release: %s", c.Message)
			}
			return c.Message
		}
	}
	t.Error("nothing is said of measuring")
	return ""
}

func says(t *testing.T, target deploy.Target, r deploy.Release, words ...string) {
	t.Helper()
	message := said(t, target, r)
	for _, w := range words {
		if !strings.Contains(message, w) {
			t.Errorf("%q has no %q", message, w)
		}
	}
}

func TestContainerInsightsTellsWhatEachTaskTakes(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	id := models.NewID()
	target := openAs(t, cloud, id, measured, nil)
	r := release(at, from)
	r.Scale.Replicas = 2
	says(t, target, r, "once a minute")
	found := up(t, target, r)
	all := used(t, target)
	if len(all) != 2 || all[0].Instance == all[1].Instance {
		t.Fatalf("%d tasks take %+v", len(found), all)
	}
	for _, u := range all {
		if u.Instance != found[0].ID && u.Instance != found[1].ID || u.Memory < 1<<20 || u.Memory > 512<<20 || u.CPU < 0 || u.CPU > 2000 {
			t.Errorf("a task takes %+v", u)
		}
	}
	calls := cloud.Calls("logs:FilterLogEvents")
	if again := used(t, target); len(again) != 2 || cloud.Calls("logs:FilterLogEvents") != calls {
		t.Errorf("the same minute was read again: %+v", again)
	}
	cloud.Deny("logs:FilterLogEvents")
	denied := openAs(t, cloud, id, measured, nil)
	if all := used(t, denied); len(all) != 0 {
		t.Errorf("without the permission %+v is told", all)
	}
	says(t, denied, r, "lacks the permission logs:FilterLogEvents", "/aws/ecs/containerinsights/slipway-"+id[24:]+"/performance")
}

func TestASettingTurnsContainerInsightsOnInSlipwaysOwnCluster(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	id := models.NewID()
	target := openAs(t, cloud, id, nil, nil)
	r := release(at, from)
	up(t, target, r)
	says(t, target, r, "is off in the cluster slipway-"+id[24:], "the target's settings")
	if all := used(t, target); len(all) != 0 {
		t.Errorf("told is %+v", all)
	}
	cloud.Deny("ecs:UpdateClusterSettings")
	target = openAs(t, cloud, id, measured, nil)
	says(t, target, r, "turns Container Insights on", "ecs:UpdateClusterSettings")
	if err := target.Start(t.Context(), r); err != nil {
		t.Errorf("a release needs to be measured: %v", err)
	}
	if all := used(t, target); len(all) != 0 {
		t.Errorf("told is %+v", all)
	}
	cloud.Allow("ecs:UpdateClusterSettings")
	target = openAs(t, cloud, id, measured, nil)
	for range 2 {
		if err := target.Start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if n := cloud.Calls("ecs:UpdateClusterSettings"); n != 2 {
		t.Errorf("the cluster was changed %d times", n)
	}
	if all := used(t, target); len(all) != 1 {
		t.Errorf("told is %+v", all)
	}
}

func TestAClusterOfOthersIsMeasuredWhereTheyTurnedItOn(t *testing.T) {
	t.Parallel()
	at, from := store(t)
	cloud := awstest.New(t)
	cloud.AddCluster("shared", 0)
	shared := map[string]string{"cluster": "shared"}
	target, other := open(t, cloud, shared), open(t, cloud, shared)
	r := release(at, from)
	says(t, target, r, "aws ecs update-cluster-settings --cluster shared")
	cloud.Measure("shared")
	says(t, target, r, "once a minute")
	found := up(t, target, r)
	up(t, other, release(at, from))
	if all := used(t, target); len(all) != 1 || all[0].Instance != found[0].ID {
		t.Errorf("told is %+v", all)
	}
	if n := cloud.Calls("ecs:UpdateClusterSettings"); n != 0 {
		t.Errorf("the cluster was changed %d times", n)
	}
}
