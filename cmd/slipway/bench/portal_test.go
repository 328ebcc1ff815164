package bench

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/git/gittest"
)

// BenchmarkStart measures from the start of the process until it takes requests, the first time, when it makes its
// database, and after that.
func BenchmarkStart(b *testing.B) {
	var p *slipwaytest.Portal
	first := took(func() { p = slipwaytest.Start(b, nil) })
	var again []time.Duration
	for range 5 {
		p.Stop(b)
		again = append(again, took(func() { p.Begin(b) }))
	}
	b.ReportMetric(first.Seconds(), "s_first_start")
	b.ReportMetric(median(again), "s_to_ready(goal_1)")
	only(b)
}

// BenchmarkIdleMemory reads what the system says the portal occupies after it has served some pages.
func BenchmarkIdleMemory(b *testing.B) {
	p := slipwaytest.Launch(b, nil)
	person := p.SignIn(b)
	for range 50 {
		for _, path := range []string{"/", "/repositories", "/builds", "/images", "/teams"} {
			home(b, person, p.URL+path)
		}
	}
	b.ReportMetric(resident(b, p.PID()), "MB_resident(goal_120)")
	b.ReportMetric(anonymous(b, p.PID()), "MB_anonymous")
	only(b)
}

// BenchmarkHomePage measures the first page for 50 people who are signed in: each opens it twice a second, and then,
// for the throughput, as often as it answers.
func BenchmarkHomePage(b *testing.B) {
	p := slipwaytest.Launch(b, nil)
	person := p.SignIn(b)
	person.Transport = &http.Transport{MaxIdleConnsPerHost: 50}
	fill(b, p, person)
	home(b, person, p.URL+"/")

	people := crowd(b, person, p.URL+"/", 10, func() time.Duration { return time.Duration(rand.Int64N(int64(time.Second))) })
	b.ReportMetric(quantile(people, 0.5), "ms_p50")
	b.ReportMetric(quantile(people, 0.99), "ms_p99(goal_25)")
	begin := time.Now()
	flood := crowd(b, person, p.URL+"/", 100, func() time.Duration { return 0 })
	b.ReportMetric(float64(len(flood))/time.Since(begin).Seconds(), "pages/s")
	b.ReportMetric(quantile(flood, 0.99), "ms_p99_without_pause")
	only(b)
}

// fill gives the first page something to show: a team with apps.
func fill(b *testing.B, p *slipwaytest.Portal, person *http.Client) {
	b.Helper()
	repo := gittest.New(b).Repository(b, "acme/shop.git", gittest.Files{"Dockerfile": "FROM scratch\n"})
	p.Client = &slipwaytest.Client{URL: p.URL, Token: p.NewToken(b, person)}
	p.Team(b, "acme")
	repository := p.Repository(b, "acme", "shop", repo.URL)
	for i := range 6 {
		p.App(b, repository.ID, fmt.Sprintf("shop-%d", i))
	}
}

// crowd lets 50 people open the page this often each and gives all times.
func crowd(b *testing.B, person *http.Client, address string, times int, pause func() time.Duration) []time.Duration {
	b.Helper()
	var lock sync.Mutex
	var all []time.Duration
	var people sync.WaitGroup
	for range 50 {
		people.Go(func() {
			for range times {
				<-time.After(pause())
				t := took(func() { home(b, person, address) })
				lock.Lock()
				all = append(all, t)
				lock.Unlock()
			}
		})
	}
	people.Wait()
	return all
}

func quantile(all []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return float64(sorted[int(q*float64(len(sorted)-1))].Microseconds()) / 1000
}

// home reads a page.
func home(b *testing.B, person *http.Client, address string) {
	response, err := person.Get(address)
	if err != nil {
		b.Error(err)
		return
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		b.Errorf("%s answered %d (%v)", address, response.StatusCode, err)
	}
}
