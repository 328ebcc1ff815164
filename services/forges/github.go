package forges

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-github/v88/github"
	"slipway.dev/models"
)

const (
	// appTokenTime is how long a GitHub App's own token is good for; GitHub takes ten minutes at most.
	appTokenTime = 5 * time.Minute
	// clockSkew is how far GitHub's clock may be behind.
	clockSkew = time.Minute
	// renewBefore is how long before its end an installation's token is replaced.
	renewBefore = 5 * time.Minute
)

// GitHub returns a client of the API of the connection's GitHub, whose credential is a token or a GitHub App. All of
// its calls go through the outbound guard; none takes longer than 20 seconds, and answers are cut at 32 MB. It fails
// with Conflict where the connection has no credential or is to another kind of forge.
func (s *Service) GitHub(_ context.Context, o Opened) (*github.Client, error) {
	if o.Kind != models.ForgeGitHub {
		return nil, models.Errorf(models.Conflict, "The connection %s is not to a GitHub.", o.Name)
	}
	api, err := apiURL(&o.Connection)
	if err != nil {
		return nil, err
	}
	credential := fixed("Bearer " + o.Token)
	switch o.Credential {
	case models.ConnectionToken:
	case models.ConnectionApp:
		credential = func(ctx context.Context) (string, error) {
			token, err := s.installationToken(ctx, api, o)
			return "Bearer " + token, err
		}
	default:
		return nil, noCredential(&o.Connection)
	}
	return githubClient(s.client(api, "Authorization", credential), api)
}

func noCredential(c *models.Connection) error {
	return models.Errorf(models.Conflict, "The connection %s has no credential. A maintainer of its team can give it one.", c.Name)
}

func githubClient(client *http.Client, api *url.URL) (*github.Client, error) {
	address := api.String()
	return github.NewClient(github.WithHTTPClient(client), github.WithURLs(&address, &address), github.WithUserAgent(userAgent))
}

// installations are the tokens of GitHub Apps' installations, kept in memory until shortly before their end. The zero
// value is empty.
type installations struct {
	mu     sync.Mutex
	tokens map[string]installationToken // by app, installation and key
}

type installationToken struct {
	text string
	end  time.Time
}

func (i *installations) get(key string, now time.Time) (string, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	t, ok := i.tokens[key]
	return t.text, ok && now.Add(renewBefore).Before(t.end)
}

func (i *installations) put(key string, t installationToken, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tokens == nil {
		i.tokens = map[string]installationToken{}
	}
	for old, t := range i.tokens {
		if !now.Before(t.end) {
			delete(i.tokens, old)
		}
	}
	i.tokens[key] = t
}

func (i *installations) forget(key string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.tokens, key)
}

// forgetToken has a new token made for the connection's app, because its last one was not accepted.
func (s *Service) forgetToken(o Opened) {
	if api, err := apiURL(&o.Connection); err == nil && o.Credential == models.ConnectionApp {
		s.tokens.forget(installationKey(api, o))
	}
}

// installationKey names the token of an installation; another private key has a token of its own.
func installationKey(api *url.URL, o Opened) string {
	sum := sha256.Sum256([]byte(o.PrivateKey))
	return api.String() + " " + o.AppID + " " + o.InstallationID + " " + hex.EncodeToString(sum[:])
}

// installationToken returns a token of the app's installation, made anew where the last one is about to end.
func (s *Service) installationToken(ctx context.Context, api *url.URL, o Opened) (string, error) {
	key, now := installationKey(api, o), s.now()
	if text, ok := s.tokens.get(key, now); ok {
		return text, nil
	}
	made, err := s.newInstallationToken(ctx, api, o)
	if err != nil {
		return "", err
	}
	s.tokens.put(key, installationToken{made.GetToken(), made.GetExpiresAt().Time}, now)
	return made.GetToken(), nil
}

// newInstallationToken asks GitHub for a token of the installation, which comes with its permissions.
// https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation
func (s *Service) newInstallationToken(ctx context.Context, api *url.URL, o Opened) (*github.InstallationToken, error) {
	signed, err := s.appToken(o)
	if err != nil {
		return nil, err
	}
	client, err := githubClient(s.client(api, "Authorization", fixed("Bearer "+signed)), api)
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseInt(o.InstallationID, 10, 64)
	if err != nil {
		return nil, models.Errorf(models.Conflict, "The installation's id of the connection %s is not a number.", o.Name)
	}
	made, _, err := client.Apps.CreateInstallationToken(ctx, id, nil)
	return made, err
}

// appToken is the app's own token: a JWT signed with its private key.
// https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
func (s *Service) appToken(o Opened) (string, error) {
	key, err := rsaKey(o.PrivateKey)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := s.now()
	return jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: o.AppID, IssuedAt: jwt.NewNumericDate(now.Add(-clockSkew)), Expiry: jwt.NewNumericDate(now.Add(appTokenTime)),
	}).Serialize()
}

// rsaKey reads a private key in PEM's format, PKCS #1 or #8.
func rsaKey(text string) (*rsa.PrivateKey, error) {
	unreadable := models.Errorf(models.Conflict, "The app's private key can't be read. Give it again in the connection's settings.")
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, unreadable
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*rsa.PrivateKey)
	if err != nil || !ok {
		return nil, unreadable
	}
	return key, nil
}
