package deploy_test

import (
	"context"
	"iter"
	"strings"
	"testing"
	"time"

	"slipway.dev/services/deploy"
)

func TestLinesOfInstancesWhoseClocksAreWrongComeAtOnceAndAllOfThem(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	now, read := time.Now(), make(chan struct{})
	off := map[string][2]time.Duration{"behind": {-3 * time.Hour, -2 * time.Hour}, "ahead": {2 * time.Hour, 3 * time.Hour}}
	lines := func(ctx context.Context, i deploy.Instance, _ deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
		return func(yield func(deploy.LogLine, error) bool) {
			if !yield(deploy.LogLine{At: now.Add(off[i.ID][0]), Text: i.ID}, nil) {
				return
			}
			select {
			case <-read:
				yield(deploy.LogLine{At: now.Add(off[i.ID][1]), Text: i.ID + " ends"}, nil)
			case <-ctx.Done():
			}
		}
	}
	var got []string
	for line, err := range deploy.Together(ctx, []deploy.Instance{{ID: "ahead"}, {ID: "behind"}}, deploy.LogOptions{Follow: true}, lines) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, line.Text); len(got) == 2 { // before either of them ends
			close(read)
		}
	}
	if text := strings.Join(got, ", "); len(got) != 4 || !strings.Contains(text, "ahead ends") || !strings.Contains(text, "behind ends") {
		t.Errorf("the lines are %s", text)
	}
}
