package registry

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"slipway.dev/models"
)

// The actions on a repository (distribution's token authentication).
const (
	Pull   = "pull"
	Push   = "push"
	Delete = "delete"
)

// access is what a token allows on one repository.
type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// needs returns the actions that the call takes on its repository; none where any login will do.
func (c call) needs(method string) []string {
	switch {
	case c.name == "":
		return nil
	case c.what == callUpload || c.what == callUploads:
		return []string{Pull, Push}
	case method == http.MethodPut:
		return []string{Pull, Push}
	case method == http.MethodDelete:
		return []string{Delete}
	}
	return []string{Pull}
}

// authorize finds out who calls and whether they may, as of now: a token says
// what it was made for, the database what its holder may still do.
func (s *Service) authorize(w http.ResponseWriter, r *http.Request, c call) (*http.Request, error) {
	actions := c.needs(r.Method)
	raw, ok := bearer(r)
	if !ok {
		s.challenge(w, c, actions, "")
		return nil, models.Errorf(models.Unauthorized, "Sign in first: docker login %s. The password is a token of yours.", s.Host())
	}
	t, err := s.openToken(r.Context(), raw, audienceAccess)
	if err != nil {
		return nil, err
	}
	if t == nil {
		s.challenge(w, c, actions, "invalid_token")
		return nil, models.Errorf(models.Unauthorized, "The login is not valid or has expired. Sign in again: docker login %s.", s.Host())
	}
	p, err := s.reload(r.Context(), t.principal())
	if err != nil {
		return nil, err
	}
	if p.Kind == models.PrincipalAnonymous {
		if err := s.admitAnonymous(w, r, c); err != nil {
			return nil, err
		}
	}
	ctx := models.WithPrincipal(r.Context(), p)
	r = r.WithContext(withToken(ctx, t))
	may, err := s.may(ctx, t, c.name, actions)
	if err != nil {
		return nil, err
	}
	if !may {
		s.challenge(w, c, actions, "insufficient_scope")
		return nil, &problem{http.StatusUnauthorized, "DENIED", denial(c.name)}
	}
	return r, s.checkMount(r, t, c)
}

// reload returns the holder as it is now, or Unauthorized where what gave it its right has ended.
func (s *Service) reload(ctx context.Context, p *models.Principal) (*models.Principal, error) {
	switch {
	case p.Kind == models.PrincipalAnonymous:
		return anonymous(ctx), nil
	case p.Kind == models.PrincipalSystem:
		return p, s.underWay(ctx, p.ID)
	case s.Reload == nil:
		return p, nil
	}
	return s.Reload(ctx, p)
}

// underWay fails where the build or the deployment that a credential was made
// for has ended, or the release, which is the deployment for as long as it serves. Other work of Slipway's own has no end but the credential's.
func (s *Service) underWay(ctx context.Context, subject string) error {
	kind, id, _ := strings.Cut(subject, ":")
	ended := true
	db := s.DB.WithContext(ctx).Where("id = ?", id).Limit(1)
	switch kind {
	case "build":
		var rows []models.Build
		if err := db.Select("state").Find(&rows).Error; err != nil {
			return fmt.Errorf("reading the build of a credential: %w", err)
		}
		ended = len(rows) == 0 || rows[0].State.Ended()
	case "deployment", "release":
		var rows []models.Deployment
		if err := db.Select("state", "active", "stopped").Find(&rows).Error; err != nil {
			return fmt.Errorf("reading the deployment of a credential: %w", err)
		}
		ended = len(rows) == 0 || rows[0].State.Ended() && (kind == "deployment" || !rows[0].Active || rows[0].Stopped)
	default:
		return nil
	}
	if ended {
		return models.Errorf(models.Unauthorized, "The %s that this login was made for has ended.", kind)
	}
	return nil
}

// checkMount takes a mount out of the request where the caller may not pull
// from the other repository: it becomes a plain upload and tells nothing.
func (s *Service) checkMount(r *http.Request, t *token, c call) error {
	if c.what != callUploads {
		return nil
	}
	q := r.URL.Query()
	from := q.Get("from")
	may := from != "" && repositoryName.MatchString(from) && len(from) <= maxName && t.covers(from, Pull)
	if may {
		own, err := s.granted(r.Context(), models.PrincipalFrom(r.Context()), []string{from})
		if err != nil {
			return err
		}
		may = slices.Contains(own[from], Pull) // that everybody may pull is not enough: the blob would become another team's
	}
	if !may {
		q.Del("mount")
		q.Del("from")
		r.URL.RawQuery = q.Encode()
	}
	return nil
}

// may tells whether the token was made for the actions and its holder has the right to them now.
func (s *Service) may(ctx context.Context, t *token, name string, actions []string) (bool, error) {
	if len(actions) == 0 {
		return true, nil
	}
	if slices.ContainsFunc(actions, func(a string) bool { return !t.covers(name, a) }) {
		return false, nil
	}
	allowed, err := s.allowed(ctx, models.PrincipalFrom(ctx), []string{name})
	if err != nil {
		return false, err
	}
	return !slices.ContainsFunc(actions, func(a string) bool { return !slices.Contains(allowed[name], a) }), nil
}

// covers tells whether the token was made for the action on the repository.
func (t *token) covers(name, action string) bool {
	return slices.ContainsFunc(t.Access, func(have access) bool {
		return have.Type == "repository" && have.Name == name && slices.Contains(have.Actions, action)
	})
}

// allowed returns what the principal may do on each repository: what was granted
// to it, and to pull where everybody may.
func (s *Service) allowed(ctx context.Context, p *models.Principal, names []string) (map[string][]string, error) {
	out, err := s.granted(ctx, p, names)
	if err != nil {
		return nil, err
	}
	closed := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(out[name], Pull) })
	if len(closed) == 0 {
		return out, nil
	}
	open, err := s.Public(ctx, closed)
	for _, name := range open {
		if !slices.Contains(out[name], Pull) {
			out[name] = append(out[name], Pull)
		}
	}
	return out, err
}

// granted returns what the principal's roles and scopes allow it on each repository.
func (s *Service) granted(ctx context.Context, p *models.Principal, names []string) (map[string][]string, error) {
	teams, err := s.teams(ctx, names)
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, name := range names {
		slug, ok := teamSlug(name)
		if id, exists := teams[slug]; ok && exists && repositoryName.MatchString(name) {
			out[name] = rights(p, id, name)
		}
	}
	return out, nil
}

// teams returns the ids of the teams whose slugs begin the names.
func (s *Service) teams(ctx context.Context, names []string) (map[string]string, error) {
	var slugs []string
	for _, name := range names {
		if slug, ok := teamSlug(name); ok && repositoryName.MatchString(name) {
			slugs = append(slugs, slug)
		}
	}
	return s.teamIDs.find(s.DB.WithContext(ctx), slugs)
}

// rights returns the actions on the repository that the principal's role in the
// team and the scopes of its token allow. A workload has one repository, and no role.
func rights(p *models.Principal, teamID, repository string) []string {
	if p.Kind == models.PrincipalWorkload {
		if p.Repository == "" || p.Repository != repository {
			return nil
		}
		return []string{Pull, Push}
	}
	if teamID == models.CacheTeamID {
		return cacheRights(p)
	}
	role := p.RoleIn(teamID)
	write := p.HasScope(models.ScopeRegistryWrite)
	var out []string
	if role.AtLeast(models.RoleViewer) && (write || p.HasScope(models.ScopeRegistryRead)) {
		out = append(out, Pull)
	}
	if role.AtLeast(models.RoleDeveloper) && write {
		out = append(out, Push)
	}
	if role.AtLeast(models.RoleMaintainer) && write {
		out = append(out, Delete)
	}
	return out
}

// challenge tells the client where to get a token and for what.
func (s *Service) challenge(w http.ResponseWriter, c call, actions []string, reason string) {
	h := fmt.Sprintf(`Bearer realm="%s/registry/token",service="%s"`, strings.TrimSuffix(s.External, "/"), s.Host())
	switch {
	case c.what == callCatalog:
		h += `,scope="registry:catalog:*"`
	case len(actions) > 0:
		h += fmt.Sprintf(`,scope="repository:%s:%s"`, c.name, strings.Join(actions, ","))
	}
	if reason != "" {
		h += fmt.Sprintf(`,error="%s"`, reason)
	}
	if reason == "insufficient_scope" {
		h += fmt.Sprintf(`,error_description="%s"`, denial(c.name))
	}
	w.Header().Set("WWW-Authenticate", h)
}

// denial says the same about repositories that exist and those that don't.
func denial(name string) string {
	if _, ok := teamSlug(name); !ok {
		return "images are named TEAM/NAME; " + name + " names no team"
	}
	return "your login does not allow this on " + name + "; pushing needs a developer of the team and a token with the scope registry:write"
}

func bearer(r *http.Request) (string, bool) {
	scheme, raw, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return raw, ok && strings.EqualFold(scheme, "Bearer")
}

type tokenKey struct{}

func withToken(ctx context.Context, t *token) context.Context {
	return context.WithValue(ctx, tokenKey{}, t)
}

// tokenFrom returns the token that the request came with.
func tokenFrom(ctx context.Context) *token {
	t, _ := ctx.Value(tokenKey{}).(*token)
	return t
}
