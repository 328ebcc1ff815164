package vm

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
)

const (
	defaultUser = "slipway"
	defaultDisk = 30 // GB
)

// settings are what an admin says of the machine, at whatever provider.
type settings struct {
	size, image, arch, subnet string
	disk                      int
	from                      []string // IPv4 prefixes that may reach SSH
	private                   bool     // the machine gets no public address
	user                      string
}

// machineFields are the settings of the machine itself; the examples are the provider's, whose API may have more
// addresses than one.
func machineFields(size, image, subnet deploy.Field, endpoint string, addresses ...deploy.Field) []deploy.Field {
	size.Group, subnet.Group = "Machine", "Network"
	return slices.Concat([]deploy.Field{
		size, image,
		{Name: "architecture", Label: "Architecture", Example: "amd64", Help: "amd64 or arm64; size and image have to fit. Empty: amd64."},
		{Name: "disk", Label: "Disk in GB", Example: strconv.Itoa(defaultDisk), Help: "For the system, images and volumes. It is deleted with the machine. Empty: 30."},
		subnet,
		{Name: "ssh_from", Label: "SSH from", Example: "203.0.113.7/32", Required: true,
			Help: "The addresses from which this portal reaches the machine, as CIDR, several with commas. Nothing else is let in."},
		{Name: "private", Label: "Reach the machine at its private address", Check: true,
			Help: "It gets no public one. The portal has to be in the same network, and the network needs a way out, for Docker is installed from the distribution."},
		{Group: "User on the machine", Name: "user", Label: "User", Example: defaultUser, Help: "Who is made on the machine for Slipway, in the group docker. Empty: slipway."},
		{Name: "private_key", Label: "Private key", Secret: true, Lines: 6,
			Help: "What Slipway signs in with, in OpenSSH's format. Empty: Slipway makes a key pair. A machine that exists does not get to know another one."},
		{Name: "public_key", Label: "Public key", Made: true, Help: "The machine's user has it from its first start on."},
		{Name: "host_private_key", Label: "Host's private key", Secret: true, Lines: 6,
			Help: "An ed25519 key by which the machine proves who it is from its first start on. Empty: Slipway makes it."},
		{Name: "host_key", Label: "Host key", Made: true, Help: "The only identity to which Slipway signs in."},
		{Group: "Private endpoints", Name: "endpoint", Label: "Another address of the API", Example: endpoint,
			Help: "For private endpoints and clouds of their own; {service} stands for the service's name. Credentials are sent there. Empty: the provider's public one."},
	}, addresses, deploy.HostFields())
}

var (
	names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	users = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,30}$`)
)

// readSettings checks what all providers share. Wrong gets a word for each field that is not as it should be.
func readSettings(in map[string]string, wrong map[string]string) settings {
	s := settings{size: in["size"], image: in["image"], arch: in["architecture"], subnet: in["subnet"], disk: defaultDisk, private: in["private"] == "true", user: in["user"]}
	if s.arch == "" {
		s.arch = "amd64"
	}
	if s.arch != "amd64" && s.arch != "arm64" {
		wrong["architecture"] = "Say amd64 or arm64."
	}
	if s.size != "" && !names.MatchString(s.size) {
		wrong["size"] = "This is not the name of a size."
	}
	if text := in["disk"]; text != "" {
		var err error
		if s.disk, err = strconv.Atoi(text); err != nil || s.disk < 10 || s.disk > 16_000 {
			wrong["disk"] = "A whole number of GB from 10 to 16000."
		}
	}
	for text := range strings.SplitSeq(in["ssh_from"], ",") {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || !prefix.Addr().Is4() || prefix != prefix.Masked() {
			wrong["ssh_from"] = "Ranges of IPv4 addresses such as 203.0.113.7/32, with commas between them."
			continue
		}
		s.from = append(s.from, prefix.String())
	}
	slices.Sort(s.from)
	s.from = slices.Compact(s.from)
	if s.user == "" {
		s.user = defaultUser
	}
	if !users.MatchString(s.user) {
		wrong["user"] = "The name of a user: lower-case letters, digits, _ and -."
	}
	if in["endpoint"] != "" && !deploy.Endpoint(in["endpoint"]).Valid() {
		wrong["endpoint"] = "An address with https; http only for this very machine."
	}
	return s
}

// prepare makes both key pairs where the admin brought none: the one that Slipway signs in with, and the machine's own.
func prepare(settings, secrets map[string]string) error {
	if err := docker.PrepareKey(settings, secrets); err != nil {
		return err
	}
	if secrets["host_private_key"] == "" {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			return err
		}
		secrets["host_private_key"] = string(pem.EncodeToMemory(block))
	}
	host, err := readHostKey(secrets["host_private_key"])
	if err != nil {
		return err
	}
	secrets["host_private_key"], settings["host_key"] = host.Private, host.Public
	return nil
}

func readHostKey(text string) (docker.HostKey, error) {
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")) + "\n"
	signer, err := ssh.ParsePrivateKey([]byte(text))
	if err != nil || signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return docker.HostKey{}, models.InvalidField("host_private_key", "This is not an ed25519 key in OpenSSH's format without a passphrase. Leave the field empty to have one made.")
	}
	return docker.HostKey{Private: text, Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))}, nil
}
