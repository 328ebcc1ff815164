package googletest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
	"google.golang.org/api/logging/v2"
	"google.golang.org/api/run/v2"
	"slipway.dev/models"
)

const callTime = time.Minute

// instance is a container.
type instance struct {
	*Cloud
	id     string // as logs name it
	docker string // its id in the engine
	ip     string
	port   int64
	ended  chan struct{} // closed once it has ended and its log was read
	code   int
	oom    bool
	killed atomic.Bool    // by Cloud Run, which says nothing of how it ended then
	open   sync.WaitGroup // visitors' requests
}

// run starts a container, and writes what it prints and how it ends.
func (c *Cloud) run(ctx context.Context, image string, args, env []string, k *run.GoogleCloudRunV2Container, of *logging.MonitoredResource) (*instance, error) {
	memory, err := strconv.ParseInt(strings.TrimSuffix(k.Resources.Limits["memory"], "Mi"), 10, 64)
	if err != nil {
		return nil, err
	}
	calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	made, err := c.docker.ContainerCreate(calling, &container.Config{Image: image, Env: env, Cmd: args, Labels: map[string]string{label: c.mark}},
		&container.HostConfig{Resources: container.Resources{Memory: memory << 20}}, nil, nil, "")
	if err != nil {
		return nil, err
	}
	i := &instance{Cloud: c, id: models.NewID(), docker: made.ID, ended: make(chan struct{})}
	if len(k.Ports) > 0 {
		i.port = k.Ports[0].ContainerPort
	}
	if err := c.docker.ContainerStart(calling, made.ID, container.StartOptions{}); err != nil {
		i.remove()
		return nil, err
	}
	if is, err := c.docker.ContainerInspect(calling, made.ID); err == nil {
		for _, n := range is.NetworkSettings.Networks {
			i.ip = n.IPAddress
		}
	}
	c.work.Go(func() { i.follow(of) })
	return i, nil
}

// follow writes the container's lines into the logs, until it ends.
func (i *instance) follow(of *logging.MonitoredResource) {
	defer close(i.ended)
	body, err := i.Cloud.docker.ContainerLogs(i.ctx, i.docker, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true, Timestamps: true})
	if err != nil {
		return
	}
	defer body.Close()
	out, errs := &lines{i: i, log: "stdout", of: of}, &lines{i: i, log: "stderr", of: of}
	_, _ = stdcopy.StdCopy(out, errs, body)
	is, err := i.Cloud.docker.ContainerInspect(context.WithoutCancel(i.ctx), i.docker)
	if err != nil || i.ctx.Err() != nil || i.killed.Load() {
		return
	}
	i.code, i.oom = is.State.ExitCode, is.State.OOMKilled
	text, severity := fmt.Sprintf("Container called exit(%d).", i.code), "WARNING"
	if i.oom {
		text, severity = "Memory limit of 512 MiB exceeded with 513 MiB used. Consider increasing the memory limit, see https://cloud.google.com/run/docs/configuring/memory-limits", "ERROR"
	}
	i.write("varlog%2Fsystem", severity, text, time.Now(), of, i.id)
}

// lines takes a container's output with the engine's times in it.
type lines struct {
	i    *instance
	log  string
	of   *logging.MonitoredResource
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		text, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.rest = rest
		stamp, said, _ := strings.Cut(string(text), " ")
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			l.i.write(l.log, "DEFAULT", said, at, l.of, l.i.id)
		}
	}
}

// drain lets the requests end that are under way, as long as the test goes on.
func (i *instance) drain() {
	idle := make(chan struct{})
	go func() { i.open.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-i.Cloud.ctx.Done():
	}
}

func (i *instance) remove() {
	i.killed.Store(true)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(i.ctx), callTime)
	defer cancel()
	_ = i.Cloud.docker.ContainerRemove(ctx, i.docker, container.RemoveOptions{Force: true, RemoveVolumes: true})
}

// door is an address at which visitors come.
type door struct{ server *httptest.Server }

func (d *door) url() string { return d.server.URL }

// newDoor opens the address of the service, or of one of its tags.
func (c *Cloud) newDoor(s *service, tag string) *door {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(r.In.Context().Value(backend{}).(*url.URL)) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		},
	}
	return &door{server: httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		i, code := c.visited(s, tag, req.URL.Path)
		if code != 0 {
			http.Error(w, http.StatusText(code), code)
			return
		}
		defer i.open.Done()
		to := &url.URL{Scheme: "http", Host: fmt.Sprintf("%s:%d", i.ip, i.port)}
		proxy.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), backend{}, to)))
	}))}
}

type backend struct{}

// visited chooses an instance for a visitor, at which the request counts as open, or says why there is none.
func (c *Cloud) visited(s *service, tag, path string) (*instance, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case path == "/healthz" || s.Ingress != "INGRESS_TRAFFIC_ALL":
		return nil, http.StatusNotFound // Google's own front end answers
	case !s.public() || c.closed:
		return nil, http.StatusForbidden
	}
	r := s.revisions[s.chosen(tag)]
	if r == nil || len(r.up) == 0 {
		return nil, http.StatusServiceUnavailable
	}
	r.turn++
	i := r.up[r.turn%len(r.up)]
	i.open.Add(1)
	return i, 0
}

// chosen is the revision that a visitor gets: the tag's, or one by chance, as the percentages say.
func (s *service) chosen(tag string) string {
	n := rand.Int64N(100)
	for _, e := range s.TrafficStatuses {
		if tag != "" && e.Tag == tag {
			return e.Revision
		}
		if n -= e.Percent; tag == "" && n < 0 {
			return e.Revision
		}
	}
	return ""
}
