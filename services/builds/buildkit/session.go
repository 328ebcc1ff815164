package buildkit

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/sshforward"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// credentials answers the engine's question for a registry's credential: it has
// one for the registry of the build's image, and for no other host.
type credentials struct {
	auth.UnimplementedAuthServer
	image builds.Destination
	owner *models.Principal // whom the build acts for
}

// Register makes the answers part of the build's session.
func (c *credentials) Register(s *grpc.Server) { auth.RegisterAuthServer(s, c) }

// Credentials has one for the image's own registry.
func (c *credentials) Credentials(ctx context.Context, r *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	if r.Host != c.image.Host() {
		return &auth.CredentialsResponse{}, nil
	}
	user, password, err := c.image.Credential(models.WithPrincipal(ctx, c.owner))
	if err != nil {
		return nil, status.Error(codes.Internal, "there is no credential for the registry now")
	}
	return &auth.CredentialsResponse{Username: user, Secret: password}, nil
}

// FetchToken leaves it to the engine to ask for tokens.
func (c *credentials) FetchToken(context.Context, *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	return nil, status.Error(codes.Unavailable, "the engine fetches tokens itself")
}

// GetTokenAuthority leaves it to the engine to ask for tokens.
func (c *credentials) GetTokenAuthority(context.Context, *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	return nil, status.Error(codes.Unavailable, "the engine fetches tokens itself")
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
