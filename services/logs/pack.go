package logs

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
	"gocloud.dev/blob"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// stored is how a line is written down: one JSON object and a line end. Its number is its place.
type stored struct {
	Time   int64  `json:"t"` // microseconds since 1970
	Step   string `json:"s,omitempty"`
	Stream Source `json:"o"`
	Text   string `json:"x"`
}

// encode compresses the lines into one frame. Frames may follow each other (RFC 8878 §3).
func encode(lines []Line) []byte {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	for _, l := range lines {
		_ = enc.Encode(stored{l.Time.UnixMicro(), l.Step, l.Stream, l.Text}) // writes to memory
	}
	return encoder().EncodeAll(text.Bytes(), nil)
}

// encoder is shared: EncodeAll keeps nothing between calls.
var encoder = sync.OnceValue(func() *zstd.Encoder {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are fixed
	}
	return z
})

// scan reads lines from compressed frames, of which the first line has the
// number first, and hands those after the number after to yield until that
// returns false. With a step, lines of others may be left out.
func scan(r io.Reader, first, after int64, step string, yield func(Line) bool) (more bool, err error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return false, err
	}
	defer z.Close()
	lines := bufio.NewReaderSize(z, 64<<10)
	mark := []byte(`"` + quoted(step, false) + `"`)
	for n := first; ; n++ {
		raw, err := readLine(lines)
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if n <= after || step != "" && !bytes.Contains(raw, mark) {
			continue
		}
		var s stored
		if err := json.Unmarshal(raw, &s); err != nil {
			return false, fmt.Errorf("line %d of the log is damaged: %w", n, err)
		}
		if !yield(Line{n, time.UnixMicro(s.Time).UTC(), s.Step, s.Stream, s.Text}) {
			return false, nil
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	raw, err := r.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return raw, err
	}
	long := bytes.Clone(raw)
	rest, err := r.ReadBytes('\n')
	return append(long, rest...), err
}

// unpacked is what people read while the blob store fails.
const unpacked = "The log could not be moved to the blob store, so it stays in the database for now; this is tried again."

// pack moves the chunks of a closed stream into one blob. The chunks go when
// the blob is there and the row names it; a blob store that fails costs nothing but their room.
func (s *Service) pack(ctx context.Context, id string) error {
	row, err := s.Stream(ctx, id)
	if err != nil || !row.Closed || row.Blob != "" {
		return err
	}
	key := "logs/" + row.Kind + "/" + id + ".zst"
	if err := s.writeBlob(ctx, key, row); err != nil {
		note := cmp.Or(row.Error, unpacked)
		_ = s.DB.WithContext(ctx).Model(&models.LogStream{}).Where("id = ?", id).Updates(map[string]any{"error": note, "updated_at": s.DB.NowFunc()}).Error
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		changes := map[string]any{"blob": key, "writer": "", "updated_at": s.DB.NowFunc()}
		if row.Error == unpacked {
			changes["error"] = ""
		}
		if err := tx.Model(&models.LogStream{}).Where("id = ?", id).Updates(changes).Error; err != nil {
			return err
		}
		return tx.Where("stream_id = ?", id).Delete(&models.LogChunk{}).Error
	})
}

func (s *Service) writeBlob(ctx context.Context, key string, row models.LogStream) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a writer whose context has ended leaves no blob
	w, err := s.Blobs.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/zstd"})
	if err != nil {
		return fmt.Errorf("writing the log to the blob store: %w", err)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
	if err == nil {
		err = s.copyChunks(ctx, z, row)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		cancel()
		_ = w.Close()
		return fmt.Errorf("writing the log to the blob store: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing the log to the blob store: %w", err)
	}
	return nil
}

func (s *Service) copyChunks(ctx context.Context, to io.Writer, row models.LogStream) error {
	for at := int64(0); at < row.Lines; {
		chunks, err := s.chunks(ctx, row.ID, at)
		if err != nil {
			return err
		}
		if len(chunks) == 0 {
			return fmt.Errorf("the log has no line %d", at+1)
		}
		for _, c := range chunks {
			if c.First != at+1 {
				return fmt.Errorf("the log has no line %d", at+1)
			}
			z, err := zstd.NewReader(bytes.NewReader(c.Data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
			if err != nil {
				return err
			}
			_, err = io.Copy(to, z)
			z.Close()
			if err != nil {
				return err
			}
			at = c.First + c.Lines - 1
		}
	}
	return nil
}
