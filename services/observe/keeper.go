package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
)

const (
	roomBytes = 4 << 20 // of lines that are not stored yet, until listeners wait
	roomEvery = 20 * time.Millisecond
	leaveTime = 15 * time.Second // to store the last lines
)

// keeper writes the log of a place whose lease this worker holds.
type keeper struct {
	*Service
	id     string // of the place's log
	mask   *logs.Masker
	cancel context.CancelFunc
	done   chan struct{}
	wanted chan []release // the newest word on what runs

	mu      sync.Mutex
	segment *segment
	heard   cursors                    // what was handed to the writer
	floods  map[string]*flood          // by deployment id
	runs    map[string]bool            // by deployment id: has instances
	there   map[string]map[string]bool // deployment id → instances that were there when it was listened to last
	numbers map[string]map[string]int  // deployment id → instance → the number that its lines have
}

func newKeeper(s *Service, id string) *keeper {
	return &keeper{
		Service: s, id: id, mask: logs.NewMasker(), done: make(chan struct{}), wanted: make(chan []release, 1), floods: map[string]*flood{},
		there: map[string]map[string]bool{}, numbers: map[string]map[string]int{},
	}
}

// tell hands over what runs now. Only the collector calls it.
func (k *keeper) tell(want []release) {
	select {
	case <-k.wanted: // an older word that nobody read
	default:
	}
	k.wanted <- want
}

// run listens to all that runs in the place, until nothing does, the lease is lost, or ctx ends.
func (k *keeper) run(ctx context.Context) {
	defer close(k.done)
	defer k.cancel()
	defer k.giveBack(ctx)
	if err := k.open(ctx); err != nil {
		if ctx.Err() == nil {
			slog.WarnContext(ctx, "the log of a place can't be kept just now", "log", k.id, "error", err)
		}
		return
	}
	listeners := map[string]*listener{}
	for {
		select {
		case <-ctx.Done():
		case want := <-k.wanted:
			k.attend(ctx, listeners, want)
			if len(listeners) > 0 && k.tidy(ctx) == nil {
				continue
			}
		}
		for _, l := range listeners {
			l.cancel()
			<-l.done
		}
		k.leave(ctx)
		return
	}
}

// attend starts to listen to what is new, and ends what is over.
func (k *keeper) attend(ctx context.Context, listeners map[string]*listener, want []release) {
	wanted := map[string]bool{}
	for _, r := range want {
		wanted[r.ID] = true
	}
	k.mu.Lock()
	k.runs = wanted
	k.mu.Unlock()
	for _, r := range want {
		if l := listeners[r.ID]; l == nil {
			listeners[r.ID] = k.listen(ctx, r)
		} else if l.newest != r.Newest { // there is another instance
			l.newest = r.Newest
			l.again()
		}
	}
	for id, l := range listeners {
		if l.ended() {
			delete(listeners, id)
		} else if !wanted[id] {
			l.finish()
		}
	}
}

// tidy says what was left out of floods that are over, and begins a new segment
// where it is time. An error means that the log is not this worker's any more, or can't be written.
func (k *keeper) tidy(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.floods {
		if f.over(time.Now()) {
			k.remark(f)
		}
	}
	if k.segment.writer.Taken() {
		return jobs.ErrTaken
	}
	return k.turn(ctx)
}

// take stores a line of the release.
func (k *keeper) take(ctx context.Context, r release, line deploy.LogLine) error {
	if err := k.room(ctx); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.turn(ctx); err != nil {
		return err
	}
	key, replica := keyOf(line), k.number(r.ID, line)
	k.heard.advance(r.ID, key, line.At)
	f := k.floods[r.ID]
	if f == nil {
		f = &flood{}
		k.floods[r.ID] = f
	}
	f.step = stepOf(r.Number, replica)
	k.segment.keyed(f.step, key)
	if !f.lets(line.At, len(line.Text)) {
		return nil
	}
	k.remark(f)
	stream := logs.Stdout
	if line.Stderr {
		stream = logs.Stderr
	}
	text := printable(line.Text)
	k.segment.writer.Write(f.step, stream, line.At, []byte(text+"\n"))
	k.segment.size += int64(len(text))
	return nil
}

// remark writes down how many lines a flood has lost; nothing where there are none.
func (k *keeper) remark(f *flood) {
	if f.dropped == 0 {
		return
	}
	k.segment.writer.Print(f.step, "%s left out here: the app printed more than %d lines or %d MiB a second for a while.", counted(f.dropped), floodLines, floodBytes>>20)
	f.dropped = 0
}

func counted(n int) string {
	if n == 1 {
		return "1 line is"
	}
	return fmt.Sprintf("%d lines are", n)
}

// room waits until the database has taken most of what it was given. The target
// keeps what is not read yet; the app notices nothing.
func (k *keeper) room(ctx context.Context) error {
	for {
		k.mu.Lock()
		w := k.segment.writer
		k.mu.Unlock()
		if w.Taken() {
			return jobs.ErrTaken
		}
		if w.Waiting() < roomBytes {
			return ctx.Err()
		}
		if err := pause(ctx, roomEvery); err != nil {
			return err
		}
	}
}

// leave stores what was heard; the segment stays open for whoever listens next.
func (k *keeper) leave(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.floods {
		k.remark(f)
	}
	k.segment.writer.Leave(ctx)
}

// giveBack lets another worker have the place at once.
func (k *keeper) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	err := k.Queue.Held(k.DB.WithContext(ctx).Model(&models.PlaceLog{}), k.id).Update("worker", "").Error
	if err != nil {
		slog.WarnContext(ctx, "the lease of a place's log could not be given back; it ends with this worker", "log", k.id, "error", err)
	}
}

// stepOf names an instance in a place's log: the deployment's number and the replica's.
func stepOf(deployment int64, replica int) string { return fmt.Sprintf("%d.%d", deployment, replica) }

// printable is what is left of a line on a terminal: after the last carriage
// return, without control characters but tabs and those of colours (ESC).
func printable(text string) string {
	text = strings.TrimRight(text, "\r\n")
	text = text[strings.LastIndexByte(text, '\r')+1:]
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) && c != '\t' && c != 0x1b {
			return -1
		}
		return c
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// lost tells whether the error means that another worker listens now.
func lost(err error) bool { return errors.Is(err, jobs.ErrTaken) || errors.Is(err, logs.ErrTaken) }
