package registry_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	dockerregistry "github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/registry"
)

// docker runs Docker's command line with a configuration of its own and returns what it says.
func docker(t *testing.T, config, stdin string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+config)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestDockerLogsInPushesAndPullsWithinTheLimitsOfTheToken(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		engine := dockertest.Engine(t)
		base := dockertest.BaseImage(t)
		writer, reader, stranger := t.TempDir(), t.TempDir(), t.TempDir()
		for config, token := range map[string]string{
			writer:   f.token(t, f.Developer, models.ScopeRegistryWrite),
			reader:   f.token(t, f.Developer, models.ScopeRegistryRead),
			stranger: f.token(t, f.Stranger, models.ScopeRegistryWrite),
		} {
			if out, err := docker(t, config, token, "login", "-u", "anyone", "--password-stdin", f.host); err != nil {
				t.Fatalf("docker login: %s", out)
			}
		}
		if out, err := docker(t, t.TempDir(), "slp_wrong", "login", "-u", "anyone", "--password-stdin", f.host); err == nil {
			t.Errorf("docker login with a wrong token succeeded: %s", out)
		}
		own, foreign := f.host+"/payments/checkout:main", f.host+"/search/index:main"
		tag(t, engine, base, own)
		tag(t, engine, base, foreign)

		if out, err := docker(t, t.TempDir(), "", "push", own); err == nil || !strings.Contains(out, "docker login") {
			t.Errorf("a push without a login: %v %s", err, out)
		}
		if out, err := docker(t, writer, "", "push", foreign); err == nil || !strings.Contains(out, "your login does not allow this on search/index") {
			t.Errorf("a push to another team: %v %s", err, out)
		}
		if out, err := docker(t, reader, "", "push", own); err == nil || !strings.Contains(out, "registry:write") {
			t.Errorf("a push with a token that only reads: %v %s", err, out)
		}
		if out, err := docker(t, writer, "", "push", own); err != nil {
			t.Fatalf("docker push: %s", out)
		}
		untag(t, engine, own)
		if out, err := docker(t, stranger, "", "pull", own); err == nil {
			t.Errorf("another team pulled: %s", out)
		}
		if out, err := docker(t, reader, "", "pull", own); err != nil {
			t.Errorf("docker pull: %s", out)
		}
	})
}

func tag(t *testing.T, engine *client.Client, from, to string) {
	t.Helper()
	if err := engine.ImageTag(t.Context(), from, to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { untag(t, engine, to) })
}

func untag(t *testing.T, engine *client.Client, ref string) {
	_, err := engine.ImageRemove(context.WithoutCancel(t.Context()), ref, image.RemoveOptions{})
	if err != nil && !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func TestTheDockerEnginePushesAndPullsByACredential(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	engine := dockertest.Engine(t)
	own := f.host + "/payments/checkout:build-1"
	tag(t, engine, dockertest.BaseImage(t), own)
	ctx := models.WithPrincipal(t.Context(), models.System("worker"))

	user, password, err := f.registry.Credential(ctx, f.host+"/payments/checkout", []string{registry.Pull, registry.Push}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	auth := encode(t, dockerregistry.AuthConfig{Username: user, Password: password, ServerAddress: f.host})
	progress, err := engine.ImagePush(t.Context(), own, image.PushOptions{RegistryAuth: auth})
	if err := finish(progress, err); err != nil {
		t.Fatalf("push: %v", err)
	}
	untag(t, engine, own)
	progress, err = engine.ImagePull(t.Context(), own, image.PullOptions{RegistryAuth: auth})
	if err := finish(progress, err); err != nil {
		t.Fatalf("pull: %v", err)
	}
	other := f.host + "/search/index:build-1"
	tag(t, engine, own, other)
	progress, err = engine.ImagePush(t.Context(), other, image.PushOptions{RegistryAuth: auth})
	if err := finish(progress, err); err == nil {
		t.Error("the credential of one repository pushed to another")
	}
}

func encode(t *testing.T, auth dockerregistry.AuthConfig) string {
	t.Helper()
	b, err := json.Marshal(auth)
	if err != nil {
		t.Fatal(err)
	}
	return base64.URLEncoding.EncodeToString(b)
}

// finish reads the engine's progress to its end and returns the error in it.
func finish(progress io.ReadCloser, err error) error {
	if err != nil {
		return err
	}
	defer progress.Close()
	for d := json.NewDecoder(progress); ; {
		var line struct{ Error string }
		if err := d.Decode(&line); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
	}
}

func TestSkopeoCopiesAnImageInAndOut(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		img := f.push(t, "payments/checkout:main", 3, f.writer(t, f.Developer))
		authFile := filepath.Join(t.TempDir(), "auth.json")
		skopeo(t, f.token(t, f.Developer, models.ScopeRegistryWrite), "login", "--authfile", authFile, "--tls-verify=false", "-u", "anyone", "--password-stdin", f.host)
		skopeo(t, "", "copy", "--authfile", authFile, "--src-tls-verify=false", "--dest-tls-verify=false",
			"docker://"+f.host+"/payments/checkout:main", "docker://"+f.host+"/payments/copied/deep:v1")
		out := skopeo(t, "", "inspect", "--authfile", authFile, "--tls-verify=false", "docker://"+f.host+"/payments/copied/deep:v1")
		if want := digestOf(t, img); !strings.Contains(out, want) {
			t.Errorf("skopeo inspects %s, want the digest %s", out, want)
		}
		copied, err := remote.Image(f.ref(t, "payments/copied/deep:v1"), f.reader(t, f.Viewer))
		if err != nil {
			t.Fatal(err)
		}
		if layers, err := copied.Layers(); err != nil || len(layers) != 3 {
			t.Errorf("the copy has %d layers: %v", len(layers), err)
		}
	})
}

func skopeo(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "skopeo", args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

func TestDockerAndSkopeoPullWithoutALoginWhatATeamOpened(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	engine := dockertest.Engine(t)
	own, closed := f.host+"/payments/checkout:main", f.host+"/payments/closed:main"
	writer := t.TempDir()
	if out, err := docker(t, writer, f.token(t, f.Developer, models.ScopeRegistryWrite), "login", "-u", "anyone", "--password-stdin", f.host); err != nil {
		t.Fatalf("docker login: %s", out)
	}
	for _, ref := range []string{own, closed} {
		tag(t, engine, dockertest.BaseImage(t), ref)
		if out, err := docker(t, writer, "", "push", ref); err != nil {
			t.Fatalf("docker push: %s", out)
		}
		untag(t, engine, ref)
	}
	open := models.AnonymousYes
	f.set(t, registry.ChangeSettings{AnonymousPull: &open})
	nobody := t.TempDir()
	if out, err := docker(t, nobody, "", "pull", own); err != nil {
		t.Errorf("docker pull without a login: %s", out)
	}
	if out, err := docker(t, nobody, "", "pull", closed); err == nil || !strings.Contains(out, "docker login") {
		t.Errorf("docker pull of what is closed: %v %s", err, out)
	}
	if out, err := docker(t, nobody, "", "push", own); err == nil {
		t.Errorf("docker push without a login: %s", out)
	}
	out := skopeo(t, "", "inspect", "--no-creds", "--tls-verify=false", "docker://"+own)
	if !strings.Contains(out, "sha256:") {
		t.Errorf("skopeo inspects %s", out)
	}
	skopeo(t, "", "copy", "--src-no-creds", "--src-tls-verify=false", "docker://"+own, "dir:"+t.TempDir())
	curl(t, "", f.registry.External+"/v2/payments/checkout/manifests/main", "401")
	body := curl(t, "", f.registry.External+"/registry/token?scope=repository:payments/checkout:pull", "200")
	_, rest, _ := strings.Cut(body, `"access_token":"`)
	access, _, _ := strings.Cut(rest, `"`)
	curl(t, access, f.registry.External+"/v2/payments/checkout/manifests/main", "200")
	curl(t, access, f.registry.External+"/v2/_catalog", "401")
	if err := f.registry.FlushPulls(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, e := range f.pullEntries(t) {
		if !strings.HasPrefix(e.ActorName, "anonymous from 127.0.0.1") {
			t.Errorf("the log names %q", e.ActorName)
		}
	}
}

// curl gets the address, with a token where there is one, and returns the body; the status has to be as said.
func curl(t *testing.T, token, address, status string) string {
	t.Helper()
	args := []string{"-s", "-m", "300", "-w", "\n%{http_code}"}
	if token != "" {
		args = append(args, "-H", "Authorization: Bearer "+token)
	}
	out, err := exec.CommandContext(t.Context(), "curl", append(args, "--", address)...).Output()
	if err != nil || !strings.HasSuffix(string(out), "\n"+status) {
		t.Errorf("curl %s: %v %s, want %s", address, err, out, status)
	}
	return string(out)
}

func TestDockerPushSaysWhichPatternKeepsATag(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	engine := dockertest.Engine(t)
	_, team, err := f.auth.CreateToken(modelstest.As(t, f.db, f.Maintainer), auth.NewToken{
		Name: "pipeline", TeamID: f.Team.ID, Role: models.RoleDeveloper, Scopes: []models.Scope{models.ScopeRegistryWrite}})
	if err != nil {
		t.Fatal(err)
	}
	writer, own := t.TempDir(), f.host+"/payments/checkout:v1"
	if out, err := docker(t, writer, team, "login", "-u", "token", "--password-stdin", f.host); err != nil {
		t.Fatalf("docker login with a team's token: %s", out)
	}
	f.push(t, "payments/checkout:v1", 1, basic("x", team))
	patterns := []string{"v*"}
	f.setTeam(t, registry.ChangeTeamSettings{ImmutableTags: &patterns})
	tag(t, engine, dockertest.BaseImage(t), own)
	out, err := docker(t, writer, "", "push", own)
	if err == nil || !strings.Contains(out, "denied") || !strings.Contains(out, `The tag v1 of payments/checkout is immutable: the pattern "v*" in the team's settings keeps it`) {
		t.Errorf("docker push: %v %s", err, out)
	}
}
