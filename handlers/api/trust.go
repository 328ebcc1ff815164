package api

import (
	"context"
	"time"

	"slipway.dev/services/identity"
)

// Trust is how a cloud is made to trust a target without keys.
type Trust struct {
	Target   string         `json:"target"`
	Cloud    string         `json:"cloud" enum:"aws,google,azure"`
	Issuer   string         `json:"issuer" doc:"Of the tokens by which the cloud knows this portal."`
	Audience string         `json:"audience" doc:"Of the tokens; empty while an input is missing that it depends on."`
	Subject  string         `json:"subject" doc:"Of tokens for the target as a whole." example:"target:production"`
	Releases string         `json:"releases" doc:"The pattern of the subjects of its releases; empty where the cloud gets none." example:"target:production:*"`
	Inputs   []TrustInput   `json:"inputs" nullable:"false" doc:"Send them as parameters of the address."`
	Missing  []string       `json:"missing" nullable:"false" doc:"Inputs that are needed before there are commands."`
	Parts    []TrustPart    `json:"parts" nullable:"false" doc:"Commands and Terraform; empty while an input is missing."`
	Settings []TrustSetting `json:"settings" nullable:"false" doc:"What to enter in the target's settings afterwards. An empty value is what the commands print last."`
	Notes    []string       `json:"notes" nullable:"false"`
}

// TrustInput is something that the commands are made with.
type TrustInput struct {
	Name     string `json:"name"`
	Label    string `json:"label"`
	Help     string `json:"help"`
	Required bool   `json:"required"`
	Value    string `json:"value" doc:"As it was sent, or else as the target's settings or custom have it."`
}

// TrustPart is a piece of the set-up.
type TrustPart struct {
	Title    string `json:"title"`
	Help     string `json:"help"`
	Language string `json:"language" enum:"sh,hcl"`
	Text     string `json:"text"`
}

// TrustSetting is a setting of the target that goes with the set-up.
type TrustSetting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TrustFinding is one thing that a check looked at.
type TrustFinding struct {
	Title string `json:"title"`
	State string `json:"state" enum:"passed,failed,note" doc:"A note is nothing that keeps the trust from working."`
	Text  string `json:"text" doc:"What was found, and what to do where it is wrong."`
}

// IssuerKey is a key that signs the tokens for clouds, did, or will. The key itself is never told; its public half is at /identity/keys.
type IssuerKey struct {
	ID        string     `json:"id"`
	CreatedAt time.Time  `json:"created_at"`
	SignsFrom *time.Time `json:"signs_from" doc:"When it begins to sign; null: it signs, or did."`
	RetiredAt *time.Time `json:"retired_at" doc:"When it stopped to sign; null: it signs, or will."`
}

// RotateIssuerKeys says what becomes of the other keys.
type RotateIssuerKeys struct {
	Leaked bool `json:"leaked,omitempty" doc:"They may have leaked: they are deleted, and the new one signs at once."`
}

// TrustInputs are the parameters that commands are made of. Each cloud has some of them.
type TrustInputs struct {
	Account        string `query:"account" maxLength:"200" doc:"AWS: number of the account."`
	Region         string `query:"region" maxLength:"200" doc:"AWS: code of the region."`
	Role           string `query:"role" maxLength:"200" doc:"AWS: name of the role to make."`
	ExecutionRole  string `query:"execution_role" maxLength:"200" doc:"AWS: name of the role with which ECS starts tasks."`
	TaskRole       string `query:"task_role" maxLength:"200" doc:"AWS: name of the role that apps have."`
	Project        string `query:"project" maxLength:"200" doc:"Google: id of the project."`
	ProjectNumber  string `query:"project_number" maxLength:"200" doc:"Google: number of the project."`
	Pool           string `query:"pool" maxLength:"200" doc:"Google: pool of workload identities."`
	Provider       string `query:"provider" maxLength:"200" doc:"Google: provider in the pool."`
	ServiceAccount string `query:"service_account" maxLength:"200" doc:"Google: service account to make, the part before the @."`
	RunAs          string `query:"run_as" maxLength:"200" doc:"Google: service account that apps run as."`
	ImageAccount   string `query:"image_account" maxLength:"200" doc:"Google: service account for images to make, the part before the @."`
	Upload         string `query:"upload" maxLength:"200" doc:"Google: true where it can't reach the portal."`
	Tenant         string `query:"tenant_id" maxLength:"200" doc:"Azure: id or domain of the tenant."`
	Subscription   string `query:"subscription_id" maxLength:"200" doc:"Azure: id of the subscription."`
	ResourceGroup  string `query:"resource_group" maxLength:"200" doc:"Azure: name of the resource group."`
	Environment    string `query:"environment_group" maxLength:"200" doc:"Azure: resource group of the Container Apps environment, where it is another one."`
	PullIdentity   string `query:"registry_identity" maxLength:"400" doc:"Azure: resource id of the managed identity that pulls images."`
	Registry       string `query:"registry" maxLength:"200" doc:"Azure: name of the container registry that Slipway pushes to."`
	Application    string `query:"application" maxLength:"200" doc:"Azure: name of the application to make."`
}

// given are the parameters that were sent.
func (in TrustInputs) given() map[string]string {
	out := map[string]string{}
	for name, value := range map[string]string{
		"account": in.Account, "region": in.Region, "role": in.Role, "execution_role": in.ExecutionRole, "task_role": in.TaskRole,
		"project": in.Project, "project_number": in.ProjectNumber, "pool": in.Pool, "provider": in.Provider, "service_account": in.ServiceAccount, "run_as": in.RunAs, "image_account": in.ImageAccount, "upload": in.Upload,
		"tenant_id": in.Tenant, "subscription_id": in.Subscription, "resource_group": in.ResourceGroup, "environment_group": in.Environment, "registry_identity": in.PullIdentity, "registry": in.Registry, "application": in.Application,
	} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

func (a *API) trust() {
	get(a, "/targets/trust", "get-new-trust", "Commands by which a cloud trusts a target that is to be made", a.getNewTrust, admin)
	get(a, "/targets/{id}/trust", "get-trust", "Commands by which a cloud trusts a target without keys", a.getTrust, admin,
		about("What is not sent is taken from the target's settings. Nothing is stored, and nothing is run."))
	post(a, "/targets/{id}/trust/check", "check-trust", "Look whether the cloud trusts the target", a.checkTrust, admin,
		about("A token is exchanged as a rollout would do it. Nothing is changed, and nothing of the credential is kept."))
	get(a, "/targets/trust/keys", "list-issuer-keys", "Keys that sign the tokens for clouds", a.listIssuerKeys, admin)
	post(a, "/targets/trust/keys/rotate", "rotate-issuer-keys", "Make the next key that signs the tokens for clouds", a.rotateIssuerKeys, admin, repeatable,
		about("It happens by itself every 90 days, and the next key is published for two weeks before it signs. With leaked all others are deleted: clouds may believe what they signed until their caches end, and refuse the new key for as long."))
}

func (a *API) getTrust(ctx context.Context, in *struct {
	IDIn
	TrustInputs
}) (*answer[Trust], error) {
	s, err := a.Identity.Setup(ctx, in.ID, in.given())
	return replyWith(s, trustOf, err)
}

func (a *API) getNewTrust(ctx context.Context, in *struct {
	Kind string `query:"kind" required:"true" maxLength:"100" doc:"One of the kinds that this Slipway knows."`
	Name string `query:"name" required:"true" maxLength:"100" doc:"That the target will have."`
	TrustInputs
}) (*answer[Trust], error) {
	s, err := a.Identity.SetupNew(ctx, in.Kind, in.Name, in.given())
	return replyWith(s, trustOf, err)
}

func (a *API) checkTrust(ctx context.Context, in *IDIn) (*answer[List[TrustFinding]], error) {
	found, err := a.Identity.Check(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(found, func(f *identity.Finding) TrustFinding { return TrustFinding{f.Title, string(f.State), f.Text} }), nil
}

func (a *API) listIssuerKeys(ctx context.Context, _ *struct{}) (*answer[List[IssuerKey]], error) {
	keys, err := a.Identity.KeyList(ctx)
	if err != nil {
		return nil, err
	}
	return whole(keys, func(k *identity.Key) IssuerKey {
		return IssuerKey{k.ID, k.CreatedAt.UTC(), utc(k.SignsFrom), utc(k.RetiredAt)}
	}), nil
}

func (a *API) rotateIssuerKeys(ctx context.Context, in *struct{ Body RotateIssuerKeys }) (*answer[List[IssuerKey]], error) {
	if err := a.Identity.Rotate(ctx, in.Body.Leaked); err != nil {
		return nil, err
	}
	return a.listIssuerKeys(ctx, nil)
}

func trustOf(s *identity.Setup) Trust {
	return Trust{
		Target: s.Target, Cloud: s.Cloud, Issuer: s.Issuer, Audience: s.Audience, Subject: s.Subject, Releases: s.Releases,
		Inputs: sliceOf(s.Inputs, func(in *identity.Input) TrustInput {
			return TrustInput{in.Name, in.Label, in.Help, in.Required, in.Value}
		}),
		Missing:  append([]string{}, s.Missing...),
		Parts:    sliceOf(s.Parts, func(p *identity.Part) TrustPart { return TrustPart(*p) }),
		Settings: sliceOf(s.Settings, func(x *identity.Setting) TrustSetting { return TrustSetting(*x) }),
		Notes:    append([]string{}, s.Notes...),
	}
}
