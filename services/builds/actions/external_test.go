package actions_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/outbound"
	"slipway.dev/services/registries"
	"slipway.dev/services/registries/registriestest"
	"slipway.dev/services/secrets"
)

func TestTheDigestThatARunReportsIsLookedForInAConnectedRegistry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.worker(15 * time.Second)
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	outside := &registries.Service{DB: w.db, Box: box, Embedded: w.registry, Guard: &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	t.Cleanup(func() { outside.Close() })
	w.builds.Registries = outside
	r, err := outside.Create(w.as(w.Admin), registries.Input{Name: "Outside", Kind: registries.KindGeneric, Host: registriestest.Start(t).Host, PlainHTTP: true, AllTeams: models.RegistryPush})
	if err != nil {
		t.Fatal(err)
	}
	at, err := outside.Open(w.as(w.Admin), r.ID, "acme/shop", registries.Pull, registries.Push)
	if err != nil {
		t.Fatal(err)
	}
	image, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(at.Repository.Tag("main"), image, at.Options()...); err != nil {
		t.Fatal(err)
	}
	there, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	for i, test := range []struct{ repository, digest, why string }{
		{at.Name(), there.String(), ""},
		{at.Name(), "sha256:" + strings.Repeat("0", 64), "no such image"},
		{"ghcr.io/acme/shop", there.String(), "No registry at ghcr.io"},
	} {
		b := w.queue()
		run := w.runs(i + 1)
		now := w.db.NowFunc()
		err := w.db.Model(&models.WorkflowRun{}).Where("build_id = ?", b.ID).Select("ReportedAt", "ImageRepository", "ImageDigest").
			Updates(models.WorkflowRun{ReportedAt: &now, ImageRepository: test.repository, ImageDigest: test.digest}).Error
		if err != nil {
			t.Fatal(err)
		}
		run.EndStep(run.AddJob("Image", "Push the image"), "success", "pushed")
		run.End("success")
		b = w.state(b.ID, models.BuildSucceeded)
		row := b.WorkflowRun
		if b.ImageDigest != test.digest || b.ImageRepository != test.repository || (row.VerifiedAt != nil) != (test.why == "") || !strings.Contains(row.Verification, test.why) {
			t.Errorf("%s@%s: the build has %s@%s, the run %+v", test.repository, test.digest, b.ImageRepository, b.ImageDigest, row)
		}
		if test.why == "" && b.ImageSize == 0 {
			t.Error("nobody knows how large the image is")
		}
	}
}
