package explorer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"gocloud.dev/blob"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/jobs"
	"slipway.dev/services/layers"
)

const (
	makeAtOnce  = 2                // indexes that one process makes; each takes up to some 150 MB
	makeTime    = 30 * time.Minute // that reading all layers of an image may take
	maxAttempts = 3
	tellEvery   = time.Second // about progress
	askAgain    = 500 * time.Millisecond
)

// errBusy is an index that another worker makes.
var errBusy = errors.New("another worker makes it")

// Register names the making of indexes to the queue, and the deleting of those that nobody needs.
func (s *Service) Register(q *jobs.Queue) {
	s.slots = make(chan struct{}, makeAtOnce)
	jobs.Register(q, s.Make)
	q.Every(time.Hour, "forgetting file indexes that nobody needs", s.Prune)
}

// Make makes the index of an image or a comparison, after those of all layers
// that it needs. What is there already is not made again, so it may run any number of times.
func (s *Service) Make(ctx context.Context, args Args) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return jobs.Later(askAgain)
	}
	ctx, cancel := context.WithTimeout(ctx, makeTime)
	defer cancel()
	err := s.makeFor(ctx, args)
	if errors.Is(err, errBusy) {
		return jobs.Later(askAgain)
	}
	if err == nil {
		return s.tell(s.DB.WithContext(ctx), args.ID, []string{args.Team}, "file-index.ready")
	}
	return s.failed(context.WithoutCancel(ctx), args, err)
}

// failed has the job run again, or gives it up for good with a sentence for people.
func (s *Service) failed(ctx context.Context, args Args, cause error) (again error) {
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var row models.FileIndex
		err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", args.ID).Take(&row).Error
		if errors.Is(err, gorm.ErrRecordNotFound) { // pruned: nobody waits
			return nil
		}
		if err != nil {
			return err
		}
		told, ok := errors.AsType[*models.Error](cause)
		row.Attempt++
		if row.Attempt < maxAttempts && !(ok && told.Code == models.NotFound) {
			again = cause // the queue tries it again
			return tx.Select("attempt").Updates(&row).Error
		}
		row.Error = "The layers could not be read from the registry."
		if ok {
			row.Error = told.Message
		}
		row.State, row.Worker, row.UpdatedAt = models.IndexFailed, "", s.DB.NowFunc()
		if err := tx.Select("state", "error", "worker", "updated_at").Updates(&row).Error; err != nil {
			return err
		}
		return s.tell(tx, row.ID, row.Teams, "file-index.failed")
	})
	return errors.Join(again, err)
}

func (s *Service) makeFor(ctx context.Context, args Args) error {
	if len(args.Images) == 0 || len(args.Images) > 2 {
		return models.Errorf(models.NotFound, "There is nothing to list.")
	}
	var images []*image
	for _, at := range args.Images {
		i, err := s.image(ctx, at, "")
		if err != nil {
			return err
		}
		images = append(images, i)
	}
	m := &making{Service: s, id: args.ID}
	for _, i := range images {
		m.total += i.size()
	}
	if len(images) == 1 {
		_, err := m.image(ctx, images[0])
		return err
	}
	return m.comparison(ctx, images[0], images[1])
}

// making is the work on one index and those that it is made of.
type making struct {
	*Service
	id    string // of the index that somebody waits for
	done  int64  // compressed bytes that are read
	total int64
	told  time.Time
}

func (m *making) comparison(ctx context.Context, a, b *image) error {
	_, err := m.once(ctx, comparisonRow(a, b), func(w io.Writer) (layers.Report, error) {
		x, err := m.image(ctx, a)
		if err != nil {
			return layers.Report{}, err
		}
		y, err := m.image(ctx, b)
		if err != nil {
			return layers.Report{}, err
		}
		return layers.Compare(ctx, x, y, w, m.Limits)
	})
	return err
}

func (m *making) image(ctx context.Context, i *image) (*layers.Index, error) {
	return m.once(ctx, imageRow(i), func(w io.Writer) (layers.Report, error) {
		var all []*layers.Index
		for _, l := range i.layers {
			x, err := m.layer(ctx, i.reference, l)
			if err != nil {
				return layers.Report{}, fmt.Errorf("layer %d: %w", l.Number, err)
			}
			all = append(all, x)
		}
		return layers.Merge(ctx, all, w, m.Limits)
	})
}

func (m *making) layer(ctx context.Context, at Reference, l models.FileLayer) (*layers.Index, error) {
	before := m.done
	row := models.FileIndex{ID: fmt.Sprintf("layer%d:%s", layers.Format, l.Digest), Kind: models.IndexOfLayer, Registry: at.Registry, Top: l.Digest, Total: l.Size}
	x, err := m.once(ctx, row, func(w io.Writer) (layers.Report, error) {
		content, _, err := m.OpenBlob(ctx, at.Registry, at.Repository, l.Digest)
		if err != nil {
			return layers.Report{}, err
		}
		defer content.Close()
		return layers.Scan(ctx, content, w, layers.Options{Limits: m.Limits, Digest: l.Digest, Read: func(n int64) { m.progress(ctx, before+n) }})
	})
	m.done = before + l.Size
	return x, err
}

// progress tells those who wait how far it is, now and then. That it could not be told is no reason to stop.
func (m *making) progress(ctx context.Context, done int64) {
	if time.Since(m.told) < tellEvery {
		return
	}
	m.told = time.Now()
	_ = m.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var row models.FileIndex
		if err := tx.Where("id = ?", m.id).Take(&row).Error; err != nil {
			return err
		}
		row.Done, row.Total, row.UpdatedAt = min(done, m.total), m.total, m.DB.NowFunc()
		if err := tx.Select("done", "total", "updated_at").Updates(&row).Error; err != nil {
			return err
		}
		return m.tell(tx, row.ID, row.Teams, "file-index.progress")
	})
}

// once makes an index unless it is there. Only the worker that holds the row's lease does.
func (m *making) once(ctx context.Context, row models.FileIndex, write func(io.Writer) (layers.Report, error)) (*layers.Index, error) {
	held, err := m.hold(ctx, &row)
	if err != nil {
		return nil, err
	}
	if held {
		if err := m.keep(ctx, &row, write); err != nil {
			return nil, errors.Join(err, m.release(ctx, row.ID))
		}
	}
	return m.open(ctx, &row)
}

// hold takes the lease of the row, which it writes where there is none. held is false where the index is ready.
func (m *making) hold(ctx context.Context, row *models.FileIndex) (held bool, err error) {
	err = m.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		now := m.DB.NowFunc()
		fresh := *row
		fresh.State, fresh.Teams, fresh.CreatedAt, fresh.UpdatedAt, fresh.LastUsedAt = models.IndexWaiting, []string{}, now, now, now
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&fresh).Error; err != nil {
			return err
		}
		if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("id = ?", row.ID).Take(row).Error; err != nil {
			return err
		}
		if row.State == models.IndexReady {
			return nil
		}
		ok, err := m.Jobs.Claim(ctx, tx, &models.FileIndex{}, row.ID)
		if err == nil && !ok {
			err = errBusy
		}
		held = err == nil
		return err
	})
	if err != nil && !errors.Is(err, errBusy) {
		err = fmt.Errorf("taking the lease of a file index: %w", err)
	}
	return held, err
}

// release gives the lease back, so that the next attempt may be anybody's. Failures are counted by failed, not by leases.
func (m *making) release(ctx context.Context, id string) error {
	return m.Jobs.Held(m.DB.WithContext(context.WithoutCancel(ctx)).Model(&models.FileIndex{}), id).
		UpdateColumns(map[string]any{"worker": "", "attempt": gorm.Expr("attempt - 1")}).Error
}

// keep writes the index's blob and then its row, as long as the lease is held.
func (m *making) keep(ctx context.Context, row *models.FileIndex, write func(io.Writer) (layers.Report, error)) error {
	key := "indexes/" + models.NewID()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a writer that is closed after this leaves nothing behind
	w, err := m.Blobs.NewWriter(ctx, key, &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return fmt.Errorf("opening a blob for a file index: %w", err)
	}
	count := &counter{w: w}
	report, err := write(count)
	if err != nil {
		cancel()
		_ = w.Close() // fails because it was canceled
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("keeping a file index: %w", err)
	}
	row.State, row.Error, row.Blob, row.Size, row.Entries, row.Bytes = models.IndexReady, "", key, count.n, report.Entries, report.Bytes
	row.Done, row.Worker, row.UpdatedAt = row.Total, "", m.DB.NowFunc()
	err = m.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		written := m.Jobs.Held(tx.Model(&models.FileIndex{}), row.ID).
			Select("state", "error", "blob", "size", "entries", "bytes", "done", "worker", "updated_at").Updates(row)
		if written.Error == nil && written.RowsAffected == 0 {
			return errBusy
		}
		return written.Error
	})
	if err != nil {
		return errors.Join(fmt.Errorf("keeping a file index: %w", err), m.Blobs.Delete(context.WithoutCancel(ctx), key))
	}
	return nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func imageRow(i *image) models.FileIndex {
	return models.FileIndex{ID: i.id(), Kind: models.IndexOfImage, Registry: i.reference.Registry, Top: i.top(), Total: i.size()}
}

func comparisonRow(a, b *image) models.FileIndex {
	return models.FileIndex{ID: "compare:" + sum(a.id(), b.id()), Kind: models.IndexOfComparison, Registry: b.reference.Registry, Top: b.top(), Total: a.size() + b.size()}
}
