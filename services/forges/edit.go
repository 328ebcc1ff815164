package forges

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"slipway.dev/models"
	"slipway.dev/services/outbound"
)

// edit checks the change and puts it into the connection, secrets sealed. All faults are told together.
func (s *Service) edit(c *models.Connection, in UpdateConnection) error {
	kind, err := KindOf(c.Kind)
	if err != nil {
		return models.InvalidField("kind", "Choose a kind of forge: github, gitlab, gitea or generic.")
	}
	before, wrong := c.Origin(), map[string]string{}
	if in.BaseURL != nil {
		editBaseURL(c, kind, *in.BaseURL, wrong)
	}
	if in.Name != nil {
		editName(c, *in.Name, wrong)
	}
	moved := before != "" && before != c.Origin()
	if in.Credential != nil || len(in.Settings) > 0 || moved {
		if err := s.editCredential(c, kind, in, moved, wrong); err != nil {
			return err
		}
	}
	return models.InvalidFields(wrong)
}

func editName(c *models.Connection, name string, wrong map[string]string) {
	if c.Name = strings.TrimSpace(name); c.Name == "" {
		c.Name = c.Host()
	}
	if c.Name == "" && c.Kind == models.ForgeGeneric {
		c.Name = "webhook"
	}
	if c.Name == "" || len([]rune(c.Name)) > 80 || strings.ContainsFunc(c.Name, unicode.IsControl) {
		wrong["name"] = "Use 1 to 80 characters on one line."
	}
}

func editBaseURL(c *models.Connection, kind Kind, raw string, wrong map[string]string) {
	raw = strings.TrimRight(strings.TrimSpace(raw), "/")
	if raw == "" {
		raw = kind.BaseURL
	}
	switch c.BaseURL = raw; {
	case kind.Nowhere && raw != "":
		wrong["base_url"] = "A signed webhook has no forge behind it. Leave this empty."
	case kind.Nowhere:
	case raw == "":
		wrong["base_url"] = "Enter the address at which you open the forge in the browser, such as https://git.example.com."
	default:
		if fault := baseURLFault(raw); fault != "" {
			wrong["base_url"] = fault
		}
	}
}

func baseURLFault(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > 500 || u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "":
		return "Use an address like https://git.example.com."
	case u.User != nil:
		return "Leave user name and password out of the address: addresses are shown to others."
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery:
		return "The address has no ? and no #."
	}
	if err := outbound.CheckHost(u.Hostname()); err != nil {
		return "The address can't be used: " + err.Error() + "."
	}
	return ""
}

// editCredential takes over the credential's settings. What stays empty is kept, but for secrets where the origin moved.
func (s *Service) editCredential(c *models.Connection, kind Kind, in UpdateConnection, moved bool, wrong map[string]string) error {
	settings, secret := c.Settings, map[string]string{}
	if !moved {
		// What can't be decrypted any more is like what was never given: it must be given now.
		if opened, err := s.openSecrets(c); err == nil {
			secret = opened
		}
	}
	if in.Credential != nil && *in.Credential != c.Credential {
		c.Credential, settings, secret = *in.Credential, nil, nil
	}
	credential, ok := kind.credential(c.Credential)
	if !ok {
		wrong["credential"] = kind.Title + " can't be called with that. Choose another credential."
		return nil
	}
	for name := range in.Settings {
		if !slices.ContainsFunc(credential.Fields, func(f Field) bool { return f.Name == name }) {
			wrong[name] = "The credential " + credential.Title + " has no such setting."
		}
	}
	c.Settings = map[string]string{}
	sealed := map[string]string{}
	for _, f := range credential.Fields {
		to, kept := c.Settings, settings[f.Name]
		if f.Secret {
			to, kept = sealed, secret[f.Name]
		}
		value := strings.TrimSpace(strings.ReplaceAll(in.Settings[f.Name], "\r\n", "\n"))
		if value == "" {
			value = kept
		}
		if fault := f.fault(value, moved); fault != "" {
			wrong[f.Name] = fault
		}
		to[f.Name] = value
	}
	return s.sealSecrets(c, sealed)
}

func (f Field) fault(value string, moved bool) string {
	switch {
	case value == "" && moved && f.Secret:
		return "The address names another host, port or scheme: give this too. The old one is not sent there."
	case value == "":
		return f.Label + " is needed."
	}
	return f.check(value)
}

func checkToken(value string) string {
	if len(value) > 4096 || strings.ContainsFunc(value, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return "Enter the access token: one line without spaces."
	}
	return ""
}

func checkNumber(value string) string {
	if len(value) > 18 || strings.ContainsFunc(value, func(r rune) bool { return r < '0' || r > '9' }) {
		return "This is a number."
	}
	return ""
}

func checkPrivateKey(value string) string {
	block, _ := pem.Decode([]byte(value))
	if len(value) > 32<<10 || block == nil {
		return "This is not a private key in PEM's format. It begins with -----BEGIN RSA PRIVATE KEY-----."
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return ""
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if _, ok := key.(*rsa.PrivateKey); err != nil || !ok {
		return "This is not an RSA private key that can be read. GitHub makes one under Private keys in the app's settings."
	}
	return ""
}
