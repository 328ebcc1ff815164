package docker

import (
	"strings"
	"testing"

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
