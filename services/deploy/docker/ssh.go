package docker

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"slipway.dev/models"
)

const (
	defaultSocket = "/var/run/docker.sock"
	sshTime       = 10 * time.Second // to reach a machine and sign in
	sshAlive      = 15 * time.Second // between two questions whether it is still there, and for the answer
	sshIdle       = 5 * time.Minute  // without any use, after which a connection is given up
)

// hostKeyAlgorithms are the kinds of host keys, the preferred first: the
// fingerprint that a person compares is of the one that the machine has of it.
var hostKeyAlgorithms = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}

// machine is another machine that is reached over SSH, on one connection that
// is made when it is needed, carries everything, and is given up when nobody
// uses it for a while. Nothing is installed there: connections go to the
// engine's socket and to published ports by the protocol's own forwarding, and
// what an engine does not tell is read by tools that every system has.
type machine struct {
	user    string
	address string // host:port
	signer  ssh.Signer
	hostKey string // its fingerprint, or a line of the type and the key; empty: nobody has looked at it yet

	mu     sync.Mutex
	conn   *sshConn
	closed bool
}

// sshConn is a connection and how much of it is in use.
type sshConn struct {
	*ssh.Client
	open atomic.Int64 // forwarded connections
	used atomic.Int64 // when the last of them was opened or closed, in Unix seconds
}

// newMachine reads the settings of a target.
func newMachine(settings, secrets map[string]string) (*machine, error) {
	m := &machine{hostKey: strings.TrimSpace(settings["host_key"])}
	var err error
	if m.user, m.address, err = parseMachine(settings["host"]); err != nil {
		return nil, err
	}
	if m.hostKey != "" && !strings.HasPrefix(m.hostKey, "SHA256:") {
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(m.hostKey)); err != nil {
			return nil, models.InvalidField("host_key", "This is neither a fingerprint (SHA256:…) nor a public key such as ssh-ed25519 AAAA….")
		}
	}
	m.signer, err = ssh.ParsePrivateKey([]byte(secrets["private_key"]))
	if missing := new(ssh.PassphraseMissingError); errors.As(err, &missing) {
		return nil, models.InvalidField("private_key", "The key is locked by a passphrase. Give one without.")
	}
	if err != nil {
		return nil, models.InvalidField("private_key", "This is not a private key in OpenSSH's format. Leave the field empty to have one made.")
	}
	return m, nil
}

// parseMachine takes user@host or user@host:port apart.
func parseMachine(text string) (user, address string, err error) {
	wrong := models.InvalidField("host", "%q is not user@host or user@host:port.", text)
	user, host, ok := strings.Cut(text, "@")
	if !ok || user == "" || strings.ContainsAny(text, " \t\r\n/") || strings.HasPrefix(user, "-") {
		return "", "", wrong
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), "22"
	}
	if name == "" || strings.HasPrefix(name, "-") || strings.Contains(name, "@") {
		return "", "", wrong
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return "", "", wrong
	}
	return user, net.JoinHostPort(name, port), nil
}

// PrepareKey makes the key pair that Slipway signs in with, private_key, where the admin brought none, and shows its
// public half, public_key.
func PrepareKey(settings, secrets map[string]string) error {
	if secrets["private_key"] == "" {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		block, err := ssh.MarshalPrivateKey(key, "slipway")
		if err != nil {
			return err
		}
		secrets["private_key"] = string(pem.EncodeToMemory(block))
	}
	secrets["private_key"] = strings.TrimSpace(strings.ReplaceAll(secrets["private_key"], "\r\n", "\n")) + "\n"
	if signer, err := ssh.ParsePrivateKey([]byte(secrets["private_key"])); err == nil { // opening the target says what is wrong
		settings["public_key"] = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " slipway"
	}
	return nil
}

// checkSocket returns the path of the engine's socket on the machine.
func checkSocket(text string) (string, error) {
	if text == "" {
		return defaultSocket, nil
	}
	if !path.IsAbs(text) || path.Clean(text) != text {
		return "", models.InvalidField("socket", "%q is not the full path of a socket, such as %s.", text, defaultSocket)
	}
	return text, nil
}

// sshFault is why the machine can't be used, for people.
type sshFault struct {
	message string
	err     error
}

func (f *sshFault) Error() string { return f.message }
func (f *sshFault) Unwrap() error { return f.err }

func (m *machine) fault(err error, format string, args ...any) error {
	return &sshFault{fmt.Sprintf(format, args...), err}
}

// Dial connects to an address as the machine sees it: a unix socket, or host:port.
func (m *machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	for {
		c, fresh, err := m.connection(ctx)
		if err != nil {
			return nil, dialError(network, err)
		}
		conn, err := c.forward(ctx, network, address)
		refused := new(ssh.OpenChannelError)
		switch {
		case err == nil:
			return conn, nil
		case errors.As(err, &refused):
			return nil, dialError(network, m.refused(refused, network, address))
		case fresh || ctx.Err() != nil:
			return nil, dialError(network, err)
		}
		m.drop(c) // it broke since it was used last
	}
}

// dialError marks what an ordinary dialer would have said of an address of the
// network. The engine's client gets the bare fault: it would forget the reason
// of an error that looks like a local socket's.
func dialError(network string, err error) error {
	if network == "unix" {
		return err
	}
	return &net.OpError{Op: "dial", Net: network, Err: err}
}

// refused explains why the machine did not forward a connection.
func (m *machine) refused(err *ssh.OpenChannelError, network, address string) error {
	if err.Reason == ssh.Prohibited {
		return m.fault(err, "The SSH server on %s forwards no connections. Allow it for %s: AllowTcpForwarding yes, and AllowStreamLocalForwarding yes.", m.address, m.user)
	}
	if network == "unix" {
		return m.fault(err, "There is no Docker Engine at %s on %s, or %s may not use it. Install Docker there, and put the user into the group docker.", address, m.address, m.user)
	}
	return syscall.ECONNREFUSED // as a dialer on the machine would have been told
}

// forward opens a connection through c.
func (c *sshConn) forward(ctx context.Context, network, address string) (net.Conn, error) {
	c.use(1)
	conn, err := c.DialContext(ctx, network, address)
	if err != nil {
		c.use(-1)
		return nil, err
	}
	return &forwarded{Conn: conn, through: c}, nil
}

func (c *sshConn) use(n int64) {
	c.used.Store(time.Now().Unix())
	c.open.Add(n)
}

// forwarded is a connection that counts as a use of what carries it.
type forwarded struct {
	net.Conn
	through *sshConn
	once    sync.Once
}

// Close ends the connection.
func (f *forwarded) Close() error {
	f.once.Do(func() { f.through.use(-1) })
	return f.Conn.Close()
}

// CloseWrite says that no more will be written; an engine's hijacked connections end so.
func (f *forwarded) CloseWrite() error {
	if half, ok := f.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// connection returns the connection to the machine, made where there is none. fresh tells whether it was.
func (m *machine) connection(ctx context.Context) (c *sshConn, fresh bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, false, net.ErrClosed
	}
	if m.conn != nil {
		return m.conn, false, nil
	}
	if c, err = m.connect(ctx); err != nil {
		return nil, false, err
	}
	m.conn = c
	go m.watch(c)
	return c, true, nil
}

// connect signs in to the machine.
func (m *machine) connect(ctx context.Context) (*sshConn, error) {
	ctx, cancel := context.WithTimeout(ctx, sshTime)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", m.address)
	if err != nil {
		return nil, m.fault(err, "The machine %s does not answer: %s. Check its address, that it runs, and that its firewall lets this portal in.", m.address, explainDial(err))
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	conn, channels, requests, err := ssh.NewClientConn(raw, m.address, &ssh.ClientConfig{
		User: m.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(m.signer)}, HostKeyCallback: m.checkHostKey, HostKeyAlgorithms: hostKeyAlgorithms, ClientVersion: "SSH-2.0-Slipway",
	})
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		raw.Close()
		return nil, m.explainSignIn(ctx, err)
	}
	c := &sshConn{Client: ssh.NewClient(conn, channels, requests)}
	c.used.Store(time.Now().Unix())
	return c, nil
}

func explainDial(err error) string {
	var name *net.DNSError
	switch {
	case errors.As(err, &name):
		return "its name is not known"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there"
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", sshTime)
	}
	return "no way leads there"
}

func (m *machine) explainSignIn(ctx context.Context, err error) error {
	if fault := new(sshFault); errors.As(err, &fault) {
		return fault
	}
	switch {
	case ctx.Err() != nil:
		return m.fault(err, "The machine %s did not let Slipway in within %s.", m.address, sshTime)
	case strings.Contains(err.Error(), "unable to authenticate"):
		return m.fault(err, "The machine %s does not accept the key for the user %s. Put the target's public key into ~%s/.ssh/authorized_keys there.", m.address, m.user, m.user)
	}
	return m.fault(err, "What listens at %s is no SSH server that Slipway can talk to.", m.address)
}

// checkHostKey accepts the machine's identity where a person has looked at it.
func (m *machine) checkHostKey(_ string, _ net.Addr, key ssh.PublicKey) error {
	shown := ssh.FingerprintSHA256(key)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
	switch pinned := strings.Join(strings.Fields(m.hostKey)[:min(2, len(strings.Fields(m.hostKey)))], " "); pinned {
	case shown, line:
		return nil
	case "":
		return m.fault(nil, "The machine %s shows the host key %s (%s). Compare it with what ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub prints there, and write it into the field Host key.", m.address, shown, key.Type(), keyFile(key))
	}
	return m.fault(nil, "The machine %s shows another host key than the target's: %s (%s). If it was installed anew, compare the key and write it into the field Host key; if not, somebody stands between.", m.address, shown, key.Type())
}

// keyFile is the part of the name of a host key's file that says its kind.
func keyFile(key ssh.PublicKey) string {
	switch {
	case key.Type() == ssh.KeyAlgoED25519:
		return "ed25519"
	case strings.HasPrefix(key.Type(), "ecdsa"):
		return "ecdsa"
	}
	return "rsa"
}

// watch keeps the connection up and notices when the machine is gone. It ends
// with the connection: by close, by a fault, or once nobody has used it for long.
func (m *machine) watch(c *sshConn) {
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	tick := time.NewTicker(sshAlive)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			m.drop(c)
			return
		case <-tick.C:
		}
		idle := c.open.Load() == 0 && time.Since(time.Unix(c.used.Load(), 0)) > sshIdle
		if idle || !c.alive(ended) {
			m.drop(c)
			<-ended
			return
		}
	}
}

// alive asks the server for any answer at all.
func (c *sshConn) alive(ended <-chan struct{}) bool {
	answered := make(chan error, 1)
	go func() {
		_, _, err := c.SendRequest("keepalive@openssh.com", true, nil)
		answered <- err
	}()
	timer := time.NewTimer(sshAlive)
	defer timer.Stop()
	select {
	case err := <-answered:
		return err == nil
	case <-ended:
		return false
	case <-timer.C:
		return false
	}
}

// drop gives the connection up, so that the next use makes another.
func (m *machine) drop(c *sshConn) {
	m.mu.Lock()
	if m.conn == c {
		m.conn = nil
	}
	m.mu.Unlock()
	_ = c.Close()
}

// Close ends the connection and refuses new ones.
func (m *machine) Close() error {
	m.mu.Lock()
	c := m.conn
	m.conn, m.closed = nil, true
	m.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.Close()
}
