package git

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"unicode"

	"slipway.dev/models"
	"slipway.dev/services/outbound"
)

// maxReason is how much of git's own words is passed on.
const maxReason = 400

// cause is a kind of failure that git reports, and what a person should read about it. In message, %s is the host.
type cause struct {
	pattern *regexp.Regexp
	code    models.Code
	field   string
	message string
}

// causes are tried in order on what git and ssh print in the C locale.
var causes = []cause{
	{say(`REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed`), models.Invalid, "clone_url",
		"%s shows another SSH host key than at the first contact. If the server was really set up anew, forget the old key in the repository's settings; if not, somebody may be listening in."},
	{say(`Permission denied \(|Load key .*invalid|error in libcrypto|Too many authentication failures`), models.Invalid, "credential",
		"%s did not accept the deploy key. Add the public key shown in the repository's settings to the repository as a deploy key with read access."},
	{say(`returned error: 30\d|unable to update url base from redirection`), models.Invalid, "clone_url",
		"%s sends this address on to another one. Use the final address; often only .git is missing at its end."},
	{say(`returned error: 404|[Rr]epository .*not found|does not appear to be a git repository|[Pp]roject you were looking for could not be found|not found: did you run|No such (project|repository)|Could not find repository`), models.Invalid, "clone_url",
		"%s has no such repository, or the credential may not see it. Check the address for typing errors."},
	{say(`is this a git repository\?|not valid: could not determine hash algorithm|protocol error: bad line length|bad band`), models.Invalid, "clone_url",
		"%s answers, but there is no git repository at this address. Use the address that the forge shows under Clone."},
	{say(`transport '[^']*' not allowed`), models.Invalid, "clone_url", "%s wants another way of transport than Slipway allows."},
	{say(`SSL certificate|SSL peer certificate|certificate verify failed|server certificate verification failed|gnutls_handshake|SSL_ERROR|SSL routines|wrong version number|TLS`), models.Invalid, "clone_url",
		"No safe connection to %s could be made: its certificate is not valid or not known here."},
	{say(`Could not resolve (host|hostname)|Name or service not known|Temporary failure in name resolution`), models.Invalid, "clone_url",
		"The host %s is not known. Check the address for typing errors."},
	{say(`[Cc]onnection refused`), models.Unavailable, "clone_url", "%s refused the connection. Check host and port, and whether the server runs."},
	{say(`timed out|Operation too slow|[Cc]onnection timeout`), models.Unavailable, "clone_url", "%s did not answer in time. Try again later."},
	{say(`No space left on device`), models.Unavailable, "", "There is no space left on Slipway's disk, so %s could not be fetched. Tell an administrator."},
	{say(`(fsck|index-pack|unpack-objects).*(error|failed)|fatal: bad object|error: object [0-9a-f]+:`), models.Invalid, "clone_url",
		"The repository on %s contains damaged or unsafe objects, so it was not taken."},
	{say(`expected flush after ref listing|the remote end hung up|early EOF|RPC failed|[Cc]onnection (reset|closed)|unexpected disconnect|Empty reply|returned error: 5\d\d|Failed to connect`), models.Unavailable, "clone_url",
		"%s could not be read to the end. Try again later."},
}

// noEntry matches the ways in which HTTP servers and git say that the credential, or none, was not enough.
var noEntry = say(`could not read (Username|Password)|terminal prompts disabled|Authentication failed|HTTP Basic: Access denied|Invalid username or|returned error: 40[13]`)

func (v *visit) entryMessage() string {
	if v.remote.Token == "" {
		return v.place() + " asks for credentials: the repository is private or doesn't exist. Give a token that may read it."
	}
	return v.place() + " did not accept the token. It may be wrong, expired or not allowed to read this repository."
}

func say(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }

// explain turns the failure of a visit into an error that people can read, with git's own reason and without the
// visit's secrets.
func (s *Service) explain(v *visit, err error) error {
	var failed *failure
	var told *models.Error
	if errors.As(err, &told) || !errors.As(err, &failed) {
		return err
	}
	if limit := s.explainLimit(v, failed); limit != nil {
		return limit
	}
	if v.session != nil && v.session.Err() != nil {
		if dial := explainDial(v.address, v.session.Err()); dial != nil {
			return dial
		}
	}
	text := mask(failed.stderr, v.secrets)
	reason := reasonIn(text)
	if noEntry.MatchString(text) {
		return unreadable(models.Invalid, "credential", failed, v.entryMessage(), reason)
	}
	for _, c := range causes {
		if c.pattern.MatchString(text) {
			return unreadable(c.code, c.field, failed, fmt.Sprintf(c.message, v.place()), reason)
		}
	}
	return unreadable(models.Unavailable, "clone_url", failed, fmt.Sprintf("The repository on %s could not be read.", v.place()), reason)
}

func (s *Service) explainLimit(v *visit, failed *failure) error {
	switch {
	case errors.Is(failed.err, errTooBig):
		return unreadable(models.TooLarge, "clone_url", failed, fmt.Sprintf("The repository is larger than the limit of %d MiB.", s.Limits.mirrorBytes()>>20), "")
	case errors.Is(failed.err, errSlow), errors.Is(failed.err, context.DeadlineExceeded):
		return unreadable(models.Unavailable, "clone_url", failed, v.place()+" did not answer in time. Try again later.", "")
	case errors.Is(failed.err, context.Canceled):
		return context.Canceled
	case errors.Is(failed.err, exec.ErrNotFound):
		return unreadable(models.Unavailable, "", failed, "The git program is not installed on Slipway's server. Tell an administrator.", "")
	}
	return nil
}

// explainDial is about connections that could not be made at all; nil when the reason is not one of the guard's.
func explainDial(a Address, err error) error {
	var refused *outbound.RefusedError
	var host *outbound.HostError
	switch {
	case errors.As(err, &refused):
		return unreadable(models.Invalid, "clone_url", err, "Slipway doesn't connect there: "+refused.Error()+".", "")
	case errors.As(err, &host):
		return unreadable(models.Invalid, "clone_url", err, fmt.Sprintf("The host %s is not known: %s. Check the address for typing errors.", host.Host, host.Reason), "")
	case strings.Contains(err.Error(), "connection refused"):
		return unreadable(models.Unavailable, "clone_url", err, fmt.Sprintf("%s refused the connection on port %s. Check host and port, and whether the server runs.", a.Host, a.Port), "")
	case strings.Contains(err.Error(), "timeout"), strings.Contains(err.Error(), "no route"), strings.Contains(err.Error(), "unreachable"):
		return unreadable(models.Unavailable, "clone_url", err, fmt.Sprintf("%s could not be reached. Check the address, or try again later.", a.Host), "")
	}
	return nil
}

func unreadable(code models.Code, field string, err error, message, reason string) error {
	if reason != "" {
		message += " Git says: " + reason
	}
	e := &models.Error{Code: code, Message: message, Err: errors.New(causeOf(err))}
	if field != "" {
		e.Fields = map[string]string{field: message}
	}
	return e
}

// causeOf keeps the kind of the cause for the log, and nothing of git's text, which may quote a secret.
func causeOf(err error) string {
	var failed *failure
	if errors.As(err, &failed) {
		return failed.err.Error()
	}
	return err.Error()
}

func (v *visit) place() string {
	if v.address.Scheme == Local {
		return "The folder " + v.address.Path
	}
	return v.address.Host
}

// mask removes the secrets of a visit from a text.
func mask(text string, secrets []string) string {
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// reasonIn picks the lines in which git, ssh or the server give the reason, as one line of plain text.
func reasonIn(stderr string) string {
	var reasons, others []string
	for line := range strings.Lines(stderr) {
		line = plain(line)
		switch {
		case line == "" || strings.HasPrefix(line, "@@@") || strings.HasPrefix(line, "hint:"):
		case isReason(line):
			reasons = append(reasons, line)
		default:
			others = append(others, line)
		}
	}
	if len(reasons) == 0 {
		reasons = others
	}
	reason := []rune(strings.Join(reasons, " · "))
	if len(reason) > maxReason {
		return string(reason[:maxReason]) + "…"
	}
	return string(reason)
}

func isReason(line string) bool {
	for _, prefix := range []string{"fatal:", "error:", "remote:", "ERROR:", "ssh:"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return strings.Contains(line, "Permission denied (") || strings.HasPrefix(line, "Load key ")
}

// plain makes one line of outside text harmless to show anywhere.
func plain(line string) string {
	line = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(line, "?"))
	return strings.Join(strings.Fields(line), " ")
}
