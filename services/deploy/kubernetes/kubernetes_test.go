package kubernetes_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/kubernetes"
)

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// kubeconfig has one context, and beside it another one's secret.
func kubeconfig(cluster, user string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}, {name: there, context: {cluster: here, user: other}}]
clusters: [{name: here, cluster: {%s}}]
users: [{name: me, user: {%s}}, {name: other, user: {token: elsewhere}}]
`, cluster, user)
}

func TestAKubeconfigThatRunsOrReadsSomethingIsRefused(t *testing.T) {
	const good, token = "server: https://cluster.example.com", "token: t0ken"
	for what, c := range map[string]struct{ text, want string }{
		"a program":                 {kubeconfig(good, "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/evil, interactiveMode: Never}"), "/bin/evil"},
		"a plugin":                  {kubeconfig(good, "auth-provider: {name: gcp}"), "gcp"},
		"a file with a token":       {kubeconfig(good, "tokenFile: /etc/passwd"), "files of another machine"},
		"a file with a certificate": {kubeconfig(good, "client-certificate: /etc/passwd"), "files of another machine"},
		"a file with a key":         {kubeconfig(good, "client-key: /etc/shadow"), "files of another machine"},
		"a file with an authority":  {kubeconfig(good+", certificate-authority: /etc/passwd", token), "files of another machine"},
		"any certificate":           {kubeconfig(good+", insecure-skip-tls-verify: true", token), "insecure-skip-tls-verify"},
		"no TLS":                    {kubeconfig("server: http://cluster.example.com", token), "https"},
		"no context":                {strings.Replace(kubeconfig(good, token), "current-context: here", "", 1), "current-context"},
		"a lost context":            {strings.Replace(kubeconfig(good, token), "current-context: here", "current-context: gone", 1), "gone"},
		"no kubeconfig":             {"token: t0ken: ]", "not a kubeconfig"},
		"nothing, outside":          {"", "does not run in a cluster"},
	} {
		secrets := map[string]string{"kubeconfig": c.text}
		err := kubernetes.Kind().Prepare(nil, secrets)
		if err == nil {
			_, err = kubernetes.Kind().Open(deploy.Config{ID: "t", Settings: map[string]string{"domain": "apps.example.com"}, Secrets: secrets})
		}
		wrong, ok := errors.AsType[*models.Error](err)
		if !ok || !strings.Contains(wrong.Fields["kubeconfig"], c.want) || strings.Contains(wrong.Fields["kubeconfig"], "t0ken") {
			t.Errorf("%s: got %v, want a word about kubeconfig with %q", what, err, c.want)
		}
	}
}

func TestOnlyTheCurrentContextOfAKubeconfigIsKept(t *testing.T) {
	secrets := map[string]string{"kubeconfig": kubeconfig("server: https://cluster.example.com", "token: t0ken")}
	if err := kubernetes.Kind().Prepare(nil, secrets); err != nil {
		t.Fatal(err)
	}
	if kept := secrets["kubeconfig"]; strings.Contains(kept, "elsewhere") || !strings.Contains(kept, "t0ken") {
		t.Errorf("kept is %s", kept)
	}
}

func TestSettingsOfAClusterThatCanNotBeAreRefused(t *testing.T) {
	secrets := map[string]string{"kubeconfig": kubeconfig("server: https://cluster.example.com", "token: t0ken")}
	for field, value := range map[string]string{
		"domain": "not a domain", "ingress_class": "nginx; x", "cluster_issuer": "../x", "tls_secret": "A", "namespace_prefix": "9x", "https": "perhaps", "network_policy": "2", "storage_class": "Fast Disk", "volume_size": "-1Gi", "volumes_shared": "some",
	} {
		settings := map[string]string{"domain": "apps.example.com"}
		settings[field] = value
		_, err := kubernetes.Kind().Open(deploy.Config{ID: "t", Settings: settings, Secrets: secrets})
		if wrong, ok := errors.AsType[*models.Error](err); !ok || wrong.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func release() deploy.Release {
	id := models.NewID()
	return deploy.Release{
		ID: id, Name: "payments-checkout-dev-" + id[24:], Team: "payments", App: "checkout", Environment: "dev", EnvironmentID: models.NewID(),
		Image: deploy.Image{Repository: "registry.example.com/payments/checkout", Digest: "sha256:" + strings.Repeat("a", 64)},
		Env:   map[string]string{"PORT": "8080", "GREETING": "hello", "PASSWORD": "hidden"}, Plain: []string{"GREETING", "PORT"},
		Port: 8080, Health: models.HealthHTTP, HealthPath: "/healthz", Scale: models.Scale{Replicas: 2, CPU: 500, Memory: 64 << 20, Max: 5, CPUTarget: 70},
		From: deploy.Source{
			Credential: func(context.Context) (string, string, error) { return "someone", "lent", nil },
			Open: func(context.Context) (name.Repository, []remote.Option, error) {
				return name.Repository{}, nil, errors.New("not from here")
			},
		},
	}
}

// text is an object as JSON, in which a test looks for what has to be there.
func text(o map[string]any) string {
	b, _ := json.Marshal(o)
	return string(b)
}

func TestAPodGetsNoRightsAndItsSecretsApart(t *testing.T) {
	s := newStub(t)
	target, id := s.open(nil)
	r := release()
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	own := "checkout-" + r.ID[24:]
	for end, wants := range map[string][]string{
		"/deployments/" + own: {
			`"allowPrivilegeEscalation":false`, `"privileged":false`, `"automountServiceAccountToken":false`, `"type":"RuntimeDefault"`, `"replicas":2`, `"cpu":"500m"`, `"memory":"64Mi"`,
			`"path":"/healthz"`, `"image":"registry.example.com/payments/checkout@sha256:aaaa`, `"maxUnavailable":0`, `"slipway.target":"` + id + `"`, `"slipway.deployment":"` + r.ID + `"`, `"sleep":{"seconds":5}`,
		},
		"/configmaps/" + own + "-env":          {`"GREETING":"hello"`, `"immutable":true`},
		"/secrets/" + own + "-secrets":         {encode([]byte("hidden")), `"immutable":true`},
		"/secrets/" + own + "-pull":            {"kubernetes.io/dockerconfigjson"},
		"/horizontalpodautoscalers/" + own:     {`"minReplicas":2`, `"maxReplicas":5`, `"averageUtilization":70`},
		"/networkpolicies/slipway-environment": {`"DoesNotExist"`, `"slipway.environment":"` + r.EnvironmentID + `"`},
	} {
		got := text(s.get(end))
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s has no %s: %s", end, want, got)
			}
		}
	}
	if strings.Contains(text(s.get("/configmaps/"+own+"-env")), "PASSWORD") || strings.Contains(text(s.get("/deployments/"+own)), "hidden") {
		t.Error("a secret is where anybody reads it")
	}
	if slices.ContainsFunc(s.written, func(call string) bool {
		return strings.Contains(call, "ingresses") || strings.Contains(call, "services")
	}) {
		t.Errorf("visitors were sent to a release that only starts: %v", s.written)
	}
}

func TestWhatIsNotSlipwaysIsNotTouched(t *testing.T) {
	t.Parallel()
	for what, place := range map[string]func(s *stub, id string, r deploy.Release, namespace string){
		"a namespace": func(s *stub, _ string, _ deploy.Release, namespace string) {
			s.seed("/api/v1/namespaces/"+namespace, map[string]any{"metadata": map[string]any{"labels": map[string]any{}}})
		},
		"a namespace of another environment": func(s *stub, id string, _ deploy.Release, namespace string) {
			s.seed("/api/v1/namespaces/"+namespace, map[string]any{"metadata": map[string]any{"labels": map[string]any{"slipway.target": id, "slipway.environment": "other"}}})
		},
		"a Service": func(s *stub, _ string, r deploy.Release, namespace string) {
			s.seed("/api/v1/namespaces/"+namespace+"/services/checkout", map[string]any{"metadata": map[string]any{"labels": map[string]any{"slipway.target": "another portal"}}})
		},
	} {
		s := newStub(t)
		target, id := s.open(nil)
		r := release()
		probe := newStub(t) // tells which name the namespace gets
		first, _ := probe.open(nil)
		if err := first.Start(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		place(s, id, r, strings.TrimPrefix(probe.written[0], "APPLY /api/v1/namespaces/"))
		err := target.Start(t.Context(), r)
		f, ok := errors.AsType[*deploy.Failure](err)
		if !ok || !strings.Contains(f.Message, "not Slipway's") || !strings.Contains(f.Message, "slipway.target="+id) {
			t.Errorf("%s: %v", what, err)
		}
		if what != "a Service" && len(s.written) > 0 || slices.ContainsFunc(s.written, func(c string) bool { return strings.HasSuffix(c, "services/checkout") }) {
			t.Errorf("%s: written was %v", what, s.written)
		}
	}
}

func TestRemovingAReleaseLeavesWhatIsNotItsOwn(t *testing.T) {
	s := newStub(t)
	target, id := s.open(nil)
	r := release()
	if err := target.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.seed("/api/v1/namespaces/x/configmaps/mine", map[string]any{"metadata": map[string]any{"labels": map[string]any{"slipway.deployment": r.ID, "slipway.target": "another portal"}}})
	s.seed("/api/v1/namespaces/x/configmaps/newer", map[string]any{"metadata": map[string]any{"labels": map[string]any{"slipway.deployment": "another", "slipway.target": id}}})
	if err := target.Remove(t.Context(), r.ID, time.Second); err != nil {
		t.Fatal(err)
	}
	var left []string
	for path := range s.objects {
		left = append(left, path[strings.LastIndex(path, "/")+1:])
	}
	slices.Sort(left)
	if len(left) != 4 || left[0] != "mine" || left[1] != "newer" || !strings.HasPrefix(left[2], "slipway-") || !strings.HasPrefix(left[3], "slipway-") {
		t.Errorf("left are %v", left)
	}
}

func TestAnAppTakesNoHostNameOfOthers(t *testing.T) {
	s := newStub(t)
	target, _ := s.open(map[string]string{"cluster_issuer": "letsencrypt", "ingress_class": "nginx"})
	ingress := map[string]any{"metadata": map[string]any{"labels": map[string]any{}, "creationTimestamp": "2020-01-01T00:00:00Z"},
		"spec": map[string]any{"rules": []any{map[string]any{"host": "checkout-dev.apps.example.com"}}}}
	s.seed("/apis/networking.k8s.io/v1/namespaces/other/ingresses/theirs", ingress)
	r := release()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // no controller here leads the Service to a pod
	defer cancel()
	_, err := target.Route(ctx, r)
	if f, ok := errors.AsType[*deploy.Failure](err); !ok || f.Stage != deploy.StageTimeout {
		t.Errorf("a Service that leads nowhere: %v", err)
	}
	got := text(s.get("/ingresses/checkout"))
	for _, want := range []string{`"host":"checkout-dev-payments.apps.example.com"`, `"cert-manager.io/cluster-issuer":"letsencrypt"`, `"secretName":"checkout-tls"`, `"ingressClassName":"nginx"`} {
		if !strings.Contains(got, want) {
			t.Errorf("the Ingress has no %s: %s", want, got)
		}
	}
}

func TestAClusterThatCanNotDoItIsNamedBeforehand(t *testing.T) {
	s := newStub(t)
	target, _ := s.open(nil)
	s.denied = "patch deployments"
	_, err := target.Check(t.Context())
	if f, ok := errors.AsType[*deploy.Failure](err); !ok || !strings.Contains(f.Message, "patch deployments.apps") {
		t.Errorf("a right that is missing: %v", err)
	}
	s.denied = ""
	s.seed("/api/v1/nodes/one", map[string]any{"metadata": map[string]any{"labels": map[string]any{}}, "status": map[string]any{
		"allocatable": map[string]any{"cpu": "3500m", "memory": "2Gi"}, "nodeInfo": map[string]any{"operatingSystem": "linux", "architecture": "arm64"}}})
	info, err := target.Check(t.Context())
	if err != nil || info != (deploy.Info{Version: "Kubernetes 1.37.2", Platform: "linux/arm64", CPU: 3500, Memory: 2 << 30, Autoscales: true, SingleMount: true}) {
		t.Errorf("%+v, %v", info, err)
	}
	s.minor = "29"
	if _, err := target.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "1.30") {
		t.Errorf("an old cluster: %v", err)
	}
	s.Close()
	if _, err := target.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a cluster that is away: %v", err)
	}
}

func TestUsageComesFromTheMetricsAPIWhereThereIsOne(t *testing.T) {
	s := newStub(t)
	target, id := s.open(nil)
	s.seed("/apis/metrics.k8s.io/v1beta1/namespaces/x/pods/one", map[string]any{"metadata": map[string]any{"labels": map[string]any{"slipway.target": id, "slipway.part": "app"}},
		"containers": []any{map[string]any{"name": "app", "usage": map[string]any{"cpu": "12345678n", "memory": "20Mi"}}}})
	used, err := target.Usage(t.Context())
	if err != nil || len(used) != 1 || used[0] != (deploy.Usage{Instance: "x/one", CPU: 13, Memory: 20 << 20}) {
		t.Errorf("%+v, %v", used, err)
	}
	s.refuse("GET /pods", 404, "NotFound", "the server could not find the requested resource")
	if used, err := target.Usage(t.Context()); err != nil || len(used) != 0 {
		t.Errorf("without it: %+v, %v", used, err)
	}
}

func TestWhatOthersChangedIsToldAndPutBack(t *testing.T) {
	s := newStub(t)
	opened, id := s.open(nil)
	target := opened.(deploy.Drifter)
	r := release()
	if err := opened.Start(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := target.Restore(t.Context(), r); err != nil { // as if it served: the Service and the Ingress were gone
		t.Fatal(err)
	}
	if found, err := target.Drift(t.Context(), r); err != nil || len(found) != 0 {
		t.Fatalf("nobody changed anything: %+v, %v", found, err)
	}
	own := "checkout-" + r.ID[24:]
	container := s.get("/deployments/" + own)["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
	container["image"] = "registry.example.com/evil"
	s.get("/secrets/" + own + "-secrets")["data"] = map[string]any{"PASSWORD": encode([]byte("theirs"))}
	s.forget("/ingresses/checkout")
	found, err := target.Drift(t.Context(), r)
	if err != nil || len(found) != 3 {
		t.Fatalf("%+v, %v", found, err)
	}
	for _, want := range []deploy.Drift{
		{Object: "Deployment " + own, Field: "spec.template.spec.containers[0].image", Want: r.Image.Ref()[:maxShown(r.Image.Ref())], Have: "registry.example.com/evil"},
		{Object: "Secret " + own + "-secrets", Field: "data.PASSWORD", Want: "as deployed", Have: "another value"},
		{Object: "Ingress checkout", Want: "there", Have: "gone"},
	} {
		if !slices.Contains(found, want) {
			t.Errorf("%+v is not among %+v", want, found)
		}
	}
	if err := target.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if found, err := target.Drift(t.Context(), r); err != nil || len(found) != 0 {
		t.Errorf("after putting it back: %+v, %v", found, err)
	}
	service := s.get("/services/checkout")
	service["metadata"].(map[string]any)["labels"] = map[string]any{"slipway.target": id, "slipway.environment": r.EnvironmentID, "slipway.deployment": "a newer one"}
	before := len(s.written)
	if err := target.Restore(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(s.written[before:], func(c string) bool { return strings.HasSuffix(c, "/services/checkout") }) {
		t.Error("visitors of a newer release were taken back")
	}
}

// maxShown is how much of a value is shown.
func maxShown(text string) int { return min(len(text), 120) }
