//go:build kubernetes

// The tests of this file need a cluster: make test-kubernetes compiles one
// (test/kubetest) and selects them. They are no part of make test, because that
// compile takes ten minutes on two processors.
package kubernetes_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/image"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/deploytest"
	"slipway.dev/services/deploy/kubernetes"
	"slipway.dev/services/dockertest"
)

// clusterVariable names the compiled test/kubetest.
const clusterVariable = "SLIPWAY_TEST_KUBETEST"

// admin may do anything in the cluster; its kubeconfig is adminConfig.
var (
	admin       dynamic.Interface
	adminConfig string
)

func TestMain(m *testing.M) {
	code, err := withCluster(m.Run)
	if err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

// withCluster runs the tests while the cluster runs.
func withCluster(run func() int) (code int, err error) {
	program := os.Getenv(clusterVariable)
	if program == "" {
		return 1, fmt.Errorf("%s is not set: run these tests with make test-kubernetes, which compiles the cluster that it names", clusterVariable)
	}
	dir, err := os.MkdirTemp("", "kubetest")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	says, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return 1, err
	}
	defer says.Close()
	cmd := exec.Command(program, dir)
	cmd.Stderr = says
	in, err := cmd.StdinPipe() // it ends when this closes, however this process ends
	if err != nil {
		return 1, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	defer func() { in.Close(); cmd.Wait() }()
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		text, _ := os.ReadFile(says.Name())
		return 1, fmt.Errorf("the cluster does not start: %q\n%s", line, text)
	}
	if err := connect(filepath.Join(dir, "kubeconfig")); err != nil {
		return 1, err
	}
	return run(), nil
}

// connect signs the admin in, and gives Slipway's account the rights that the documentation shows.
func connect(kubeconfig string) error {
	text, err := os.ReadFile(kubeconfig)
	if err != nil {
		return err
	}
	adminConfig = string(text)
	config, err := clientcmd.RESTConfigFromKubeConfig(text)
	if err != nil {
		return err
	}
	if admin, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	docs, err := os.ReadFile("../../../docs/kubernetes.md")
	if err != nil {
		return err
	}
	_, manifest, _ := strings.Cut(string(docs), "```yaml\n")
	manifest, _, _ = strings.Cut(manifest, "```")
	for d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(manifest), 4096); ; {
		var u unstructured.Unstructured
		if err := d.Decode(&u.Object); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := put(context.Background(), &u); err != nil {
			return err
		}
	}
}

// put applies an object as the admin.
func put(ctx context.Context, u *unstructured.Unstructured) error {
	kind := u.GroupVersionKind()
	r := schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: strings.ToLower(kind.Kind) + "s"}
	o := metav1.ApplyOptions{FieldManager: "admin", Force: true}
	if u.GetNamespace() == "" {
		_, err := admin.Resource(r).Apply(ctx, u.GetName(), u, o)
		return err
	}
	_, err := admin.Resource(r).Namespace(u.GetNamespace()).Apply(ctx, u.GetName(), u, o)
	return err
}

// as is a kubeconfig by which one acts as the service account.
func as(account string) string {
	return strings.Replace(adminConfig, "user: {token:", `user: {as: "system:serviceaccount:`+account+`", token:`, 1)
}

// open returns a target of the cluster that acts as Slipway's account and is swept at the end.
func open(t *testing.T, settings map[string]string) (deploy.Target, string) {
	return openAs(t, "slipway:slipway", settings)
}

func openAs(t *testing.T, account string, settings map[string]string) (deploy.Target, string) {
	t.Helper()
	id := models.NewID()
	in := map[string]string{"domain": "apps.test"}
	for name, value := range settings {
		in[name] = value
	}
	target, err := kubernetes.Kind().Open(deploy.Config{ID: id, Settings: in, Secrets: map[string]string{"kubeconfig": as(account)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close(); sweep(t, id) })
	return target, id
}

// sweep deletes the target's namespaces.
func sweep(t *testing.T, id string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, err := admin.Resource(namespaces).List(ctx, metav1.ListOptions{LabelSelector: "slipway.target=" + id})
	if err != nil {
		t.Error(err)
		return
	}
	for _, ns := range all.Items {
		if err := admin.Resource(namespaces).Delete(ctx, ns.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
}

var (
	namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	services   = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	endpoints  = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	ingresses  = schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"}
)

const user, password = "someone", "secret"

// store is a registry that asks for a login, with the image of the test server in it.
func store(t *testing.T) (deploy.Image, deploy.Source) {
	t.Helper()
	behind := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		behind.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/payments/checkout"
	ref, err := name.NewTag(repository + ":1")
	if err != nil {
		t.Fatal(err)
	}
	img := dockertest.App(t, "VERSION=1", "RUN="+models.NewID()) // the engine may have an image of a run that was killed, of a registry at the same port
	login := remote.WithAuth(&authn.Basic{Username: user, Password: password})
	if err := remote.Write(ref, img, login); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	engine := dockertest.Engine(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		engine.ImageRemove(ctx, repository+"@"+digest.String(), image.RemoveOptions{Force: true})
	})
	return deploy.Image{Repository: repository, Digest: digest.String()}, deploy.Source{
		Credential: func(context.Context) (string, string, error) { return user, password, nil },
		Open: func(context.Context) (name.Repository, []remote.Option, error) {
			repository, err := name.NewRepository(repository)
			return repository, []remote.Option{login}, err
		},
	}
}

// visit does what an ingress controller does with a visitor of the address: the longest path that fits counts, and the
// app sees the whole of it.
func visit(t *testing.T, url string) string {
	t.Helper()
	host, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	path = "/" + path
	all, err := admin.Resource(ingresses).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	best, to := "", "no Ingress has the host "+host
	for _, i := range all.Items {
		rules, _, _ := unstructured.NestedSlice(i.Object, "spec", "rules")
		rule := rules[0].(map[string]any)
		if rule["host"] != host {
			continue
		}
		paths, _, _ := unstructured.NestedSlice(rule, "http", "paths")
		for _, p := range paths {
			prefix := strings.TrimSuffix(p.(map[string]any)["path"].(string), "/")
			if path != prefix && !strings.HasPrefix(path, prefix+"/") || best != "" && len(prefix) < len(best) {
				continue
			}
			service, _, _ := unstructured.NestedString(p.(map[string]any), "backend", "service", "name")
			best, to = prefix, ask(t, host, endpoint(t, i.GetNamespace(), service)+"/version")
		}
	}
	return to
}

// endpoint returns where a ready pod behind the Service answers.
func endpoint(t *testing.T, namespace, service string) string {
	t.Helper()
	found, err := admin.Resource(endpoints).Namespace(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range found.Items {
		pods, _, _ := unstructured.NestedSlice(s.Object, "endpoints")
		ports, _, _ := unstructured.NestedSlice(s.Object, "ports")
		for _, p := range pods {
			pod := p.(map[string]any)
			if ready, _, _ := unstructured.NestedBool(pod, "conditions", "ready"); !ready {
				continue
			}
			addresses, _, _ := unstructured.NestedStringSlice(pod, "addresses")
			return net.JoinHostPort(addresses[0], fmt.Sprint(ports[0].(map[string]any)["port"]))
		}
	}
	return "nowhere"
}

func ask(t *testing.T, host, address string) string {
	t.Helper()
	req, err := http.NewRequest("GET", "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(string(body), "version "), "\n")
	return line
}

func TestAClusterDoesWhatEveryTargetMust(t *testing.T) {
	image, from := store(t)
	gone := image
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	deploytest.Run(t, deploytest.Suite{
		Title: "Kubernetes",
		Open:  func(t *testing.T) deploy.Target { target, _ := open(t, nil); return target },
		Image: image, From: from, Gone: gone, Routed: visit, Mixed: true, Always: true, Patience: 15 * time.Second,
	})
}

func TestVisitorsOfATeamsDomainComeToWhicheverReleaseServes(t *testing.T) {
	image, from := store(t)
	target, id := open(t, nil)
	keeper := target.(deploy.DomainKeeper)
	one := ofTests(image, from)
	one.Env["VERSION"] = "one"
	host := strings.ToLower(one.ID[24:]) + ".example.org"
	sites := []deploy.Site{{Host: host, Path: "/cart"}}
	lead := func(r deploy.Release) {
		t.Helper()
		if err := rollOut(t, target, r, time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := target.Route(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := keeper.KeepDomains(t.Context(), r, sites); err != nil {
			t.Fatal(err)
		}
	}
	lead(one)
	if got := visit(t, host+"/cart/1"); got != "one" {
		t.Errorf("below its path visitors get %q", got)
	}
	if got := visit(t, host+"/carts"); got == "one" {
		t.Error("another path leads to it")
	}
	chain, key := certificate(t, host)
	sites = []deploy.Site{{Host: host, Path: "/", Chain: chain, Key: key}}
	two := one
	two.ID, two.Env = models.NewID(), map[string]string{"PORT": "8080", "VERSION": "two"}
	lead(two)
	if err := target.Remove(t.Context(), one.ID, 0); err != nil {
		t.Fatal(err)
	}
	if got := visit(t, host); got != "two" {
		t.Errorf("after the switch visitors get %q", got)
	}
	secrets := schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	kept, err := admin.Resource(secrets).Namespace(space(t, id)).Get(t.Context(), "checkout."+host, metav1.GetOptions{})
	if kind, _, _ := unstructured.NestedString(kept.Object, "type"); err != nil || kind != "kubernetes.io/tls" {
		t.Errorf("the certificate is kept as %s: %v", kind, err)
	}
	if err := keeper.KeepDomains(t.Context(), two, nil); err != nil {
		t.Fatal(err)
	}
	if got := visit(t, host); !strings.Contains(got, "no Ingress") {
		t.Errorf("a domain that was taken away leads to %q", got)
	}
	if _, err := admin.Resource(secrets).Namespace(space(t, id)).Get(t.Context(), "checkout."+host, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("its certificate stays: %v", err)
	}
	if err := keeper.KeepDomains(t.Context(), two, sites); err != nil {
		t.Fatal(err)
	}
	if err := target.Remove(t.Context(), two.ID, 0); err != nil {
		t.Fatal(err)
	}
	if got := visit(t, host); !strings.Contains(got, "no Ingress") {
		t.Errorf("a release that is gone leaves its domain to %q", got)
	}
}

// certificate is one for the host, signed by its own key, in PEM.
func certificate(t *testing.T, host string) (chain, key []byte) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, own.Public(), own)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}
