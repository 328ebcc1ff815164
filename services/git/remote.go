package git

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/outbound"
)

// defaultUser is the user name sent with a token that has none: GitHub, GitLab, Gitea and Bitbucket take it.
const defaultUser = "x-access-token"

// hostAlias stands for every host in the files that ssh gets, which know only one.
const hostAlias = "slipway-remote"

// visit is all that one contact with a remote needs; close removes its traces.
type visit struct {
	remote  Remote
	address Address
	config  [][2]string
	env     []string
	secrets []string
	session *outbound.Session
	folder  string
}

// open prepares a contact with the remote: for HTTP a proxy session and a header bound to the host, for SSH a folder
// with key, known host and the address that the guard has checked.
func (s *Service) open(ctx context.Context, remote Remote) (*visit, error) {
	address, err := ParseAddress(remote.URL)
	if err != nil {
		return nil, err
	}
	if err := remote.check(address); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	v := &visit{remote: remote, address: address, secrets: remote.secrets()}
	v.allow(address.Scheme)
	switch address.Scheme {
	case HTTP, HTTPS:
		s.openHTTP(v)
	case SSH:
		err = s.openSSH(ctx, v)
	case Local:
		err = s.openLocal(v)
	}
	if err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *visit) close() {
	if v.session != nil {
		v.session.Close()
	}
	if v.folder != "" {
		_ = os.RemoveAll(v.folder)
	}
}

func (v *visit) allow(scheme Scheme) {
	v.env = append(v.env, "GIT_ALLOW_PROTOCOL="+v.protocols())
	v.config = append(v.config, [2]string{"protocol." + string(scheme) + ".allow", "always"})
}

// protocols are those that git may speak in this visit; http may be redirected to https, but not away from it.
func (v *visit) protocols() string {
	if v.address.Scheme == HTTP {
		return "http:https"
	}
	return string(v.address.Scheme)
}

func (s *Service) openHTTP(v *visit) {
	v.session = s.Proxy.Open()
	v.secrets = append(v.secrets, v.session.URL())
	v.config = append(v.config, [2]string{"http.proxy", v.session.URL()}, [2]string{"http.proxyAuthMethod", "basic"})
	if v.remote.Token == "" {
		v.config = append(v.config, [2]string{"http.followRedirects", "initial"})
		return
	}
	basic := base64.StdEncoding.EncodeToString([]byte(or(v.remote.User, defaultUser) + ":" + v.remote.Token))
	v.secrets = append(v.secrets, basic)
	v.config = append(v.config,
		[2]string{"http.followRedirects", "false"},
		[2]string{"http." + v.address.origin() + ".extraHeader", "Authorization: Basic " + basic})
}

func (s *Service) openSSH(ctx context.Context, v *visit) error {
	target, err := s.Guard.ResolveTCP(ctx, v.address.Host, v.address.Port)
	if err != nil {
		return explainDial(v.address, err)
	}
	if v.folder, err = s.scratch(".ssh-"); err != nil {
		return err
	}
	known, strict := "", "accept-new"
	if v.remote.HostKey != "" {
		strict = "yes"
		for line := range strings.Lines(v.remote.HostKey) {
			known += hostAlias + " " + strings.TrimSpace(line) + "\n"
		}
	}
	config := strings.Join([]string{
		"Host *", "User git", "HostName " + target.Addr().String(), "HostKeyAlias " + hostAlias,
		"UserKnownHostsFile " + quoted(v.file("known_hosts")), "GlobalKnownHostsFile /dev/null", "HashKnownHosts no",
		"StrictHostKeyChecking " + strict, "CheckHostIP no", "UpdateHostKeys no",
		"IdentityFile " + quoted(v.file("key")), "IdentitiesOnly yes", "IdentityAgent none",
		"BatchMode yes", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
		"ProxyCommand none", "ProxyJump none", "PermitLocalCommand no", "ClearAllForwardings yes",
		"ForwardAgent no", "ForwardX11 no", "ConnectTimeout 15", "ServerAliveInterval 15", "LogLevel ERROR", "",
	}, "\n")
	v.env = append(v.env, `GIT_SSH_COMMAND=ssh -F "$SLIPWAY_SSH_CONFIG"`, "GIT_SSH_VARIANT=ssh", "SLIPWAY_SSH_CONFIG="+v.file("config"))
	return v.write(map[string]string{"config": config, "key": withNewline(v.remote.PrivateKey), "known_hosts": known})
}

func (s *Service) openLocal(v *visit) error {
	folder, err := s.localFolder(v.address.Path)
	if err != nil {
		return err
	}
	v.address.text = folder
	if v.folder, err = s.scratch(".local-"); err != nil {
		return err
	}
	// Git's other half reads the folder as another program would and takes this only from a file.
	v.env = append(v.env, "GIT_CONFIG_GLOBAL="+v.file("config"))
	return v.write(map[string]string{"config": "[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n"})
}

// scratch makes a private folder, by its full path, for the files of one visit.
func (s *Service) scratch(prefix string) (string, error) {
	dir, err := os.MkdirTemp(s.Dir, prefix)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

func (v *visit) file(name string) string { return filepath.Join(v.folder, name) }

func (v *visit) write(files map[string]string) error {
	for name, content := range files {
		if err := os.WriteFile(v.file(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// hostKey is the SSH server's key as this visit has seen it.
func (v *visit) hostKey() string {
	if v.address.Scheme != SSH || v.remote.HostKey != "" {
		return v.remote.HostKey
	}
	known, err := os.ReadFile(v.file("known_hosts"))
	if err != nil {
		return ""
	}
	var keys []string
	for line := range strings.Lines(string(known)) {
		if key, ok := strings.CutPrefix(strings.TrimSpace(line), hostAlias+" "); ok {
			keys = append(keys, key)
		}
	}
	return strings.Join(keys, "\n")
}

// command is a git command in this visit.
func (v *visit) command(args ...string) command {
	return command{args: args, config: v.config, env: v.env}
}

func (r Remote) secrets() []string {
	var secrets []string
	for _, secret := range []string{r.Token, r.PrivateKey} {
		if len(secret) > 3 {
			secrets = append(secrets, secret)
		}
	}
	return secrets
}

// check refuses credentials that don't fit the address, before anything is opened.
func (r Remote) check(a Address) error {
	switch {
	case r.Token != "" && a.Scheme != HTTP && a.Scheme != HTTPS:
		return models.InvalidField("credential", "A token works only with an http or https address.")
	case r.PrivateKey != "" && a.Scheme != SSH:
		return models.InvalidField("credential", "A deploy key works only with an SSH address.")
	case r.PrivateKey == "" && a.Scheme == SSH:
		return models.InvalidField("credential", "An SSH address needs a deploy key.")
	case strings.ContainsAny(r.Token+r.User, "\r\n\x00") || strings.Contains(r.User, ":"):
		return models.InvalidField("credential", "The user name or token contains a character that can't be sent.")
	}
	return nil
}

func quoted(path string) string { return `"` + strings.ReplaceAll(path, "%", "%%") + `"` }

func withNewline(s string) string { return strings.TrimRight(s, "\r\n") + "\n" }
