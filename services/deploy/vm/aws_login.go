package vm

import (
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// awsFields are the settings by which AWS knows the portal.
func awsFields() []deploy.Field {
	return []deploy.Field{
		{Group: "Account", Name: "region", Label: "Region", Example: "eu-central-1", Required: true},
		{Group: "How Slipway signs in", Name: "role", Label: "Role", Example: "arn:aws:iam::123456789012:role/slipway",
			Help: "That trusts this portal as an OpenID Connect provider: no key is stored. Empty: the access key below; without one, what the portal's own machine has, such as its instance role."},
		{Name: "access_key_id", Label: "Access key ID", Example: "AKIA…"},
		{Name: "secret_access_key", Label: "Secret access key", Secret: true, Help: "Of the access key."},
	}
}

// awsLogin reads how Slipway signs in: a role is taken by tokens of the portal alone.
func awsLogin(c deploy.Config, o Options, wrong map[string]string) awslogin.Login {
	l := awslogin.Read(c, wrong)
	l.Client, l.Backoff = o.Client, o.Every
	switch {
	case l.Role == "" && l.KeyID != "" && l.Secret == "":
		wrong["secret_access_key"] = "The access key needs its secret."
	case l.Role != "":
		l.KeyID, l.Secret = "", ""
	}
	if l.Identity == nil {
		l.Identity = noIssuer("The target has a role, but this portal is no issuer of identity tokens. Give it an address with https, or use an access key.")
	}
	return l
}
