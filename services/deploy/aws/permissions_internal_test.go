package aws

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// TestThePolicyOfTheDocumentationHasAllThatIsChecked reads the policy that people copy.
func TestThePolicyOfTheDocumentationHasAllThatIsChecked(t *testing.T) {
	text, err := os.ReadFile("../../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	_, policy, _ := strings.Cut(string(text), "```json\n")
	policy, _, _ = strings.Cut(policy, "```")
	var said struct {
		Statement []struct{ Action any }
	}
	if err := json.Unmarshal([]byte(policy), &said); err != nil {
		t.Fatal(err)
	}
	var granted []string
	for _, s := range said.Statement {
		switch all := s.Action.(type) {
		case string:
			granted = append(granted, all)
		case []any:
			for _, one := range all {
				granted = append(granted, one.(string))
			}
		}
	}
	for _, action := range []string{"ecs:UpdateClusterSettings", "logs:FilterLogEvents"} { // of measuring, without which a release does
		if !slices.Contains(granted, action) {
			t.Errorf("docs/aws.md grants no %s", action)
		}
	}
	for _, s := range []settings{{listener: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/apps/1/2", taskRole: "role"}, {public: true}} {
		l := &looking{target: &target{id: "01a21712-1224-71c0-b77d-eec039c0ea54", settings: s}, r: deploy.Release{Team: "payments", App: "checkout", Environment: "dev"}}
		for _, n := range l.needs(caller{account: "123456789012", partition: "aws"}) {
			for _, action := range n.actions {
				if !slices.Contains(granted, action) {
					t.Errorf("docs/aws.md grants no %s", action)
				}
			}
		}
	}
}

func TestASizeOfFargateIsTheSmallestThatIsLargeEnough(t *testing.T) {
	const gigabyte = 1 << 30
	for _, c := range []struct {
		cpu, memory int64 // thousandths, bytes
		want        size
		ok, exact   bool
	}{
		{0, 0, size{256, 512}, true, true},
		{250, 512 << 20, size{256, 512}, true, true},
		{100, 64 << 20, size{256, 512}, true, false},
		{0, 3 * gigabyte, size{512, 3072}, true, true},
		{250, 1536 << 20, size{256, 2048}, true, false},
		{500, gigabyte, size{512, 1024}, true, true},
		{501, gigabyte, size{1024, 2048}, true, false},
		{1000, 8 * gigabyte, size{1024, 8192}, true, true},
		{1000, 9 * gigabyte, size{2048, 9216}, true, false},
		{8000, 17 * gigabyte, size{8192, 20480}, true, false},
		{16000, 120 * gigabyte, size{16384, 122880}, true, true},
		{16001, 0, size{}, false, false},
		{0, 121 * gigabyte, size{}, false, false},
	} {
		scale := models.Scale{CPU: c.cpu, Memory: c.memory}
		got, ok := sizeFor(scale)
		if got != c.want || ok != c.ok || ok && got.exact(scale) != c.exact {
			t.Errorf("%d and %d MiB: %v %t, exact %t", c.cpu, c.memory>>20, got, ok, got.exact(scale))
		}
	}
	total := 0.0
	amounts := map[string]float64{}
	for _, p := range prices() {
		amounts[p.Name] = p.Amount
	}
	for _, line := range estimate(amounts, models.Scale{Replicas: 2, CPU: 500, Memory: gigabyte}) {
		total += line.Month
	}
	if total < 36 || total > 37 { // 2 × (0.5 × 0.04048 + 1 × 0.004445) × 730 + 0.40
		t.Errorf("two instances cost %.2f", total)
	}
}
