package identity_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/identity"
	"slipway.dev/services/identity/identitytest"
	"slipway.dev/services/outbound"
	"slipway.dev/services/secrets"
)

// world is a portal with its issuer served over HTTP, and three clouds.
type world struct {
	*modelstest.World
	*identity.Service
	t      *testing.T
	db     *models.Database
	clouds *identitytest.Clouds
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, clouds: identitytest.New(t)}
	w.Service = &identity.Service{DB: db, Box: box, Deploy: &deploy.Service{DB: db, Box: box, Kinds: kinds()},
		Guard: &outbound.Guard{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}
	w.ExternalURL = serve(t, func() *identity.Service { return w.Service })
	w.Deploy.Identity = w.For
	return w
}

// replica is another process of the portal.
func (w *world) replica() *identity.Service {
	return &identity.Service{DB: w.db, Box: w.Box, ExternalURL: w.ExternalURL, Deploy: w.Deploy, Guard: w.Guard}
}

// serve publishes what the service says, as the portal does.
func serve(t *testing.T, s func() *identity.Service) string {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+identity.DiscoveryPath, func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(s().Discovery())
	})
	mux.HandleFunc("GET "+identity.KeysPath, func(w http.ResponseWriter, r *http.Request) {
		set, err := s().Keys(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		json.NewEncoder(w).Encode(set)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// kinds are one for each cloud, with the settings of the real ones that the trust is about, and one without a cloud.
func kinds() []deploy.Kind {
	fields := map[string][]string{
		"aws":    {"region", "role", "execution_role", "task_role", "endpoint"},
		"google": {"project", "workload_provider", "service_account", "run_as", "endpoint"},
		"azure":  {"tenant_id", "subscription_id", "resource_group", "client_id", "endpoint", "authority"},
		"":       {"host"},
	}
	var out []deploy.Kind
	for cloud, names := range fields {
		k := deploy.Kind{Name: "kind-" + cloud, Title: "Kind " + cloud, Federation: cloud, Open: func(deploy.Config) (deploy.Target, error) { return still{}, nil }}
		for _, name := range names {
			k.Fields = append(k.Fields, deploy.Field{Name: name, Label: name})
		}
		out = append(out, k)
	}
	return out
}

// still is a target of which only its settings matter here.
type still struct{ deploy.Target }

func (still) Close() error { return nil }

func (still) Check(context.Context) (deploy.Info, error) { return deploy.Info{Version: "Still 1"}, nil }

// target makes a target of the cloud.
func (w *world) target(cloud, name string, settings map[string]string) string {
	w.t.Helper()
	t, err := w.Deploy.CreateTarget(modelstest.As(w.t, w.db, w.Admin), deploy.TargetInput{Name: name, Kind: "kind-" + cloud, Settings: settings})
	if err != nil {
		w.t.Fatal(err)
	}
	return t.ID
}
