package builds_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/builds"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/logs"
)

const secretCanary = "canary build+secret/7f3a="

func (w *world) setSecret(t *testing.T, name string, in builds.SecretInput) *models.BuildSecret {
	t.Helper()
	s, err := w.builds.SetSecret(w.as(t, w.Developer), w.App.ID, name, in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// requests has builds end well and returns what each was asked for.
func (w *world) requests() chan builds.Request {
	seen := make(chan builds.Request, 10)
	w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		seen <- r
		return pushSomething(ctx, r, emit)
	})
	return seen
}

func TestABuildSecretIsWrittenAndNeverRead(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		first := w.setSecret(t, "npm", builds.SecretInput{Value: secretCanary})
		if first.Fingerprint == "" || first.Kind != models.BuildSecretMount || len(first.Sealed) > 0 {
			t.Errorf("the secret is %+v", first)
		}
		moved := w.setSecret(t, "npm", builds.SecretInput{Branches: []string{"main"}})
		if moved.Fingerprint != first.Fingerprint {
			t.Error("the value changed though none was given")
		}
		if other := w.setSecret(t, "npm", builds.SecretInput{Value: "another value"}); other.Fingerprint == first.Fingerprint || len(other.Branches) > 0 {
			t.Errorf("the changed secret is %+v", other)
		}
		list, err := w.builds.Secrets(w.as(t, w.Viewer), w.App.ID)
		if err != nil || len(list) != 1 || len(list[0].Sealed) > 0 {
			t.Errorf("the list is %+v, error %v", list, err)
		}
		var audit []models.AuditEntry
		if err := db.Where("action LIKE 'build_secret.%'").Find(&audit).Error; err != nil || len(audit) != 3 {
			t.Errorf("the audit log has %d entries, error %v", len(audit), err)
		}
		all, err := json.Marshal([]any{list, audit})
		if err != nil || strings.Contains(string(all), "canary") {
			t.Errorf("the value is shown: %s %v", all, err)
		}
		_, err = w.builds.SetSecret(w.as(t, w.Viewer), w.App.ID, "npm", builds.SecretInput{Value: "value"})
		wantCode(t, err, models.Denied)
		wantCode(t, w.builds.DeleteSecret(w.as(t, w.Viewer), w.App.ID, "npm"), models.Denied)
		for _, stranger := range []func() error{
			func() error { _, err := w.builds.Secrets(w.as(t, w.Stranger), w.App.ID); return err },
			func() error {
				_, err := w.builds.SetSecret(w.as(t, w.Stranger), w.App.ID, "npm", builds.SecretInput{Value: "value"})
				return err
			},
			func() error { return w.builds.DeleteSecret(w.as(t, w.Stranger), w.App.ID, "npm") },
		} {
			wantCode(t, stranger(), models.NotFound)
		}
		if err := w.builds.DeleteSecret(w.as(t, w.Developer), w.App.ID, "npm"); err != nil {
			t.Error(err)
		}
		wantCode(t, w.builds.DeleteSecret(w.as(t, w.Developer), w.App.ID, "npm"), models.NotFound)
	})
}

func TestBadBuildSecretsAreRefusedByField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	for name, test := range map[string]struct {
		id, field string
		in        builds.SecretInput
	}{
		"no value":          {"npm", "value", builds.SecretInput{}},
		"a short value":     {"npm", "value", builds.SecretInput{Value: "abc"}},
		"a long value":      {"npm", "value", builds.SecretInput{Value: strings.Repeat("x", 65<<10)}},
		"a path as id":      {"../x", "name", builds.SecretInput{Value: "value"}},
		"an option as id":   {"-x", "name", builds.SecretInput{Value: "value"}},
		"a bad kind":        {"npm", "kind", builds.SecretInput{Kind: "file", Value: "value"}},
		"a bad pattern":     {"npm", "branches", builds.SecretInput{Value: "value", Branches: []string{"["}}},
		"no key":            {"default", "value", builds.SecretInput{Kind: models.BuildSecretSSH, Value: "not a key"}},
		"a locked key":      {"default", "value", builds.SecretInput{Kind: models.BuildSecretSSH, Value: privateKey(t, "passphrase")}},
		"a space in branch": {"npm", "branches", builds.SecretInput{Value: "value", Branches: []string{"a b"}}},
	} {
		_, err := w.builds.SetSecret(w.as(t, w.Developer), w.App.ID, test.id, test.in)
		wantCode(t, err, models.Invalid)
		if e, ok := err.(*models.Error); !ok || e.Fields[test.field] == "" || strings.Contains(e.Error(), "not a key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	key := w.setSecret(t, "default", builds.SecretInput{Kind: models.BuildSecretSSH, Value: privateKey(t, "")})
	if !strings.HasPrefix(key.Public, "ssh-ed25519 ") {
		t.Errorf("the public half is %q", key.Public)
	}
}

func privateKey(t *testing.T, passphrase string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

func TestSecretsReachOnlyTheCodeThatTheyAreFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	feature := w.repo.Commit(t, "feature/x", "Not reviewed", gittest.Files{"evil": "x"})
	w.repo.Tag(t, "v1", "main")
	w.repo.Tag(t, "sneaky", "feature/x")
	w.setSecret(t, "everywhere", builds.SecretInput{Value: "for every branch"})
	w.setSecret(t, "release", builds.SecretInput{Value: "for main only", Branches: []string{"main", "release/*"}})
	start(t, w.builds.Jobs)
	seen := w.requests()
	for _, test := range []struct{ ref, want, withheld string }{
		{"main", "everywhere release", ""},
		{"feature/x", "everywhere", "release"},
		{"v1", "everywhere release", ""},
		{"sneaky", "everywhere", "release"},
		{feature, "everywhere", "release"},
	} {
		w.wait(t, w.queueBuild(t, test.ref).ID, models.BuildSucceeded)
		r := <-seen
		var got []string
		for _, s := range r.Secrets {
			got = append(got, s.ID)
		}
		if strings.Join(got, " ") != test.want || (test.withheld != "") != (r.Withheld[test.withheld] != "") || r.SecretsKey == "" {
			t.Errorf("%s gets %v, not %v", test.ref, got, r.Withheld)
		}
	}
}

func TestCodeOfStrangersGetsNoSecretAndWritesNoCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.setSecret(t, "npm", builds.SecretInput{Value: "some value"})
	settings, err := json.Marshal(models.BuildSettings{Cache: models.CacheRegistry})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.db.Model(w.App).Update("build_settings", string(settings)).Error; err != nil {
		t.Fatal(err)
	}
	b := w.queueBuild(t, "main")
	if err := w.db.Model(&models.Build{}).Where("id = ?", b.ID).Update("untrusted", true).Error; err != nil {
		t.Fatal(err)
	}
	seen := w.requests()
	start(t, w.builds.Jobs)
	w.wait(t, b.ID, models.BuildSucceeded)
	strange := <-seen
	if len(strange.Secrets) > 0 || !strings.Contains(strange.Withheld["npm"], "forks") || strange.Cache.Write || strange.Cache.Ref == "" {
		t.Errorf("the request is %+v", strange)
	}
	w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
	if own := <-seen; own.CacheKey == strange.CacheKey || !own.Cache.Write || len(own.Secrets) != 1 {
		t.Errorf("the app's own build shares what strangers left in the engine: %q", own.CacheKey)
	}
}

func TestASecretOfAnotherRepositoryOpensForNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	s := w.setSecret(t, "npm", builds.SecretInput{Value: "some value"})
	other := *w.Repository
	other.ID, other.Name = models.NewID(), "other"
	if err := w.db.Create(&other).Error; err != nil {
		t.Fatal(err)
	}
	if err := w.db.Model(&models.BuildSecret{}).Where("id = ?", s.ID).Update("repository_id", other.ID).Error; err != nil {
		t.Fatal(err)
	}
	start(t, w.builds.Jobs)
	seen := w.requests()
	w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
	if r := <-seen; len(r.Secrets) > 0 || !strings.Contains(r.Withheld["npm"], "another repository") {
		t.Errorf("the request is %+v", r.Withheld)
	}
	if err := w.db.Model(&models.App{}).Where("id = ?", w.App.ID).Update("repository_id", other.ID).Error; err != nil {
		t.Fatal(err)
	}
	if err := w.builds.Git.Remove(other.ID); err != nil {
		t.Fatal(err)
	}
	b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed) // sealed for the first one
	if !strings.Contains(b.Error.Message, `"npm" can't be opened`) {
		t.Errorf("the error is %+v", b.Error)
	}
}

func TestASecretIsMaskedInEverythingThatABuildSays(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.setSecret(t, "npm", builds.SecretInput{Value: secretCanary})
		forms := []string{secretCanary, base64.StdEncoding.EncodeToString([]byte(secretCanary)), url.QueryEscape(secretCanary), url.PathEscape(secretCanary),
			fmt.Sprintf("%x", secretCanary), base64.StdEncoding.EncodeToString([]byte("user:" + secretCanary))}
		leak := strings.Join(forms, " ")
		start(t, w.builds.Jobs)
		w.direct(func(_ context.Context, _ builds.Request, emit func(builds.Event)) (*builds.Result, error) {
			emit(builds.Event{At: time.Now(), File: &models.BuildDockerfile{Path: "Dockerfile", Text: "FROM x\nRUN echo " + leak, Findings: []models.Finding{{Line: 1, Rule: "R", Message: leak}}}})
			emit(builds.Event{At: time.Now(), Step: "1", State: models.StepRunning, Name: leak})
			for _, piece := range []string{secretCanary[:9], secretCanary[9:]} {
				emit(builds.Event{At: time.Now(), Step: "1", Stream: logs.Stdout, Output: []byte(piece)})
			}
			emit(builds.Event{At: time.Now(), Step: "1", State: models.StepFailed, Name: leak, Error: leak})
			emit(builds.Event{At: time.Now(), Warning: leak})
			return nil, &builds.Error{BuildError: models.BuildError{Class: builds.ClassUser, Message: leak, Step: "1", Source: []string{leak}}}
		})
		b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
		said := []any{b, w.ended(t, b.ID)}
		file, err := w.builds.Findings(w.as(t, w.Viewer), b.ID)
		if err != nil || len(file.Findings) != 1 || !strings.HasPrefix(file.Text, "FROM x\nRUN echo ") {
			t.Errorf("the Dockerfile is %+v, error %v", file, err)
		}
		var told []models.Event
		if err := db.Find(&told).Error; err != nil {
			t.Fatal(err)
		}
		all, err := json.Marshal(append(said, file, told))
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range append(forms[:5:5], secretCanary[:9]) {
			if strings.Contains(string(all), form) {
				t.Errorf("%q is shown:\n%.1500s", form, all)
			}
		}
	})
}

func TestABuildTakesTheSettingsThatTheAppHadWhenItWasQueued(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	set := func(s models.BuildSettings) {
		t.Helper()
		if err := w.db.Model(w.App).Select("BuildSettings").Updates(&models.App{BuildSettings: s}).Error; err != nil {
			t.Fatal(err)
		}
	}
	set(models.BuildSettings{Arguments: []models.BuildArgument{{Name: "NPM_TOKEN", Value: "x"}}, Target: "prod", Platforms: []string{"linux/amd64"}, Provenance: true, SBOM: true, Cache: models.CacheRegistry})
	b := w.queueBuild(t, "main")
	set(models.BuildSettings{})
	seen := w.requests()
	start(t, w.builds.Jobs)
	b = w.wait(t, b.ID, models.BuildSucceeded)
	r := <-seen
	if len(r.Arguments) != 1 || r.Target != "prod" || len(r.Platforms) != 1 || !r.Provenance || !r.SBOM || r.Cache.Ref != w.registry+"/payments/checkout:buildcache" {
		t.Errorf("the request is %+v", r)
	}
	if w := strings.Join(b.Warnings, "\n"); !strings.Contains(w, "NPM_TOKEN") || !strings.Contains(w, "looks like a secret") {
		t.Errorf("the warnings are %q", w)
	}
}

func TestACacheInsideOfTheImageIsFoundUnderTheNameOfTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		result, err := pushSomething(ctx, r, emit)
		if err == nil {
			result.InlineCache = true
		}
		return result, err
	})
	start(t, w.builds.Jobs)
	b := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
	if m := manifest(t, b.ImageRepository+":buildcache"); m.digest != b.ImageDigest {
		t.Errorf("buildcache is %s, the image %s", m.digest, b.ImageDigest)
	}
	if slices.Contains(b.ImageTags, "buildcache") {
		t.Errorf("the image's tags are %v", b.ImageTags)
	}
}
