package builds_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/dockertest"
)

func TestABuildBeyondTheTeamsQuotaSaysSoInWords(t *testing.T) {
	t.Parallel()
	for name, world := range map[string]func(*testing.T) (*world, string){
		"the Docker Engine": func(t *testing.T) (*world, string) { return real(t), dockertest.BaseImage(t) },
		"a buildkitd": func(t *testing.T) (*world, string) {
			w, d := onDaemon(t)
			return w, d.Base
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, base := world(t)
			limit := int64(1000)
			if err := w.images.SetQuota(modelstest.As(t, w.db, w.Admin), w.Team.Slug, &limit); err != nil {
				t.Fatal(err)
			}
			w.commit(t, "FROM "+base+"\nRUN echo "+models.NewID()+" > /out\n", nil)
			b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
			// A small part of the image may have come before the one that is too much.
			if b.Error == nil || !strings.Contains(b.Error.Message, "team payments has used 0") || !strings.Contains(b.Error.Message, " of 1 kB for images. Delete images") {
				t.Errorf("the build says %+v", b.Error)
			}
		})
	}
}
