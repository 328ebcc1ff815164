package builds_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/registry"
)

func TestABuildThatWouldMoveAnImmutableTagBuildsNothing(t *testing.T) {
	t.Parallel()
	w := real(t)
	var built atomic.Int32
	w.direct(func(ctx context.Context, r builds.Request, emit func(builds.Event)) (*builds.Result, error) {
		built.Add(1)
		return pushSomething(ctx, r, emit)
	})
	every := []string{"*"}
	if _, err := w.images.UpdateTeamSettings(w.as(t, w.Maintainer), "payments", registry.ChangeTeamSettings{ImmutableTags: &every}); err != nil {
		t.Fatal(err)
	}
	first := w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded) // it pushes twice, and moves its own tag
	if len(first.ImageTags) != 4 {
		t.Errorf("the first build's tags are %v", first.ImageTags)
	}
	var tag models.RegistryTag
	if err := w.db.Where("name = 'main'").Take(&tag).Error; err != nil || tag.MovedBy != "build:"+first.ID || tag.Digest != first.ImageDigest {
		t.Errorf("the tag is %+v, %v", tag, err)
	}
	second := w.wait(t, w.queueBuild(t, "main").ID, models.BuildFailed)
	if second.Error == nil || second.Error.Class != builds.ClassUser || !strings.HasPrefix(second.Error.Message, "Nothing was built. The tag ") ||
		!strings.Contains(second.Error.Message, `the pattern "*" in the team's settings`) {
		t.Errorf("the second build failed with %+v", second.Error)
	}
	if n := built.Load(); n != 1 {
		t.Errorf("the builder was asked %d times", n)
	}
	none := []string{}
	if _, err := w.images.UpdateTeamSettings(w.as(t, w.Maintainer), "payments", registry.ChangeTeamSettings{ImmutableTags: &none}); err != nil {
		t.Fatal(err)
	}
	w.wait(t, w.queueBuild(t, "main").ID, models.BuildSucceeded)
}
