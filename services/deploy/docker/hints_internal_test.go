package docker

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

func TestARefusedHealthCheckIsExplainedByItsStatus(t *testing.T) {
	t.Parallel()
	r := deploy.Release{Health: models.HealthHTTP, HealthPath: "/healthz", Port: 8080}
	for answer, words := range map[string]string{
		"HTTP 400": "refuses the request itself", "HTTP 401": "without a login", "HTTP 403": "without a login",
		"HTTP 404": "no such path", "HTTP 405": "plain GET", "HTTP 503": "reports an error",
	} {
		if said := (&target{}).unhealthy(t.Context(), r, "", answer, nil); !strings.Contains(said, words) {
			t.Errorf("of %s it says %q", answer, said)
		}
	}
}

func TestAContainerThatWasKilledForItsMemoryIsSaidToBeWhetherOrNotTheEngineKnows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		code  int
		knows bool
		limit int64
		want  string
	}{
		{137, true, 32 << 20, "It used more memory than it may, and the system ended it (exit code 137)."},
		{137, false, 32 << 20, "It used more memory than it may, and the system ended it (exit code 137)."},
		{137, true, 0, "It used more memory than it may, and the system ended it (exit code 137)."}, // the machine has no more
		{137, false, 0, "It ended with exit code 137."},
		{1, false, 32 << 20, "It ended with exit code 1."},
	} {
		ended := container.InspectResponse{ContainerJSONBase: &container.ContainerJSONBase{
			State:      &container.State{ExitCode: c.code, OOMKilled: c.knows},
			HostConfig: &container.HostConfig{Resources: container.Resources{Memory: c.limit}},
		}}
		if said := endOf(ended); said != c.want {
			t.Errorf("%+v: %s", c, said)
		}
	}
}
