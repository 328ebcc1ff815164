package buildtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// settingsTests are about what an app's build settings ask of a builder.
func settingsTests() []test {
	return []test{
		{"arguments have their values and a target ends the build there", argumentsAndTarget},
		{"a target that is not there is refused with those that are", missingTarget},
		{"a secret is read by the command that mounts it and is nowhere else", secretMount},
		{"a secret that a command needs and the build lacks is named", missingSecret},
		{"a step that read a secret is not taken from the cache of another secret", secretsApart},
		{"an SSH key signs and can't be read or changed", sshMount},
		{"what the engine can't do is said before the build", lacking},
		{"Docker's own frontend is the built-in one unless it is allowed", ownFrontend},
		{"variables that grow without end are refused", growing},
		{"what is wrong with lines of the Dockerfile is said with the line", findings},
		{"a cache in the registry may be missing", cacheMissing},
	}
}

func argumentsAndTarget(t *testing.T, k Kind) {
	id := unique()
	text := "ARG IMAGE=none\nFROM $IMAGE AS first\nARG COLOUR=red\nRUN echo " + id + "-$COLOUR\nFROM first AS second\nRUN exit 9\n"
	r := Request(t, Registry(t), Files{"Dockerfile": text})
	r.Arguments = []models.BuildArgument{{Name: "IMAGE", Value: k.Base}, {Name: "COLOUR", Value: "green $(touch /pwn) \"x\""}}
	r.Target = "first"
	_, seen, err := Build(t, k.Builder, r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(seen.Text(), id+"-green $(touch /pwn) \"x\"\n") {
		t.Errorf("the build printed %q", seen.Text())
	}
	if lines := seen.lines(); !slices.Contains(lines, 2) || !slices.Contains(lines, 4) || slices.Contains(lines, 6) {
		t.Errorf("the steps are of the lines %v", lines)
	}
}

func missingTarget(t *testing.T, k Kind) {
	r := Request(t, Registry(t), Files{"Dockerfile": "FROM " + k.Base + " AS first\nFROM first AS second\n"})
	r.Target = "third"
	_, _, err := Build(t, k.Builder, r)
	Failed(t, err, builds.ClassUser, `"third"`, "first, second")
}

func secretMount(t *testing.T, k Kind) {
	canary := "canary/" + unique() + "+="
	r := Request(t, Registry(t), Files{"Dockerfile": k.from(t,
		"RUN --mount=type=secret,id=npm,required=true echo got $(wc -c < /run/secrets/npm) bytes "+unique()+"; cat /run/secrets/npm",
		"RUN test ! -s /run/secrets/npm && echo it is gone")})
	r.Secrets = []builds.Secret{{Kind: models.BuildSecretMount, ID: "npm", Value: []byte(canary)}}
	result, seen, err := Build(t, k.Builder, r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(seen.Text(), "got "+strconv.Itoa(len(canary))+" bytes") || !strings.Contains(seen.Text(), "it is gone\n") {
		t.Errorf("the build printed %q", seen.Text())
	}
	img := Image(t, r, result.Digest)
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	events, err := json.Marshal(seen.steps)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(events), canary) {
		t.Error("the test's command did not print the secret")
	}
	for what, data := range map[string][]byte{"history": config, "manifest": manifest} {
		if strings.Contains(string(data), canary) {
			t.Errorf("the %s holds the secret: %s", what, data)
		}
	}
	if k.Find != nil {
		if where := k.Find(t, canary); where != "" {
			t.Errorf("the engine keeps the secret in %s", where)
		}
	}
}

func missingSecret(t *testing.T, k Kind) {
	r := Request(t, Registry(t), Files{"Dockerfile": k.from(t, "RUN true", "RUN --mount=type=secret,id=npm,required=true true")})
	_, _, err := Build(t, k.Builder, r)
	if e := Failed(t, err, builds.ClassUser, `"npm"`, "Line 3", "build settings"); e.Line != 3 {
		t.Errorf("the failure is %+v", e.BuildError)
	}
	r.Withheld = map[string]string{"npm": "It is released to main only."}
	_, _, err = Build(t, k.Builder, r)
	Failed(t, err, builds.ClassUser, `"npm"`, "released to main only")

	r = Request(t, Registry(t), Files{"Dockerfile": k.from(t, "RUN --mount=type=secret,id=npm echo without-$(cat /run/secrets/npm 2>/dev/null)", "RUN --mount=type=ssh,required=true true")})
	r.Withheld = map[string]string{"npm": "It is released to main only."}
	_, _, err = Build(t, k.Builder, r)
	Failed(t, err, builds.ClassUser, `"default"`, "Line 3", "SSH")
	r.Dir = Checkout(t, Files{"Dockerfile": k.from(t, "RUN --mount=type=secret,id=npm echo without-$(cat /run/secrets/npm 2>/dev/null)")})
	_, seen, err := Build(t, k.Builder, r)
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(seen.Warnings(), "\n"); !strings.Contains(w, `"npm"`) || !strings.Contains(w, "released to main only") {
		t.Errorf("the warnings are %q", w)
	}
}

// secretsApart has the same Dockerfile and files built with a secret, with
// another one, by another app, and without: engines know no difference by themselves.
func secretsApart(t *testing.T, k Kind) {
	host, app := Registry(t), models.NewID()
	files := Files{"Dockerfile": k.from(t, "RUN --mount=type=secret,id=npm echo "+unique()+"; md5sum /run/secrets/npm 2>/dev/null > /sum; cat /sum")}
	build := func(cacheKey, secretsKey, value string) models.StepState {
		r := Request(t, host, files)
		r.CacheKey, r.SecretsKey = cacheKey, secretsKey
		if value != "" {
			r.Secrets = []builds.Secret{{Kind: models.BuildSecretMount, ID: "npm", Value: []byte(value)}}
		}
		_, seen, err := Build(t, k.Builder, r)
		if err != nil {
			t.Fatal(err)
		}
		return seen.Find("cat /sum").State
	}
	for _, step := range []struct {
		what, app, key, value string
		want                  models.StepState
	}{
		{"the first build", app, "one", "value one", models.StepSucceeded},
		{"the same again", app, "one", "value one", models.StepCached},
		{"another secret", app, "two", "value two", models.StepSucceeded},
		{"no secret", app, "", "", models.StepSucceeded},
		{"another app", models.NewID(), "one", "", models.StepSucceeded},
	} {
		if got := build(step.app, step.key, step.value); got != step.want {
			t.Errorf("%s: the step was %s", step.what, got)
		}
	}
}

var signed = regexp.MustCompile(`signed (\S+) (\S+)`)

func sshMount(t *testing.T, k Kind) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(block)
	r := Request(t, Registry(t), Files{})
	probe := filepath.Join(r.Dir, "sshprobe")
	compile(t, "slipway.dev/services/builds/buildtest/sshprobe", probe)
	word := unique()
	text := k.from(t, "COPY sshprobe /sshprobe", "RUN --mount=type=ssh /sshprobe "+word, "RUN --mount=type=ssh,id=forge test -S $SSH_AUTH_SOCK && echo there")
	if err := os.WriteFile(filepath.Join(r.Dir, "Dockerfile"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Secrets = []builds.Secret{{Kind: models.BuildSecretSSH, ID: "default", Value: key}, {Kind: models.BuildSecretSSH, ID: "forge", Value: key}}
	_, seen, err := Build(t, k.Builder, r)
	if err != nil {
		t.Fatalf("%v: %s", err, seen.Text())
	}
	m := signed.FindStringSubmatch(seen.Text())
	if m == nil {
		t.Fatalf("nothing was signed: %q", seen.Text())
	}
	blob, err := base64.StdEncoding.DecodeString(m[2])
	if err != nil || m[1] != ssh.KeyAlgoED25519 || !ed25519.Verify(public, []byte(word), blob) {
		t.Errorf("the signature is not the key's: %v", m)
	}
	middle := strings.Split(string(key), "\n")[2]
	if k.Find != nil && k.Find(t, middle) != "" {
		t.Error("the engine keeps the key")
	}
}

// compile makes a static program for the builds of a test.
func compile(t testing.TB, source, to string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", to, source)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("compiling %s: %v: %s", source, err, out)
	}
}

func lacking(t *testing.T, k Kind) {
	can, err := k.Builder.Capabilities(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if can.Engine == "" || len(can.Platforms) == 0 || !strings.HasPrefix(can.Platforms[0], "linux/") {
		t.Errorf("the engine says %+v", can)
	}
	for _, change := range []func(*builds.Request){
		func(r *builds.Request) { r.Platforms = []string{"linux/amd64", "linux/s390x"} },
		func(r *builds.Request) { r.Provenance = true },
		func(r *builds.Request) { r.SBOM = true },
		func(r *builds.Request) { r.Platforms = []string{"linux/mips64le"} },
	} {
		r := Request(t, Registry(t), Files{"Dockerfile": k.from(t, "RUN true")})
		change(&r)
		lack := can.Lacks(r)
		if lack == "" {
			continue
		}
		_, seen, err := Build(t, k.Builder, r)
		Failed(t, err, builds.ClassUser, can.Engine, lack)
		if len(seen.order) > 0 {
			t.Errorf("%s: the build began with %q", lack, seen.order)
		}
	}
}

func ownFrontend(t *testing.T, k Kind) {
	for _, name := range []string{"docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs"} {
		_, seen, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": "# syntax=" + name + "\n" + k.from(t, "RUN true")}))
		if err != nil {
			t.Fatal(err)
		}
		if w := strings.Join(seen.Warnings(), "\n"); !strings.Contains(w, name) {
			t.Errorf("the warnings are %q", w)
		}
	}
}

func growing(t *testing.T, k Kind) {
	ten := func(name string) string { return strings.Repeat("$"+name, 10) }
	for what, lines := range map[string][]string{
		"ARG":          {"ARG a=0123456789", "ARG b=" + ten("a"), "ARG c=" + ten("b"), "ARG d=" + ten("c"), "ARG e=" + ten("d"), "ARG f=" + ten("e"), "ARG g=" + ten("f"), "ARG h=" + ten("g")},
		"ENV":          {"ENV a=0123456789", "ENV a=" + ten("a"), "ENV a=" + ten("a"), "ENV a=" + ten("a"), "ENV a=" + ten("a"), "ENV a=" + ten("a"), "ENV a=" + ten("a")},
		"replacements": {"ENV a=" + strings.Repeat("a", 1000), "ENV b=${a//a/" + strings.Repeat("b", 1000) + "}", "ENV c=${b//b/" + strings.Repeat("c", 1000) + "}"},
		"a long line":  {"ENV a=" + strings.Repeat("a", 60<<10), "RUN echo " + strings.Repeat("$a", 1000)},
	} {
		_, seen, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": k.from(t, lines...)}))
		if e := Failed(t, err, builds.ClassUser, "grow"); e.Line < 2 || len(seen.order) > 0 {
			t.Errorf("%s: the failure is %+v", what, e.BuildError)
		}
	}
}

func findings(t *testing.T, k Kind) {
	_, seen, err := Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": "FROM " + k.Base + " AS First\nMAINTAINER nobody\nRUN true\n"}))
	if err != nil {
		t.Fatal(err)
	}
	file := seen.File()
	if file == nil || file.Path != "Dockerfile" || !strings.Contains(file.Text, "MAINTAINER nobody") {
		t.Fatalf("the Dockerfile is %+v", file)
	}
	for line, rule := range map[int]string{1: "StageNameCasing", 2: "MaintainerDeprecated"} {
		if !slices.ContainsFunc(file.Findings, func(f models.Finding) bool {
			return f.Line == line && f.Rule == rule && f.Message != "" && strings.HasPrefix(f.URL, "https://")
		}) {
			t.Errorf("line %d has no finding %s: %+v", line, rule, file.Findings)
		}
	}
	_, seen, err = Build(t, k.Builder, Request(t, Registry(t), Files{"Dockerfile": "FROM " + k.Base + "\nRUNN true\n"}))
	Failed(t, err, builds.ClassUser)
	if file := seen.File(); file == nil || len(file.Findings) != 1 || file.Findings[0].Line != 2 {
		t.Errorf("the Dockerfile that does not parse is %+v", file)
	}
}

func cacheMissing(t *testing.T, k Kind) {
	r := Request(t, Registry(t), Files{"Dockerfile": k.from(t, "RUN echo "+unique())})
	r.Cache = builds.Cache{Ref: r.Image.Repository + ":buildcache", Write: true}
	if _, seen, err := Build(t, k.Builder, r); err != nil {
		t.Fatalf("%v: %s", err, seen.Text())
	}
}
