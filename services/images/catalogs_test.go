package images_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registries"
)

// catalogs answers the lists of Docker Hub and Harbor, two pages of each.
func catalogs(t *testing.T) *httptest.Server {
	t.Helper()
	page := func(r *http.Request, prefix string) []map[string]string {
		out := []map[string]string{}
		for i := range map[string]int{"1": 100, "2": 3}[r.FormValue("page")] {
			out = append(out, map[string]string{"name": fmt.Sprintf("%sapp-%s-%02d", prefix, r.FormValue("page"), i)})
		}
		return out
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/v2/namespaces/acme/repositories":
			if user != "" {
				t.Error("Docker Hub's list was asked with a login")
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"results": append(page(r, ""), map[string]string{"name": "<script>"})})
		case r.URL.Path == "/api/v2.0/repositories" && user == "robot" && password == "secret of harbor":
			_ = json.NewEncoder(w).Encode(append(page(r, "acme/"), map[string]string{"name": "other/shop"}))
		case r.URL.Path == "/v2/":
			w.Header().Set("WWW-Authenticate", `Basic realm="harbor"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v2/namespaces/robot/repositories":
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func TestDockerHubAndHarborAreListedByTheirOwnInterfaces(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{registries.KindDockerHub, registries.KindHarbor} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			db := modelstest.DB(t)
			f := serve(t, db)
			server := catalogs(t)
			host := strings.TrimPrefix(server.URL, "http://")
			r := f.connect(t, host)
			admin := modelstest.As(t, db, f.Admin)
			if err := db.Delete(&models.RegistryGrant{}, "registry_id = ?", r.ID).Error; err != nil {
				t.Fatal(err)
			}
			if err := db.Delete(&models.Registry{}, "id = ?", r.ID).Error; err != nil {
				t.Fatal(err)
			}
			in := registries.Input{Name: "House", Slug: "house", Kind: registries.KindHarbor, Host: host, PlainHTTP: true, Settings: map[string]string{"username": "robot", "password": "secret of harbor"}}
			made, err := f.images.Registries.Create(admin, in)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.images.Registries.Grant(admin, made.ID, registries.GrantInput{TeamID: f.Team.ID, Prefix: "acme", Access: models.RegistryPull}); err != nil {
				t.Fatal(err)
			}
			if f.images.Hub = server.URL; kind == registries.KindDockerHub { // its host can't be a test's
				if err := db.Model(made).UpdateColumn("kind", kind).Error; err != nil {
					t.Fatal(err)
				}
			}
			list, err := f.images.External(modelstest.As(t, db, f.Viewer), "house", "app-", models.Page{Limit: 100})
			if err != nil || !list.Listed {
				t.Fatalf("the list is %+v: %v", list, err)
			}
			if len(list.Items) != 100 || list.Items[0].Name != "acme/app-1-00" || list.Next == "" {
				t.Errorf("%d are listed, the first %+v", len(list.Items), list.Items[:1])
			}
			list, err = f.images.External(modelstest.As(t, db, f.Viewer), "house", "", models.Page{Cursor: "acme/app-1-99"})
			if err != nil || len(list.Items) != 3 || slices.ContainsFunc(list.Items, func(i models.ImageRepository) bool { return !strings.HasPrefix(i.Name, "acme/app-2-") }) {
				t.Errorf("the end of the list is %+v: %v", list, err)
			}
		})
	}
}
