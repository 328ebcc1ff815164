package buildkit

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/sshforward"
	"golang.org/x/crypto/nacl/sign"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// credentials answers the engine's questions for a registry's credential: it has
// one for the registry of the build's image, and for no other host. Where an
// external registry gives tokens, the engine gets those, fetched by this
// process, and never sees the credential.
type credentials struct {
	auth.UnimplementedAuthServer
	image builds.Destination
	bases builds.Bases
	owner *models.Principal // whom the build acts for

	once   sync.Once
	public *[32]byte // of the key that shows the engine which sessions may share tokens
	secret *[64]byte
}

// Register makes the answers part of the build's session.
func (c *credentials) Register(s *grpc.Server) { auth.RegisterAuthServer(s, c) }

// own tells whether the host is the image's own registry. Docker Hub's API is at another host than its images' names say.
func (c *credentials) own(host string) bool {
	return host == c.image.Host() || c.image.Remote != nil && c.image.Host() == "docker.io" &&
		slices.Contains([]string{"registry-1.docker.io", "index.docker.io", "https://index.docker.io/v1/"}, host)
}

// tokens tells whether the host is a registry that gives tokens, which are fetched here.
func (c *credentials) tokens(ctx context.Context, host string) (bool, error) {
	if !c.own(host) || c.image.Remote == nil {
		return false, nil
	}
	gives, err := c.image.Remote.GivesTokens(ctx)
	if err != nil {
		return false, status.Error(codes.Internal, "the registry can't be asked for a login now")
	}
	return gives, nil
}

// Credentials has one for the image's own registry.
func (c *credentials) Credentials(ctx context.Context, r *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	if !c.own(r.Host) {
		return c.forBases(ctx, r.Host)
	}
	if instead, err := c.tokens(ctx, r.Host); err != nil || instead {
		return &auth.CredentialsResponse{}, err
	}
	user, password, err := c.image.Credential(models.WithPrincipal(ctx, c.owner))
	if err != nil {
		return nil, status.Error(codes.Internal, "there is no credential for the registry now")
	}
	return &auth.CredentialsResponse{Username: user, Secret: password}, nil
}

// forBases has the credential for the cache of base images, and none for any other host.
func (c *credentials) forBases(ctx context.Context, host string) (*auth.CredentialsResponse, error) {
	if host != c.bases.Host || c.bases.Credential == nil {
		return &auth.CredentialsResponse{}, nil
	}
	user, password, err := c.bases.Credential(models.WithPrincipal(ctx, c.owner))
	if err != nil {
		return nil, status.Error(codes.Internal, "there is no credential for the cache now")
	}
	return &auth.CredentialsResponse{Username: user, Secret: password}, nil
}

// FetchToken fetches a token where the registry is an external one, and leaves the embedded one's to the engine.
func (c *credentials) FetchToken(ctx context.Context, r *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	if !c.own(r.Host) || c.image.Remote == nil {
		return nil, status.Error(codes.Unavailable, "the engine fetches tokens itself")
	}
	token, life, err := c.image.Remote.Token(models.WithPrincipal(ctx, c.owner), r.Realm, r.Service, r.Scopes)
	if err != nil {
		slog.WarnContext(ctx, "a registry gave no token for a build", "registry", c.image.Host(), "error", c.image.Remote.Explain(err))
		return nil, status.Error(codes.PermissionDenied, "unauthorized: the registry gave no token")
	}
	return &auth.FetchTokenResponse{Token: token, ExpiresIn: int64(life.Seconds()), IssuedAt: time.Now().Unix()}, nil
}

// GetTokenAuthority says that tokens are fetched here. The key is the build's own: no other build gets its tokens.
func (c *credentials) GetTokenAuthority(ctx context.Context, r *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	if here, err := c.tokens(ctx, r.Host); err != nil || !here {
		return nil, cmp.Or(err, status.Error(codes.Unavailable, "the engine fetches tokens itself"))
	}
	if err := c.key(); err != nil {
		return nil, err
	}
	return &auth.GetTokenAuthorityResponse{PublicKey: c.public[:]}, nil
}

// VerifyTokenAuthority proves that this is the session whose tokens the engine has.
func (c *credentials) VerifyTokenAuthority(ctx context.Context, r *auth.VerifyTokenAuthorityRequest) (*auth.VerifyTokenAuthorityResponse, error) {
	if here, err := c.tokens(ctx, r.Host); err != nil || !here {
		return nil, cmp.Or(err, status.Error(codes.Unavailable, "the engine fetches tokens itself"))
	}
	if err := c.key(); err != nil {
		return nil, err
	}
	return &auth.VerifyTokenAuthorityResponse{Signed: sign.Sign(nil, r.Payload, c.secret)}, nil
}

func (c *credentials) key() (err error) {
	c.once.Do(func() { c.public, c.secret, err = sign.GenerateKey(rand.Reader) })
	if err == nil && c.secret == nil {
		err = status.Error(codes.Internal, "no key could be made")
	}
	return err
}

// agents are SSH agents in this process, one for each key. A command that mounts
// one may have things signed with the key and never sees it.
type agents struct {
	sshforward.UnimplementedSSHServer
	byID map[string]agent.Agent
}

func newAgents(keys map[string]builds.Secret) (*agents, error) {
	a := &agents{byID: map[string]agent.Agent{}}
	for id, key := range keys {
		private, err := ssh.ParseRawPrivateKey(key.Value)
		if err != nil {
			return nil, fmt.Errorf("the SSH key %q can't be used: %w", id, err)
		}
		ring := agent.NewKeyring()
		if err := ring.Add(agent.AddedKey{PrivateKey: private, Comment: id}); err != nil {
			return nil, fmt.Errorf("the SSH key %q can't be used: %w", id, err)
		}
		a.byID[id] = signer{ring}
	}
	return a, nil
}

// signer is an agent that lists and signs, and whose keys a build can't change.
type signer struct{ agent.Agent }

var errFixed = errors.New("the keys of this agent can't be changed")

// Add refuses.
func (signer) Add(agent.AddedKey) error { return errFixed }

// Remove refuses.
func (signer) Remove(ssh.PublicKey) error { return errFixed }

// RemoveAll refuses.
func (signer) RemoveAll() error { return errFixed }

// Lock refuses.
func (signer) Lock([]byte) error { return errFixed }

// Unlock refuses.
func (signer) Unlock([]byte) error { return errFixed }

// Register makes the agents part of the build's session.
func (a *agents) Register(s *grpc.Server) { sshforward.RegisterSSHServer(s, a) }

// CheckAgent tells whether there is an agent of the id.
func (a *agents) CheckAgent(_ context.Context, r *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	id := r.ID
	if id == "" {
		id = sshforward.DefaultID
	}
	if a.byID[id] == nil {
		return nil, status.Errorf(codes.NotFound, "unset ssh forward key %s", id)
	}
	return &sshforward.CheckAgentResponse{}, nil
}

// ForwardAgent connects a command to the agent of the id that it asks for.
func (a *agents) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	id := sshforward.DefaultID
	if asked, ok := metadata.FromIncomingContext(stream.Context()); ok && len(asked[sshforward.KeySSHID]) > 0 && asked[sshforward.KeySSHID][0] != "" {
		id = asked[sshforward.KeySSHID][0]
	}
	keys := a.byID[id]
	if keys == nil {
		return status.Errorf(codes.NotFound, "unset ssh forward key %s", id)
	}
	near, far := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = agent.ServeAgent(keys, near) // it ends with the connection
		near.Close()
	}()
	err := sshforward.Copy(stream.Context(), far, stream, nil)
	far.Close()
	<-served
	return err
}
