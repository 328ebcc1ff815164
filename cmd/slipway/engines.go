package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"

	"github.com/docker/docker/client"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildkit"
	"slipway.dev/services/engines"
)

// openEngines puts together what builds run on: the engines of the
// configuration, and the way to those that admins keep in the portal.
func (p *process) openEngines() error {
	p.engines = &engines.Service{DB: p.db, Box: p.box, Open: func(c engines.Connection) builds.Builder {
		return p.builder(&buildkit.Daemon{Name: c.Name, Address: c.Address, TLS: c.TLS})
	}}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	config, err := p.settings.buildkitTLS()
	if err != nil {
		return err
	}
	for _, address := range p.settings.BuildkitHosts {
		key, d := address, &buildkit.Daemon{Name: address, Address: address, TLS: config}
		if strings.HasPrefix(address, "unix:") { // each machine has its own
			key, d.TLS = host+" "+address, nil
		}
		p.engines.Fixed = append(p.engines.Fixed, engines.Fixed{Key: key, Name: address, Address: address, Builder: p.builder(d)})
	}
	if !p.settings.DockerBuilds {
		return nil
	}
	engine, err := client.NewClientWithOpts(client.WithHost(p.settings.DockerHost), client.WithAPIVersionNegotiation())
	if err != nil {
		return fmt.Errorf("docker-host: %w", err)
	}
	p.closers = append(p.closers, engine.Close)
	p.storage = &buildkit.Storage{Docker: engine, Registry: p.registry.Host()}
	p.engines.Fixed = append(p.engines.Fixed, engines.Fixed{
		Key: host + " " + p.settings.DockerHost, Name: "Docker Engine on " + host, Address: p.settings.DockerHost,
		Builder: p.builder(&buildkit.Docker{Client: engine}),
	})
	return nil
}

// builder builds with the engine as the configuration says.
func (p *process) builder(e buildkit.Engine) builds.Builder {
	return &buildkit.Builder{Engine: e, Frontends: p.settings.Frontends, Generator: p.settings.SBOMGenerator}
}

// buildkitTLS reads the certificates for the daemons of the configuration; nil where there are none.
func (s *settings) buildkitTLS() (*tls.Config, error) {
	if s.BuildkitCA == "" && s.BuildkitCert == "" && s.BuildkitKey == "" {
		return nil, nil
	}
	var pem [3][]byte
	for i, path := range []string{s.BuildkitCA, s.BuildkitCert, s.BuildkitKey} {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the certificates for buildkitd: %w", err)
		}
		pem[i] = data
	}
	config, err := engines.TLS(pem[0], pem[1], pem[2])
	if err != nil {
		return nil, fmt.Errorf("the certificates for buildkitd: %w", err)
	}
	return config, nil
}
