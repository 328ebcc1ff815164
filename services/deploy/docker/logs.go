package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"slipway.dev/services/deploy"
)

const (
	maxLine = 16 << 10               // bytes of one line that are kept
	restart = 150 * time.Millisecond // so long a container that is started again is given
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
			deploy.Together(ctx, found, o, t.across)(yield)
		default:
			deploy.Together(ctx, found, o, t.lines)(yield)
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
			case <-time.After(restart):
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
		r := bufio.NewReader(body)
		deploy.ReadLines(ctx, i, o, "the container's log", func() (deploy.LogLine, error) { return readLine(r) }, yield)
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
	line, err := deploy.StampedLine(string(text))
	line.Stderr = head[0] == 2
	return line, err
}

// lastLines returns what the container said last.
func (t *target) lastLines(ctx context.Context, id string) []string {
	return deploy.PlainLines(t.lines(ctx, deploy.Instance{ID: id}, deploy.LogOptions{Tail: 30}))
}
