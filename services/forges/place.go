package forges

import (
	"net/url"
	"regexp"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/git"
)

// part is one part of a repository's path at a forge.
var part = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]*$`)

// pathAt is the repository's path at the connection's forge, such as acme/shop. A clone URL on another host, or one
// that is no path of a repository there, is a Conflict.
func pathAt(c *models.Connection, r *models.Repository) (string, error) {
	a, err := git.ParseAddress(r.CloneURL)
	if err != nil {
		return "", err
	}
	if !c.Serves(a.Host) {
		return "", models.Errorf(models.Conflict, "The repository %s is at %s, but the connection %s is to %s.", r.Name, a.Host, c.Name, c.Host())
	}
	path := strings.Trim(a.Path, "/")
	if base, err := url.Parse(c.BaseURL); err == nil && a.Scheme != git.SSH {
		path = strings.TrimPrefix(path, strings.TrimPrefix(base.Path, "/")+"/") // a forge below a path of its host
	}
	path = strings.TrimSuffix(path, ".git")
	parts := strings.Split(path, "/")
	for _, p := range parts {
		if !part.MatchString(p) {
			return "", notThere(c, path)
		}
	}
	if len(parts) < 2 || len(parts) > 2 && c.Kind != models.ForgeGitLab {
		return "", notThere(c, path)
	}
	return path, nil
}

func notThere(c *models.Connection, path string) error {
	return models.Errorf(models.Conflict, "%q can't be a repository at %s.", path, c.Name)
}
