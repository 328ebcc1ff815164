package registry_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/registry"
)

func TestEveryRoleAndScopeMayDoExactlyWhatItShould(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		img := f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		read, write := models.ScopeRegistryRead, models.ScopeRegistryWrite
		for i, c := range []struct {
			who                *models.User
			scopes             []models.Scope
			pull, push, delete bool
		}{
			{f.Maintainer, []models.Scope{write}, true, true, true},
			{f.Maintainer, []models.Scope{read}, true, false, false},
			{f.Maintainer, []models.Scope{models.ScopeRead, models.ScopeWrite}, false, false, false},
			{f.Developer, []models.Scope{write}, true, true, false},
			{f.Developer, []models.Scope{read}, true, false, false},
			{f.Viewer, []models.Scope{read, write}, true, false, false},
			{f.Stranger, []models.Scope{read, write}, false, false, false},
			{f.Admin, []models.Scope{read, write}, false, false, false}, // without the scope admin, an admin's token is no admin's
			{f.Admin, []models.Scope{read, write, models.ScopeAdmin}, true, true, true},
		} {
			t.Run(c.who.Name+fmt.Sprint(c.scopes), func(t *testing.T) {
				login := basic("x", f.token(t, c.who, c.scopes...))
				_, err := remote.Image(f.ref(t, "payments/checkout:main"), login)
				if (err == nil) != c.pull {
					t.Errorf("pull: %v", err)
				}
				err = remote.Write(f.ref(t, fmt.Sprintf("payments/checkout:case-%d", i)), img, login)
				if (err == nil) != c.push {
					t.Errorf("push: %v", err)
				}
				f.push(t, "payments/checkout:doomed", 1, f.writer(t, f.Developer))
				err = remote.Delete(f.ref(t, "payments/checkout:doomed"), login)
				if (err == nil) != c.delete {
					t.Errorf("delete: %v", err)
				}
			})
		}
	})
}

func TestStrangersLearnNothingAboutWhatExists(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
	token := f.token(t, f.Stranger, models.ScopeRegistryWrite)
	ask := func(name string) string {
		access := f.access(t, token, "repository:"+name+":pull")
		a := f.ask(t, http.MethodGet, "/v2/"+name+"/tags/list", "", bearer(access))
		return fmt.Sprint(a.status, strings.ReplaceAll(a.body+a.header.Get("WWW-Authenticate"), name, "NAME"))
	}
	exists := ask("payments/checkout")
	if !strings.HasPrefix(exists, "401") {
		t.Errorf("a stranger was answered %s", exists)
	}
	for _, name := range []string{"payments/absent", "nosuchteam/checkout"} {
		if got := ask(name); got != exists {
			t.Errorf("%s answers differently from a repository that exists:\n%s\n%s", name, got, exists)
		}
	}
}

func TestRightsOfOneRequestLaterCountAndNotThoseOfTheToken(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		access := f.access(t, f.token(t, f.Developer, models.ScopeRegistryWrite), "repository:payments/checkout:pull,push")
		get := func() int {
			return f.ask(t, http.MethodGet, "/v2/payments/checkout/manifests/main", "", bearer(access)).status
		}
		post := func() int {
			return f.ask(t, http.MethodPost, "/v2/payments/checkout/blobs/uploads/", "", bearer(access)).status
		}
		if get() != 200 || post() != 202 {
			t.Fatal("a developer can't pull and push")
		}
		member := db.Model(&models.Member{}).Where("user_id = ?", f.Developer.ID)
		if err := member.Update("role", models.RoleViewer).Error; err != nil {
			t.Fatal(err)
		}
		if get() != 200 || post() != 401 {
			t.Error("a viewer pushes with the token of when they were a developer")
		}
		if err := db.Where("user_id = ?", f.Developer.ID).Delete(&models.Member{}).Error; err != nil {
			t.Fatal(err)
		}
		if get() != 401 {
			t.Error("a removed member pulls")
		}
		if err := db.Model(&models.Token{}).Where("user_id = ?", f.Developer.ID).Update("revoked_at", db.NowFunc()).Error; err != nil {
			t.Fatal(err)
		}
		if a := f.ask(t, http.MethodGet, "/v2/", "", bearer(access)); a.status != 401 {
			t.Errorf("a revoked token is answered %d", a.status)
		}
	})
}

func TestEveryRouteRefusesMissingForgedAndForeignTokens(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	img := f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
	good := f.access(t, f.token(t, f.Maintainer, models.ScopeRegistryWrite), "repository:payments/checkout:pull,push,delete")
	_, credential, err := f.registry.Credential(models.WithPrincipal(t.Context(), models.System("worker")), "payments/checkout", []string{registry.Pull, registry.Push}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{
		"none": "", "garbage": "x.y.z", "a credential": credential,
		"alg none":           unsigned(t, good),
		"another key":        resigned(t, good, nil),
		"the key in the jwk": resigned(t, good, func(o *jose.SignerOptions) { o.EmbedJWK = true }),
		"changed claims":     changed(t, good),
		"an API token":       f.token(t, f.Maintainer, models.ScopeRegistryWrite),
	}
	name, digest := "/v2/payments/checkout", digestOf(t, img)
	for _, r := range []string{
		"GET /v2/", "GET /v2/_catalog", "GET " + name + "/tags/list", "GET " + name + "/referrers/" + digest,
		"GET " + name + "/manifests/main", "HEAD " + name + "/manifests/main", "PUT " + name + "/manifests/main", "DELETE " + name + "/manifests/main",
		"GET " + name + "/blobs/" + digest, "HEAD " + name + "/blobs/" + digest, "DELETE " + name + "/blobs/" + digest,
		"POST " + name + "/blobs/uploads/", "GET " + name + "/blobs/uploads/x", "PATCH " + name + "/blobs/uploads/x",
		"PUT " + name + "/blobs/uploads/x", "DELETE " + name + "/blobs/uploads/x",
	} {
		method, path, _ := strings.Cut(r, " ")
		for what, token := range bad {
			a := f.ask(t, method, path, "", func(r *http.Request) {
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
			})
			challenge := a.header.Get("WWW-Authenticate")
			if a.status != 401 || !strings.HasPrefix(challenge, `Bearer realm="`+f.registry.External+`/registry/token",service="`+f.host+`"`) {
				t.Errorf("%s with %s: %d %s", r, what, a.status, challenge)
			}
		}
	}
	if a := f.ask(t, http.MethodGet, "/v2/payments/checkout/manifests/main?token="+good+"&access_token="+good, "", nil); a.status != 401 {
		t.Errorf("a token in the URL is answered %d", a.status)
	}
}

func unsigned(t *testing.T, token string) string {
	t.Helper()
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	return header + "." + strings.Split(token, ".")[1] + "."
}

func resigned(t *testing.T, token string, option func(*jose.SignerOptions)) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	claims := map[string]any{}
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	options := &jose.SignerOptions{}
	if option != nil {
		option(options)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key, KeyID: parsed.Headers[0].KeyID}}, options)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func changed(t *testing.T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	body = []byte(strings.Replace(string(body), "payments/checkout", "payments/checkouT", 1))
	return parts[0] + "." + base64.RawURLEncoding.EncodeToString(body) + "." + parts[2]
}

func TestAMountNeedsTheRightToPullFromTheOtherRepository(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		img := f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		layer := digestOf(t, layers[0])
		mount := func(u *models.User, to string) answer {
			scope := "repository:payments/checkout:pull repository:" + to + ":pull,push"
			access := f.access(t, f.token(t, u, models.ScopeRegistryWrite), scope)
			return f.ask(t, http.MethodPost, "/v2/"+to+"/blobs/uploads/?mount="+layer+"&from=payments/checkout", "", bearer(access))
		}
		if a := mount(f.Developer, "payments/other"); a.status != http.StatusCreated {
			t.Errorf("a mount inside of the team is answered %d: %s", a.status, a.body)
		}
		if a := mount(f.Stranger, "search/stolen"); a.status != http.StatusAccepted {
			t.Errorf("a mount from another team is answered %d, want a plain upload", a.status)
		}
		access := f.access(t, f.token(t, f.Stranger, models.ScopeRegistryWrite), "repository:search/stolen:pull")
		if a := f.ask(t, http.MethodGet, "/v2/search/stolen/blobs/"+layer, "", bearer(access)); a.status != 404 {
			t.Errorf("the layer of another team is answered %d", a.status)
		}
	})
}

func TestTheCatalogHoldsWhatOneMaySee(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		for _, image := range []string{"payments/b-2:1", "payments/a.1:1", "payments/b:1"} {
			f.push(t, image, 1, f.writer(t, f.Developer))
		}
		f.push(t, "search/index:1", 1, f.writer(t, f.Stranger))
		list := func(password, query string) ([]string, string) {
			a := f.ask(t, http.MethodGet, "/v2/_catalog"+query, "", bearer(f.access(t, password, "registry:catalog:*")))
			var out struct{ Repositories []string }
			if err := json.Unmarshal([]byte(a.body), &out); err != nil {
				t.Fatalf("%d %s", a.status, a.body)
			}
			return out.Repositories, a.header.Get("Link")
		}
		viewer := f.token(t, f.Viewer, models.ScopeRegistryRead)
		if got, _ := list(viewer, ""); !slices.Equal(got, []string{"payments/a.1", "payments/b", "payments/b-2"}) {
			t.Errorf("a viewer sees %v", got)
		}
		got, link := list(viewer, "?n=2")
		if !slices.Equal(got, []string{"payments/a.1", "payments/b"}) || link != `</v2/_catalog?n=2&last=payments%2Fb>; rel="next"` {
			t.Errorf("the first page is %v with the link %s", got, link)
		}
		if got, link := list(viewer, "?n=2&last=payments%2Fb"); !slices.Equal(got, []string{"payments/b-2"}) || link != "" {
			t.Errorf("the second page is %v with the link %s", got, link)
		}
		if got, _ := list(f.token(t, f.Stranger, models.ScopeRegistryRead), ""); !slices.Equal(got, []string{"search/index"}) {
			t.Errorf("the other team sees %v", got)
		}
		if got, _ := list(f.token(t, f.Viewer, models.ScopeRead), ""); len(got) != 0 {
			t.Errorf("a token without a registry scope sees %v", got)
		}
		_, credential, err := f.registry.Credential(models.WithPrincipal(t.Context(), models.System("worker")), "payments/b", []string{registry.Pull}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := list(credential, ""); len(got) != 0 {
			t.Errorf("a credential of one repository lists %v", got)
		}
	})
}

func TestACredentialIsGoodForItsRepositoryItsActionsAndItsTime(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		worker := models.WithPrincipal(t.Context(), models.System("worker"))
		make := func(ctx context.Context, actions []string, ttl time.Duration) (string, error) {
			_, password, err := f.registry.Credential(ctx, f.host+"/payments/checkout", actions, ttl)
			return password, err
		}
		pull, err := make(worker, []string{registry.Pull}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		access := f.access(t, pull, "repository:payments/checkout:pull,push,delete repository:search/index:pull")
		if a := f.ask(t, http.MethodPost, "/v2/payments/checkout/blobs/uploads/", "", bearer(access)); a.status != 401 {
			t.Errorf("a credential to pull pushes: %d", a.status)
		}
		if a := f.ask(t, http.MethodGet, "/v2/search/index/tags/list", "", bearer(access)); a.status != 401 {
			t.Errorf("a credential pulls from another repository: %d", a.status)
		}
		late, err := make(worker, []string{registry.Pull}, -time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if a := f.ask(t, http.MethodGet, "/registry/token", "", func(r *http.Request) { r.SetBasicAuth("x", late) }); a.status != 401 {
			t.Errorf("an expired credential is answered %d", a.status)
		}
		if _, err := make(modelstest.As(t, db, f.Viewer), []string{registry.Push}, time.Minute); !models.IsCode(err, models.Denied) {
			t.Errorf("a viewer gets a credential to push: %v", err)
		}
		if _, err := make(t.Context(), []string{registry.Pull}, time.Minute); !models.IsCode(err, models.Unauthorized) {
			t.Errorf("nobody gets a credential: %v", err)
		}
	})
}

func TestTheTokenEndpointTakesThePasswordGrantAndNothingFromTheURL(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	token := f.token(t, f.Developer, models.ScopeRegistryWrite)
	form := url.Values{"grant_type": {"password"}, "username": {"x"}, "password": {token}, "scope": {"repository:payments/checkout:pull,push"}}
	asForm := func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
	a := f.ask(t, http.MethodPost, "/registry/token", form.Encode(), asForm)
	var out struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(a.body), &out); err != nil || a.status != 200 || out.ExpiresIn < 60 || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := f.ask(t, http.MethodPost, "/v2/payments/checkout/blobs/uploads/", "", bearer(out.AccessToken)); a.status != 202 {
		t.Errorf("the token of the password grant is answered %d", a.status)
	}
	for what, got := range map[string]answer{
		"the credential in the URL": f.ask(t, http.MethodPost, "/registry/token?"+form.Encode(), "", asForm),
		"a password in the URL":     f.ask(t, http.MethodGet, "/registry/token?"+form.Encode(), "", nil),
		"another grant":             f.ask(t, http.MethodPost, "/registry/token", "grant_type=refresh_token&refresh_token="+token, asForm),
		"a huge form":               f.ask(t, http.MethodPost, "/registry/token", form.Encode()+"&x="+strings.Repeat("x", 1<<20), asForm),
		"too many scopes":           f.ask(t, http.MethodGet, "/registry/token?scope="+strings.Repeat("repository:a/b:pull+", 100), "", func(r *http.Request) { r.SetBasicAuth("x", token) }),
	} {
		if got.status != 400 && got.status != 401 {
			t.Errorf("%s is answered %d: %s", what, got.status, got.body)
		}
	}
}

func TestWrongTokensAreSlowedDownAndRightOnesAreNot(t *testing.T) {
	t.Parallel()
	f := serve(t, modelstest.DB(t))
	try := func(password, forwarded string) answer {
		return f.ask(t, http.MethodGet, "/registry/token", "", func(r *http.Request) {
			r.SetBasicAuth("x", password)
			r.Header.Set("X-Forwarded-For", forwarded)
		})
	}
	limited, begun := 0, time.Now()
	for i := range 60 {
		a := try("slp_wrong", fmt.Sprintf("192.0.2.%d", i))
		if a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != "" {
			limited++
		} else if a.status != http.StatusUnauthorized {
			t.Fatalf("a wrong token is answered %d", a.status)
		}
	}
	if most := 20 + 1 + int(time.Since(begun)/(3*time.Second)); 60-limited > most { // whatever X-Forwarded-For says
		t.Errorf("only %d of 60 guesses were slowed down, where %d may pass", limited, most)
	}
	if a := try(f.token(t, f.Viewer, models.ScopeRegistryRead), ""); a.status != 200 {
		t.Errorf("a right token after them is answered %d", a.status)
	}
}

// header returns what the head of a signed token says.
func header(t *testing.T, token string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestATeamsTokenActsInThatTeamWithItsRole(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		f.push(t, "search/index:main", 1, f.writer(t, f.Stranger))
		maintainer := modelstest.As(t, db, f.Maintainer)
		for i, c := range []struct {
			role               models.Role
			scope              models.Scope
			pull, push, delete bool
		}{
			{models.RoleViewer, models.ScopeRegistryWrite, true, false, false},
			{models.RoleDeveloper, models.ScopeRegistryRead, true, false, false},
			{models.RoleDeveloper, models.ScopeRegistryWrite, true, true, false},
			{models.RoleMaintainer, models.ScopeRegistryWrite, true, true, true},
			{models.RoleMaintainer, models.ScopeWrite, false, false, false},
		} {
			made, secret, err := f.auth.CreateToken(maintainer, auth.NewToken{Name: "pipeline", TeamID: f.Team.ID, Role: c.role, Scopes: []models.Scope{c.scope}})
			if err != nil {
				t.Fatal(err)
			}
			login, own := basic("x", secret), fmt.Sprintf("payments/checkout:team-%d", i)
			img := f.push(t, "payments/checkout:doomed", 1, f.writer(t, f.Developer))
			_, pull := remote.Image(f.ref(t, "payments/checkout:doomed"), login)
			push := remote.Write(f.ref(t, own), img, login)
			remove := remote.Delete(f.ref(t, "payments/checkout:doomed"), login)
			if (pull == nil) != c.pull || (push == nil) != c.push || (remove == nil) != c.delete {
				t.Errorf("%s with %s: pull %v, push %v, delete %v", c.role, c.scope, pull, push, remove)
			}
			if _, err := remote.Image(f.ref(t, "search/index:main"), login); err == nil {
				t.Errorf("%s pulls from another team", c.role)
			}
			if c.push {
				var entry models.AuditEntry
				if err := db.Where("action = ? AND name = ?", "image.push", own).Take(&entry).Error; err != nil || entry.ActorName != "token pipeline of team payments" {
					t.Errorf("the log says %+v, %v", entry, err)
				}
			}
			if err := f.auth.RevokeToken(maintainer, made.ID); err != nil {
				t.Fatal(err)
			}
			if a := f.ask(t, http.MethodGet, "/registry/token", "", func(r *http.Request) { r.SetBasicAuth("x", secret) }); a.status != 401 {
				t.Errorf("a revoked token is answered %d", a.status)
			}
		}
	})
}

func TestATeamsTokenOutlivesWhoMadeItAndNotItsTeam(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		_, secret, err := f.auth.CreateToken(modelstest.As(t, db, f.Maintainer), auth.NewToken{
			Name: "pipeline", TeamID: f.Team.ID, Role: models.RoleViewer, Scopes: []models.Scope{models.ScopeRegistryRead}})
		if err != nil {
			t.Fatal(err)
		}
		sign := func() int {
			return f.ask(t, http.MethodGet, "/registry/token", "", func(r *http.Request) { r.SetBasicAuth("x", secret) }).status
		}
		if err := db.Where("user_id = ?", f.Maintainer.ID).Delete(&models.Member{}).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Model(f.Maintainer).Update("disabled_at", db.NowFunc()).Error; err != nil {
			t.Fatal(err)
		}
		if got := sign(); got != 200 {
			t.Errorf("without its maker the token is answered %d", got)
		}
		empty := &models.Team{ID: models.NewID(), Slug: "shortlived", Name: "Short-lived", CreatedAt: db.NowFunc()}
		if err := db.Create(empty).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Model(&models.Token{}).Where("team_id = ?", f.Team.ID).Update("team_id", empty.ID).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Delete(empty).Error; err != nil {
			t.Fatal(err)
		}
		if got := sign(); got != 401 {
			t.Errorf("without its team the token is answered %d", got)
		}
	})
}
