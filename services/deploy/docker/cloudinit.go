package docker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// NewHost is a machine that is to become a host of a target at its first start.
type NewHost struct {
	User      string   // whom Slipway signs in as
	PublicKey string   // of the target, as a line of authorized_keys
	HostKey   *HostKey // of the machine; nil: it makes one itself
	// Others says that the image's own user is made too, for people who sign in with a key of theirs.
	Others bool
	Files  map[string]string // what else is written there, by its path
}

// HostKey is an ed25519 host key in OpenSSH's formats.
type HostKey struct {
	Private, Public string
}

// cloudConfig is a cloud-config of cloud-init (https://cloudinit.readthedocs.io/en/latest/reference/modules.html), in
// the order in which people read it.
type cloudConfig struct {
	Update   bool              `yaml:"package_update"`
	Packages []string          `yaml:"packages"`
	Users    []any             `yaml:"users"`
	Password bool              `yaml:"ssh_pwauth"`
	Keys     map[string]string `yaml:"ssh_keys,omitempty"`
	Files    []cloudFile       `yaml:"write_files"`
}

type cloudUser struct {
	Name   string   `yaml:"name"`
	Groups []string `yaml:"groups"`
	Shell  string   `yaml:"shell"`
	Locked bool     `yaml:"lock_passwd"`
	Keys   []string `yaml:"ssh_authorized_keys"`
}

type cloudFile struct {
	Path    string `yaml:"path"`
	Content string `yaml:"content"`
}

// metadataRules keeps containers from the provider's metadata, in which these very lines stand and often a credential
// of the machine. Google's resolver has the same address, so only HTTP is refused; Azure's agent has a second one.
const metadataRules = `[Service]
ExecStartPost=/usr/sbin/iptables -w -I DOCKER-USER -p tcp -d 169.254.169.254 --dport 80 -j REJECT
ExecStartPost=/usr/sbin/iptables -w -I DOCKER-USER -p tcp -d 168.63.129.16 -m multiport --dports 80,32526 -j REJECT
`

// CloudInit returns the user data by which a new machine of a provider whose image runs cloud-init, such as Ubuntu's
// and Debian's, becomes the host: Docker from the distribution, and the user in its group.
func CloudInit(h NewHost) (string, error) {
	config := cloudConfig{
		Update: true, Packages: []string{"docker.io", "iptables"},
		Users: []any{cloudUser{Name: h.User, Groups: []string{"docker"}, Shell: "/bin/sh", Locked: true, Keys: []string{h.PublicKey}}},
		Files: []cloudFile{{Path: "/etc/systemd/system/docker.service.d/slipway.conf", Content: metadataRules}},
	}
	for _, path := range slices.Sorted(maps.Keys(h.Files)) {
		config.Files = append(config.Files, cloudFile{Path: path, Content: h.Files[path]})
	}
	if h.Others {
		config.Users = append([]any{"default"}, config.Users...)
	}
	if h.HostKey != nil {
		config.Keys = map[string]string{"ed25519_private": h.HostKey.Private, "ed25519_public": h.HostKey.Public}
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		return "", fmt.Errorf("cloud-init: %w", err)
	}
	return "#cloud-config\n" + string(text), nil
}

// cloudInitOf is the cloud-init for the machine of a target's settings.
func cloudInitOf(settings map[string]string) (string, error) {
	user, _, _ := strings.Cut(settings["host"], "@")
	return CloudInit(NewHost{User: user, PublicKey: settings["public_key"], Others: true})
}
