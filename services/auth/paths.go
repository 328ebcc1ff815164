package auth

import (
	"net/url"
	"path"
	"strings"
)

// LocalPath returns next if it is a page of this portal to go to after the
// sign-in, and "/" where it is anything else: another site in one of its many
// spellings, or a page that would begin the sign-in again.
func LocalPath(next string) string {
	if len(next) > 2000 || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsFunc(next, unsafeInPath) {
		return "/"
	}
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" {
		return "/"
	}
	clean := path.Clean(u.Path)
	if u.Path != clean && u.Path != clean+"/" || strings.Contains(u.EscapedPath(), "%") {
		return "/"
	}
	for _, first := range []string{"/login", "/logout", "/setup", "/idp", "/api", "/v2"} {
		if clean == first || strings.HasPrefix(clean, first+"/") {
			return "/"
		}
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}

// unsafeInPath tells of characters that browsers drop or read as another.
func unsafeInPath(r rune) bool { return r == '\\' || r <= ' ' || r == 0x7f || r > 0x7e }
