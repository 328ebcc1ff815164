package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"slipway.dev/services/deploy"
)

const (
	maxLine   = 16 << 10               // bytes of one line that are kept
	maxMerged = 20_000                 // lines of one container that are merged with others'
	holdBack  = 150 * time.Millisecond // so long a line waits for earlier ones of other containers
)

// Logs yields the lines of the release's containers, those of several in the order of their times.
func (t *target) Logs(ctx context.Context, release string, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		found, err := t.ofRelease(ctx, release)
		if err != nil {
			yield(deploy.LogLine{}, err)
			return
		}
		switch {
		case len(found) == 1:
			t.lines(ctx, found[0], o)(yield)
		case o.Follow:
			t.follow(ctx, found, o, yield)
		default:
			t.merge(ctx, found, o, yield)
		}
	}
}

// merge yields the lines that there are, in the order of their times; with a tail the last of them all.
func (t *target) merge(ctx context.Context, found []deploy.Instance, o deploy.LogOptions, yield func(deploy.LogLine, error) bool) {
	var all []deploy.LogLine
	for _, i := range found {
		kept := 0
		for line, err := range t.lines(ctx, i, o) {
			if err != nil {
				yield(deploy.LogLine{}, err)
				return
			}
			all = append(all, line)
			if kept++; kept == maxMerged {
				break
			}
		}
	}
	slices.SortStableFunc(all, func(a, b deploy.LogLine) int { return a.At.Compare(b.At) })
	if o.Tail > 0 && len(all) > o.Tail {
		all = all[len(all)-o.Tail:]
	}
	for _, line := range all {
		if !yield(line, nil) {
			return
		}
	}
}

// follow yields what the containers print until all have ended. Lines are held
// back for a moment, so that those of several come in the order of their times.
func (t *target) follow(ctx context.Context, found []deploy.Instance, o deploy.LogOptions, yield func(deploy.LogLine, error) bool) {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	type heard struct {
		line deploy.LogLine
		err  error
	}
	lines := make(chan heard, 256)
	for _, i := range found {
		readers.Go(func() {
			for line, err := range t.across(ctx, i, o) {
				select {
				case lines <- heard{line, err}:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	go func() { readers.Wait(); close(lines) }()
	tick := time.NewTicker(holdBack)
	defer tick.Stop()
	var held []deploy.LogLine
	flush := func(until time.Time) bool {
		slices.SortStableFunc(held, func(a, b deploy.LogLine) int { return a.At.Compare(b.At) })
		for len(held) > 0 && held[0].At.Before(until) {
			if !yield(held[0], nil) {
				return false
			}
			held = held[1:]
		}
		return true
	}
	for {
		select {
		case h, ok := <-lines:
			switch {
			case !ok:
				flush(time.Now().Add(time.Hour))
				return
			case h.err != nil:
				yield(deploy.LogLine{}, h.err)
				return
			}
			if held = append(held, h.line); len(held) >= maxMerged && !flush(time.Now().Add(time.Hour)) {
				return
			}
		case now := <-tick.C:
			if !flush(now.Add(-holdBack)) {
				return
			}
		}
	}
}

// across follows one container over its restarts.
func (t *target) across(ctx context.Context, i deploy.Instance, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		for {
			for line, err := range t.lines(ctx, i, o) {
				if o.After = line.At; !yield(line, err) || err != nil {
					return
				}
			}
			now, err := t.inspect(ctx, i.ID)
			if err != nil || now.ExitCode != nil && now.Restarts == i.Restarts {
				return // it is gone, has ended, or ctx has
			}
			i, o.Tail, o.Opened = now, 0, nil
			select {
			case <-ctx.Done():
				return
			case <-time.After(holdBack):
			}
		}
	}
}

// lines yields the lines of one container.
func (t *target) lines(ctx context.Context, i deploy.Instance, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		opts := container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: o.Follow, Tail: "all"}
		if o.Tail > 0 {
			opts.Tail = strconv.Itoa(o.Tail)
		}
		if !o.After.IsZero() {
			opts.Since = fmt.Sprintf("%d.%09d", o.After.Unix(), o.After.Nanosecond())
		}
		body, err := t.docker.ContainerLogs(ctx, i.ID, opts)
		if errdefs.IsNotFound(err) {
			return
		}
		if err != nil {
			yield(deploy.LogLine{}, t.unreachable(err))
			return
		}
		defer body.Close()
		if o.Opened != nil {
			o.Opened()
		}
		for r := bufio.NewReader(body); ; {
			line, err := readLine(r)
			if err != nil {
				if !errors.Is(err, io.EOF) && ctx.Err() == nil {
					yield(deploy.LogLine{}, fmt.Errorf("reading the container's log: %w", err))
				}
				return
			}
			line.Replica = i.Replica
			if line.At.After(o.After) && !yield(line, nil) {
				return
			}
		}
	}
}

// readLine reads one frame of the engine's stream: one byte of stream, three of
// nothing, four of length, then "time text".
func readLine(r *bufio.Reader) (deploy.LogLine, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return deploy.LogLine{}, err
	}
	size := int64(binary.BigEndian.Uint32(head[4:]))
	text, err := io.ReadAll(io.LimitReader(r, min(size, maxLine)))
	if err != nil {
		return deploy.LogLine{}, err
	}
	if _, err := io.CopyN(io.Discard, r, size-int64(len(text))); err != nil {
		return deploy.LogLine{}, err
	}
	stamp, rest, _ := strings.Cut(string(text), " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return deploy.LogLine{}, err
	}
	rest = strings.TrimRight(strings.ToValidUTF8(rest, "�"), "\r\n")
	return deploy.LogLine{At: at.UTC(), Stderr: head[0] == 2, Text: rest}, nil
}

// lastLines returns what the container said last.
func (t *target) lastLines(ctx context.Context, id string) (lines []string) {
	for line, err := range t.lines(ctx, deploy.Instance{ID: id}, deploy.LogOptions{Tail: 30}) {
		if err != nil {
			break
		}
		lines = append(lines, plain(line.Text))
	}
	return lines
}

// plain drops what is not text.
func plain(text string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "�")))
}
