package handlers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestNoAnswerToAWriteHoldsASecret sends every request that changes something,
// as it should be and with a secret where a field is wrong.
func TestNoAnswerToAWriteHoldsASecret(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	changed := f.watch()
	sent := 0
	for _, c := range []who{viewer, maintainer, admin} {
		cookie, token := f.caller(c)
		for _, route := range routesOf(f.fixture) {
			a := f.request(route, matrix[route])
			if a.method == http.MethodGet {
				continue
			}
			a.cookie, a.token = cookie, token
			sent++
			a.peer = fmt.Sprintf("198.51.%d.%d:9", sent/250, sent%250)
			if w := f.send(a); strings.Contains(w.Body.String()+fmt.Sprint(w.Header()), canary) {
				t.Errorf("%s as %s tells a secret: %.300s", route, c, w.Body)
			}
			changed()
		}
	}
	cookie, _ := f.caller(maintainer)
	for _, a := range []ask{
		{method: "PUT", path: "/api/v1/environments/{environment}/variables/1-BAD", body: `{"value":"` + canary + `","secret":true}`},
		{method: "PUT", path: "/api/v1/environments/{environment}/variables/KEY", body: `{"value":{"` + canary + `":1},"secret":true}`},
		{method: "POST", path: "/environments/{environment}/variables", body: "name=1-BAD&secret=true&value=" + canary},
		{method: "POST", path: "/teams/payments/variables", body: "name=KEY&secret=true&revision=old&value=" + canary},
		{method: "POST", path: "/environments/{environment}/variables/preview", body: "text=KEY%3D" + canary + "%0Abad"},
		{method: "POST", path: "/teams/payments/variables/preview", body: "secrets=true&text=FRESH%3D" + canary + "%0Abad"},
		{method: "POST", path: "/api/v1/environments/{environment}/variables", body: `{"text":"FRESH=1\nFRESH=` + canary + `"}`},
		{method: "POST", path: "/api/v1/connections", body: `{"team":"payments","kind":"gitlab","credential":"token","settings":{"token":"` + canary + ` x"}}`},
		{method: "POST", path: "/api/v1/connections", body: `{"team":"payments","kind":"github","credential":"github_app","settings":{"app_id":"1","installation_id":"2","private_key":"` + canary + `"}}`},
		{method: "POST", path: "/teams/payments/connections", body: "kind=github&base_url=x&credential=github_app&private_key=" + canary},
		{method: "POST", path: "/api/v1/repositories", body: `{"team":"payments","name":"BAD NAME","clone_url":"https://git.example.test/x.git","credential":{"token":"` + canary + `"}}`},
		{method: "POST", path: "/api/v1/repositories", body: `{"team":"payments","name":"x","clone_url":"https://git.example.test/x.git","credential":{"token":["` + canary + `"]}}`},
		{method: "POST", path: "/api/v1/repositories", body: `{"team":"payments","name":"x","clone_url":"git@git.example.test:x.git","credential":{"private_key":"` + canary + `"}}`},
		{method: "PUT", path: "/api/v1/apps/{app}/build-secrets/-bad", body: `{"value":"` + canary + `"}`},
		{method: "PUT", path: "/api/v1/apps/{app}/build-secrets/npm", body: `{"kind":"ssh","value":"` + canary + `"}`},
		{method: "POST", path: "/apps/{app}/build-secrets", body: "name=-bad&value=" + canary},
	} {
		a.path, a.cookie = f.fill(a.path), cookie
		w := f.send(a)
		if w.Code < 400 || strings.Contains(w.Body.String(), canary) {
			t.Errorf("%s %s was answered %d: %s", a.method, a.path, w.Code, w.Body)
		}
	}
}
