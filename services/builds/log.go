package builds

import (
	"context"
	"io"

	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// LogStream returns how long the build's log is, whether it is whole, and why not.
func (s *Service) LogStream(ctx context.Context, id string) (models.LogStream, error) {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return models.LogStream{}, err
	}
	return s.Logs.Stream(ctx, id)
}

// FollowLog gives the lines of the build's log after the number as they come,
// until the log or ctx has ended; see logs.Service.Follow.
func (s *Service) FollowLog(ctx context.Context, id string, after int64) (<-chan logs.Batch, error) {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return nil, err
	}
	return s.Logs.Follow(ctx, id, after), nil
}

// WriteLog writes the text of the build's log as far as it is there, or of one of its steps.
func (s *Service) WriteLog(ctx context.Context, id, step string, to io.Writer) error {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return err
	}
	return s.Logs.WriteText(ctx, id, step, to)
}

// LogWindow returns lines of the build's log around a place; see logs.Service.Window.
func (s *Service) LogWindow(ctx context.Context, id string, w logs.Window) (logs.View, error) {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return logs.View{}, err
	}
	return s.Logs.Window(ctx, id, w)
}

// SearchLog looks through the whole of the build's log; see logs.Service.Search.
func (s *Service) SearchLog(ctx context.Context, id string, q logs.Search) (logs.Hits, error) {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return logs.Hits{}, err
	}
	return s.Logs.Search(ctx, id, q)
}

// LastLogLine returns the number of the last line that the step has printed, 0 for none.
func (s *Service) LastLogLine(ctx context.Context, id, step string) (int64, error) {
	if _, err := s.build(ctx, id, models.RoleViewer); err != nil {
		return 0, err
	}
	return s.Logs.LastOf(ctx, id, step)
}
