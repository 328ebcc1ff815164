package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"slipway.dev/models"
)

const (
	// BatchLines is the most lines that Follow gives at once, and Read.
	BatchLines = 500
	// batchEvery is the least time between two batches of Follow.
	batchEvery = 100 * time.Millisecond
	chunksRead = 16
)

// Lines returns the stream's lines after the number, as far as it is written now. A stream that does not exist is empty.
func (s *Service) Lines(ctx context.Context, id string, after int64) iter.Seq2[Line, error] {
	return s.lines(ctx, id, after, "")
}

// StepLines returns the lines of one step as far as they are written now, those of all steps where step is empty.
func (s *Service) StepLines(ctx context.Context, id, step string) iter.Seq2[Line, error] {
	return s.lines(ctx, id, 0, step)
}

func (s *Service) lines(ctx context.Context, id string, after int64, step string) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for {
			row, err := s.Stream(ctx, id)
			if err != nil {
				yield(Line{}, err)
				return
			}
			if row.Lines <= after {
				return
			}
			before := after
			more, err := s.read(ctx, row, after, step, func(l Line) bool {
				after = l.N
				return step != "" && l.Step != step || yield(l, nil)
			})
			if err != nil {
				yield(Line{}, fmt.Errorf("reading the log %s: %w", id, err))
				return
			}
			if !more || row.Blob != "" {
				return
			}
			if after == before && !s.repacked(ctx, row) {
				yield(Line{}, fmt.Errorf("the log %s has no line %d", id, after+1))
				return
			}
		}
	}
}

// repacked tells whether the stream became a blob after the row was read.
func (s *Service) repacked(ctx context.Context, row models.LogStream) bool {
	now, err := s.Stream(ctx, row.ID)
	return err == nil && now.Blob != row.Blob
}

// read gives the lines after the number from the place where the row says they are.
func (s *Service) read(ctx context.Context, row models.LogStream, after int64, step string, yield func(Line) bool) (more bool, err error) {
	if row.Blob == "" {
		return s.readChunks(ctx, row.ID, after, yield)
	}
	r, err := s.Blobs.NewReader(ctx, row.Blob, nil)
	if err != nil {
		return false, err
	}
	defer r.Close()
	return scan(r, 1, after, step, yield)
}

func (s *Service) readChunks(ctx context.Context, id string, after int64, yield func(Line) bool) (more bool, err error) {
	chunks, err := s.chunks(ctx, id, after)
	if err != nil {
		return false, err
	}
	for _, c := range chunks {
		if more, err := scan(bytes.NewReader(c.Data), c.First, after, "", yield); !more || err != nil {
			return false, err
		}
	}
	return true, nil
}

// chunks returns the chunks from the one on that holds the line after the number, some at a time.
func (s *Service) chunks(ctx context.Context, id string, after int64) ([]models.LogChunk, error) {
	db := s.DB.WithContext(ctx)
	from := db.Model(&models.LogChunk{}).Select("COALESCE(MAX(first), 0)").Where("stream_id = ? AND first <= ?", id, after+1)
	var chunks []models.LogChunk
	err := db.Where("stream_id = ? AND first >= (?)", id, from).Order("first").Limit(chunksRead).Find(&chunks).Error
	return chunks, err
}

// Read returns at most limit lines after the number, and whether the stream has ended with them.
func (s *Service) Read(ctx context.Context, id string, after int64, limit int) (lines []Line, ended bool, err error) {
	row, err := s.Stream(ctx, id)
	if err != nil {
		return nil, false, err
	}
	if limit <= 0 || limit > BatchLines {
		limit = BatchLines
	}
	for l, err := range s.Lines(ctx, id, after) {
		if err != nil {
			return nil, false, err
		}
		lines = append(lines, l)
		after = l.N
		if len(lines) == limit {
			break
		}
	}
	return lines, row.Closed && after >= row.Lines, nil
}

// WriteText writes the text of all lines that there are now, or of one step's, one a line, colours kept.
func (s *Service) WriteText(ctx context.Context, id, step string, to io.Writer) error {
	for l, err := range s.lines(ctx, id, 0, step) {
		if err != nil {
			return err
		}
		if _, err := io.WriteString(to, l.Text+"\n"); err != nil {
			return err
		}
	}
	return nil
}
