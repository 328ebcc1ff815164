package kubernetes

import (
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

func TestACommandReachesItsProgramAsItStands(t *testing.T) {
	t.Parallel()
	r := deploy.Release{ID: models.NewID(), App: "checkout", Command: []string{"sh", "-c", "echo $(GREETING) $HOME $$"}}
	got := (&target{}).task(r).Object.(*batchv1.Job).Spec.Template.Spec.Containers[0].Args
	if want := []string{"sh", "-c", "echo $$(GREETING) $$HOME $$$$"}; !slices.Equal(got, want) { // a node halves them
		t.Errorf("the arguments are %q, want %q", got, want)
	}
}

func TestAnAppWhoseNameBeginsWithADigitHasAService(t *testing.T) {
	t.Parallel()
	nines := strings.Repeat("9", 40)
	for app, want := range map[string]string{"checkout": "checkout", "2048": "app--2048", "3d-viewer": "app--3d-viewer", nines: "app--" + nines} {
		if got := serviceOf(deploy.Release{App: app}); got != want || len(validation.IsDNS1035Label(got)) > 0 {
			t.Errorf("the Service of %s is %s, want %s", app, got, want)
		}
	}
}
