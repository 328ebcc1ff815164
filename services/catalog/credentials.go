package catalog

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"
	"slipway.dev/models"
	"slipway.dev/services/git"
)

// Credential is how a repository is read. The token and the private key are stored encrypted and never shown again.
type Credential struct {
	Kind       models.CredentialKind `json:"kind,omitempty" form:"credential_kind" enum:"none,token,ssh" doc:"Empty: token where a token is given, ssh for an SSH address, none otherwise."`
	User       string                `json:"user,omitempty" form:"credential_user" doc:"User name that goes with the token; most forges take any."`
	Token      string                `json:"token,omitempty" form:"credential_token" doc:"Access token for an http or https address."`
	PrivateKey string                `json:"private_key,omitempty" form:"credential_private_key" doc:"Deploy key in OpenSSH's format, without a passphrase. Empty: Slipway makes a key pair and shows its public half."`
}

// given tells whether the input says anything about the credential.
func (c Credential) given() bool { return c != Credential{} }

// kind is the credential's kind for the address, guessed where it was left open.
func (c Credential) kind(a git.Address) models.CredentialKind {
	switch {
	case c.Kind != "":
		return c.Kind
	case c.Token != "":
		return models.CredentialToken
	case a.Scheme == git.SSH:
		return models.CredentialSSH
	}
	return models.CredentialNone
}

// credentialPlace binds a repository's sealed secret to its row.
func credentialPlace(repositoryID string) string {
	return "repositories/" + repositoryID + "/credential"
}

// setCredential puts the credential into the row, its secret sealed; faults are about the credential's fields.
func (s *Service) setCredential(r *models.Repository, a git.Address, c Credential) error {
	r.CredentialKind, r.CredentialUser, r.CredentialSecret, r.CredentialPublic = c.kind(a), "", nil, ""
	secret, err := "", error(nil)
	switch r.CredentialKind {
	case models.CredentialNone:
		err = checkNoCredential(a)
	case models.CredentialToken:
		r.CredentialUser = strings.TrimSpace(c.User)
		secret, err = checkToken(a, r.CredentialUser, c.Token)
	case models.CredentialSSH:
		secret, r.CredentialPublic, err = deployKey(a, r.Name, c.PrivateKey)
	default:
		err = models.InvalidField("credential_kind", "Choose none, token or ssh.")
	}
	if err != nil || secret == "" {
		return err
	}
	r.CredentialSecret = s.Secrets.Seal(credentialPlace(r.ID), []byte(secret))
	return nil
}

func checkNoCredential(a git.Address) error {
	if a.Scheme == git.SSH {
		return models.InvalidField("credential_kind", "An SSH address needs a deploy key.")
	}
	return nil
}

func checkToken(a git.Address, user, token string) (string, error) {
	token = strings.TrimSpace(token)
	notPlain := func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }
	switch {
	case a.Scheme != git.HTTP && a.Scheme != git.HTTPS:
		return "", models.InvalidField("credential_kind", "A token works only with an http or https address.")
	case token == "" || len(token) > 4096 || strings.ContainsFunc(token, notPlain):
		return "", models.InvalidField("credential_token", "Enter the access token: one line without spaces.")
	case len(user) > 200 || strings.Contains(user, ":") || strings.ContainsFunc(user, notPlain):
		return "", models.InvalidField("credential_user", "A user name has no spaces and no colon.")
	}
	return token, nil
}

// deployKey returns the private key, given or made anew, and its public half in the format of authorized_keys.
func deployKey(a git.Address, name, given string) (private, public string, err error) {
	if a.Scheme != git.SSH {
		return "", "", models.InvalidField("credential_kind", "A deploy key works only with an SSH address, such as git@git.example.com:team/app.git.")
	}
	comment := "slipway-" + name
	if strings.TrimSpace(given) != "" {
		return readKey(given, comment)
	}
	publicKey, privateKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(privateKey, comment)
	if err != nil {
		return "", "", err
	}
	shown, err := ssh.NewPublicKey(publicKey)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(block)), authorizedKey(shown, comment), nil
}

func readKey(given, comment string) (private, public string, err error) {
	private = strings.TrimSpace(strings.ReplaceAll(given, "\r\n", "\n")) + "\n"
	if len(private) > 32<<10 {
		return "", "", models.InvalidField("credential_private_key", "This is too long for a private key.")
	}
	signer, err := ssh.ParsePrivateKey([]byte(private))
	if missing := new(ssh.PassphraseMissingError); errors.As(err, &missing) {
		return "", "", models.InvalidField("credential_private_key", "This key has a passphrase, which nobody could type in later. Use one without.")
	}
	if err != nil {
		return "", "", models.InvalidField("credential_private_key", "This is not a private key that can be read. It begins with -----BEGIN OPENSSH PRIVATE KEY-----.")
	}
	return private, authorizedKey(signer.PublicKey(), comment), nil
}

func authorizedKey(key ssh.PublicKey, comment string) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + comment
}

// Remote is the repository as git gets it, its secret opened. It is for the work of workers and asks for no principal.
func (s *Service) Remote(_ context.Context, r *models.Repository) (git.Remote, error) {
	remote := git.Remote{URL: r.CloneURL, User: r.CredentialUser, HostKey: r.HostKey, DefaultBranch: r.DefaultBranch}
	if len(r.CredentialSecret) == 0 {
		return remote, nil
	}
	secret, err := s.Secrets.Open(credentialPlace(r.ID), r.CredentialSecret)
	if err != nil {
		return git.Remote{}, &models.Error{Code: models.Unavailable, Message: "The repository's credential can't be decrypted. Give it again in the repository's settings.", Err: err}
	}
	if r.CredentialKind == models.CredentialSSH {
		remote.PrivateKey = string(secret)
	} else {
		remote.Token = string(secret)
	}
	return remote, nil
}
