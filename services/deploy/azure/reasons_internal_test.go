package azure

import (
	"os"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

func TestAzuresWordsOfAProbeBecomeThoseOfATranscript(t *testing.T) {
	r := deploy.Release{Port: 8080, Health: models.HealthHTTP, HealthPath: "/healthz"}
	for text, want := range map[string][2]string{
		"Probe of Readiness failed with status code: 503":        {"GET :8080/healthz", "HTTP 503"},
		"Probe of StartUp failed with status code: 1":            {"TCP port 8080", "no connection"},
		"Startup probe failed: connection refused":               {"TCP port 8080", "connection refused"},
		"Readiness probe failed: connection refused":             {"GET :8080/healthz", "connection refused"},
		"Probe of Readiness failed with timeout in 3 seconds.":   {"GET :8080/healthz", "no answer within 3s"},
		"Container app failed liveness probe, will be restarted": {"", ""},
	} {
		if asked, answered, ok := probed(r, text); asked != want[0] || answered != want[1] || ok != (want[0] != "") {
			t.Errorf("%s: %q → %q", text, asked, answered)
		}
	}
}

func TestAzuresWordsOfAnEndAreRead(t *testing.T) {
	r := deploy.Release{Scale: models.Scale{CPU: 250}}
	for text, want := range map[string]string{
		"Container 'app' was terminated with exit code '3' and reason 'ProcessExited'":         "The container ended with exit code 3 before it was healthy.",
		"Container 'app' was terminated with exit code '0'":                                    "The container ended by itself, without an error, before it was healthy. A deployed app has to keep running and listen on its port.",
		"Container 'app' was terminated with exit code '137'":                                  "The container was ended by the system (exit code 137), most often because it used more memory than it may (it gets 0.25 vCPU and 0.5 GiB) before it was healthy.",
		"Container 'app' was terminated with exit code '' and reason 'ContainerCreateFailure'": "The container could not be started. Check ENTRYPOINT and CMD in the Dockerfile, and that the image is made for linux/amd64.",
		"Container 'app' was terminated with exit code '127' and reason 'ProcessExited'":       "The container could not be started (exit code 127). Check ENTRYPOINT and CMD in the Dockerfile, and that the image is made for linux/amd64.",
	} {
		code, known, reason, ok := exit(text)
		if got := end(r, code, known, reason); !ok || got.Message != want {
			t.Errorf("%s: %s", text, got.Message)
		}
	}
}

func TestTheSmallestPairOfAzuresIsChosen(t *testing.T) {
	for _, c := range []struct {
		cpu, memory int64
		want        string
	}{{0, 0, "0.5 vCPU and 1 GiB"}, {1, 0, "0.25 vCPU and 0.5 GiB"}, {250, 64 << 20, "0.25 vCPU and 0.5 GiB"}, {251, 0, "0.5 vCPU and 1 GiB"}, {250, 3 << 30, "1.5 vCPU and 3 GiB"}, {4000, 8 << 30, "4 vCPU and 8 GiB"}} {
		if got := sizeText(models.Scale{CPU: c.cpu, Memory: c.memory}); got != c.want {
			t.Errorf("%d, %d: %s", c.cpu, c.memory, got)
		}
	}
}

func TestTheDocumentationGrantsWhatIsAskedFor(t *testing.T) {
	text, err := os.ReadFile("../../../docs/azure.md")
	if err != nil {
		t.Fatal(err)
	}
	trust, err := os.ReadFile("../../identity/azure.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, action := range slices.Concat([]string{metricsRight}, historyRights, actions) {
		if !strings.Contains(string(text), `"`+action+`"`) {
			t.Errorf("the role in docs/azure.md lacks %s", action)
		}
		if !strings.Contains(string(trust), `"`+action+`"`) {
			t.Errorf("the role of the trust's commands lacks %s", action)
		}
	}
	for _, f := range fields() {
		if !strings.Contains(string(text), f.Label) {
			t.Errorf("docs/azure.md does not explain the setting %q", f.Label)
		}
	}
}
