package handlers

import (
	"net/http"
	"strings"
	"testing"

	"slipway.dev/models"
)

func TestADeploymentsPageLeadsToWhatIsAtItsProvider(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d := f.runs()
	viewer := f.cookie(f.Viewer)
	if page := f.send(ask{path: "/deployments/" + d.ID, cookie: viewer}); page.Code != 200 || !strings.Contains(page.Body.String(), `href="/deployments/`+d.ID+`/provider"`) {
		t.Errorf("the deployment's page: %d", page.Code)
	}
	page := f.send(ask{path: "/deployments/" + d.ID + "/provider", cookie: viewer})
	html := page.Body.String()
	for _, want := range []string{`href="https://console.example.com/checkout" rel="noopener noreferrer"`, "Log group", "&lt;b&gt;unable&lt;/b&gt; to place a task"} {
		if page.Code != 200 || !strings.Contains(html, want) {
			t.Errorf("the provider's page (%d) lacks %s", page.Code, want)
		}
	}
	token := f.token(f.Viewer, models.ScopeRead)
	made := f.send(ask{path: "/api/v1/deployments/" + d.ID + "/resources", token: token})
	if want := `{"kind":"Service","name":"checkout","link":"https://console.example.com/checkout"}`; made.Code != 200 || !strings.Contains(made.Body.String(), want) {
		t.Errorf("the call answers %d %s", made.Code, made.Body)
	}
	said := f.send(ask{path: "/api/v1/deployments/" + d.ID + "/events", token: token})
	if want := `"object":"Service checkout"`; said.Code != 200 || !strings.Contains(said.Body.String(), want) || !strings.Contains(said.Body.String(), `"warning":true`) {
		t.Errorf("the call answers %d %s", said.Code, said.Body)
	}
}

func TestAnEnvironmentSaysWhatItCosts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.runs()
	page := f.send(ask{path: "/environments/" + f.Environment.ID, cookie: f.cookie(f.Viewer)}).Body.String()
	for _, want := range []string{"about $29.20 a month", "About $29.20 a month.", "by list prices for Testland"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	got := f.send(ask{path: "/api/v1/environments/" + f.Environment.ID + "/cost", token: f.token(f.Viewer, models.ScopeRead)})
	if got.Code != 200 || !strings.Contains(got.Body.String(), `"month":29.2,"prices_of":"Testland"`) || !strings.Contains(got.Body.String(), `"app":"checkout"`) {
		t.Errorf("the call answers %d %s", got.Code, got.Body)
	}
}

func TestATargetsFormTakesPricesAndARegistry(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	admin := f.cookie(f.Admin)
	path := "/admin/targets/" + f.Target.ID
	page := f.send(ask{path: path, cookie: admin}).Body.String()
	for _, want := range []string{`name="price_vcpu_hour"`, `<select class="input" id="f-registry" name="registry"`, `value="embedded"`, `href="` + path + `/delete"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the form lacks %s", want)
		}
	}
	if saved := f.send(ask{method: "POST", path: path, cookie: admin, body: "name=local&host=h&all_teams=true&registry=embedded&price_vcpu_hour=0.1"}); saved.Code != http.StatusSeeOther {
		t.Fatalf("saving answers %d %s", saved.Code, saved.Body)
	}
	page = f.send(ask{path: path, cookie: admin}).Body.String()
	if !strings.Contains(page, `value="embedded" selected`) || !strings.Contains(page, `value="0.1"`) {
		t.Error("what was saved is not shown")
	}
	if wrong := f.send(ask{method: "POST", path: path, cookie: admin, body: "name=local&host=h&registry=none&price_vcpu_hour=much"}); wrong.Code != http.StatusUnprocessableEntity || !strings.Contains(wrong.Body.String(), "Give US dollars as a number") {
		t.Errorf("a wrong price answers %d", wrong.Code)
	}
}

func TestADeletedTargetIsShownUntilNothingOfItIsLeft(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	admin := f.cookie(f.Admin)
	path := "/admin/targets/" + f.places["unused target"]
	if page := f.send(ask{path: path + "/delete", cookie: admin}); page.Code != 200 || !strings.Contains(page.Body.String(), "Cluster") || !strings.Contains(page.Body.String(), `href="https://console.example.com/cluster"`) {
		t.Errorf("what goes: %d", page.Code)
	}
	if done := f.send(ask{method: "POST", path: path + "/delete", cookie: admin}); done.Code != http.StatusSeeOther {
		t.Fatalf("deleting answers %d %s", done.Code, done.Body)
	}
	list := f.send(ask{path: "/admin/targets", cookie: admin}).Body.String()
	if !strings.Contains(list, "Being removed") || !strings.Contains(list, `action="/admin/target-removals/`+f.places["unused target"]+`/forget"`) {
		t.Error("the list does not say that it is removed")
	}
	if left := f.send(ask{path: "/api/v1/target-removals", cookie: admin}).Body.String(); !strings.Contains(left, f.places["unused target"]) || strings.Contains(left, canary) {
		t.Errorf("the call answers %s", left)
	}
}
