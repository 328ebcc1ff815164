package auth_test

import (
	"strings"
	"testing"

	"slipway.dev/services/auth"
)

func TestASignInLeadsOnlyToPagesOfThisPortal(t *testing.T) {
	t.Parallel()
	for _, next := range []string{
		"", "evil.test", "https://evil.test", "https:evil.test", "//evil.test", "///evil.test", `/\evil.test`, `\\evil.test`, `/\/evil.test`, "/%2f/evil.test", "/%2fevil.test", "/%5cevil.test",
		"/login/..//evil.test", "/a/../..//evil.test", "/a//evil.test", "/./evil.test", "/apps\r\nSet-Cookie: a=b", "/apps\t", " /apps", "/ap ps", "\t//evil.test", "/\t/evil.test",
		"javascript:alert(1)", "/%0d%0aSet-Cookie:a=b", "http:/evil.test", "/@evil.test:80//x", "/" + strings.Repeat("a", 3000), "/login", "/login/corp", "/logout", "/setup/x", "/idp/login", "/api/v1/me", "/v2/", "/apps/ä", "/\x00",
	} {
		if got := auth.LocalPath(next); got != "/" {
			t.Errorf("%.60q leads to %q", next, got)
		}
	}
	for _, next := range []string{"/", "/apps", "/apps/0190?tab=builds&q=a%2Fb", "/teams/payments/", "/loginless", "/builds/1?next=//evil.test"} {
		if got := auth.LocalPath(next); got != next {
			t.Errorf("%q leads to %q", next, got)
		}
	}
	if got := auth.LocalPath("/builds/1#L20"); got != "/builds/1" {
		t.Errorf("with a fragment it leads to %q", got)
	}
}
