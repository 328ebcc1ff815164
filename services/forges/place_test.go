package forges

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
)

func TestWhereAForgesAPIIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind       models.ForgeKind
		base, want string
	}{
		{models.ForgeGitHub, "https://github.com", "https://api.github.com/"},
		{models.ForgeGitHub, "https://GitHub.com", "https://api.GitHub.com/"},
		{models.ForgeGitHub, "https://acme.ghe.com", "https://api.acme.ghe.com/"},
		{models.ForgeGitHub, "https://github.acme.example:8443", "https://github.acme.example:8443/api/v3/"},
		{models.ForgeGitLab, "https://gitlab.com", "https://gitlab.com/api/v4/"},
		{models.ForgeGitLab, "https://acme.example/gitlab", "https://acme.example/gitlab/api/v4/"},
		{models.ForgeGitea, "https://codeberg.org", "https://codeberg.org/api/v1/"},
		{models.ForgeGeneric, "", ""},
		{models.ForgeGitHub, "", ""},
	} {
		got, err := apiURL(&models.Connection{Kind: c.kind, BaseURL: c.base})
		if c.want == "" && err == nil || c.want != "" && (err != nil || got.String() != c.want) {
			t.Errorf("%s at %q: %v, %v", c.kind, c.base, got, err)
		}
	}
}

func TestWhereARepositoryIsAtItsForge(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind            models.ForgeKind
		base, url, want string // empty: it is refused
	}{
		{models.ForgeGitHub, "https://github.com", "https://github.com/acme/shop.git", "acme/shop"},
		{models.ForgeGitHub, "https://github.com", "https://github.com/acme/shop/", "acme/shop"},
		{models.ForgeGitHub, "https://github.com", "git@github.com:acme/shop.js.git", "acme/shop.js"},
		{models.ForgeGitHub, "https://github.com", "ssh://git@github.com/acme/.github", ""},
		{models.ForgeGitHub, "https://github.com", "https://github.com/acme", ""},
		{models.ForgeGitHub, "https://github.com", "https://github.com/acme/group/shop", ""},
		{models.ForgeGitHub, "https://github.com", "https://github.com/acme/../admin", ""},
		{models.ForgeGitHub, "https://github.com", "https://github.com/acme/shop%2f..%2fother", ""},
		{models.ForgeGitHub, "https://github.com", "https://github.com/acme/shop%3fx=1", ""},
		{models.ForgeGitHub, "https://github.com", "https://gitlab.com/acme/shop", ""},
		{models.ForgeGitLab, "https://gitlab.com", "git@gitlab.com:acme/back-end/shop.git", "acme/back-end/shop"},
		{models.ForgeGitLab, "https://acme.example/gitlab", "https://acme.example/gitlab/acme/shop.git", "acme/shop"},
		{models.ForgeGitLab, "https://acme.example/gitlab", "git@acme.example:acme/shop.git", "acme/shop"},
		{models.ForgeGitea, "https://codeberg.org:443", "https://codeberg.org/acme/shop.git", "acme/shop"},
	} {
		got, err := pathAt(&models.Connection{Kind: c.kind, BaseURL: c.base}, &models.Repository{CloneURL: c.url})
		if c.want == "" && err == nil || c.want != "" && (err != nil || got != c.want) {
			t.Errorf("%s: %q, %v", c.url, got, err)
		}
	}
	if got := gitlabProject("acme/back-end/shop", ""); got != "acme%2Fback-end%2Fshop" {
		t.Error(got)
	}
	if got := gitlabProject("acme/shop", "4711"); got != "4711" {
		t.Error(got)
	}
	if got := gitlabProject("acme/shop", "4711/../1"); got != "acme%2Fshop" {
		t.Error(got)
	}
}

func TestHowLongAForgeAsksToBeLeftAlone(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		status int
		header map[string]string
		want   time.Duration // zero: it does not
	}{
		"nothing said":          {429, nil, time.Minute},
		"seconds":               {429, map[string]string{"Retry-After": "90"}, 90 * time.Second},
		"a date":                {503, map[string]string{"Retry-After": "Mon, 01 Jun 2026 12:05:00 GMT"}, 5 * time.Minute},
		"a date that is past":   {429, map[string]string{"Retry-After": "Mon, 01 Jun 2026 11:00:00 GMT"}, time.Second},
		"for ever":              {429, map[string]string{"Retry-After": "999999999"}, 2 * time.Hour},
		"nonsense":              {429, map[string]string{"Retry-After": "soon"}, time.Minute},
		"GitHub's limit":        {403, map[string]string{"X-Ratelimit-Remaining": "0", "X-Ratelimit-Reset": "1780316100"}, 15 * time.Minute},
		"GitLab's limit":        {429, map[string]string{"Ratelimit-Remaining": "0", "Ratelimit-Reset": "1780316100"}, 15 * time.Minute},
		"a plain refusal":       {403, map[string]string{"X-Ratelimit-Remaining": "4000", "X-Ratelimit-Reset": "1780316100"}, 0},
		"a server in trouble":   {503, nil, 0},
		"a header without need": {404, map[string]string{"Retry-After": "90"}, 0},
	} {
		header := http.Header{}
		for k, v := range c.header {
			header.Set(k, v)
		}
		got, ok := limit(&answerError{status: c.status, header: header}, now)
		if ok != (c.want > 0) || ok && got != c.want {
			t.Errorf("%s: %s, %v", name, got, ok)
		}
	}
}

func TestADescriptionFitsItsPlace(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	to := from.Add(83*time.Second + 400*time.Millisecond)
	for want, b := range map[string]models.Build{
		"Build #7 waits for a worker":                        {State: models.BuildQueued},
		"Build #7 is running":                                {State: models.BuildRunning},
		"Build #7 succeeded in 1m23s":                        {State: models.BuildSucceeded, StartedAt: &from, FinishedAt: &to},
		"Build #7 was canceled: Mira canceled the build.":    {State: models.BuildCanceled, Error: &models.BuildError{Message: "Mira canceled the build."}},
		"Build #7 failed: " + strings.Repeat("ü", 122) + "…": {State: models.BuildFailed, Error: &models.BuildError{Message: strings.Repeat("ü", 300)}},
		"Build #7 failed: RUN make ended with exit code 2.":  {State: models.BuildFailed, Error: &models.BuildError{Message: "RUN make\n\tended with exit code 2."}},
		"Build #7 waits for approval":                        {State: models.BuildWaiting},
	} {
		b.Number = 7
		if got := describe(&b); got != want || len([]rune(got)) > 140 {
			t.Errorf("%q is not %q", got, want)
		}
	}
}
