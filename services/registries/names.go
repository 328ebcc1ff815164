package registries

import (
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"slipway.dev/models"
	"slipway.dev/services/outbound"
)

const (
	maxRepository = 255
	dockerHub     = "docker.io"
	dockerHubAPI  = "index.docker.io"
)

// repositoryPattern is the distribution specification's grammar of names.
var repositoryPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

// ValidRepository tells whether the text can be a repository's name without its host.
func ValidRepository(text string) bool {
	return len(text) <= maxRepository && repositoryPattern.MatchString(text)
}

// RepositoryHelp says what ValidRepository asks for.
const RepositoryHelp = "Use lower-case letters, digits, and single . _ - between them; / parts the name: acme/shop."

// repositoryOf is the repository as the client library has it.
func repositoryOf(r *models.Registry, repository string) (name.Repository, error) {
	if !ValidRepository(repository) {
		return name.Repository{}, models.InvalidField("repository", RepositoryHelp)
	}
	options := []name.Option{name.StrictValidation}
	if r.PlainHTTP {
		options = append(options, name.Insecure)
	}
	out, err := name.NewRepository(r.Host+"/"+repository, options...)
	if err != nil {
		return out, models.InvalidField("repository", RepositoryHelp)
	}
	return out, nil
}

// apiHost is the host that answers the distribution API for images of the host.
func apiHost(host string) string {
	if host == dockerHub {
		return dockerHubAPI
	}
	return host
}

// cleanHost is the host, with its port if any, as an image's name begins with
// it. A scheme and a slash at the end, as people paste them, are taken off.
func cleanHost(text string) (string, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	for _, scheme := range []string{"https://", "http://"} {
		text = strings.TrimPrefix(text, scheme)
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "/"), "/v2")
	if strings.ContainsAny(text, "/@?#\\ ") {
		return "", models.InvalidField("host", "Give the host alone, such as registry.example.com or registry.example.com:5000.")
	}
	host, port := text, ""
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", models.InvalidField("host", "The port has to be a number from 1 to 65535.")
		}
	}
	if outbound.CheckHost(strings.Trim(host, "[]")) != nil {
		return "", models.InvalidField("host", "%q is not a host name.", host)
	}
	if port == "" && !strings.Contains(host, ".") && host != "localhost" {
		return "", models.InvalidField("host", "Give the full host name, such as registry.example.com: a name without a dot or a port would be one on Docker Hub.")
	}
	return text, nil
}
