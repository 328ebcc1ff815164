package kubernetes_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/kubernetes"
)

// stub speaks so much of the API server's protocol that objects can be applied,
// read, listed and deleted, and can be told to refuse. What needs real
// controllers is tested against a real cluster (cluster_test.go).
type stub struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	objects map[string]map[string]any // by path
	refused map[string]refusal        // by method and path, or method alone
	written []string                  // method and path of all that changes something, in order
	logs    string
	denied  string // verb and resource that the account lacks
	minor   string
	nextUID int
}

type refusal struct {
	status  int
	reason  string
	message string
}

func newStub(t *testing.T) *stub {
	s := &stub{t: t, objects: map[string]map[string]any{}, refused: map[string]refusal{}, minor: "37"}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// kubeconfig signs in to the stub.
func (s *stub) kubeconfig() string {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return kubeconfig(fmt.Sprintf("server: %s, certificate-authority-data: %s", s.URL, encode(ca)), "token: t0ken")
}

func (s *stub) open(settings map[string]string) (deploy.Target, string) {
	s.t.Helper()
	in := map[string]string{"domain": "apps.example.com"}
	for name, value := range settings {
		in[name] = value
	}
	id := models.NewID()
	target, err := kubernetes.Kind().Open(deploy.Config{ID: id, Settings: in, Secrets: map[string]string{"kubeconfig": s.kubeconfig()}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { target.Close() })
	return target, id
}

// seed puts an object there, as somebody else would have.
func (s *stub) seed(path string, object map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(path, object)
}

func (s *stub) put(path string, object map[string]any) {
	meta := object["metadata"].(map[string]any)
	meta["name"] = path[strings.LastIndex(path, "/")+1:]
	if _, rest, ok := strings.Cut(path, "/namespaces/"); ok && strings.Contains(rest, "/") {
		meta["namespace"], _, _ = strings.Cut(rest, "/")
	}
	if object["kind"] == nil {
		object["apiVersion"], object["kind"] = "v1", "Thing"
	}
	if meta["uid"] == nil {
		s.nextUID++
		meta["uid"] = fmt.Sprintf("uid-%d", s.nextUID)
	}
	s.objects[path] = object
}

// get returns what was applied at the path that ends so.
func (s *stub) get(end string) map[string]any {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, o := range s.objects {
		if strings.HasSuffix(path, end) {
			return o
		}
	}
	s.t.Fatalf("there is no %s among %v", end, s.written)
	return nil
}

// edit changes the object whose path ends so, as somebody else who becomes the one that wrote it last.
func (s *stub) edit(end string, change func(o map[string]any)) {
	s.t.Helper()
	o := s.get(end)
	s.mu.Lock()
	defer s.mu.Unlock()
	change(o)
	delete(o["metadata"].(map[string]any), "managedFields")
}

// forget drops the object whose path ends so, as somebody who deletes it.
func (s *stub) forget(end string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path := range s.objects {
		if strings.HasSuffix(path, end) {
			delete(s.objects, path)
		}
	}
}

func (s *stub) refuse(call string, status int, reason, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused[call] = refusal{status, reason, message}
}

func (s *stub) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if r.Header.Get("Authorization") != "Bearer t0ken" {
		answer(w, refusal{401, "Unauthorized", "Unauthorized"})
		return
	}
	for call, refusal := range s.refused {
		method, end, _ := strings.Cut(call, " ")
		if method == r.Method && strings.HasSuffix(r.URL.Path, end) {
			answer(w, refusal)
			return
		}
	}
	switch {
	case r.URL.Path == "/version":
		fmt.Fprintf(w, `{"major": "1", "minor": %q, "gitVersion": "v1.%s.2"}`, s.minor, s.minor)
	case strings.HasSuffix(r.URL.Path, "/log"):
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, s.logs)
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		s.review(w, r)
	case r.URL.Query().Get("watch") != "": // it ends at once: what is there is looked at anew
	case r.Method == http.MethodGet && s.objects[r.URL.Path] != nil:
		json.NewEncoder(w).Encode(s.objects[r.URL.Path])
	case r.Method == http.MethodGet && isList(r.URL.Path):
		s.list(w, r)
	case r.Method == http.MethodPatch:
		s.apply(w, r)
	case r.Method == http.MethodPost:
		s.create(w, r)
	case r.Method == http.MethodDelete && s.objects[r.URL.Path] != nil:
		s.written = append(s.written, "DELETE "+r.URL.Path)
		delete(s.objects, r.URL.Path)
		fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Success"}`)
	default:
		answer(w, refusal{404, "NotFound", "not found"})
	}
}

func answer(w http.ResponseWriter, r refusal) {
	w.WriteHeader(r.status)
	json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": r.reason, "message": r.message, "code": r.status})
}

// isList tells whether the path is that of a resource, not of an object.
func isList(path string) bool {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if parts[0] == "api" {
		parts = parts[2:]
	} else {
		parts = parts[3:]
	}
	return len(parts) == 1 || len(parts) == 3
}

func (s *stub) list(w http.ResponseWriter, r *http.Request) {
	want, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		answer(w, refusal{400, "BadRequest", err.Error()})
		return
	}
	items := []any{}
	root, name := r.URL.Path[:strings.LastIndex(r.URL.Path, "/")], r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	for path, o := range s.objects {
		has := labels.Set{}
		for k, v := range o["metadata"].(map[string]any)["labels"].(map[string]any) {
			has[k] = v.(string)
		}
		if strings.HasPrefix(path, root) && strings.HasSuffix(path[:strings.LastIndex(path, "/")], "/"+name) && want.Matches(has) {
			items = append(items, o)
		}
	}
	json.NewEncoder(w).Encode(map[string]any{"kind": "List", "apiVersion": "v1", "metadata": map[string]any{}, "items": items})
}

func (s *stub) apply(w http.ResponseWriter, r *http.Request) {
	var o map[string]any
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil || r.Header.Get("Content-Type") != "application/apply-patch+yaml" || r.URL.Query().Get("fieldManager") != "slipway" {
		answer(w, refusal{400, "BadRequest", "this is no server-side apply of slipway"})
		return
	}
	if r.URL.Query().Get("dryRun") == "" {
		s.written = append(s.written, "APPLY "+r.URL.Path)
		o["metadata"].(map[string]any)["managedFields"] = []any{map[string]any{"manager": "slipway", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fieldsOf(o)}}
		s.put(r.URL.Path, o)
	}
	json.NewEncoder(w).Encode(o)
}

// fieldsOf lists the fields of an object as the API server notes them of whoever wrote them; it takes lists as a whole.
func fieldsOf(o map[string]any) map[string]any {
	out := map[string]any{}
	for name, value := range o {
		fields, _ := value.(map[string]any)
		out["f:"+name] = fieldsOf(fields)
	}
	return out
}

func (s *stub) create(w http.ResponseWriter, r *http.Request) {
	var o map[string]any
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		answer(w, refusal{400, "BadRequest", err.Error()})
		return
	}
	path := r.URL.Path + "/" + o["metadata"].(map[string]any)["name"].(string)
	s.written = append(s.written, "CREATE "+path)
	s.put(path, o)
	w.WriteHeader(http.StatusCreated)
	json.NewEncoder(w).Encode(o)
}

func (s *stub) review(w http.ResponseWriter, r *http.Request) {
	var o map[string]any
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		answer(w, refusal{400, "BadRequest", err.Error()})
		return
	}
	asked := o["spec"].(map[string]any)["resourceAttributes"].(map[string]any)
	o["status"] = map[string]any{"allowed": fmt.Sprint(asked["verb"], " ", asked["resource"]) != s.denied}
	w.WriteHeader(http.StatusCreated)
	json.NewEncoder(w).Encode(o)
}
