package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// long keeps a core busy for about twenty seconds, whatever the disk does.
const long = `RUN dd if=/dev/zero bs=1M count=5500 | sha256sum > /sum && dd if=/dev/urandom of=/data bs=1M count=20`

const trivial = `RUN echo hello > /hello`

// BenchmarkBuildOfTwentySeconds compares a build through the portal, from the request until the image is in the
// registry, with docker build of the same files.
func BenchmarkBuildOfTwentySeconds(b *testing.B) {
	ours, docker := builds(b, 3, long)
	b.ReportMetric(ours/docker, "x_docker_build(goal_1.05)")
}

// BenchmarkTrivialBuild tells by how much the portal is slower where there is next to nothing to build.
func BenchmarkTrivialBuild(b *testing.B) {
	ours, docker := builds(b, 9, trivial)
	b.ReportMetric(ours-docker, "s_more_than_docker_build(goal_0.5)")
}

// builds builds the instruction anew in each turn and gives the medians in seconds.
func builds(b *testing.B, turns int, instruction string) (ours, docker float64) {
	b.Helper()
	dockertest.BaseImage(b)
	repo := gittest.New(b).Repository(b, "acme/shop.git", files(0, instruction))
	p := slipwaytest.Start(b, nil)
	p.Team(b, "acme")
	app := p.App(b, p.Repository(b, "acme", "shop", repo.URL).ID, "shop")
	p.Build(b, app.ID, "main")
	n := 0
	portal := func() {
		n++
		repo.Commit(b, "main", "Turn "+strconv.Itoa(n), files(n, instruction))
		if built := p.Build(b, app.ID, "main"); built.State != "succeeded" {
			b.Fatalf("the build is %s: %+v", built.State, built.Error)
		}
	}
	m := 0
	command := func() {
		m--
		dockerBuild(b, files(m, instruction))
	}
	ours, docker = compare(turns, portal, command)
	b.ReportMetric(ours, "s_portal")
	b.ReportMetric(docker, "s_docker_build")
	only(b)
	return ours, docker
}

// files are a repository whose build can't come from the cache of another turn.
func files(turn int, instruction string) gittest.Files {
	return gittest.Files{
		"Dockerfile": "FROM slipway.test/base:1\nCOPY turn /turn\n" + instruction + "\n",
		"turn":       fmt.Sprint(turn, os.Getpid()),
	}
}

// dockerBuild runs docker build with BuildKit. Debian's command line goes with its engine; another one that comes
// first in the path may lack BuildKit.
func dockerBuild(b *testing.B, files gittest.Files) {
	b.Helper()
	folder := b.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	docker := "docker"
	if _, err := os.Stat("/usr/bin/docker"); err == nil {
		docker = "/usr/bin/docker"
	}
	command := exec.Command(docker, "build", "--quiet", "--tag", "slipway.test/bench:1", folder)
	command.Env = append(os.Environ(), "DOCKER_BUILDKIT=1")
	if out, err := command.CombinedOutput(); err != nil {
		b.Fatalf("docker build: %v\n%s", err, out)
	}
}
