package git_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/git"
)

func TestCloneURLsOfEveryFormAreUnderstood(t *testing.T) {
	tests := []struct {
		in     string
		scheme git.Scheme
		host   string
		port   string
		name   string
	}{
		{"https://git.example.com/acme/shop.git", git.HTTPS, "git.example.com", "443", "shop"},
		{" https://git.example.com:8443/acme/shop/ ", git.HTTPS, "git.example.com", "8443", "shop"},
		{"http://git.example.com/shop", git.HTTP, "git.example.com", "80", "shop"},
		{"ssh://git@git.example.com:2222/acme/shop.git", git.SSH, "git.example.com", "2222", "shop"},
		{"ssh://git.example.com/~ada/shop", git.SSH, "git.example.com", "22", "shop"},
		{"git@git.example.com:acme/shop.git", git.SSH, "git.example.com", "22", "shop"},
		{"git@git.example.com:shop", git.SSH, "git.example.com", "22", "shop"},
		{"https://[2001:db8::1]:444/shop.git", git.HTTPS, "2001:db8::1", "444", "shop"},
		{"/srv/git/shop.git", git.Local, "", "", "shop"},
		{"file:///srv/git/../git/shop", git.Local, "", "", "shop"},
	}
	for _, test := range tests {
		a, err := git.ParseAddress(test.in)
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		if a.Scheme != test.scheme || a.Host != test.host || a.Port != test.port || a.Name() != test.name {
			t.Errorf("%s: got %+v with name %q", test.in, a, a.Name())
		}
	}
}

func TestWhatIsNoCloneURLIsRefused(t *testing.T) {
	for _, in := range []string{
		"", "shop", "not a url", "git.example.com/acme/shop", "https://", "https:///shop", "https://git.example.com", "https://git.example.com/",
		"ext::sh -c touch% /tmp/pwn", "ext::sh", "fd::17", "javascript:alert(1)", "ftp://git.example.com/shop", "git://git.example.com/shop",
		"-u", "--upload-pack=touch /tmp/pwn", "-oProxyCommand=touch@x:y", "git@-oProxyCommand=x:y", "-git@host:path", "git@host:-path",
		"ssh://-oProxyCommand=touch/shop", "ssh://-x@git.example.com/shop", "ssh://git:password@git.example.com/shop",
		"https://token@git.example.com/shop", "https://user:token@git.example.com/shop",
		"https://git.example.com/shop?x=y", "https://git.example.com/shop#main", "https://git.example.com/a\nb", "https://git.example.com/a\x00b",
		"https://git.example.com/a%0ab", "https://evil.example\\@git.example.com/shop", "https://git.exa$(id)mple.com/shop", "https://gït.example.com/shop",
		"https://git.example.com:99999999/shop", "/", "file://server/share", "~/shop", "./shop", "../shop", "git@host:", "https:git.example.com/shop",
		"https://git.example.com/" + strings.Repeat("a", 3000),
	} {
		a, err := git.ParseAddress(in)
		if !models.IsCode(err, models.Invalid) {
			t.Errorf("%q: got %+v, %v", in, a, err)
		}
	}
}
