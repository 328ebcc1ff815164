package bench

import (
	"context"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// BenchmarkDeployment tells how much longer it takes from the click until the new version serves than from docker run
// until the container is healthy.
func BenchmarkDeployment(b *testing.B) {
	image := dockertest.AppImage(b, "VERSION=1")
	repo := gittest.New(b).Repository(b, "acme/shop.git", gittest.Files{"Dockerfile": "FROM " + image + "\nENV VERSION=2\n"})
	p := slipwaytest.Start(b, nil)
	p.Team(b, "acme")
	app := p.App(b, p.Repository(b, "acme", "shop", repo.URL).ID, "shop")
	build := p.Build(b, app.ID, "main")
	live := p.Environment(b, "acme", "live")
	portal := func() {
		d := p.Deploy(b, live.ID, app.ID, build.ID)
		if d.State != "succeeded" {
			b.Fatalf("the deployment is %s: %+v", d.State, d.Error)
		}
	}
	var last string
	b.Cleanup(func() { remove(b, last) })
	command := func() {
		id := strings.TrimSpace(docker(b, "run", "-d", "--label", "slipway.test=bench", "-p", "127.0.0.1::8080", image))
		before := last
		last = id
		address := strings.TrimSpace(docker(b, "port", id, "8080/tcp"))
		healthy(b, "http://"+address+"/healthz")
		remove(b, before)
	}
	portal()
	ours, theirs := compare(9, portal, command)
	b.ReportMetric(ours, "s_click_to_serving")
	b.ReportMetric(theirs, "s_docker_run_to_healthy")
	b.ReportMetric(ours-theirs, "s_more_than_docker_run(goal_0.3)")
	only(b)
}

func docker(b *testing.B, arguments ...string) string {
	b.Helper()
	out, err := exec.Command("docker", arguments...).CombinedOutput()
	if err != nil {
		b.Fatalf("docker %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	return string(out)
}

func remove(b *testing.B, container string) {
	b.Helper()
	if container != "" {
		docker(b, "rm", "-f", container)
	}
}

// healthy waits until the address answers as well as it does.
func healthy(b *testing.B, address string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if response, err := http.Get(address); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		<-time.After(5 * time.Millisecond)
	}
	b.Fatalf("%s never got healthy", address)
}
