package registries

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	checkTime = 40 * time.Second // for all steps together
	probeTime = 15 * time.Second
)

// The steps of a check, in their order.
const (
	StepReach = "reach"
	StepLogin = "login"
	StepPull  = "pull"
	StepPush  = "push"
)

// Check finds out what works at the registry: whether it is reached, takes the
// credential, lets it pull and push. It keeps the result and returns the
// registry with it. A push is begun and canceled, so that nothing of it stays. For admins.
func (s *Service) Check(ctx context.Context, id string) (*models.Registry, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	r, err := s.registry(ctx, id)
	if err != nil {
		return nil, err
	}
	checks, err := s.check(ctx, r)
	if err != nil {
		return nil, err
	}
	now := s.DB.NowFunc()
	r.Checks, r.CheckedAt = checks, &now
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		// The registry was not changed by it: what is open stays so.
		if err := tx.Model(&models.Registry{ID: id}).Select("checks", "checked_at").UpdateColumns(models.Registry{Checks: checks, CheckedAt: &now}).Error; err != nil {
			return err
		}
		return record(ctx, tx, r, "registry.check", summary(checks))
	})
	return r, err
}

// summary is the result of each step.
func summary(checks []models.RegistryCheck) map[string]string {
	out := map[string]string{}
	for _, c := range checks {
		out[c.Step] = string(c.Result)
	}
	return out
}

func (s *Service) check(ctx context.Context, r *models.Registry) ([]models.RegistryCheck, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	way, err := s.way(r)
	if err != nil {
		return nil, err
	}
	c := &checking{service: s, registry: r, gate: s.newGate(way)}
	if c.reach(ctx) && c.login(ctx) {
		c.pull(ctx)
		c.push(ctx)
	}
	for _, step := range []string{StepReach, StepLogin, StepPull, StepPush} {
		if !slices.ContainsFunc(c.steps, func(done models.RegistryCheck) bool { return done.Step == step }) {
			c.say(step, models.CheckNotTried, "Not tried, as the step before failed.", "")
		}
	}
	return c.steps, nil
}

// checking is a check under way.
type checking struct {
	service  *Service
	registry *models.Registry
	gate     *gate
	remote   *Remote
	through  http.RoundTripper // logged in
	steps    []models.RegistryCheck
}

func (c *checking) say(step string, result models.CheckResult, message, help string) bool {
	c.steps = append(c.steps, models.RegistryCheck{Step: step, Result: result, Message: message, Help: help})
	return result != models.CheckFailed
}

func (c *checking) fail(step string, err error, otherwise string) bool {
	message, help := explain(err, c.registry, otherwise)
	return c.say(step, models.CheckFailed, message, help)
}

// reach asks for the registry's base without a login.
func (c *checking) reach(ctx context.Context) bool {
	challenge, err := c.service.ping(ctx, c.registry, c.gate)
	if err != nil {
		return c.fail(StepReach, err, "")
	}
	message := c.registry.Host + " answers over TLS and is a registry."
	if challenge.Insecure {
		message = c.registry.Host + " answers without TLS and is a registry."
	}
	if realm := realmOf(challenge); realm != "" {
		if !c.gate.mayHave(realm) {
			c.say(StepReach, models.CheckPassed, message, "")
			c.say(StepLogin, models.CheckFailed, fmt.Sprintf("Its logins come from another host, %s, which nobody has confirmed; the credential is not sent there.", realm),
				"If that host belongs to the registry, enter it under Token host and save.")
			return false
		}
		if withPort(realm, c.registry.PlainHTTP) != c.gate.home {
			message += " Its logins come from " + realm + "."
		}
	}
	return c.say(StepReach, models.CheckPassed, message, "")
}

// login shows the credential.
func (c *checking) login(ctx context.Context) bool {
	repository, err := repositoryOf(c.registry, or(c.registry.CheckRepository, "library/none"))
	if err != nil {
		return c.fail(StepLogin, err, "")
	}
	c.remote = &Remote{Repository: repository, Registry: c.registry, path: repository.RepositoryStr(), service: c.service, gate: c.gate}
	user, _, err := c.remote.Credential(ctx)
	if err != nil {
		return c.fail(StepLogin, err, "")
	}
	var scopes []string
	if c.registry.CheckRepository != "" {
		scopes = []string{repository.Scope(transport.PullScope)}
	}
	if c.through, err = transport.NewWithContext(ctx, repository.Registry, c.remote, c.gate, scopes); err != nil {
		return c.fail(StepLogin, err, "The registry does not take the credential.")
	}
	answer, err := c.do(ctx, http.MethodGet, "", nil)
	switch {
	case err != nil:
		return c.fail(StepLogin, err, "")
	case user == "" && answer.StatusCode == http.StatusUnauthorized:
		return c.say(StepLogin, models.CheckFailed, "The registry asks for a login, and there is no credential.", "Enter a user name and a password or token, and save.")
	case answer.StatusCode >= 300:
		return c.say(StepLogin, models.CheckFailed, "The registry does not take the credential: "+answer.Status+".", loginHelp(c.registry.Kind))
	case user == "":
		return c.say(StepLogin, models.CheckNotTried, "There is no credential: the registry is used as anybody may.", "")
	}
	return c.say(StepLogin, models.CheckPassed, "The registry takes the credential.", "")
}

// pull reads the tags of the repository, or of one that the registry lists.
func (c *checking) pull(ctx context.Context) bool {
	path := c.registry.CheckRepository
	if path == "" {
		if path = c.listed(ctx); path == "" {
			return c.say(StepPull, models.CheckNotTried, "No repository was named to pull from, and the registry lists none.", "Enter one under Repository to try, and save.")
		}
	}
	answer, err := c.do(ctx, http.MethodGet, path+"/tags/list?n=1", nil)
	switch {
	case err != nil:
		return c.fail(StepPull, err, "The credential may not pull from "+path+".")
	case answer.StatusCode == http.StatusNotFound:
		return c.say(StepPull, models.CheckNotTried, "There is no repository "+path+" yet, so nothing could be pulled from it.", "Enter one that is there to try pulling.")
	case answer.StatusCode >= 300:
		return c.say(StepPull, models.CheckFailed, "The credential may not pull from "+path+": "+answer.Status+".", rightsHelp(c.registry.Kind, Pull))
	}
	return c.say(StepPull, models.CheckPassed, "Images of "+path+" can be pulled.", "")
}

// listed is a repository that the registry lists; empty where it lists none, as most don't.
func (c *checking) listed(ctx context.Context) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.address("_catalog?n=1"), nil)
	if err != nil {
		return ""
	}
	client := http.Client{Transport: c.through}
	answer, err := client.Do(request)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	var list struct{ Repositories []string }
	err = json.NewDecoder(answer.Body).Decode(&list)
	if err != nil || answer.StatusCode != http.StatusOK || len(list.Repositories) == 0 || !ValidRepository(list.Repositories[0]) {
		return ""
	}
	return list.Repositories[0]
}

// push begins an upload and cancels it.
func (c *checking) push(ctx context.Context) bool {
	path := c.registry.CheckRepository
	if path == "" {
		return c.say(StepPush, models.CheckNotTried, "No repository was named to try a push in. A push is begun there and canceled; nothing of it stays.", "Enter one under Repository to try, and save.")
	}
	if user, _, err := c.remote.Credential(ctx); err == nil && user == "" && c.registry.Kind != KindGeneric && c.registry.Kind != KindHarbor {
		return c.say(StepPush, models.CheckNotTried, "Pushing needs a credential.", "")
	}
	through, err := transport.NewWithContext(ctx, c.remote.Repository.Registry, c.remote, c.gate, []string{c.remote.Repository.Scope(transport.PushScope)})
	if err != nil {
		return c.fail(StepPush, err, "The credential may not push to "+path+".")
	}
	c.through = through
	answer, err := c.do(ctx, http.MethodPost, path+"/blobs/uploads/", nil)
	switch {
	case err != nil:
		return c.fail(StepPush, err, "The credential may not push to "+path+".")
	case answer.StatusCode == http.StatusNotFound && c.registry.Kind == KindECR:
		return c.say(StepPush, models.CheckNotTried, "There is no repository "+path+" yet. Slipway makes it at the first push, for which the credential needs ecr:CreateRepository.", "Enter one that is there to try pushing.")
	case answer.StatusCode != http.StatusAccepted:
		return c.say(StepPush, models.CheckFailed, "The credential may not push to "+path+": "+answer.Status+".", rightsHelp(c.registry.Kind, Push))
	}
	message := "Images can be pushed to " + path + "."
	if !c.cancel(ctx, answer) {
		message += " The upload that tried it can't be canceled here; the registry clears it away by itself."
	}
	return c.say(StepPush, models.CheckPassed, message, "")
}

// cancel ends the upload that an answer began.
func (c *checking) cancel(ctx context.Context, begun *http.Response) bool {
	location, err := begun.Location()
	if err != nil {
		return false
	}
	answer, err := c.do(ctx, http.MethodDelete, "", location)
	return err == nil && answer.StatusCode < 300
}

// do sends a request below /v2/, or to the address, and returns the answer with its body closed.
func (c *checking) do(ctx context.Context, method, path string, to *url.URL) (*http.Response, error) {
	address := c.address(path)
	if to != nil {
		address = to.String()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: c.through}
	answer, err := client.Do(request)
	if err == nil {
		answer.Body.Close()
	}
	return answer, err
}

// address is the path below /v2/; the client library takes the scheme that answered.
func (c *checking) address(path string) string {
	return c.remote.Repository.Scheme() + "://" + c.remote.Repository.RegistryStr() + "/v2/" + path
}

// ping asks the registry without a login who gives its logins.
func (s *Service) ping(ctx context.Context, r *models.Registry, g *gate) (*transport.Challenge, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	repository, err := repositoryOf(r, "library/none")
	if err != nil {
		return nil, err
	}
	return transport.Ping(ctx, repository.Registry, g)
}

// realmOf is the host that gives a registry's tokens; empty where it asks for none.
func realmOf(c *transport.Challenge) string {
	realm, err := url.Parse(c.Parameters["realm"])
	if err != nil || !strings.EqualFold(c.Scheme, "bearer") {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(realm.Host), ":443")
}

// mayHave tells whether the host may have the registry's credential.
func (g *gate) mayHave(host string) bool {
	at := withPort(host, g.plain)
	return at == g.home || withPort(host, false) == g.home || slices.Contains(g.tokens, at)
}

// confirmRealm fails where the registry's tokens come from a host that the
// input does not name: an admin is to look at it before a credential goes there.
// A registry that does not answer now is believed later, by the gate.
func (s *Service) confirmRealm(ctx context.Context, r *models.Registry) error {
	probe := *r
	probe.ID, probe.UpdatedAt = "probe "+models.NewID(), time.Time{}
	way, err := s.way(&probe)
	if err != nil {
		return err
	}
	defer s.forget(probe.ID)
	gate := s.newGate(way)
	challenge, err := s.ping(ctx, r, gate)
	if err != nil {
		return nil //nolint:nilerr // the check that follows tells why
	}
	if realm := realmOf(challenge); realm != "" && !gate.mayHave(realm) {
		return models.InvalidField("realm", "%s gets its logins from another host, %s. The credential will be sent there: enter that host here if it belongs to the registry.", r.Host, realm)
	}
	return nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
