package slipwaytest

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

var (
	setupLink = regexp.MustCompile(`http://\S+/setup/\S+`)
	action    = regexp.MustCompile(`<form[^>]* action="([^"]+)"`)
	hidden    = regexp.MustCompile(`name="request" value="([^"]+)"`)
)

const password = "correct horse battery"

// SignIn creates the first admin of a portal that was launched without a token, signs in through the embedded
// provider as a browser without scripts would, and gives the client with the session's cookie.
func (p *Portal) SignIn(t testing.TB) *http.Client {
	t.Helper()
	link := setupLink.FindString(p.Output())
	if link == "" {
		t.Fatalf("the portal printed no link to set it up:\n%s", p.Output())
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: 2 * time.Minute}
	page := submit(t, browser, link, url.Values{
		"name": {"Ada Lovelace"}, "user_name": {"ada"}, "password": {password}, "password_again": {password},
	})
	request := hidden.FindStringSubmatch(page)
	form := action.FindStringSubmatch(page)
	if request == nil || form == nil {
		t.Fatalf("the sign-in page has no form:\n%s", page)
	}
	page = submit(t, browser, p.URL+html.UnescapeString(form[1]), url.Values{
		"request": {html.UnescapeString(request[1])}, "user_name": {"ada"}, "password": {password},
	})
	if !strings.Contains(page, "Ada Lovelace") {
		t.Fatalf("the sign-in did not lead to the first page:\n%s", page)
	}
	return browser
}

// submit posts a form and reads the page that it leads to.
func submit(t testing.TB, browser *http.Client, address string, form url.Values) string {
	t.Helper()
	response, err := browser.PostForm(address, form)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode > 299 {
		t.Fatalf("POST %s answered %d:\n%s", address, response.StatusCode, page)
	}
	return string(page)
}

var tokenText = regexp.MustCompile(`slp_[A-Za-z0-9]{20,}`)

// NewToken makes a token of the signed-in person that may do all that the person may by the API, and what more scopes allow.
func (p *Portal) NewToken(t testing.TB, browser *http.Client, more ...string) string {
	t.Helper()
	page := submit(t, browser, p.URL+"/tokens", url.Values{"name": {"test"}, "scopes": append([]string{"read", "write", "admin"}, more...), "days": {"1"}})
	token := tokenText.FindString(page)
	if token == "" {
		t.Fatalf("no token was made:\n%s", page)
	}
	return token
}
