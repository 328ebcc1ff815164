package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
)

const (
	storeEvery     = time.Second
	segmentBytes   = 4 << 20
	segmentAge     = 24 * time.Hour // so that what is old can be forgotten
	segmentClosing = 15 * time.Second
)

// segment is the part of a place's log that is written now.
type segment struct {
	writer *logs.Writer
	size   int64 // bytes of text

	mu      sync.Mutex // of what goes along with the lines into the database
	row     models.LogSegment
	stored  cursors
	numbers map[int64]string  // deployment number → id
	keys    map[string]string // step → what the instance's cursor stands under
}

// open goes on with the segment that was written last, or begins one.
func (k *keeper) open(ctx context.Context) error {
	var place models.PlaceLog
	if err := k.DB.WithContext(ctx).First(&place, "id = ?", k.id).Error; err != nil {
		return models.FromDB(err, "log")
	}
	k.heard = cursors(place.Cursors).clone(nil)
	if place.SegmentID == "" {
		return k.begin(ctx, place.NextLine, cursors(place.Cursors))
	}
	var row models.LogSegment
	err := k.DB.WithContext(ctx).Take(&row, "id = ?", place.SegmentID).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return k.begin(ctx, place.NextLine, cursors(place.Cursors))
	}
	if err != nil {
		return err
	}
	stream, err := k.Logs.Stream(ctx, row.ID)
	if err != nil {
		return err
	}
	if stream.Closed {
		return k.begin(ctx, place.NextLine, cursors(place.Cursors))
	}
	return k.write(ctx, &segment{row: row, size: stream.Bytes, stored: cursors(place.Cursors).clone(nil)})
}

// begin makes a new segment, whose first line has the number.
func (k *keeper) begin(ctx context.Context, first int64, stored cursors) error {
	now := k.now()
	row := models.LogSegment{ID: models.NewID(), PlaceLogID: k.id, First: first, FirstAt: now, LastAt: now}
	err := k.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		held := k.Queue.Held(tx.Model(&models.PlaceLog{}), k.id).Update("segment_id", row.ID)
		if held.Error != nil {
			return held.Error
		}
		if held.RowsAffected == 0 {
			return jobs.ErrTaken
		}
		if err := tx.Where("place_log_id = ? AND first = ?", k.id, first).Delete(&models.LogSegment{}).Error; err != nil { // one in which nothing was written
			return err
		}
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		return logs.Create(tx, row.ID, logs.KindDeployment)
	})
	if err != nil {
		return fmt.Errorf("beginning a part of a place's log: %w", err)
	}
	return k.write(ctx, &segment{row: row, stored: stored.clone(nil)})
}

// write opens the segment for writing; whoever wrote it before can't any more.
func (k *keeper) write(ctx context.Context, s *segment) (err error) {
	s.numbers, s.keys = map[int64]string{}, map[string]string{}
	if k.segment != nil {
		s.numbers, s.keys = k.segment.numbers, k.segment.keys
	}
	s.writer, err = k.Logs.OpenWith(ctx, s.row.ID, logs.KindDeployment, k.mask, logs.With{
		Every: storeEvery,
		Along: func(tx *gorm.DB, lines []logs.Line) error { return s.along(tx, k.id, lines) },
	})
	if err != nil {
		return err
	}
	k.segment = s
	return nil
}

// turn begins a new segment where this one is full or old. The keeper's lock is held.
func (k *keeper) turn(ctx context.Context) error {
	s := k.segment
	if s.size < cmp.Or(k.Segment, segmentBytes) && (s.size == 0 || k.now().Sub(s.row.CreatedAt) < segmentAge) {
		return nil
	}
	closing, cancel := context.WithTimeout(ctx, segmentClosing)
	defer cancel()
	s.writer.Close(closing)
	if s.writer.Taken() {
		return jobs.ErrTaken
	}
	if s.writer.Waiting() > 0 {
		return errors.New("the end of a part of a place's log could not be stored") // whoever listens next reads it again
	}
	var place models.PlaceLog
	if err := k.DB.WithContext(ctx).Select("next_line", "cursors").First(&place, "id = ?", k.id).Error; err != nil {
		return err
	}
	return k.begin(ctx, place.NextLine, cursors(place.Cursors).clone(k.needs))
}

// names tells the segment which deployment has the number.
func (s *segment) names(r release) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers[r.Number] = r.ID
}

// keyed tells the segment under what the cursor of the step's instance stands.
func (s *segment) keyed(step, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[step] = key
}

// along writes down, with the lines, after which of them to go on listening.
func (s *segment) along(tx *gorm.DB, place string, lines []logs.Line) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lines[0].N == 1 {
		s.row.FirstAt, s.row.LastAt = lines[0].Time, lines[0].Time
	}
	for _, l := range lines {
		s.row.FirstAt, s.row.LastAt = earlier(s.row.FirstAt, l.Time), later(s.row.LastAt, l.Time)
		if deployment, _ := instanceOf(l.Step); l.Stream != logs.Slipway && s.numbers[deployment] != "" && s.keys[l.Step] != "" {
			s.stored.advance(s.numbers[deployment], s.keys[l.Step], l.Time)
		}
	}
	err := tx.Model(&models.LogSegment{}).Where("id = ?", s.row.ID).Updates(map[string]any{"first_at": s.row.FirstAt, "last_at": s.row.LastAt}).Error
	if err != nil {
		return err
	}
	next := models.PlaceLog{Cursors: s.stored, NextLine: s.row.First + lines[len(lines)-1].N}
	return tx.Model(&models.PlaceLog{}).Where("id = ?", place).Select("cursors", "next_line").Updates(&next).Error
}

// instanceOf reads what stepOf wrote.
func instanceOf(step string) (deployment int64, replica int) {
	number, rest, _ := strings.Cut(step, ".")
	deployment, _ = strconv.ParseInt(number, 10, 64)
	replica, _ = strconv.Atoi(rest)
	return deployment, replica
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
