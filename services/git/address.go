package git

import (
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"slipway.dev/models"
	"slipway.dev/services/outbound"
)

// Scheme is how a repository is reached.
type Scheme string

// The schemes that Slipway reads repositories by.
const (
	HTTPS Scheme = "https"
	HTTP  Scheme = "http"
	SSH   Scheme = "ssh"
	Local Scheme = "file"
)

// Address is a clone URL that was taken apart and found to be of a known form.
type Address struct {
	Scheme Scheme
	User   string // ssh only
	Host   string // without brackets
	Port   string // as written, or the scheme's own
	Path   string
	text   string
}

// String is the address as git gets it.
func (a Address) String() string { return a.text }

// Name proposes a name for the repository: the last part of the path.
func (a Address) Name() string {
	path := strings.TrimSuffix(strings.TrimRight(a.Path, "/"), ".git")
	return path[strings.LastIndexAny(path, "/:")+1:]
}

var (
	scpForm    = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.-]*)@([A-Za-z0-9][A-Za-z0-9.-]*):(.+)$`)
	userForm   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	portForm   = regexp.MustCompile(`^[0-9]{1,5}$`)
	schemeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
)

const addressHelp = "Use an address like https://git.example.com/team/app.git, ssh://git@git.example.com/team/app.git or git@git.example.com:team/app.git."

// ParseAddress checks a clone URL's form; nothing is resolved or opened. Its errors are about the field clone_url.
func ParseAddress(raw string) (Address, error) {
	text := strings.TrimSpace(raw)
	if text == "" {
		return Address{}, badAddress("Enter the repository's clone URL.")
	}
	if len(text) > 2000 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r > 0x7e || r == '\\' }) {
		return Address{}, badAddress("A clone URL has no spaces, line breaks or special characters and is shorter than 2,000 characters.")
	}
	if strings.HasPrefix(text, "-") {
		return Address{}, badAddress("A clone URL doesn't begin with a hyphen. " + addressHelp)
	}
	if strings.HasPrefix(text, "/") {
		return localAddress(text)
	}
	if parts := scpForm.FindStringSubmatch(text); parts != nil && !strings.Contains(text, "://") {
		return scpAddress(text, parts)
	}
	return urlAddress(text)
}

func scpAddress(text string, parts []string) (Address, error) {
	if strings.HasPrefix(parts[3], "-") {
		return Address{}, badAddress("The path doesn't begin with a hyphen.")
	}
	if err := outbound.CheckHost(parts[2]); err != nil {
		return Address{}, badAddress("The address can't be used: %s.", err)
	}
	return Address{Scheme: SSH, User: parts[1], Host: parts[2], Port: "22", Path: parts[3], text: text}, nil
}

func urlAddress(text string) (Address, error) {
	u, err := url.Parse(text)
	if err != nil || !schemeForm.MatchString(text) {
		return Address{}, badAddress("%q is not a clone URL. %s", text, addressHelp)
	}
	a := Address{Scheme: Scheme(strings.ToLower(u.Scheme)), Host: u.Hostname(), Port: u.Port(), Path: u.Path, text: text}
	switch {
	case a.Scheme == Local && (u.Host == "" || u.Host == "localhost"):
		return localAddress(u.Path)
	case a.Scheme != HTTPS && a.Scheme != HTTP && a.Scheme != SSH:
		return Address{}, badAddress("Slipway doesn't read repositories over %q. %s", u.Scheme, addressHelp)
	case u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		return Address{}, badAddress("A clone URL has no ? and no #. %s", addressHelp)
	case outbound.CheckHost(a.Host) != nil:
		return Address{}, badAddress("The address can't be used: %s.", outbound.CheckHost(a.Host))
	case a.Port != "" && !portForm.MatchString(a.Port):
		return Address{}, badAddress("%q is not a host name. %s", u.Host, addressHelp)
	case strings.Trim(a.Path, "/") == "":
		return Address{}, badAddress("The address names a host but no repository on it. %s", addressHelp)
	case strings.ContainsFunc(a.Path, unicode.IsControl):
		return Address{}, badAddress("The path contains control characters.")
	}
	if a.Port == "" {
		a.Port = map[Scheme]string{HTTPS: "443", HTTP: "80", SSH: "22"}[a.Scheme]
	}
	return a.withUser(u)
}

func (a Address) withUser(u *url.URL) (Address, error) {
	if u.User == nil {
		return a, nil
	}
	if _, has := u.User.Password(); has || a.Scheme != SSH {
		return Address{}, badAddress("Leave user name and password out of the address and give a token as the credential: addresses are shown to others.")
	}
	if a.User = u.User.Username(); !userForm.MatchString(a.User) {
		return Address{}, badAddress("%q is not a user name for SSH.", a.User)
	}
	return a, nil
}

func localAddress(path string) (Address, error) {
	if clean := filepath.Clean(path); filepath.IsAbs(clean) && clean != "/" {
		return Address{Scheme: Local, Path: clean, text: clean}, nil
	}
	return Address{}, badAddress("A folder on this machine is named by its full path.")
}

func badAddress(format string, args ...any) error {
	return models.InvalidField("clone_url", format, args...)
}

// SameHost tells whether both addresses lead to the same server over the same scheme, so that a credential for one may
// be sent to the other.
func (a Address) SameHost(b Address) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host) && a.Port == b.Port
}

// origin is the part of an HTTP address that credentials are bound to.
func (a Address) origin() string {
	u := url.URL{Scheme: string(a.Scheme), Host: net.JoinHostPort(a.Host, a.Port)}
	return u.String() + "/"
}

// localFolder resolves a folder's symbolic links and checks that it lies below one of the allowed roots.
func (s *Service) localFolder(path string) (string, error) {
	refusal := badAddress("Repositories in folders of this machine are not allowed here. An administrator can allow a folder with SLIPWAY_LOCAL_REPOSITORIES.")
	if len(s.LocalRoots) == 0 {
		return "", refusal
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", badAddress("There is no folder %s, or it is not below an allowed one.", path)
	}
	for _, root := range s.LocalRoots {
		root, err := filepath.EvalSymlinks(root)
		if err != nil {
			continue
		}
		if rel, err := filepath.Rel(root, real); err == nil && filepath.IsLocal(rel) {
			return real, nil
		}
	}
	return "", refusal
}
