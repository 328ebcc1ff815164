package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
)

// post sends a body of unknown length to the app and hands over the status and what it got.
func (f *front) post(body string) <-chan string {
	answered := make(chan string, 1)
	go func() {
		req, err := http.NewRequest("POST", f.url+"/", struct{ io.Reader }{strings.NewReader(body)})
		if err != nil {
			answered <- err.Error()
			return
		}
		req.Host = host
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer res.Body.Close()
		got, _ := io.ReadAll(res.Body)
		answered <- fmt.Sprintf("%d %s", res.StatusCode, got)
	}()
	return answered
}

// reader is a server that answers with the body that it was sent.
func (f *front) reader() string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "read %s %v", body, err)
	}))
	f.t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return strings.TrimPrefix(server.URL, "http://")
}

func TestABodyWithinItsLimitIsWholeAtTheSecondAttempt(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.limit(models.PlaceLimits{Body: 64})
	f.serve(time.Second, "127.0.0.1:1")
	f.until(f.url, "does not answer")
	reader := f.reader() // a request waits two seconds
	short, long := f.post(strings.Repeat("a", 64)), f.post(strings.Repeat("b", 65))
	f.serve(time.Second, reader)
	if got := <-short; got != "200 read "+strings.Repeat("a", 64)+" <nil>" {
		t.Errorf("what is as large as it may be got %q", got)
	}
	if got := <-long; !strings.HasPrefix(got, "413 ") {
		t.Errorf("what is too large got %q", got)
	}
}

func TestARequestThatNobodyTookIsToldWhenItsAppIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	id := f.serve(time.Second, "127.0.0.1:1")
	f.until(f.url, "does not answer")
	got := f.post("an order")
	if err := f.db.Model(&models.Deployment{}).Where("id = ?", id).Update("paused", true).Error; err != nil {
		t.Fatal(err)
	}
	if err := f.db.Model(&models.Route{}).Where("deployment_id = ?", id).Select("addresses").Updates(&models.Route{Addresses: []string{}}).Error; err != nil {
		t.Fatal(err)
	}
	f.changed()
	if answer := <-got; !strings.HasPrefix(answer, "503 ") || !strings.Contains(answer, "brought up to date") {
		t.Errorf("it got %q", answer)
	}
	f.serve(time.Second, f.instance("two"))
	f.until(f.url, "two")
}

func TestNoSearchEngineListsAPreviewWhateverItAnswers(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	if err := f.db.Model(f.w.Environment).Update("kind", models.EnvironmentPreview).Error; err != nil {
		t.Fatal(err)
	}
	listed := func(what string) {
		t.Helper()
		if _, body, h := f.get(f.url, "/", nil); h.Get("X-Robots-Tag") != "noindex, nofollow" {
			t.Errorf("%s is listed: %v, %q", what, h, body)
		}
	}
	f.serve(time.Second, f.instance("one"))
	f.until(f.url, "one")
	listed("its page")
	id := f.serve(time.Second, "127.0.0.1:1")
	f.until(f.url, "does not answer")
	listed("an app that does not answer")
	if err := f.db.Model(&models.Deployment{}).Where("id = ?", id).Update("stopped", true).Error; err != nil {
		t.Fatal(err)
	}
	if err := f.db.Model(&models.Route{}).Where("deployment_id = ?", id).Select("addresses").Updates(&models.Route{Addresses: []string{}}).Error; err != nil {
		t.Fatal(err)
	}
	f.changed()
	f.until(f.url, "Stopped")
	listed("an app that was stopped")
}
