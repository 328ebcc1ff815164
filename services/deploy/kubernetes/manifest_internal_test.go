package kubernetes

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
	"slipway.dev/services/deploy"
)

func TestAnAppWhoseNameBeginsWithADigitHasAService(t *testing.T) {
	t.Parallel()
	nines := strings.Repeat("9", 40)
	for app, want := range map[string]string{"checkout": "checkout", "2048": "app--2048", "3d-viewer": "app--3d-viewer", nines: "app--" + nines} {
		if got := serviceOf(deploy.Release{App: app}); got != want || len(validation.IsDNS1035Label(got)) > 0 {
			t.Errorf("the Service of %s is %s, want %s", app, got, want)
		}
	}
}
