package azuretest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// event is a line of the system log.
type event struct {
	TimeStamp        string
	Type             string
	ContainerAppName string
	RevisionName     string
	ReplicaName      string
	Msg              string
	Reason           string
	EventSource      string
	Count            int
}

func newEvent(app, revision, replica, kind, reason, text string) event {
	return event{TimeStamp: time.Now().UTC().Format("2006-01-02 15:04:05.999999999 -0700 MST"), Type: kind, ContainerAppName: app, RevisionName: revision, ReplicaName: replica, Msg: text, Reason: reason, EventSource: "ContainerAppController", Count: 1}
}

// happen writes to the app's system log, which must not be locked where a replica does so: it is then by the replica's own goroutine.
func (s *Server) happen(a *app, revision, replica, kind, reason, text string) {
	if replica != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	a.events = append(a.events, newEvent(*a.model.Name, revision, replica, kind, reason, text))
}

// logStreams serves what az containerapp logs show reads.
func (s *Server) logStreams(mux *http.ServeMux) {
	const path = "GET /logs" + group
	on := func(pattern string, do http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			s.mu.Lock()
			at := s.streams[token]
			s.mu.Unlock()
			if at == "" || !strings.HasPrefix(r.URL.Path, at+"/") || r.URL.Query().Get("output") != "json" {
				http.Error(w, "unauthorized", http.StatusUnauthorized)
				return
			}
			do(w, r)
		})
	}
	on(path+"/containerApps/{app}/eventstream", s.withApp(func(w http.ResponseWriter, r *http.Request, a *app) { tell(w, a.events) }))
	on(path+"/jobs/{job}/eventstream", s.withJob(func(w http.ResponseWriter, r *http.Request, j *job) { tell(w, j.events) }))
	on(path+"/containerApps/{app}/revisions/{revision}/replicas/{replica}/containers/{container}/logstream", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		id := ""
		if a := s.apps[r.PathValue("app")]; a != nil {
			if rev := a.revision(r.PathValue("revision")); rev != nil {
				for _, replica := range rev.replicas {
					if replica.name == r.PathValue("replica") {
						id = replica.id
					}
				}
			}
		}
		s.mu.Unlock()
		s.console(w, r, id)
	})
	on(path+"/jobs/{job}/executions/{execution}/replicas/{replica}/containers/{container}/logstream", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		id := ""
		if j := s.jobs[r.PathValue("job")]; j != nil {
			for _, e := range j.runs {
				if e.name == r.PathValue("execution") {
					id = e.replica.id
				}
			}
		}
		s.mu.Unlock()
		s.console(w, r, id)
	})
}

func tell(w http.ResponseWriter, all []event) {
	out := json.NewEncoder(w)
	_ = out.Encode(event{TimeStamp: time.Now().UTC().Format(time.RFC3339), Type: "Normal", Msg: "Connecting to the events collector...", Reason: "StartingGettingEvents", Count: 1})
	for _, e := range all[max(0, len(all)-300):] {
		_ = out.Encode(e)
	}
}

// console streams the container's log: one object a line.
func (s *Server) console(w http.ResponseWriter, r *http.Request, id string) {
	if id == "" {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	follow := r.URL.Query().Get("follow") == "true"
	body, err := s.docker.ContainerLogs(r.Context(), id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow, Tail: r.URL.Query().Get("tailLines")})
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	defer body.Close()
	say := func(at, text string) {
		line, _ := json.Marshal(map[string]string{"TimeStamp": at, "Log": text})
		_, _ = fmt.Fprintf(w, "%s\n", line)
		_ = http.NewResponseController(w).Flush()
	}
	say(time.Now().UTC().Format("2006-01-02T15:04:05.99999"), "Connecting to the container '"+r.PathValue("container")+"'...")
	lines, in := io.Pipe()
	s.beside(func() {
		_, err := stdcopy.StdCopy(in, in, body)
		in.CloseWithError(err)
	})
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		at, text, _ := strings.Cut(scan.Text(), " ")
		say(strings.TrimSuffix(at, "Z")+"+00:00", text)
	}
	_ = lines.Close()
}
