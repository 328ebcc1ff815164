package observe_test

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/logs"
	"slipway.dev/services/observe"
)

var removeImage = image.RemoveOptions{Force: true}

// counting prints so many numbered lines, and goes on running until it is told to end, which it hears at once.
func counting(lines int, pause string) string {
	return fmt.Sprintf("trap 'echo goodbye; exit 0' TERM; i=0; while [ $i -lt %d ]; do i=$((i+1)); echo \"line $i\"; sleep %s; done; while :; do sleep 3600 & wait $!; done", lines, pause)
}

// onlyCounted returns the numbers of the numbered lines, in the order in which they are kept.
func onlyCounted(lines []observe.Line) (numbers []int) {
	for _, l := range lines {
		if n, err := strconv.Atoi(strings.TrimPrefix(l.Text, "line ")); err == nil {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

func texts(lines []observe.Line) (out []string) {
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func has(text string) func([]observe.Line) bool {
	return func(lines []observe.Line) bool {
		return slices.ContainsFunc(lines, func(l observe.Line) bool { return l.Text == text })
	}
}

func TestWhatAContainerPrintedStaysWhenItIsReplacedAndRemoved(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		one, _ := s.worker()
		s.worker() // a second one, which must not listen too
		first := s.runs("echo \"the key is $SECRET\"; echo oops >&2; "+counting(50, "0.01"), 2, "hunter2-hunter2")
		s.until("the last line of both", observe.Filter{}, func(lines []observe.Line) bool { return len(onlyCounted(lines)) == 100 })
		second := s.runs("echo the second is here; "+counting(0, "1"), 1, "other-secret")
		s.until("the second's line", observe.Filter{}, has("the second is here"))
		s.must(one.Deploy.RetireStopped(models.WithPrincipal(t.Context(), models.System("worker")), deploy.Retire{DeploymentID: first.ID}))
		if all, err := s.target().List(t.Context()); err != nil || len(all) != 1 || all[0].Release != second.ID {
			t.Fatalf("after the switch there run %v, %v", all, err)
		}
		s.until("what the first said at its end", observe.Filter{Text: "GOODBYE"}, func(lines []observe.Line) bool { return len(lines) == 2 })
		var said models.Instance // what the removal itself heard
		s.must(db.Where("deployment_id = ? AND last_logs LIKE ?", first.ID, "%goodbye%").Take(&said).Error)
		if n := strings.Count(strings.Join(said.LastLogs, "\n"), "goodbye"); n != 2 {
			t.Errorf("of two instances %d said goodbye to the removal: %q", n, said.LastLogs)
		}

		for replica := 1; replica <= 2; replica++ {
			lines := s.kept(observe.Filter{Deployment: first.Number, Replica: replica})
			if got := onlyCounted(lines); !slices.Equal(got, upTo(50)) {
				t.Errorf("of instance %d are kept the lines %v", replica, got)
			}
			if !has("the key is ••••••")(lines) {
				t.Errorf("the secret is not masked: %q", texts(lines)[:2])
			}
		}
		if got := texts(s.kept(observe.Filter{Stream: logs.Stderr})); !slices.Equal(got, []string{"oops", "oops"}) {
			t.Errorf("to standard error were printed %q", got)
		}
		if got := texts(s.kept(observe.Filter{Deployment: second.Number})); !slices.Equal(got, []string{"the second is here"}) {
			t.Errorf("of the second are kept %q", got)
		}
	})
}

func TestAListenerThatIsKilledLosesNothingAndNothingIsKeptTwice(t *testing.T) {
	t.Parallel()
	const lines = 400
	story := func(t *testing.T, url string) {
		t.Parallel()
		s := newStage(t, modelstest.Open(t, url))
		s.dead = 4 * time.Second
		doomed := s.killable(url)
		s.runs(counting(lines, "0.02"), 1, "some-secret")
		s.until("a first part", observe.Filter{}, func(all []observe.Line) bool { return len(all) > 20 })
		s.must(doomed.Process.Kill())
		s.worker()
		s.until("the last line", observe.Filter{}, has(fmt.Sprintf("line %d", lines)))
		if got := onlyCounted(s.kept(observe.Filter{})); !slices.Equal(got, upTo(lines)) {
			t.Errorf("%d lines are kept, and they are %v", len(got), got)
		}
	}
	t.Run("SQLite", func(t *testing.T) { story(t, "sqlite:"+filepath.Join(t.TempDir(), "slipway.db")) })
	t.Run("PostgreSQL", func(t *testing.T) { story(t, modelstest.PostgresURL(t)) })
}

// engineDoor is a way to the engine that can be shut.
type engineDoor struct {
	path string
	mu   sync.Mutex
	open []net.Conn
	shut bool
}

func newDoor(t *testing.T) *engineDoor {
	t.Helper()
	host := dockertest.Engine(t).DaemonHost()
	d := &engineDoor{path: filepath.Join(t.TempDir(), "e.sock")}
	listener, err := net.Listen("unix", d.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close(); d.set(true) })
	network, address, _ := strings.Cut(host, "://")
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			go d.pass(in, network, address)
		}
	}()
	return d
}

func (d *engineDoor) pass(in net.Conn, network, address string) {
	defer in.Close()
	out, err := net.Dial(network, address)
	if err != nil {
		return
	}
	defer out.Close()
	d.mu.Lock()
	d.open = append(d.open, in, out)
	shut := d.shut
	d.mu.Unlock()
	if shut {
		return
	}
	go io.Copy(out, in)
	io.Copy(in, out)
}

func (d *engineDoor) set(shut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = shut
	if shut {
		for _, c := range d.open {
			c.Close()
		}
		d.open = nil
	}
}

func TestAnEngineThatWasAwayIsListenedToWhereItWasLeft(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	door := newDoor(t)
	s.host = "unix://" + door.path
	s.worker()
	s.runs(counting(150, "0.02"), 2, "some-secret")
	s.until("a first part", observe.Filter{}, func(all []observe.Line) bool { return len(all) > 10 })
	door.set(true)
	<-time.After(500 * time.Millisecond) // some lines are printed meanwhile
	door.set(false)
	s.until("all lines", observe.Filter{}, func(all []observe.Line) bool { return len(onlyCounted(all)) >= 300 })
	for replica := 1; replica <= 2; replica++ {
		if got := onlyCounted(s.kept(observe.Filter{Replica: replica})); !slices.Equal(got, upTo(150)) {
			t.Errorf("of instance %d are kept the lines %v", replica, got)
		}
	}
}

func TestAFloodIsCutWithARemarkAndALongLineToo(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker(func(o *observe.Service) { o.Segment = 256 << 10 }) // so that segments turn meanwhile
	s.runs("head -c 40000 /dev/zero | tr '\\0' x; echo; printf 'gone\\rleft\\033]0;title\\007\\001\\n'; seq 1 30000; while :; do sleep 1; done", 1, "")
	var dropped int
	lines := s.until("the remark", observe.Filter{}, func(all []observe.Line) bool {
		last := all[max(len(all)-1, 0):]
		return len(last) == 1 && last[0].Stream == logs.Slipway
	})
	for _, l := range lines {
		if l.Stream == logs.Slipway {
			n, rest, _ := strings.Cut(l.Text, " ")
			count, err := strconv.Atoi(n)
			if err != nil || !strings.HasPrefix(rest, "lines are left out here: the app printed more than 1000 lines or 1 MiB a second") {
				t.Errorf("the remark is %q", l.Text)
			}
			dropped += count
		}
	}
	printed := slices.DeleteFunc(slices.Clone(lines), func(l observe.Line) bool { return l.Stream == logs.Slipway })
	if len(printed[0].Text) > 17<<10 || !has("left\x1b]0;title")(printed) {
		t.Errorf("the long line is kept with %d bytes; %q", len(printed[0].Text), texts(printed)[1:5])
	}
	if total := len(printed) + dropped; total < 30002 || total > 30004 || dropped == 0 || len(printed) > 20_000 {
		t.Errorf("%d lines are kept and %d left out", len(printed), dropped)
	}
	for n, l := range lines {
		if l.N != int64(n+1) {
			t.Fatalf("line %d has the number %d", n+1, l.N)
		}
	}
}

func TestALeaseThatIsTakenEndsTheListening(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.worker()
	s.runs(counting(100, "0.02"), 1, "")
	s.until("a first part", observe.Filter{}, func(all []observe.Line) bool { return len(all) > 5 })
	_, stop := s.worker()
	s.must(s.db.Model(&models.PlaceLog{}).Where("app_id = ?", s.App.ID).Update("worker", "").Error) // as if it were given back
	s.until("the last line", observe.Filter{}, has("line 100"))
	stop()
	if got := onlyCounted(s.kept(observe.Filter{})); !slices.Equal(got, upTo(100)) {
		t.Errorf("the lines are %v", got)
	}
}
