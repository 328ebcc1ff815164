package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// parse reads the command line as main does, and returns the settings of serve.
func parse(t *testing.T, args ...string) (*settings, error) {
	t.Helper()
	var c cli
	parser, err := newParser(&c, kong.Exit(func(int) { t.Fatal("the parser wanted to exit") }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse(append([]string{"serve"}, args...)); err != nil {
		return nil, err
	}
	return &c.Serve.settings, c.Serve.settings.resolve()
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsWinOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	file := write(t, "listen: 127.0.0.1:1\napps-domain: file.test\ndata: /from/file\noutbound-allow: [10.0.0.0/8, 192.168.0.0/16]\n")
	t.Setenv("SLIPWAY_CONFIG", file)
	t.Setenv("SLIPWAY_APPS_DOMAIN", "environment.test")
	t.Setenv("SLIPWAY_LISTEN", "127.0.0.1:2")
	s, err := parse(t, "--listen=127.0.0.1:3")
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen != "127.0.0.1:3" || s.AppsDomain != "environment.test" || s.Data != "/from/file" || len(s.OutboundAllow) != 2 {
		t.Fatalf("got %+v", s)
	}
}

func TestSecretsComeFromFilesToo(t *testing.T) {
	t.Setenv("SLIPWAY_DATABASE_URL_FILE", write(t, "postgres://u:p@db/slipway\n"))
	s, err := parse(t)
	if err != nil || s.DatabaseURL != "postgres://u:p@db/slipway" {
		t.Fatalf("got %q, %v", s.DatabaseURL, err)
	}
}

func TestSeveralIssuersComeFromTheFile(t *testing.T) {
	t.Setenv("SLIPWAY_CONFIG", write(t, "oidc-issuer: https://a.test\noidc-client-id: x\noidc-issuers:\n- {name: B, issuer: 'https://b.test', client_id: y, client_secret: z}\n"))
	s, err := parse(t)
	if err != nil || len(s.OIDCIssuers) != 2 || s.OIDCIssuers[0].Name != "a.test" || s.OIDCIssuers[1].ClientSecret != "z" {
		t.Fatalf("got %+v, %v", s.OIDCIssuers, err)
	}
}

func TestFaultsNameTheFieldAndWhatWouldBeRight(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"--listen=8080", "listen: \"8080\" is not an address"},
		{"--external-url=slipway", "external-url: \"slipway\" is not a URL"},
		{"--external-url=https://a.test/path", "external-url:"},
		{"--database-url=mysql://x:secret@y", "database-url: it must begin with"},
		{"--blobs=ftp://x", "blobs: \"ftp://x\" is neither a folder nor the URL of a bucket"},
		{"--blobs=s3://k:secret@x", "blobs: the URL of the bucket s3://x has a user or password"},
		{"--no-idp", "idp: without the embedded provider nobody could sign in"},
		{"--oidc-issuer=nonsense", "oidc-issuer: \"nonsense\""},
		{"--oidc-issuer=https://a.test", "oidc-client-id: it is missing"},
		{"--buildkit-hosts=buildkit:1234", "buildkit-hosts: \"buildkit:1234\" is neither unix:///PATH nor tcp://HOST:PORT"},
		{"--buildkit-hosts=unix:///run/buildkitd.sock,tcp://buildkit:1234", "buildkit-hosts: tcp://buildkit:1234 needs buildkit-ca, buildkit-cert and buildkit-key"},
		{"--builds=0", "builds: 0 is not between"},
		{"--worker-dead-after=1ms", "worker-dead-after: 1ms"},
		{"--log-level=loud", "--log-level must be one of"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			_, err := parse(t, tc.args)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), "secret@") {
				t.Error("the fault shows a password")
			}
		})
	}
}

func TestUnknownKeysAreRefused(t *testing.T) {
	t.Setenv("SLIPWAY_CONFIG", write(t, "lissten: x\n"))
	if _, err := parse(t); err == nil || !strings.Contains(err.Error(), `"lissten" is not known`) {
		t.Fatalf("got %v", err)
	}
	var c cli
	parser, err := newParser(&c)
	if err != nil {
		t.Fatal(err)
	}
	err = checkEnvironment(parser.Model, []string{"SLIPWAY_LISTEN=x", "SLIPWAY_DATABASE_URL_FILE=x", "SLIPWAY_TEST_POSTGRES=x", "SLIPWAY_LISTENN=x", "SLIPWAY_LISTEN_FILE=x"})
	if err == nil || !strings.Contains(err.Error(), "SLIPWAY_LISTENN ") || !strings.Contains(err.Error(), "SLIPWAY_LISTEN_FILE ") || strings.Count(err.Error(), "\n") != 1 {
		t.Fatalf("got %v", err)
	}
}

func TestHelpNamesEverySettingOnce(t *testing.T) {
	var c cli
	var out strings.Builder
	parser, err := newParser(&c, kong.Writers(&out, &out), kong.Exit(func(int) { panic("exit") }))
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = parser.Parse([]string{"serve", "--help"})
	}()
	for _, name := range []string{"LISTEN", "EXTERNAL_URL", "DATA", "BLOBS", "DATABASE_URL", "APPS_DOMAIN", "BOOTSTRAP_TOKEN_FILE", "OUTBOUND_ALLOW", "DOCKER_HOST", "BUILDKIT_HOSTS", "OIDC_ISSUER"} {
		if n := strings.Count(out.String(), "$SLIPWAY_"+name+")"); n != 1 {
			t.Errorf("SLIPWAY_%s is named %d times", name, n)
		}
	}
}
