package azure

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// login is what Azure pulls the release's image with.
type login struct {
	server, user, password string
	identity               string // resource id of a managed identity, in place of a password
}

// serverOf is the host in an image's name.
func serverOf(repository string) string {
	host, _, _ := strings.Cut(repository, "/")
	return host
}

// byIdentity tells whether the image is pulled with the target's managed identity, which only Azure's own registries know.
func (t *target) byIdentity(repository string) bool {
	name, _, _ := strings.Cut(serverOf(repository), ":")
	return t.settings.identity != "" && strings.Contains(name, ".azurecr.")
}

// login returns what the image is pulled with.
func (t *target) login(ctx context.Context, stage string, r deploy.Release) (login, error) {
	l := login{server: serverOf(r.Image.Repository)}
	if t.byIdentity(r.Image.Repository) {
		l.identity = t.settings.identity
		return l, nil
	}
	user, password, err := r.From.Credential(ctx)
	if told, ok := errors.AsType[*models.Error](err); ok {
		return l, deploy.Failf(deploy.StageImage, err, "%s can't be pulled: %s", r.Image.Ref(), told.Message)
	}
	if err != nil {
		return l, deploy.Failf(deploy.StageImage, err, "No credential could be made to pull %s.", r.Image.Ref())
	}
	l.user, l.password = user, password
	return l, nil
}

// into puts the login in place of what there is for its server.
func (l login) into(registries []*aca.RegistryCredentials, secrets []*aca.Secret) ([]*aca.RegistryCredentials, []*aca.Secret) {
	name := registrySecret(l.server)
	registries = slices.DeleteFunc(slices.Clone(registries), func(c *aca.RegistryCredentials) bool { return strings.EqualFold(value(c.Server), l.server) })
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s *aca.Secret) bool { return value(s.Name) == name })
	switch {
	case l.identity != "":
		registries = append(registries, &aca.RegistryCredentials{Server: to.Ptr(l.server), Identity: to.Ptr(l.identity)})
	case l.password != "":
		registries = append(registries, &aca.RegistryCredentials{Server: to.Ptr(l.server), Username: to.Ptr(l.user), PasswordSecretRef: to.Ptr(name)})
		secrets = append(secrets, &aca.Secret{Name: to.Ptr(name), Value: to.Ptr(l.password)})
	}
	return registries, secrets
}

// identity is the one of what there is with the target's, which pulls.
func (t *target) identity(have *aca.ManagedServiceIdentity) *aca.ManagedServiceIdentity {
	if t.settings.identity == "" {
		return have
	}
	out := &aca.ManagedServiceIdentity{Type: to.Ptr(aca.ManagedServiceIdentityTypeUserAssigned), UserAssignedIdentities: map[string]*aca.UserAssignedIdentity{}}
	if have != nil {
		if strings.Contains(string(value(have.Type)), string(aca.ManagedServiceIdentityTypeSystemAssigned)) {
			out.Type = to.Ptr(aca.ManagedServiceIdentityTypeSystemAssignedUserAssigned)
		}
		for id := range have.UserAssignedIdentities {
			if !strings.EqualFold(id, t.settings.identity) {
				out.UserAssignedIdentities[id] = &aca.UserAssignedIdentity{}
			}
		}
	}
	out.UserAssignedIdentities[t.settings.identity] = &aca.UserAssignedIdentity{}
	return out
}

// Renew writes the login that the release's image is pulled with, where it is
// another one by now: replicas move to machines that lack the image.
func (t *target) Renew(ctx context.Context, r deploy.Release) error {
	app, err := t.own(ctx, deploy.StageTarget, r)
	if app == nil || err != nil {
		return err
	}
	l, err := t.login(ctx, deploy.StageTarget, r)
	if err != nil || l.password == "" {
		return err
	}
	have, err := t.secrets(ctx, *app.Name)
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err)
	}
	same := func(s *aca.Secret) bool {
		return value(s.Name) == registrySecret(l.server) && value(s.Value) == l.password
	}
	if slices.ContainsFunc(have, same) {
		return nil
	}
	config := &aca.Configuration{}
	config.Registries, config.Secrets = l.into(app.Properties.Configuration.Registries, have)
	return t.patch(ctx, deploy.StageTarget, *app.Name, config)
}
