package buildkit

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	bk "github.com/moby/buildkit/client"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// oldest is the version of buildkitd from which on a build can't leave its
// sandbox by what was published until March 2026 (CVE-2024-23650 to 23653,
// CVE-2026-33747, CVE-2026-33748).
var oldest = [3]int{0, 28, 1}

const dialWithin = 5 * time.Second

// Daemon is a buildkitd.
type Daemon struct {
	Name    string      // for people
	Address string      // tcp://HOST:PORT or unix:///PATH
	TLS     *tls.Config // for tcp; nil: none
}

func (d *Daemon) describe() string { return "The build engine " + d.Name }

func (d *Daemon) connect(ctx context.Context) (*bk.Client, error) {
	return bk.New(ctx, d.Address, bk.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d.dial(ctx) }))
}

// dial makes the connection that the protocol runs over. Certificates are used from memory: BuildKit's own options
// read them from files.
func (d *Daemon) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	dialer := &net.Dialer{}
	if path, ok := strings.CutPrefix(d.Address, "unix://"); ok {
		return dialer.DialContext(ctx, "unix", path)
	}
	address := strings.TrimPrefix(d.Address, "tcp://")
	if d.TLS == nil {
		return dialer.DialContext(ctx, "tcp", address)
	}
	config := d.TLS.Clone()
	config.NextProtos = []string{"h2"}
	return (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, "tcp", address)
}

// ready fails where the daemon does not answer, or is too old to be trusted with other people's code.
func (d *Daemon) ready(ctx context.Context) error {
	kit, err := d.connect(ctx)
	if err != nil {
		return d.silent(err)
	}
	defer kit.Close()
	_, err = d.version(ctx, kit)
	return err
}

func (d *Daemon) version(ctx context.Context, kit *bk.Client) (string, error) {
	info, err := kit.Info(ctx)
	if err != nil {
		return "", d.silent(err)
	}
	if outdated(info.BuildkitVersion.Version) {
		return "", builds.Failure(builds.ClassInfrastructure, fmt.Sprintf("%s is BuildKit %s, which a build can break out of. An admin has to bring it to %d.%d.%d or later.",
			d.describe(), info.BuildkitVersion.Version, oldest[0], oldest[1], oldest[2]), nil)
	}
	return info.BuildkitVersion.Version, nil
}

var releaseVersion = regexp.MustCompile(`^v?(\d+)\.(\d+)\.(\d+)`)

// outdated tells whether the version is one from before oldest. A daemon that was built without a version says 0.0.0.
func outdated(version string) bool {
	m := releaseVersion.FindStringSubmatch(version)
	if m == nil || strings.HasPrefix(strings.TrimPrefix(version, "v"), "0.0.0") {
		return false
	}
	for i, least := range oldest {
		n, _ := strconv.Atoi(m[i+1])
		if c := cmp.Compare(n, least); c != 0 {
			return c < 0
		}
	}
	return false
}

func (d *Daemon) capabilities(ctx context.Context) (builds.Capabilities, error) {
	c := builds.Capabilities{Heredoc: true, SourceErrors: true, MultiPlatform: true, RegistryCache: true, Provenance: true, SBOM: true}
	kit, err := d.connect(ctx)
	if err != nil {
		return c, d.silent(err)
	}
	defer kit.Close()
	version, err := d.version(ctx, kit)
	if err != nil {
		return c, err
	}
	c.Engine = "buildkitd " + version
	workers, err := kit.ListWorkers(ctx)
	if err != nil {
		return c, d.silent(err)
	}
	c.Platforms, c.Labels = platformsOf(workers), labelsOf(workers)
	return c, nil
}

// platformsOf are the platforms that the engine's workers build for, the native one first.
func platformsOf(workers []*bk.WorkerInfo) (names []string) {
	seen := map[string]bool{}
	for _, w := range workers {
		for _, p := range w.Platforms {
			name := platformName(p.OS, p.Architecture, p.Variant)
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// platformName is how people write the platform.
func platformName(os, architecture, variant string) string {
	name := os + "/" + architecture
	if variant != "" && (architecture != "arm64" || variant != "v8") {
		name += "/" + variant
	}
	return name
}

func labelsOf(workers []*bk.WorkerInfo) map[string]string {
	all := map[string]string{}
	for _, w := range workers {
		maps.Copy(all, w.Labels)
	}
	return all
}

// pushes is so: a buildkitd keeps no images.
func (d *Daemon) pushes(builds.Request) bool { return true }

func (d *Daemon) begin(context.Context, builds.Request) {}

func (d *Daemon) end(context.Context, builds.Request) {}

func (d *Daemon) push(context.Context, builds.Request, func(builds.Event)) (string, error) {
	return "", errors.New("a buildkitd pushes within the build")
}

// silent is the failure that the daemon does not answer.
func (d *Daemon) silent(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &builds.Error{Err: err, Lost: true, BuildError: models.BuildError{Class: builds.ClassInfrastructure,
		Message: d.describe() + " does not answer" + reason(err) + " When an admin has it running again, retry the build."}}
}

// reason says what stands against a connection, where people can do something with it.
func reason(err error) string {
	text := err.Error()
	for _, known := range [][2]string{
		{"certificate required", ": it wants a client certificate."},
		{"bad certificate", ": it does not accept the client certificate."},
		{"unknown certificate authority", ": it does not know who signed the client certificate."},
		{"certificate signed by unknown authority", ": its certificate is not signed by the CA that is stored for it."},
		{"certificate is valid for", ": its certificate is for another host name."},
		{"cannot validate certificate", ": its certificate is for another host name."},
		{"certificate has expired", ": its certificate has expired or is not valid yet."},
		{"first record does not look like a TLS", ": it does not speak TLS."},
		{"error reading server preface", ": it closes the connection, most likely because it does not accept the client certificate or does not speak TLS."},
		{"broken pipe", ": it closes the connection, most likely because it does not accept the client certificate or does not speak TLS."},
		{"connection reset", ": it closes the connection, most likely because it does not accept the client certificate or does not speak TLS."},
		{"connection refused", ": nothing listens at its address."},
		{"no such host", ": its host name is not known."},
		{"i/o timeout", ": its address does not react."},
		{"deadline exceeded", ": its address does not react."},
		{"no route to host", ": there is no way to its address."},
		{"network is unreachable", ": there is no way to its address."},
		{"no such file or directory", ": its socket is not there."},
		{"permission denied", ": the worker's user may not use its socket."},
	} {
		if strings.Contains(text, known[0]) {
			return known[1]
		}
	}
	return "."
}
