package copies

import (
	"context"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/registries"
)

// Named says what to copy where as people write images' names, with their registries' hosts.
type Named struct {
	Team      string `json:"team,omitempty" form:"team" maxLength:"40" doc:"Slug of the team that it is done for; not needed where one of the names is of the portal's own registry."`
	From      string `json:"from" form:"from" maxLength:"600" doc:"The image: with a tag, which is resolved now, or a digest." example:"localhost:8080/payments/checkout:main"`
	To        string `json:"to" form:"to" maxLength:"600" doc:"The repository, with the tag that the image gets there." example:"ghcr.io/acme/checkout:1.4"`
	Referrers bool   `json:"referrers,omitempty" form:"referrers" doc:"Also copy signatures, bills of materials and what else is about the image."`
}

// CreateNamed is Create for names.
func (s *Service) CreateNamed(ctx context.Context, in Named) (*models.Copy, error) {
	if models.PrincipalFrom(ctx) == nil {
		return nil, models.Errorf(models.Unauthorized, "Sign in first.")
	}
	from, reference := split(s.full(in.From))
	to, tag := split(s.full(in.To))
	wrong := map[string]string{}
	if from == "" || reference == "" {
		wrong["from"] = "Give the image with a tag or a digest, such as ghcr.io/acme/shop:1.4."
	}
	if to == "" {
		wrong["to"] = "Give the repository with its registry's host, such as ghcr.io/acme/shop:1.4."
	}
	if strings.Contains(tag, ":") {
		wrong["to"] = "The image gets the digest that it has. Give a tag, or none."
	}
	if err := models.InvalidFields(wrong); err != nil {
		return nil, err
	}
	out := Input{Source: Place{Repository: s.local(from)}, Target: Place{Repository: s.local(to)}, Reference: reference, Tag: tag, Team: in.Team, Referrers: in.Referrers}
	return s.createAt(ctx, out, from, to)
}

// createAt finds the registries of both names among those that the team may use.
func (s *Service) createAt(ctx context.Context, in Input, from, to string) (*models.Copy, error) {
	asked := in
	for _, p := range []struct {
		place *Place
		name  string
	}{{&asked.Source, from}, {&asked.Target, to}} {
		if !s.own(p.name) {
			p.place.RegistryID = "another" // than the embedded one: its names tell no team
		}
	}
	team, err := s.teamFor(ctx, asked)
	if err != nil {
		return nil, err
	}
	if err := models.Authorize(ctx, team.ID, models.RoleDeveloper, "team"); err != nil {
		return nil, err
	}
	if in.Source.RegistryID, in.Source.Repository, err = s.Registries.Locate(ctx, team.ID, from, registries.Pull); err != nil {
		return nil, named(err, "from")
	}
	if in.Target.RegistryID, in.Target.Repository, err = s.Registries.Locate(ctx, team.ID, to, registries.Push); err != nil {
		return nil, named(err, "to")
	}
	c, err := s.Create(ctx, in)
	return c, renamed(err)
}

// named says of a registry that the team does not have in which field it stands.
func named(err error, field string) error {
	if models.IsCode(err, models.NotFound) {
		text, _ := explain(err)
		return models.InvalidField(field, "%s", text)
	}
	return err
}

// renamed puts what is wrong to the fields that were asked for.
func renamed(err error) error {
	fields := map[string]string{"source": "from", "reference": "from", "repository": "to", "tag": "to"}
	e, ok := err.(*models.Error)
	if !ok || len(e.Fields) == 0 {
		return err
	}
	out := *e
	out.Fields = map[string]string{}
	for name, text := range e.Fields {
		if to, ok := fields[name]; ok {
			name = to
		}
		out.Fields[name] = text
	}
	return &out
}

// full is the name with a host: one without is of the embedded registry.
func (s *Service) full(image string) string {
	image = strings.TrimSpace(image)
	first, _, ok := strings.Cut(image, "/")
	if ok && !strings.ContainsAny(first, ".:") && first != "localhost" {
		return s.Registries.Embedded.Host() + "/" + image
	}
	return image
}

func (s *Service) own(name string) bool {
	return strings.HasPrefix(name, s.Registries.Embedded.Host()+"/")
}

// local is the name without its host.
func (s *Service) local(name string) string {
	_, rest, _ := strings.Cut(name, "/")
	return rest
}

// split takes the tag or the digest off an image's name.
func split(image string) (repository, reference string) {
	if repository, digest, ok := strings.Cut(image, "@"); ok {
		if i := strings.LastIndex(repository, ":"); i > strings.LastIndex(repository, "/") {
			repository = repository[:i] // the digest wins over a tag
		}
		return repository, digest
	}
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		return image[:i], image[i+1:]
	}
	return image, ""
}
