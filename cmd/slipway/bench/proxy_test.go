package bench

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/models"
)

const (
	benchHost  = "checkout-dev.localhost"
	proxyTurns = 5
)

// BenchmarkProxy compares Slipway as a proxy with Debian's nginx: both pass the same requests of wrk on to the same
// nginx, in turns. Slipway counts the requests of each deployment, watches that none stands still and keeps headers and
// cookies clean; nginx logs nothing and keeps connections to the upstream open, as Slipway does.
func BenchmarkProxy(b *testing.B) {
	upstream := nginx(b, `server { listen 127.0.0.1:%s; location / { default_type text/plain; return 200 "hello, this is the app\n"; } }`)
	theirs := nginx(b, `upstream app { server `+upstream+`; keepalive 64; }
server { listen 127.0.0.1:%s; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host; } }`)
	p := slipwaytest.Start(b, nil)
	ours := "127.0.0.1:" + p.Port
	routed(b, "sqlite:"+filepath.Join(p.Data, "slipway.db"), upstream)
	slipwaytest.Until(b.Context(), b, "the proxy has the route", func() bool {
		out, err := exec.Command("curl", "-sS", "-H", "Host: "+benchHost, "http://"+ours+"/").Output()
		return err == nil && strings.HasPrefix(string(out), "hello")
	})
	b.Run("throughput", func(b *testing.B) {
		var rates [2][]time.Duration // for one request, so that medians are told as of all times here
		for turn := range proxyTurns {
			for i := range 2 {
				side := (turn + i) % 2
				rate, _ := wrk(b, 16, []string{ours, theirs}[side])
				rates[side] = append(rates[side], time.Duration(float64(time.Second)/rate))
			}
		}
		our, their := 1/median(rates[0]), 1/median(rates[1])
		b.ReportMetric(our, "requests/s")
		b.ReportMetric(their, "requests/s_nginx")
		b.ReportMetric(our/their, "x_throughput(goal_at_least_0.7)")
		only(b)
	})
	b.Run("latency", func(b *testing.B) {
		var late [3][]time.Duration
		for turn := range proxyTurns {
			for i := range 3 {
				side := (turn + i) % 3
				_, p99 := wrk(b, 1, []string{ours, theirs, upstream}[side])
				late[side] = append(late[side], p99)
			}
		}
		b.ReportMetric((median(late[0])-median(late[2]))*1000, "ms_added_p99(goal_1)")
		b.ReportMetric((median(late[1])-median(late[2]))*1000, "ms_added_p99_nginx")
		only(b)
	})
}

var (
	wrkRate = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	wrkP99  = regexp.MustCompile(`99%\s+([\d.]+(?:us|ms|s))`)
)

// wrk asks the address for a few seconds over so many connections and tells the requests in a second and the time that one in a hundred takes longer than.
func wrk(b *testing.B, connections int, at string) (rate float64, p99 time.Duration) {
	b.Helper()
	out, err := exec.Command("wrk", "-t1", fmt.Sprintf("-c%d", connections), "-d3s", "--latency", "-H", "Host: "+benchHost, "http://"+at+"/").CombinedOutput()
	if err != nil {
		b.Fatalf("wrk: %v\n%s", err, out)
	}
	if strings.Contains(string(out), "Non-2xx") || strings.Contains(string(out), "Socket errors") {
		b.Fatalf("requests failed: %s", out)
	}
	text, late := wrkRate.FindSubmatch(out), wrkP99.FindSubmatch(out)
	if text == nil || late == nil {
		b.Fatalf("wrk says %s", out)
	}
	if rate, err = strconv.ParseFloat(string(text[1]), 64); err != nil {
		b.Fatal(err)
	}
	if p99, err = time.ParseDuration(string(late[1])); err != nil {
		b.Fatal(err)
	}
	return rate, p99
}

// nginx starts an nginx with the server, in whose text %s stands for its port, and returns its address.
func nginx(b *testing.B, server string) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	text := "daemon off; worker_processes 2; pid " + dir + "/pid; error_log stderr warn; events { worker_connections 1024; }\n" +
		"http { access_log off; keepalive_requests 1000000; " + fmt.Sprintf(server, port) + " }\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	command := exec.Command("nginx", "-p", dir, "-c", config)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := command.Process.Signal(os.Interrupt); err == nil {
			_ = command.Wait()
		}
	})
	at := "127.0.0.1:" + port
	slipwaytest.Until(b.Context(), b, "nginx listens", func() bool {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return at
}

// routed has the app served at the address, as a deployment's switch does.
func routed(b *testing.B, database, at string) {
	b.Helper()
	db, err := models.Open(b.Context(), database)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	now := db.NowFunc()
	var target models.Target
	if err := db.Take(&target).Error; err != nil {
		b.Fatal(err)
	}
	team := &models.Team{ID: models.NewID(), Slug: "load", Name: "Load", CreatedAt: now}
	e := &models.Environment{ID: models.NewID(), TeamID: team.ID, TargetID: target.ID, Name: "dev", CreatedAt: now, UpdatedAt: now}
	r := &models.Route{Host: benchHost, TeamID: team.ID, AppID: models.NewID(), EnvironmentID: e.ID, DeploymentID: models.NewID(), Addresses: []string{at}, UpdatedAt: now}
	for _, row := range []any{team, e, r} {
		if err := db.Create(row).Error; err != nil {
			b.Fatal(err)
		}
	}
}
