package bench

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
)

const manyTags = 10_000

// BenchmarkTags measures what people and programs read of a repository with 10,000 tags of as many images.
func BenchmarkTags(b *testing.B) {
	for name, database := range map[string]string{
		"sqlite": "sqlite:" + filepath.Join(b.TempDir(), "slipway.db"), "postgres": modelstest.PostgresURL(b),
	} {
		b.Run(name, func(b *testing.B) { measureTags(b, database) })
	}
}

func measureTags(b *testing.B, database string) {
	p := slipwaytest.Launch(b, slipwaytest.Settings{"DATABASE_URL": database, "WORKERS": "false"})
	person := p.SignIn(b)
	p.Client = &slipwaytest.Client{URL: p.URL, Token: p.NewToken(b, person, string(models.ScopeRegistryRead))}
	p.Team(b, "acme")
	stockTags(b, database, manyTags)
	page := p.URL + "/images/acme/large"
	call := func(c *slipwaytest.Client, path string) func() {
		return func() {
			if answer := c.Call(b, http.MethodGet, path, nil); answer.Status != http.StatusOK {
				b.Fatalf("%s answers %d: %s", path, answer.Status, answer.Body)
			}
		}
	}
	for _, read := range []struct {
		what string
		do   func()
	}{
		{"page", func() { home(b, person, page) }},
		{"api", call(p.Client, "/api/v1/images?repository=acme%2Flarge")},
		{"distribution", call(signInAtRegistry(b, p), "/v2/acme/large/tags/list?n=100&last=v0004999")},
	} {
		read.do()
		var all []time.Duration
		for range 200 {
			all = append(all, took(read.do))
		}
		b.ReportMetric(quantile(all, 0.5), "ms_p50_"+read.what)
		b.ReportMetric(quantile(all, 0.99), "ms_p99_"+read.what+"(goal_50)")
	}
	only(b)
}

// signInAtRegistry gives a client of the registry's API.
func signInAtRegistry(b *testing.B, p *slipwaytest.Portal) *slipwaytest.Client {
	b.Helper()
	credential := base64.StdEncoding.EncodeToString([]byte("token:" + p.Token))
	anonymous := &slipwaytest.Client{URL: p.URL}
	answer := anonymous.Call(b, http.MethodGet, "/registry/token?scope=repository:acme/large:pull", nil, "Authorization", "Basic "+credential)
	var signedIn struct{ Token string }
	if err := json.Unmarshal(answer.Body, &signedIn); err != nil {
		b.Fatalf("the registry signs in with %d: %s", answer.Status, answer.Body)
	}
	return &slipwaytest.Client{URL: p.URL, Token: signedIn.Token}
}

// stockTags writes a repository with so many images, each with a tag, a config, and a layer that the next one shares.
func stockTags(b *testing.B, database string, n int) {
	b.Helper()
	db, err := models.Open(context.Background(), database)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	create := func(rows any) {
		b.Helper()
		if err := db.CreateInBatches(rows, 500).Error; err != nil {
			b.Fatal(err)
		}
	}
	var team models.Team
	if err := db.Where("slug = ?", "acme").Take(&team).Error; err != nil {
		b.Fatal(err)
	}
	now := db.NowFunc()
	const repository = "acme/large"
	sum := func(what string, i int) string {
		return fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Append(nil, what, i)))
	}
	manifests, tags := make([]models.RegistryManifest, n), make([]models.RegistryTag, n)
	references := make([]models.RegistryReference, 0, 2*n)
	for i := range n {
		manifests[i] = models.RegistryManifest{Repository: repository, Digest: sum("manifest", i), PushID: models.NewID(), Content: []byte("{}"),
			MediaType: "application/vnd.oci.image.manifest.v1+json", ConfigDigest: sum("config", i), Platforms: []string{"linux/amd64"},
			ImageSize: 12_345_678, PushedByName: "Ada", PushedAt: now}
		tags[i] = models.RegistryTag{Repository: repository, Name: fmt.Sprintf("v%07d", i), Digest: manifests[i].Digest, MovedByName: "Ada", MovedAt: now}
		for _, child := range []string{manifests[i].ConfigDigest, sum("layer", i/2)} {
			references = append(references, models.RegistryReference{Repository: repository, Manifest: manifests[i].Digest, Child: child})
		}
	}
	create(&[]models.RegistryRepository{{Name: repository, TeamID: team.ID, PushID: manifests[n-1].PushID, CreatedAt: now}})
	create(&manifests)
	create(&tags)
	create(&references)
	if db.Pool == nil {
		return // nobody looks after SQLite; PostgreSQL does it by itself, some time later
	}
	if err := db.Exec("VACUUM ANALYZE").Error; err != nil {
		b.Fatal(err)
	}
}
