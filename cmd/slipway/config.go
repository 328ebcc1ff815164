package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/docker/go-units"
	"go.yaml.in/yaml/v3"
	"slipway.dev/models"
	"slipway.dev/services/auth"
	"slipway.dev/services/blobs"
)

// settings is the whole configuration: from flags, from the environment
// (SLIPWAY_…, or SLIPWAY_…_FILE for what is secret) and from a YAML file, in
// this order. No other package reads the environment.
type settings struct {
	Listen      string `default:"127.0.0.1:8080" help:"Address and port to listen on."`
	ExternalURL string `name:"external-url" help:"URL that people and Docker Engines reach the portal by. Default: http://localhost with the port listened on."`
	Data        string `default:"${data}" help:"Folder for the SQLite database, keys, git mirrors, images and logs." type:"path"`
	Blobs       string `help:"Where images' layers and packed logs are: a folder, or the URL of a bucket, such as s3://NAME?region=REGION, gs://NAME or azblob://CONTAINER, whose credentials come from the cloud's own variables, files or roles. Default: the data folder."`
	DatabaseURL string `name:"database-url" secret:"" help:"sqlite:FILE or postgres://USER:PASSWORD@HOST/NAME. Default: sqlite in the data folder."`
	KeyFile     string `help:"File with the master keys that seal secrets; all processes on one database share it. Default: keys/master in the data folder." type:"path"`
	TLSListen   string `name:"tls-listen" help:"Address and port for visitors who come by TLS, such as :443. Empty: nobody does, or TLS ends at a proxy in front."`
	TLSPort     string `name:"tls-port" help:"Port at which visitors reach tls-listen, where another one leads there. Default: its own."`
	AppsDomain  string `default:"localhost" help:"Domain below which apps answer: http://APP-ENVIRONMENT.DOMAIN."`

	BootstrapTokenFile string `help:"Write a token of an admin to this file on the first start, for automation." type:"path"`

	OutboundAllow     []netip.Prefix `help:"Address ranges, beyond the public ones, that the server may reach for a user: git, registries, issuers. Such as 10.0.0.0/8."`
	TrustedProxies    []netip.Prefix `help:"Addresses of reverse proxies whose X-Forwarded-For is believed."`
	LocalRepositories []string       `help:"Folders whose git repositories an admin may register by path." type:"path"`

	ACMEDirectory string `name:"acme-directory" help:"URL of an authority that certificates are ordered from by ACME, for domains that have none, such as https://acme-v02.api.letsencrypt.org/directory. Setting it accepts the authority's terms. Empty: none are ordered."`
	ACMEEmail     string `name:"acme-email" help:"Address that the authority may write to."`
	ACMEKeyID     string `name:"acme-key-id" help:"Key id of an external account, where the authority asks for one."`
	ACMEKey       string `name:"acme-key" secret:"" help:"HMAC key of that account, in base64url as the authority shows it."`
	ACMECA        string `name:"acme-ca" help:"PEM file of the authority that signed the directory's own certificate, where no system knows it." type:"path"`
	ACMEApps      bool   `name:"acme-apps" help:"Order certificates for the host names below apps-domain too, one for each. A wildcard certificate that is given to the portal needs no orders."`

	IDP              bool     `name:"idp" default:"true" negatable:"" help:"Offer the embedded OIDC provider for sign-in."`
	OIDCName         string   `name:"oidc-name" help:"Name of the external OIDC issuer, as the sign-in button says it."`
	OIDCIssuer       string   `name:"oidc-issuer" help:"URL of an external OIDC issuer for sign-in."`
	OIDCClientID     string   `name:"oidc-client-id" help:"Client id of the portal at the external issuer."`
	OIDCClientSecret string   `name:"oidc-client-secret" secret:"" help:"Client secret of the portal at the external issuer."`
	OIDCScopes       []string `name:"oidc-scopes" default:"openid,profile,email" help:"Scopes to ask the external issuer for."`
	OIDCDomains      []string `name:"oidc-domains" help:"Let only people in from the external issuer whose verified e-mail address is in one of these domains. Set it for issuers that anyone can join."`
	OIDCIssuers      issuers  `name:"oidc-issuers" secret:"" help:"More external issuers: a list of {id, name, issuer, client_id, client_secret, scopes, domains} in the YAML file, or as JSON."`

	ActionsIssuers []string      `name:"actions-issuers" default:"https://token.actions.githubusercontent.com" help:"Issuers of OpenID Connect tokens of CI runs that may be exchanged for credentials of the registry. For GitHub Enterprise: https://HOST/_services/token."`
	ActionsPoll    time.Duration `name:"actions-poll" default:"5s" help:"How often a run in GitHub Actions is looked at."`

	DockerHost string `default:"unix:///var/run/docker.sock" help:"The local Docker Engine, for builds and as the first deployment target."`

	DockerBuilds  bool     `default:"true" negatable:"" help:"Build with the local Docker Engine too."`
	BuildkitHosts []string `name:"buildkit-hosts" help:"buildkitd daemons to build with, beside those that admins add in the portal: unix:///PATH, or tcp://HOST:PORT with the three certificates below."`
	BuildkitCA    string   `name:"buildkit-ca" help:"PEM file of the authority that signed the daemons' certificates." type:"path"`
	BuildkitCert  string   `name:"buildkit-cert" help:"PEM file of the certificate that the daemons know this process by." type:"path"`
	BuildkitKey   string   `name:"buildkit-key" help:"PEM file of that certificate's key." type:"path"`
	Frontends     []string `help:"Images that a Dockerfile's # syntax= line may name, such as docker/dockerfile:1. They run on the engines; others are refused, and Docker's own is the one that engines have built in."`
	SBOMGenerator string   `name:"sbom-generator" help:"Image that makes bills of materials. Default: BuildKit's own choice, docker/buildkit-syft-scanner."`

	Builds          int           `default:"2" help:"Builds that a worker runs at once, until an admin says otherwise."`
	TeamBuilds      int           `default:"0" help:"Builds that a team runs at once, unless an admin sets a limit of its own; 0: any number."`
	TeamPreviews    int           `default:"10" help:"Previews of pull requests that a team has at once, unless an admin sets a limit of its own; 0: any number."`
	QueueTimeout    time.Duration `default:"24h" help:"How long a build may wait for a worker before it fails; 0: as long as it takes."`
	WorkerLabels    []string      `help:"Labels of this worker. An app that asks for labels is built only by workers that have them all."`
	DiskFloor       size          `default:"1GB" help:"No build begins with less free disk space; 0: they begin anyway."`
	BuildCacheSize  size          `default:"20GB" help:"The Docker Engine's build cache is pruned to this size; 0: any size."`
	BuildCacheAge   time.Duration `default:"336h" help:"What nothing used for so long is pruned from the build cache; 0: nothing is too old."`
	ImageUndo       time.Duration `default:"168h" help:"How long deleted images can be restored; below 0: not at all."`
	Deployments     int           `default:"4" help:"Deployments that a worker runs at once."`
	KeptLogSize     size          `default:"50MB" help:"So much of what an app prints in an environment is kept; the oldest parts go first."`
	KeptLogAge      time.Duration `default:"168h" help:"How long it is kept."`
	WorkerDeadAfter time.Duration `default:"15s" help:"How long a worker may be silent before others take over its work."`

	LogFormat string `default:"text" enum:"text,json" help:"Format of the program's own log: text or json."`
	LogLevel  string `default:"info" enum:"debug,info,warn,error" help:"Least level of the program's own log: debug, info, warn or error."`

	Config configFile `help:"YAML file with any of these settings, under the flags' names."`
}

// issuer is one external OIDC issuer as the configuration file names it.
type issuer struct {
	ID           string   `json:"id"` // in the redirect URI: /login/ID/callback
	Name         string   `json:"name"`
	Issuer       string   `json:"issuer"`
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	Scopes       []string `json:"scopes"`
	Domains      []string `json:"domains"`
}

type issuers []issuer

// Decode reads the list from YAML, or from JSON in a flag or the environment.
func (l *issuers) Decode(ctx *kong.DecodeContext) error {
	token := ctx.Scan.Pop()
	text, ok := token.Value.(string)
	if !ok {
		data, err := json.Marshal(token.Value)
		if err != nil {
			return err
		}
		text = string(data)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode((*[]issuer)(l))
}

// size is a number of bytes, written as 20GB or 512MB.
type size int64

// UnmarshalText reads the number.
func (s *size) UnmarshalText(text []byte) error {
	n, err := units.FromHumanSize(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a size, such as 20GB", text)
	}
	*s = size(n)
	return nil
}

// resolve fills in what follows from other settings and reports every fault as a sentence.
func (s *settings) resolve() error {
	if s.DatabaseURL == "" {
		s.DatabaseURL = "sqlite:" + filepath.Join(s.Data, "slipway.db")
	}
	if s.Blobs == "" {
		s.Blobs = s.Data
	}
	if s.KeyFile == "" {
		s.KeyFile = filepath.Join(s.Data, "keys", "master")
	}
	if s.OIDCIssuer != "" {
		s.OIDCIssuers = append(issuers{{"oidc", s.OIDCName, s.OIDCIssuer, s.OIDCClientID, s.OIDCClientSecret, s.OIDCScopes, s.OIDCDomains}}, s.OIDCIssuers...)
	}
	return errors.Join(s.checkListen(), s.checkExternalURL(), s.checkDatabase(), s.checkBlobs(), s.checkIssuers(), s.checkTLS(), s.checkEngines(), s.checkActions(), s.checkNumbers(), s.checkLabels())
}

func (s *settings) checkListen() error {
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		return fmt.Errorf("listen: %q is not an address and a port, such as 127.0.0.1:8080", s.Listen)
	}
	return nil
}

func (s *settings) checkTLS() error {
	if s.TLSListen != "" {
		_, port, err := net.SplitHostPort(s.TLSListen)
		if err != nil {
			return fmt.Errorf("tls-listen: %q is not an address and a port, such as :443", s.TLSListen)
		}
		if s.TLSPort == "" && port != "0" {
			s.TLSPort = port
		}
	}
	if n, err := strconv.Atoi(s.TLSPort); s.TLSPort != "" && (err != nil || n < 1 || n > 65535) {
		return fmt.Errorf("tls-port: %q is not a port", s.TLSPort)
	}
	if s.ACMEDirectory == "" {
		return nil
	}
	if u, err := url.Parse(s.ACMEDirectory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fmt.Errorf("acme-directory: %q is not a URL such as https://acme-v02.api.letsencrypt.org/directory", s.ACMEDirectory)
	}
	if _, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s.ACMEKey, "=")); err != nil || (s.ACMEKey == "") != (s.ACMEKeyID == "") {
		return errors.New("acme-key: set it together with acme-key-id, in base64url as the authority shows it")
	}
	return nil
}

func (s *settings) checkExternalURL() error {
	if s.ExternalURL == "" {
		return nil
	}
	u, err := url.Parse(s.ExternalURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return fmt.Errorf("external-url: %q is not a URL of a host, such as https://slipway.example.com", s.ExternalURL)
	}
	s.ExternalURL = u.Scheme + "://" + u.Host
	return nil
}

func (s *settings) checkDatabase() error {
	for _, prefix := range []string{"sqlite:", "postgres://", "postgresql://"} {
		if strings.HasPrefix(s.DatabaseURL, prefix) {
			return nil
		}
	}
	return errors.New("database-url: it must begin with sqlite: or postgres://") // the value may hold a password
}

func (s *settings) checkBlobs() error {
	if err := blobs.Check(s.Blobs); err != nil {
		return fmt.Errorf("blobs: %w", err)
	}
	return nil
}

func (s *settings) checkIssuers() error {
	var faults []error
	ids := map[string]bool{auth.LocalID: true}
	for i := range s.OIDCIssuers {
		is := &s.OIDCIssuers[i]
		if is.ID == "" {
			is.ID = fmt.Sprintf("oidc%d", i+1)
		}
		if !models.ValidName(is.ID) || ids[is.ID] {
			faults = append(faults, fmt.Errorf("oidc-issuers: the id %q is taken or not a name. %s", is.ID, models.NameHelp))
		}
		ids[is.ID] = true
		u, err := url.Parse(is.Issuer)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			faults = append(faults, fmt.Errorf("oidc-issuer: %q is not the URL of an issuer, such as https://id.example.com", is.Issuer))
			continue
		}
		if is.ClientID == "" {
			faults = append(faults, fmt.Errorf("oidc-client-id: it is missing for the issuer %s", is.Issuer))
		}
		if is.Name == "" {
			is.Name = u.Host
		}
		if len(is.Scopes) == 0 {
			is.Scopes = []string{"openid", "profile", "email"}
		}
		if !slices.Contains(is.Scopes, "openid") {
			is.Scopes = append([]string{"openid"}, is.Scopes...)
		}
	}
	if len(s.OIDCIssuers) == 0 && !s.IDP {
		faults = append(faults, errors.New("idp: without the embedded provider nobody could sign in; set oidc-issuer too"))
	}
	return errors.Join(faults...)
}

func (s *settings) checkEngines() error {
	var faults []error
	for _, host := range s.BuildkitHosts {
		u, err := url.Parse(host)
		switch {
		case err == nil && u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path):
		case err == nil && u.Scheme == "tcp" && u.Port() != "" && u.Path == "" && u.User == nil:
			if s.BuildkitCA == "" || s.BuildkitCert == "" || s.BuildkitKey == "" {
				faults = append(faults, fmt.Errorf("buildkit-hosts: %s needs buildkit-ca, buildkit-cert and buildkit-key: builds travel over mutual TLS only", host))
			}
		default:
			faults = append(faults, fmt.Errorf("buildkit-hosts: %q is neither unix:///PATH nor tcp://HOST:PORT", host))
		}
	}
	return errors.Join(faults...)
}

func (s *settings) checkActions() error {
	var faults []error
	for _, at := range s.ActionsIssuers {
		u, err := url.Parse(at)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || u.User != nil {
			faults = append(faults, fmt.Errorf("actions-issuers: %q is not the URL of an issuer, such as https://token.actions.githubusercontent.com", at))
		}
	}
	if len(s.ActionsIssuers) == 0 {
		faults = append(faults, errors.New("actions-issuers: name at least one, such as https://token.actions.githubusercontent.com"))
	}
	if s.ActionsPoll < 50*time.Millisecond || s.ActionsPoll > 10*time.Minute {
		faults = append(faults, fmt.Errorf("actions-poll: %s is not between 50ms and 10m", s.ActionsPoll))
	}
	return errors.Join(faults...)
}

func (s *settings) checkNumbers() error {
	var faults []error
	for name, n := range map[string]int{"builds": s.Builds, "deployments": s.Deployments} {
		if n < 1 || n > 64 {
			faults = append(faults, fmt.Errorf("%s: %d is not between 1 and 64", name, n))
		}
	}
	if s.TeamBuilds < 0 {
		faults = append(faults, fmt.Errorf("team-builds: %d is less than 0", s.TeamBuilds))
	}
	if s.TeamPreviews < 0 {
		faults = append(faults, fmt.Errorf("team-previews: %d is less than 0", s.TeamPreviews))
	}
	for name, d := range map[string]time.Duration{"queue-timeout": s.QueueTimeout, "build-cache-age": s.BuildCacheAge} {
		if d < 0 || d > 0 && d < time.Minute {
			faults = append(faults, fmt.Errorf("%s: %s is neither 0 nor at least 1m", name, d))
		}
	}
	if s.KeptLogSize < 10_000_000 || s.KeptLogSize > 100_000_000_000 {
		faults = append(faults, errors.New("kept-log-size: it is not between 10MB and 100GB"))
	}
	if s.KeptLogAge < time.Hour || s.KeptLogAge > 10*365*24*time.Hour {
		faults = append(faults, fmt.Errorf("kept-log-age: %s is not between 1h and 87600h", s.KeptLogAge))
	}
	if s.WorkerDeadAfter < time.Second || s.WorkerDeadAfter > time.Hour {
		faults = append(faults, fmt.Errorf("worker-dead-after: %s is not between 1s and 1h", s.WorkerDeadAfter))
	}
	return errors.Join(faults...)
}

// checkLabels puts the worker's labels in order.
func (s *settings) checkLabels() error {
	labels, err := models.NewLabels("worker-labels", s.WorkerLabels)
	if e, ok := errors.AsType[*models.Error](err); ok {
		return fmt.Errorf("worker-labels: %s", e.Fields["worker-labels"])
	}
	s.WorkerLabels = labels
	return nil
}

// logger returns the program's own log as configured.
func (s *settings) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		level = slog.LevelInfo
	}
	opt := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}

// newParser returns the parser of the command line, the environment and the configuration file.
func newParser(cli any, opts ...kong.Option) (*kong.Kong, error) {
	data := "slipway-data"
	if home, err := os.UserHomeDir(); err == nil {
		data = filepath.Join(home, ".local", "share", "slipway")
	}
	return kong.New(cli, append([]kong.Option{
		kong.Name("slipway"),
		kong.Description("From a git repository to a running container, in one place."),
		kong.UsageOnError(),
		kong.DefaultEnvars("SLIPWAY"),
		kong.Vars{"data": data, "version": version},
		kong.Resolvers(secretFiles{}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	}, opts...)...)
}

// checkEnvironment refuses SLIPWAY_ variables that mean nothing, which are mostly misspelled ones.
func checkEnvironment(app *kong.Application, environ []string) error {
	known := map[string]bool{}
	_ = kong.Visit(app.Node, func(v kong.Visitable, next kong.Next) error {
		if flag, ok := v.(*kong.Flag); ok {
			for _, name := range flag.Envs {
				known[name] = true
				_, secret := secretTag(flag)
				known[name+"_FILE"] = known[name+"_FILE"] || secret
			}
		}
		return next(nil)
	})
	var faults []error
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "SLIPWAY_") && !strings.HasPrefix(name, "SLIPWAY_TEST_") && !known[name] {
			faults = append(faults, fmt.Errorf("the environment variable %s is not known; slipway serve --help lists those that are", name))
		}
	}
	return errors.Join(faults...)
}

func secretTag(flag *kong.Flag) (string, bool) {
	if flag.Tag == nil || !flag.Tag.Has("secret") {
		return "", false
	}
	return flag.Name, true
}

// secretFiles reads a secret setting from the file that SLIPWAY_…_FILE names.
type secretFiles struct{}

func (secretFiles) Validate(*kong.Application) error { return nil }

func (secretFiles) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if _, ok := secretTag(flag); !ok || len(flag.Envs) == 0 {
		return nil, nil
	}
	path := os.Getenv(flag.Envs[0] + "_FILE")
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s_FILE: %w", flag.Envs[0], err)
	}
	return strings.TrimSpace(string(data)), nil
}

// configFile is a flag that names a YAML file with more settings.
type configFile string

// BeforeResolve adds the file's values to those that flags without a value are looked up in.
func (c configFile) BeforeResolve(k *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	path, ok := ctx.FlagValue(trace.Flag).(configFile)
	if !ok || path == "" {
		return nil
	}
	data, err := os.ReadFile(string(path))
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	values := yamlValues{}
	if err := yaml.Unmarshal(data, &values); err != nil {
		return fmt.Errorf("config: %s is not YAML: %w", path, err)
	}
	ctx.AddResolver(values)
	return values.Validate(k.Model)
}

// yamlValues are the settings of a configuration file by flag name.
type yamlValues map[string]any

// Validate refuses keys that no flag has.
func (y yamlValues) Validate(app *kong.Application) error {
	known := map[string]bool{}
	_ = kong.Visit(app.Node, func(v kong.Visitable, next kong.Next) error {
		if flag, ok := v.(*kong.Flag); ok {
			known[flag.Name] = true
		}
		return next(nil)
	})
	var faults []error
	for key := range y {
		if !known[key] {
			faults = append(faults, fmt.Errorf("config: the key %q is not known; slipway serve --help lists the settings", key))
		}
	}
	return errors.Join(faults...)
}

// Resolve returns the file's value of the flag, unless the environment has one.
func (y yamlValues) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if slices.ContainsFunc(flag.Envs, func(name string) bool { return os.Getenv(name) != "" }) {
		return nil, nil
	}
	value := y[flag.Name]
	if list, ok := value.([]any); ok && flag.Target.Type() != reflect.TypeFor[issuers]() {
		var parts []string
		for _, item := range list {
			parts = append(parts, fmt.Sprint(item))
		}
		return strings.Join(parts, ","), nil
	}
	return value, nil
}
