package images

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/registries"
)

const (
	dockerHubAPI = "https://hub.docker.com"
	catalogPage  = 100 // names on a page of Docker Hub's and Harbor's lists
)

// askOwnAPI lists repositories by the registry's own interface, where it has
// one that tells more than the catalog of the distribution API: Docker Hub has
// no catalog, and Harbor's is for its admins alone. What is read is bounded by
// maxCatalog names.
func (s *Service) askOwnAPI(ctx context.Context, who reader, r *models.Registry) ([]string, error) {
	way, err := s.Registries.Open(ctx, r.ID, door(who, r), registries.Pull)
	if err != nil {
		return nil, err
	}
	if r.Kind == registries.KindHarbor {
		return s.harbor(ctx, way)
	}
	var names []string
	for _, namespace := range s.namespaces(r) {
		found, err := s.dockerHub(ctx, way, namespace)
		if err != nil && !models.IsCode(err, models.NotFound) { // an account need not have any
			return nil, err
		}
		names = append(names, found...)
	}
	return names, nil
}

// namespaces are those that grants name, and the account's own.
func (s *Service) namespaces(r *models.Registry) []string {
	all := []string{strings.ToLower(r.Settings["username"])}
	for _, g := range r.Grants {
		first, _, _ := strings.Cut(g.Prefix, "/")
		all = append(all, first)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(name string) bool { return !registries.ValidRepository(name) })
}

// dockerHub lists the public repositories of a namespace, as Docker Hub's own
// API tells them to everybody (docs.docker.com/reference/api/hub/latest). No
// credential is sent there: that interface is another host's.
func (s *Service) dockerHub(ctx context.Context, way *registries.Remote, namespace string) (names []string, err error) {
	for page := 1; len(names) < maxCatalog; page++ {
		var answer struct {
			Results []struct {
				Name string `json:"name"`
			} `json:"results"`
		}
		at := cmp.Or(s.Hub, dockerHubAPI) + "/v2/namespaces/" + url.PathEscape(namespace) + "/repositories?" + pageOfCatalog(page)
		if err := ask(ctx, way, at, false, &answer); err != nil {
			return nil, err
		}
		for _, r := range answer.Results {
			names = append(names, namespace+"/"+r.Name)
		}
		if len(answer.Results) < catalogPage {
			break
		}
	}
	return names, nil
}

// harbor lists the repositories that the credential may see
// (Harbor's API, GET /repositories), on the registry's own host.
func (s *Service) harbor(ctx context.Context, way *registries.Remote) (names []string, err error) {
	for page := 1; len(names) < maxCatalog; page++ {
		var answer []struct {
			Name string `json:"name"`
		}
		at := way.Repository.Scheme() + "://" + way.Repository.RegistryStr() + "/api/v2.0/repositories?" + pageOfCatalog(page)
		if err := ask(ctx, way, at, true, &answer); err != nil {
			return nil, err
		}
		for _, r := range answer {
			names = append(names, r.Name)
		}
		if len(answer) < catalogPage {
			break
		}
	}
	return names, nil
}

func pageOfCatalog(page int) string {
	return url.Values{"page": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(catalogPage)}}.Encode()
}

// ask reads one answer of a registry's own interface.
func ask(ctx context.Context, way *registries.Remote, at string, login bool, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	if login {
		user, password, err := way.Credential(ctx)
		if err != nil {
			return err
		}
		if user != "" || password != "" {
			request.SetBasicAuth(user, password)
		}
	}
	answer, err := way.Client().Do(request)
	if err != nil {
		return way.Explain(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNotFound {
		return models.Errorf(models.NotFound, "The registry has no such list.")
	}
	if answer.StatusCode != http.StatusOK {
		return models.Errorf(models.Unavailable, "The registry answered its list of repositories with %d.", answer.StatusCode)
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return models.Errorf(models.Unavailable, "The registry's list of repositories could not be understood.")
	}
	return nil
}

// door is a repository by which the reader may open the registry, to ask for its list.
func door(who reader, r *models.Registry) string {
	for _, prefix := range who.prefixes(*r) {
		if prefix != "" {
			return prefix
		}
	}
	return "catalog"
}
