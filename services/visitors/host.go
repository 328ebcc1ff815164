package visitors

import (
	"net/netip"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
	"slipway.dev/models"
)

// hosts maps what people type to the ASCII form that browsers send (UTS #46), and refuses what no registry would take.
var hosts = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.StrictDomainName(true), idna.ValidateLabels(true), idna.VerifyDNSLength(true))

var (
	hostForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// pathForm lets through what means the same to every program that splits a path: no escapes, no empty or dot
	// segments, no parameters.
	pathForm = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)
)

const maxPath = 200

// Host returns the host name that a person typed as it is stored: in ASCII, lower case, without a dot at its end.
// Its error is about the field host.
func Host(text string) (string, error) {
	text = strings.TrimSuffix(strings.TrimSpace(text), ".")
	switch {
	case text == "":
		return "", models.InvalidField("host", "Enter a host name, such as shop.example.com.")
	case strings.Contains(text, "://"), strings.Contains(text, "/"):
		return "", models.InvalidField("host", "Enter the host name alone, such as shop.example.com; its path has a field of its own.")
	case strings.HasPrefix(text, "*"):
		return "", models.InvalidField("host", "A wildcard is no address. Enter each host name.")
	case strings.Contains(text, ":"):
		return "", models.InvalidField("host", "Enter the host name without a port: it answers on the ports that the proxy listens on.")
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return "", models.InvalidField("host", "Enter a host name, not an IP address.")
	}
	ascii, err := hosts.ToASCII(text)
	if err != nil || !hostForm.MatchString(ascii) || len(ascii) > 253 {
		return "", models.InvalidField("host", "%q is not a host name such as shop.example.com.", text)
	}
	return ascii, nil
}

// Path returns the path that a person typed as it is stored: / for all paths, else one that begins with a slash and
// ends without. Its error is about the field path.
func Path(text string) (string, error) {
	text = strings.TrimSuffix(strings.TrimSpace(text), "/")
	if text == "" {
		return "/", nil
	}
	if len(text) > maxPath || !pathForm.MatchString(text) {
		return "", models.InvalidField("path", "Use a path such as /api or /shop/v2: letters, digits and . _ ~ - between slashes, no segment that begins with a dot.")
	}
	return text, nil
}

// reserved says why the host can't be a domain of a team; empty: it can.
func (s *Service) reserved(host string) string {
	switch {
	case host == s.Portal:
		return "This is the portal's own host name."
	case host == s.Apps || strings.HasSuffix(host, "."+s.Apps):
		return "Host names below " + s.Apps + " are given by Slipway: each app has one in each environment, and only the team's own can be used here."
	}
	return ""
}
