package forges

import (
	"slices"

	"slipway.dev/models"
)

// Field is one setting of a credential; the form is drawn from it.
type Field struct {
	Name    string
	Label   string
	Help    string
	Example string
	Secret  bool // encrypted at rest and never shown again
	Long    bool // of several lines
	check   func(value string) (fault string)
}

// Credential is a way to call a forge's API, with its settings. All of them are needed.
type Credential struct {
	Kind   models.ConnectionCredential
	Title  string
	Help   string
	Fields []Field
}

// Kind is a kind of forge: where it is, how Slipway may call it, and how people set up its webhooks.
type Kind struct {
	Name        models.ForgeKind
	Title       string
	Help        string
	BaseURL     string // the one that most use; empty where everybody has their own
	Nowhere     bool   // has no address, for it is only listened to
	Credentials []Credential
	Steps       []string // what to do at the forge, once the address and the secret are at hand
}

// The names of the fields, by which an opened connection's settings and secrets are read.
const (
	FieldToken          = "token"
	FieldAppID          = "app_id"
	FieldInstallationID = "installation_id"
	FieldPrivateKey     = "private_key"
)

var (
	listen = Credential{Kind: models.ConnectionNone, Title: "None", Help: "Slipway receives webhooks and sends nothing back"}
	app    = Credential{
		Kind: models.ConnectionApp, Title: "GitHub App", Help: "an app of your organization; its permissions are its own and its tokens live an hour",
		Fields: []Field{
			{Name: FieldAppID, Label: "App ID", Help: "Under About in the app's settings.", Example: "123456", check: checkNumber},
			{Name: FieldInstallationID, Label: "Installation ID", Help: "The number at the end of the installation's address.", Example: "7654321", check: checkNumber},
			{Name: FieldPrivateKey, Label: "Private key", Help: "The file that GitHub makes under Private keys, whole.", Example: "-----BEGIN RSA PRIVATE KEY-----", Secret: true, Long: true, check: checkPrivateKey},
		},
	}
)

func token(help string) Credential {
	return Credential{Kind: models.ConnectionToken, Title: "Token", Help: "an access token, made for Slipway alone",
		Fields: []Field{{Name: FieldToken, Label: "Access token", Help: help, Secret: true, check: checkToken}}}
}

// Kinds are the kinds of forges that Slipway works with.
var Kinds = []Kind{
	{
		Name: models.ForgeGitHub, Title: "GitHub", Help: "github.com, or GitHub Enterprise at an address of its own", BaseURL: "https://github.com",
		Credentials: []Credential{listen, token("Fine-grained, for the repositories that Slipway builds, with read and write of commit statuses."), app},
		Steps: []string{
			"Open the repository's or the organization's Settings → Webhooks → Add webhook; with a GitHub App, the app's Settings → General → Webhook.",
			"Paste the address as Payload URL and the secret as Secret, and choose the content type application/json.",
			"Choose “Let me select individual events”: Pushes and Pull requests. A GitHub App subscribes to them under Permissions & events.",
		},
	},
	{
		Name: models.ForgeGitLab, Title: "GitLab", Help: "gitlab.com, or one's own GitLab", BaseURL: "https://gitlab.com",
		Credentials: []Credential{listen, token("Of the project or the group, with the scope api and the role Developer.")},
		Steps: []string{
			"Open the project's or the group's Settings → Webhooks → Add new webhook.",
			"Paste the address as URL and the secret as Secret token.",
			"Tick the triggers Push events, Tag push events and Merge request events.",
		},
	},
	{
		Name: models.ForgeGitea, Title: "Gitea or Forgejo", Help: "a Gitea, a Forgejo, Codeberg",
		Credentials: []Credential{listen, token("With read and write of repositories.")},
		Steps: []string{
			"Open the repository's or the organization's Settings → Webhooks → Add webhook → Gitea, or Forgejo.",
			"Paste the address as Target URL and the secret as Secret, and choose the content type application/json.",
			"Choose Custom events: Push, Pull request and Pull request synchronized.",
		},
	},
	{
		Name: models.ForgeGeneric, Title: "Signed webhook", Help: "any program that can sign a request: another forge, a script, a CI", Nowhere: true,
		Credentials: []Credential{listen},
		Steps: []string{
			"Have the program POST the event as JSON to the address.",
			"Have it sign each request with the secret: the documentation shows how, in ten lines of shell.",
		},
	},
}

// KindOf returns the kind of the name, or NotFound.
func KindOf(name models.ForgeKind) (Kind, error) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, models.Errorf(models.NotFound, "Slipway knows no forges of the kind %q.", name)
	}
	return Kinds[i], nil
}

// credential returns the kind's credential of the name.
func (k Kind) credential(name models.ConnectionCredential) (Credential, bool) {
	i := slices.IndexFunc(k.Credentials, func(c Credential) bool { return c.Kind == name })
	if i < 0 {
		return Credential{}, false
	}
	return k.Credentials[i], true
}
