package registries

import (
	"regexp"
	"slices"
	"strings"

	"slipway.dev/models"
)

// Names of fields that several kinds have.
const (
	fieldUser     = "username"
	fieldPassword = "password"
	fieldCA       = "ca"

	fieldAccessKey = "access_key_id"
	fieldSecretKey = "secret_access_key"
	fieldServiceKP = "key"
	fieldAmbient   = "default_credentials"
	fieldTarget    = "target"
	fieldAccount   = "service_account"
)

// The kinds of registries.
const (
	KindGHCR      = "ghcr"
	KindDockerHub = "dockerhub"
	KindECR       = "ecr"
	KindGAR       = "gar"
	KindACR       = "acr"
	KindHarbor    = "harbor"
	KindGeneric   = "generic"
)

// Field is one setting of a kind of registry; the admin's form is drawn from it.
type Field struct {
	Name    string
	Label   string
	Help    string
	Example string
	Secret  bool // encrypted at rest and never shown again
	Long    bool // several lines
	Switch  bool // "true" or empty
}

// Kind is a sort of registry: where it is, and what its credential consists of.
type Kind struct {
	Name        string
	Title       string
	Help        string // which credential with which rights
	Host        string // where it always is; empty: the admin says
	HostExample string
	Realms      []string // hosts that give its tokens, beside its own
	Fields      []Field
	MakesOnPush bool // a repository is there once it is pushed to, or Slipway makes it then

	host *regexp.Regexp // that its host matches; nil: any
}

// Kinds returns the kinds of registries, in the order that forms offer them.
func Kinds() []Kind {
	user := func(label, example, help string) Field {
		return Field{Name: fieldUser, Label: label, Example: example, Help: help}
	}
	password := func(label, help string) Field {
		return Field{Name: fieldPassword, Label: label, Help: help, Secret: true}
	}
	ca := Field{Name: fieldCA, Label: "Certificate authority", Long: true, Help: "In PEM, where the registry's certificate is signed by an authority of your own. Engines that build and run have to trust it too."}
	ambient := func(help string) Field {
		return Field{Name: fieldAmbient, Label: "Use the machine's own credentials", Help: help, Switch: true}
	}
	target := func(help string) Field {
		return Field{Name: fieldTarget, Label: "Target whose trust it uses", Example: "production",
			Help: "Instead of a key: the name of a target that signs in by this portal's tokens. " + help}
	}
	return []Kind{
		{
			Name: KindGHCR, Title: "GitHub Container Registry", Host: "ghcr.io", MakesOnPush: true,
			Help:   "A classic personal access token with read:packages to pull, and write:packages to push. Leave both empty for public images.",
			Fields: []Field{user("User name", "octocat", "Of the account that the token belongs to."), password("Token", "Such as ghp_….")},
		},
		{
			Name: KindDockerHub, Title: "Docker Hub", Host: dockerHub, Realms: []string{"auth.docker.io"}, MakesOnPush: true,
			Help:   "An access token (Account settings, Personal access tokens) with Read, or Read & Write to push. Leave both empty for public images.",
			Fields: []Field{user("User or organization name", "acme", ""), password("Access token", "Such as dckr_pat_….")},
		},
		{
			Name: KindECR, Title: "Amazon ECR", HostExample: "123456789012.dkr.ecr.eu-central-1.amazonaws.com", MakesOnPush: true,
			host: regexp.MustCompile(`^([0-9]{12})\.dkr[.-]ecr(-fips)?\.([a-z0-9-]+)\.(amazonaws\.com|amazonaws\.com\.cn|on\.aws|on\.amazonwebservices\.com\.cn)$`),
			Help: "An access key that may ecr:GetAuthorizationToken, ecr:BatchGetImage and ecr:GetDownloadUrlForLayer to pull; to push also ecr:BatchCheckLayerAvailability, ecr:InitiateLayerUpload, ecr:UploadLayerPart, ecr:CompleteLayerUpload, ecr:PutImage, and ecr:DescribeRepositories and ecr:CreateRepository to make repositories. It is exchanged for logins of 12 hours.",
			Fields: []Field{
				{Name: fieldAccessKey, Label: "Access key ID", Example: "AKIA…"},
				{Name: fieldSecretKey, Label: "Secret access key", Secret: true},
				ambient("The role of the machine or container that Slipway runs on, instead of an access key."),
				target("Its role needs the rights above."),
			},
		},
		{
			Name: KindGAR, Title: "Google Artifact Registry", HostExample: "europe-west3-docker.pkg.dev",
			host: regexp.MustCompile(`^([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io)$`),
			Help: "A service account's key with Artifact Registry Reader to pull, Writer to push. It is exchanged for tokens of one hour. The repository PROJECT/REPOSITORY has to be there before the first push.",
			Fields: []Field{
				{Name: fieldServiceKP, Label: "Service account key", Secret: true, Long: true, Help: "The JSON file's text."},
				ambient("The service account of the machine that Slipway runs on, instead of a key."),
				target("Its provider's tokens act as the account below."),
				{Name: fieldAccount, Label: "Account for images", Example: "images@acme-apps.iam.gserviceaccount.com", Help: "With such a target: a service account with rights for Artifact Registry alone, for its tokens go to the engines that pull."},
			},
		},
		{
			Name: KindACR, Title: "Azure Container Registry", HostExample: "acmeapps.azurecr.io", MakesOnPush: true,
			host: regexp.MustCompile(`^[a-z0-9]{5,50}(-[a-z0-9]+)?\.azurecr\.(io|cn|us)$`),
			Help: "A token of the registry with the scope map _repositories_pull or _repositories_push, or a service principal with AcrPull or AcrPush.",
			Fields: []Field{
				user("Token name, or the service principal's application id", "", ""), password("Password", "Of the token, or the service principal's secret."),
				target("Its application needs AcrPull or AcrPush on the registry."),
			},
		},
		{
			Name: KindHarbor, Title: "Harbor", HostExample: "harbor.example.com", MakesOnPush: true,
			Help:   "A robot account of the project with Pull Repository, and Push Repository to push. The project, the first part of a name, has to be there.",
			Fields: []Field{user("Robot account", "robot$acme+slipway", "With the robot$ in front."), password("Secret", ""), ca},
		},
		{
			Name: KindGeneric, Title: "Any OCI registry", HostExample: "registry.example.com:5000", MakesOnPush: true,
			Help:   "A user name and a password or token. Leave both empty where the registry asks for no login.",
			Fields: []Field{user("User name", "", ""), password("Password or token", ""), ca},
		},
	}
}

// KindOf returns the kind of the name, or NotFound.
func KindOf(name string) (Kind, error) {
	all := Kinds()
	i := slices.IndexFunc(all, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, models.Errorf(models.NotFound, "This Slipway knows no registries of the kind %q.", name)
	}
	return all[i], nil
}

// hostOf checks the host that the admin gave, or takes the one that the kind always has.
func (k Kind) hostOf(text string) (string, error) {
	if k.Host != "" && strings.TrimSpace(text) == "" {
		return k.Host, nil
	}
	host, err := cleanHost(text)
	if err != nil {
		return "", err
	}
	if k.Name == KindDockerHub && host == dockerHubAPI {
		host = dockerHub
	}
	switch {
	case k.Host != "" && host != k.Host:
		return "", models.InvalidField("host", "%s is at %s. For another host choose another kind.", k.Title, k.Host)
	case k.host != nil && !k.host.MatchString(host):
		return "", models.InvalidField("host", "%s is at hosts such as %s.", k.Title, k.HostExample)
	}
	return host, nil
}
