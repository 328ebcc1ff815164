// Package slipwaytest runs the whole program for tests, as the binary that is shipped, on a free port with a data
// folder of its own, and speaks to it as any other HTTP client would. A package that uses it has
//
//	func TestMain(m *testing.M) { slipwaytest.Main(m) }
//
// and then starts as many portals and workers as its tests need.
package slipwaytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway.dev/services/porttest"
)

// program is the path of the compiled server.
var program string

// Main compiles the server, runs the tests, which are a *testing.M or what wraps one, and removes it.
func Main(m interface{ Run() int }) {
	folder, err := os.MkdirTemp("", "slipway-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(folder, "slipway")
	code := 1
	if out, err := exec.Command("go", "build", "-tags", "disable_grpc_modules", "-o", program, "slipway.dev/cmd/slipway").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build slipway.dev/cmd/slipway: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// Settings are the SLIPWAY_ variables of a process by what follows the prefix: {"APPS_DOMAIN": "example.com"}.
type Settings map[string]string

// Portal is a running slipway serve.
type Portal struct {
	*Process
	*Client
	// Port is what it listens on, on 127.0.0.1.
	Port string
	// Data is its data folder.
	Data string

	settings Settings
	held     *os.File // the socket that the test holds for it
	targets  []string // ids, as far as known
}

// Start runs slipway serve until the test ends and waits until it is ready. Its client is an admin.
func Start(t testing.TB, settings Settings) *Portal {
	t.Helper()
	return start(t, settings, nil)
}

// StartHeld is Start on a socket that the test holds, as systemd does: it stays open while the portal restarts.
func StartHeld(t testing.TB, settings Settings) *Portal {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	held, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { held.Close() })
	return start(t, settings, held)
}

func start(t testing.TB, settings Settings, held *os.File) *Portal {
	t.Helper()
	data := t.TempDir()
	tokenFile := filepath.Join(data, "bootstrap-token")
	p := launch(t, merge(Settings{"DATA": data, "BOOTSTRAP_TOKEN_FILE": tokenFile}, settings), held)
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatalf("the portal wrote no bootstrap token: %v", err)
	}
	p.Token = strings.TrimSpace(string(token))
	for _, target := range Get[List[Named]](t, p.Client, "/api/v1/targets").Items {
		p.targets = append(p.targets, target.ID)
	}
	return p
}

// Launch is Start without a token: the portal waits for its first admin.
func Launch(t testing.TB, settings Settings) *Portal {
	t.Helper()
	return launch(t, settings, nil)
}

func launch(t testing.TB, settings Settings, held *os.File) *Portal {
	t.Helper()
	settings = merge(Settings{
		"LISTEN":         porttest.Address(t), // a port that nobody else gets while the portal restarts
		"OUTBOUND_ALLOW": "127.0.0.0/8,::1/128",
		"DOCKER_HOST":    os.Getenv("DOCKER_HOST"),
	}, settings)
	if settings["DATA"] == "" {
		settings["DATA"] = t.TempDir()
	}
	p := &Portal{Data: settings["DATA"], settings: settings, held: held, Client: &Client{}}
	sweep(t, p)
	p.Process = runHeld(t, settings, held, "serve")
	p.awaitReady(t)
	p.settings["LISTEN"] = "127.0.0.1:" + p.Port
	return p
}

// Restart ends the portal as an operator would and starts it again on the same port and data.
func (p *Portal) Restart(t testing.TB) {
	t.Helper()
	p.Stop(t)
	p.Begin(t)
}

// Begin starts a portal that has ended, on the same port and data.
func (p *Portal) Begin(t testing.TB) {
	t.Helper()
	p.Process = runHeld(t, p.settings, p.held, "serve")
	p.awaitReady(t)
}

// Worker runs slipway worker on the portal's database and data folder until the test ends.
func (p *Portal) Worker(t testing.TB) *Process {
	t.Helper()
	settings := merge(p.settings, nil)
	delete(settings, "BOOTSTRAP_TOKEN_FILE")
	return run(t, settings, "worker")
}

// ready is what a portal prints when it takes requests.
var ready = regexp.MustCompile(`msg="Slipway is ready" url=http://localhost:(\d+)`)

// awaitReady waits until the portal says where it is and that all it needs is there.
func (p *Portal) awaitReady(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	Until(ctx, t, "the portal is ready", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("the portal ended at its start: %v\n%s", p.err, p.Output())
		default:
		}
		printed := ready.FindStringSubmatch(p.Output())
		if printed == nil {
			return false
		}
		p.Port, p.URL = printed[1], "http://localhost:"+printed[1]
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
}

// Process is a running slipway process.
type Process struct {
	command *exec.Cmd
	output  *output
	ended   chan struct{}
	err     error
}

// run starts the program; a test that fails shows what it printed.
func run(t testing.TB, settings Settings, arguments ...string) *Process {
	t.Helper()
	return runHeld(t, settings, nil, arguments...)
}

// runHeld is run with the socket that is held, where there is one, handed over in systemd's way.
func runHeld(t testing.TB, settings Settings, held *os.File, arguments ...string) *Process {
	t.Helper()
	p := &Process{command: exec.Command(program, arguments...), output: &output{}, ended: make(chan struct{})}
	p.command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + settings["DATA"]}
	if held != nil { // the shell knows the id of the process that the program becomes
		p.command = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, program}, arguments...)...)
		p.command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + settings["DATA"], "LISTEN_FDS=1"}
		p.command.ExtraFiles = []*os.File{held}
	}
	for name, value := range settings {
		if value != "" {
			p.command.Env = append(p.command.Env, "SLIPWAY_"+name+"="+value)
		}
	}
	slices.Sort(p.command.Env)
	p.command.Stdout, p.command.Stderr = p.output, p.output
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.Stop(t)
		if t.Failed() {
			t.Logf("slipway %s printed, good answers left out:\n%s", strings.Join(arguments, " "), goodAnswer.ReplaceAllString(p.Output(), ""))
		}
	})
	return p
}

// Run runs the program until it ends by itself, which it must within two minutes, and gives what it printed.
func Run(t testing.TB, settings Settings, arguments ...string) (output string, err error) {
	t.Helper()
	p := run(t, settings, arguments...)
	select {
	case <-p.ended:
		return p.Output(), p.err
	case <-time.After(2 * time.Minute):
		t.Fatalf("slipway %s did not end:\n%s", strings.Join(arguments, " "), p.Output())
		return "", nil
	}
}

// goodAnswer is a line of the access log that nobody looks for after a failure.
var goodAnswer = regexp.MustCompile(`(?m)^.* msg=request .* status=[23]\d\d .*\n`)

// PID is the process's id.
func (p *Process) PID() int { return p.command.Process.Pid }

// Output is what the process has printed so far.
func (p *Process) Output() string { return p.output.String() }

// Kill ends the process at once, as kill -9 does.
func (p *Process) Kill() {
	_ = p.command.Process.Kill()
	<-p.ended
}

// Freeze gives the process no time until Thaw, as a machine that does too much else may.
func (p *Process) Freeze() { _ = p.command.Process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen process go on.
func (p *Process) Thaw() { _ = p.command.Process.Signal(syscall.SIGCONT) }

// Stop asks the process to end and waits until it has.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.Thaw()
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(2 * time.Minute):
		t.Errorf("slipway did not end within two minutes of SIGTERM")
		p.Kill()
	}
}

// output keeps what a process prints.
type output struct {
	lock   sync.Mutex
	buffer bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.buffer.String()
}

// Until polls the condition until it holds or ctx ends, which fails the test.
func Until(ctx context.Context, t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Fatalf("waited too long until %s", what)
			}
			t.Fatalf("stopped waiting until %s: %v", what, ctx.Err())
		case <-tick.C:
		}
	}
}

func merge(a, b Settings) Settings {
	all := Settings{}
	for _, s := range []Settings{a, b} {
		for name, value := range s {
			all[name] = value
		}
	}
	return all
}
