package handlers

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/logs"
)

// placeLog keeps the lines as what the app's first deployment in the seeded environment printed.
func (f *fixture) placeLog(texts ...string) *logs.Writer {
	f.t.Helper()
	now := f.db.NowFunc()
	segment := models.LogSegment{ID: models.NewID(), PlaceLogID: models.NewID(), First: 1, FirstAt: now.Add(-time.Hour), LastAt: now.Add(time.Hour)}
	f.must(f.db.Create(&models.PlaceLog{ID: segment.PlaceLogID, TeamID: f.Team.ID, EnvironmentID: f.Environment.ID, AppID: f.App.ID, SegmentID: segment.ID, NextLine: int64(len(texts)) + 1}).Error)
	f.must(f.db.Create(&segment).Error)
	w, err := f.s.Observe.Logs.Open(f.t.Context(), segment.ID, logs.KindDeployment, nil)
	f.must(err)
	for n, text := range texts {
		w.Write(fmt.Sprintf("1.%d", n%2+1), logs.Stdout, now.Add(time.Duration(n)*time.Millisecond), []byte(text+"\n"))
	}
	return w
}

// runs writes down a deployment that serves with one instance, and what that took over the last minutes.
func (f *fixture) runs() *models.Deployment {
	f.t.Helper()
	now := f.db.NowFunc()
	then := now.Add(-30 * time.Minute)
	d := &models.Deployment{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, EnvironmentID: f.Environment.ID, Number: 1, State: models.DeploymentSucceeded, Active: true,
		ImageTag: hostile, Action: models.ActionDeploy, CreatedAt: then, StartedAt: &then, FinishedAt: &then, Config: models.DeploymentConfig{Scale: models.Scale{Replicas: 1, CPU: 500, Memory: 64 << 20}}}
	f.must(f.db.Create(d).Error)
	i := &models.Instance{ID: models.NewID(), DeploymentID: d.ID, RuntimeID: "c1", Name: hostile, State: models.InstanceHealthy, Restarts: 3, StartedAt: &then, CreatedAt: then, UpdatedAt: now}
	f.must(f.db.Create(i).Error)
	starts := now.Unix() - now.Unix()%300
	packed := []byte{0, 0xfa, 0x01, 0x80, 0xa0, 0x01} // 0 s, 250 thousandths, 20,480 KiB
	f.must(f.db.Create(&models.UsageBucket{InstanceID: i.ID, StartsAt: starts, Samples: packed}).Error)
	return d
}

func (f *fixture) placeURL() string {
	return "/environments/" + f.Environment.ID + "/apps/" + f.App.ID
}

func TestAPlaceShowsWhatItsInstancesTake(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	path := f.placeURL()
	empty := f.send(ask{path: path, cookie: f.cookie(f.Viewer)})
	if empty.Code != 200 || !strings.Contains(empty.Body.String(), "Nothing runs here") {
		t.Errorf("a place where nothing runs: %d", empty.Code)
	}
	d := f.runs()
	w := f.send(ask{path: path, cookie: f.cookie(f.Viewer)})
	page := w.Body.String()
	for _, text := range []string{"CPU: 0.25 now, at most 0.25 in the last hour, of 0.5 allowed", "Memory: 20 MiB now, at most 20 MiB in the last hour, of 64 MiB allowed", "3 restarts", "#1 began to serve", `data-every="15"`, "As a table", "Healthy"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	if faults := markup(t, page); faults != nil {
		t.Errorf("the page holds %q", faults)
	}
	var u struct {
		Instances []struct {
			Deployment  int64
			Restarts    int
			MemoryLimit int64 `json:"memory_limit"`
			Samples     []struct{ CPU, Memory int64 }
		}
		Switches []struct {
			DeploymentID string `json:"deployment_id"`
		}
	}
	answer := f.send(ask{path: "/api/v1" + path + "/usage", token: f.token(f.Viewer, models.ScopeRead)})
	f.must(json.Unmarshal(answer.Body.Bytes(), &u))
	if len(u.Instances) != 1 || len(u.Instances[0].Samples) != 1 || u.Instances[0].Samples[0].CPU != 250 || u.Instances[0].Samples[0].Memory != 20<<20 || u.Instances[0].MemoryLimit != 64<<20 {
		t.Errorf("the API says %s", answer.Body)
	}
	if len(u.Switches) != 1 || u.Switches[0].DeploymentID != d.ID {
		t.Errorf("the switches are %+v", u.Switches)
	}
}

func TestAMeanIsNotShownAsWhatASingleInstanceTakes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n := range f.s.Deploy.Kinds {
		f.s.Deploy.Kinds[n].Means = true
	}
	d := f.runs()
	now := f.db.NowFunc()
	f.must(f.db.Create(&models.Instance{ID: models.NewID(), DeploymentID: d.ID, RuntimeID: "c2", Name: "second", State: models.InstanceHealthy, CreatedAt: now, UpdatedAt: now}).Error)
	page := f.send(ask{path: f.placeURL(), cookie: f.cookie(f.Viewer)}).Body.String()
	for text, times := range map[string]int{"the mean of all instances of a deployment": 1, "CPU: 0.25 now, at most 0.25 in the last hour, of 0.5 allowed": 1, "As a table": 1, "second": 1, "not measured yet": 0} {
		if n := strings.Count(page, text); n != times && (times == 0 || n == 0 || text == "As a table") {
			t.Errorf("the page says %q %d times", text, n)
		}
	}
	if faults := markup(t, page); faults != nil {
		t.Errorf("the page holds %q", faults)
	}
	answer := f.send(ask{path: "/api/v1" + f.placeURL() + "/usage", token: f.token(f.Viewer, models.ScopeRead)})
	if !strings.Contains(answer.Body.String(), `"mean":true`) {
		t.Errorf("the API says %s", answer.Body)
	}
}

func TestAPlacesLogIsSearchedWithoutScriptsAndShownSafely(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.runs()
	texts := []string{hostile, "\x1b[31mred\x1b[0m & \x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07", strings.Repeat("long ", 5000)}
	for n := range 300 {
		texts = append(texts, fmt.Sprintf("request %d & co", n))
	}
	f.placeLog(texts...).Close(t.Context())
	v := f.cookie(f.Viewer)
	get := func(query string) string {
		t.Helper()
		w := f.send(ask{path: f.placeURL() + "/log" + query, cookie: v})
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		if faults := markup(t, w.Body.String()); faults != nil {
			t.Errorf("%s: the page holds %q", query, faults)
		}
		return w.Body.String()
	}
	end := get("")
	if strings.Count(end, `data-n="`) != 200 || !strings.Contains(end, `id="L303"`) || !strings.Contains(end, "Earlier lines") || !strings.Contains(end, `src="`+f.placeURL()+`/log/stream"`) {
		t.Error("the page does not begin with the log's end")
	}
	earlier := regexp.MustCompile(`data-earlier href="([^"]+)"`).FindStringSubmatch(end)
	if earlier == nil {
		t.Fatal("there is no link to earlier lines")
	}
	_, query, _ := strings.Cut(earlier[1], "?")
	first := get("?" + query)
	if !strings.Contains(first, `id="L1"`) || !strings.Contains(first, "&lt;script&gt;") || !strings.Contains(first, `<span class="fg31">red</span>`) || strings.Contains(first, `/log/stream"`) || !strings.Contains(first, "Later lines") {
		t.Error("the part before is not shown as it should be")
	}
	found := get("?q=REQUEST+29&instance=2")
	if strings.Count(found, `data-n="`) != 5 || !strings.Contains(found, "<mark>request 29</mark>8 &amp; co") {
		t.Errorf("found are %d lines", strings.Count(found, `data-n="`))
	}
	if page := get("?q=nowhere"); !strings.Contains(page, "No line that is kept matches.") {
		t.Error("a search that finds nothing does not say so")
	}
	if page := get("?line=100"); !strings.Contains(page, `id="L100"`) || !strings.Contains(page, "Newest") {
		t.Error("the page of a line does not hold it")
	}
	wrong := f.send(ask{path: f.placeURL() + "/log?since=yesterday&q=kept", cookie: v})
	if wrong.Code != http.StatusUnprocessableEntity && wrong.Code != http.StatusBadRequest || !strings.Contains(wrong.Body.String(), "is not a time") || !strings.Contains(wrong.Body.String(), `value="kept"`) {
		t.Errorf("a time that is none: %d", wrong.Code)
	}
	text := f.send(ask{path: f.placeURL() + "/log.txt?q=request+7", cookie: v})
	if text.Code != 200 || strings.Count(text.Body.String(), "\n") != 11 || !strings.Contains(text.Header().Get("Content-Disposition"), "attachment") {
		t.Errorf("as text: %d %q", text.Code, text.Body)
	}
	part := f.send(ask{path: f.placeURL() + "/log/lines?before=50", cookie: v})
	if part.Code != 200 || !strings.Contains(part.Body.String(), `id="L49"`) || strings.Contains(part.Body.String(), "<html") {
		t.Errorf("a part: %d", part.Code)
	}
}

func TestAPlacesLogIsFollowedAsItIsKept(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	w := f.placeLog("one", "two <b>", "other")
	header := map[string]string{"Cookie": f.cookie(f.Viewer).String(), "Accept": "text/event-stream"}
	s := follow(t, f, f.placeURL()+"/log/stream?after=1&q=t", header)
	id, event, data, _ := s.next()
	if id != "3" || event != "" || !strings.Contains(data, `id="L2"`) || !strings.Contains(data, `<mark>t</mark>wo &lt;b&gt;`) {
		t.Errorf("the lines after the first: %q %q %q", id, event, data)
	}
	w.Write("1.1", logs.Stderr, time.Now(), []byte("nope\nthree\n"))
	w.Leave(t.Context())
	if id, _, data, _ := s.next(); id != "5" || !strings.Contains(data, "hree") || strings.Contains(data, "nope") {
		t.Errorf("what came later: %q %q", id, data)
	}
}

func TestTheAPIReadsAPlacesLogLineByLineAndPageByPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var texts []string
	for n := range 25 {
		texts = append(texts, fmt.Sprintf("line %d <&>", n+1))
	}
	f.placeLog(texts...).Leave(t.Context())
	token := f.token(f.Viewer, models.ScopeRead)
	read := func(query string) (numbers []int64, next string) {
		t.Helper()
		w := f.send(ask{path: "/api/v1" + f.placeURL() + "/logs" + query, token: token})
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%s: %d %v %s", query, w.Code, w.Header(), w.Body)
		}
		for lines := bufio.NewScanner(w.Body); lines.Scan(); {
			var l struct {
				N        int64
				Text     string
				Instance int
				Stream   string
			}
			f.must(json.Unmarshal(lines.Bytes(), &l))
			if l.Text != fmt.Sprintf("line %d <&>", l.N) || l.Stream != "stdout" || l.Instance != int(l.N-1)%2+1 {
				t.Errorf("a line is %s", lines.Text())
			}
			numbers = append(numbers, l.N)
		}
		return numbers, w.Header().Get("Slipway-Next")
	}
	numbers, next := read("?limit=10")
	older, last := read("?limit=20&cursor=" + next)
	if !slices.Equal(slices.Concat(older, numbers), upTo(25)) || last != "" {
		t.Errorf("read were %v, then %v, and then comes %q", numbers, older, last)
	}
	if numbers, next := read("?after=3&limit=5"); !slices.Equal(numbers, []int64{4, 5, 6, 7, 8}) || next != "8" {
		t.Errorf("after 3 come %v, then %q", numbers, next)
	}
	if numbers, _ := read("?q=LINE+2&instance=2&since=2020-01-01T00:00:00Z"); !slices.Equal(numbers, []int64{2, 20, 22, 24}) {
		t.Errorf("found were %v", numbers)
	}
	for _, query := range []string{"?stream=x", "?since=x", "?limit=5000", "?cursor=-1", "?cursor=3&after=3", "?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", "?q=" + strings.Repeat("x", 300)} {
		if w := f.send(ask{path: "/api/v1" + f.placeURL() + "/logs" + query, token: token}); w.Code < 400 || w.Code >= 500 {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	stranger := f.token(f.Stranger, models.ScopeRead)
	if w := f.send(ask{path: "/api/v1" + f.placeURL() + "/logs", token: stranger}); w.Code != http.StatusNotFound {
		t.Errorf("a stranger: %d", w.Code)
	}
}

func upTo(n int64) (all []int64) {
	for i := int64(1); i <= n; i++ {
		all = append(all, i)
	}
	return all
}
