package proxy_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/events"
	"slipway.dev/services/proxy"
)

// move sends so many of the visitors to a deployment at the addresses, as a gradual switch does.
func (f *front) move(id string, percent int, addresses ...string) {
	f.t.Helper()
	err := f.db.Transaction(func(tx *gorm.DB) error {
		next := models.Route{Next: models.NextRoute{DeploymentID: id, Addresses: addresses, Percent: percent}}
		if err := tx.Model(&models.Route{}).Where("host = ?", host).Select("next_deployment_id", "next_addresses", "next_percent").Updates(&next).Error; err != nil {
			return err
		}
		return events.Publish(tx, models.Event{TeamID: f.w.Team.ID, Kind: "deployment.shifted", Topic: "deployment:" + id})
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func trusting(p *proxy.Service) { p.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// versions are what a hundred visitors get, by their addresses.
func (f *front) versions(url string) map[string]string {
	f.t.Helper()
	got := map[string]string{}
	for n := range 100 {
		visitor := fmt.Sprintf("203.0.113.%d", n)
		code, body, _ := f.get(url, "/", from(visitor))
		if code != http.StatusOK {
			f.t.Fatalf("%s got %d %q", visitor, code, body)
		}
		got[visitor], _, _ = strings.Cut(body, "\n")
	}
	return got
}

func of(version string, got map[string]string) (n int) {
	for _, v := range got {
		if v == version {
			n++
		}
	}
	return n
}

// untilShare waits until about so many visitors get the version.
func (f *front) untilShare(url, version string, least, most int) map[string]string {
	f.t.Helper()
	for end := time.Now().Add(patience); ; <-time.After(10 * time.Millisecond) {
		got := f.versions(url)
		if n := of(version, got); n >= least && n <= most {
			return got
		}
		if time.Now().After(end) {
			f.t.Fatalf("%d of the visitors get %s, want %d to %d", of(version, got), version, least, most)
		}
	}
}

func TestAPartOfTheVisitorsGetsTheNextVersionAndStaysWithIt(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	one, two := f.another(trusting), f.another(trusting)
	f.serve(5*time.Second, f.instance("old"))
	f.until(one, "old")
	f.until(two, "old")
	id, to := models.NewID(), f.instance("new")
	f.move(id, 30, to)
	f.untilShare(one, "new", 10, 50) // which visitors it has is chance
	f.untilShare(two, "new", 10, 50)
	few := f.versions(one) // asked anew: the first hundred may have come while the proxy learned of it
	for visitor, version := range f.versions(two) {
		if few[visitor] != version {
			t.Errorf("%s gets %s from one proxy, and %s from another", visitor, few[visitor], version)
		}
	}
	f.move(id, 70, to)
	most := f.untilShare(one, "new", 51, 90)
	for visitor, version := range few {
		if version == "new" && most[visitor] != "new" {
			t.Errorf("%s was sent back", visitor)
		}
	}
	var holds []models.ProxyHold
	if err := f.db.Where("deployment_id = ?", id).Find(&holds).Error; err != nil || len(holds) != 3 {
		t.Fatalf("the new version is held by %+v, %v", holds, err)
	}
	for _, h := range holds {
		if h.Serving {
			t.Error("a proxy says that all visitors come to the new version")
		}
	}
	f.move(id, 0)
	f.untilShare(one, "new", 0, 0)
	f.untilHolds(id, 0)
}

// from has a request come from the visitor.
func from(visitor string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("X-Forwarded-For", visitor) }
}

func TestVisitorsOfAVersionThatTakesNoConnectionGetTheOther(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	const nobody = "127.0.0.1:1"
	url := f.another(trusting)
	f.serve(5*time.Second, f.instance("old"))
	f.until(url, "old")
	id := models.NewID()
	f.move(id, 50, nobody)
	f.untilHolds(id, 2)
	began := time.Now()
	if got := f.versions(url); of("old", got) != 100 {
		t.Errorf("the visitors get %v", got)
	}
	t.Logf("a hundred requests took %s", time.Since(began)) // none waits for what does not come
	f.serve(5*time.Second, nobody)
	f.move(models.NewID(), 50, f.instance("new"))
	f.untilShare(url, "new", 100, 100)
}

func TestNoRequestFailsWhileVisitorsMoveInSteps(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	url := f.another(trusting)
	f.serve(patience, f.instance("version 0")) // requests under way are cut then
	f.until(url, "version 0")
	var ok atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				path := "/"
				if n%40 == worker {
					path = "/while"
				}
				visitor := from(fmt.Sprintf("198.51.100.%d", n%250))
				if code, body, _ := f.get(url, path, visitor); code != http.StatusOK {
					t.Errorf("a request got %d %q", code, body)
					return
				}
				ok.Add(1)
			}
		})
	}
	some := func() {
		for seen := ok.Load(); ok.Load() < seen+40 && !t.Failed(); {
			<-time.After(time.Millisecond)
		}
	}
	for v := 1; v <= 4; v++ {
		id, to := models.NewID(), f.instance(fmt.Sprintf("version %d", v))
		for _, percent := range []int{20, 60, 90} {
			f.move(id, percent, to)
			some()
		}
		f.move(id, 0)
		some()
		f.serve(patience, to)
		f.until(url, fmt.Sprintf("version %d", v))
	}
	close(stop)
	wg.Wait()
	t.Logf("%d requests were answered", ok.Load())
}

// tallied waits until what the proxies have written of the deployment's answers is as it should be.
func (f *front) tallied(id string, fine func(models.Tally) bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		var sum models.Tally
		err := f.db.Model(&models.ProxyHold{}).Select("COALESCE(SUM(answers), 0) AS answers, COALESCE(SUM(errors), 0) AS errors").Where("deployment_id = ?", id).Scan(&sum).Error
		if err != nil {
			f.t.Fatal(err)
		}
		if fine(sum) {
			return
		}
		if time.Now().After(end) {
			f.t.Fatalf("%s gave %+v", id, sum)
		}
	}
}

func TestAnswersOfBothVersionsAreCountedWhileVisitorsAreDivided(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	one, two := f.another(trusting), f.another(trusting)
	old := f.serve(5*time.Second, f.instance("old"))
	f.until(one, "old")
	f.until(two, "old")
	f.get(one, "/broken", from("203.0.113.1")) // before, which does not count
	id := models.NewID()
	f.move(id, 50, f.instance("new"))
	f.untilHolds(id, 3)
	broken := map[string]int64{}
	for _, url := range []string{one, two} {
		f.untilShare(url, "new", 20, 80)
		for n := range 40 {
			code, body, _ := f.get(url, "/broken", from(fmt.Sprintf("203.0.113.%d", n)))
			if code != http.StatusInternalServerError {
				t.Fatalf("what is broken answers %d", code)
			}
			broken[strings.TrimSpace(body)]++
		}
	}
	for version, id := range map[string]string{"old": old, "new": id} {
		f.tallied(id, func(sum models.Tally) bool { return sum.Errors == broken[version] && sum.Answers >= 2*sum.Errors })
	}
	f.move(id, 0)
	f.untilHolds(id, 0)
	next := models.NewID()
	f.move(next, 50, f.instance("new"))
	f.untilShare(one, "new", 20, 80)
	f.tallied(old, func(sum models.Tally) bool { return sum.Errors == 0 && sum.Answers > 0 })
}
