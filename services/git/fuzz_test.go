package git

import (
	"path"
	"strings"
	"testing"
	"unicode"
)

func FuzzAnAddressIsPlainAndNoOption(f *testing.F) {
	for _, seed := range []string{
		"https://git.example.com/a/b.git", "git@host:a/b.git", "ssh://git@host:22/a", "ext::sh -c id", "--upload-pack=x", "https://u:p@h/x", "file:///etc",
		"https://h/a\nb", "https://h/%0a", "ssh://-oProxyCommand=id/x", "git@-oProxyCommand=x:y", "http://[::1]:80/x", "https://h/$(id)", "/srv/x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		for _, part := range []string{a.String(), a.User, a.Host} {
			if strings.HasPrefix(part, "-") || strings.ContainsFunc(part, func(r rune) bool { return unicode.IsControl(r) || r == ' ' }) {
				t.Errorf("%q became %+v", text, a)
			}
		}
		switch a.Scheme {
		case HTTP, HTTPS, SSH:
			if a.Host == "" || a.Port == "" {
				t.Errorf("%q has no host: %+v", text, a)
			}
		case Local:
			if !path.IsAbs(a.Path) {
				t.Errorf("%q is no full path: %+v", text, a)
			}
		default:
			t.Errorf("%q has the scheme %q", text, a.Scheme)
		}
	})
}

func FuzzARefIsNoOptionAndNoRevision(f *testing.F) {
	for _, seed := range []string{"main", "-x", "--upload-pack=x", "a..b", "a@{1}", "refs/heads/x", "$(id)", "a\nb", "x.lock", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if ValidRef(name) && (strings.HasPrefix(name, "-") || strings.ContainsAny(name, "~^:?*[\\ \n\x00\x7f") || strings.Contains(name, "..") || strings.Contains(name, "@{")) {
			t.Errorf("%q is taken for a ref", name)
		}
	})
}

func FuzzWhatGitPrintsIsReadWithoutPanic(f *testing.F) {
	f.Add("100644 blob 4d7a214614ab2935c943f9e0ff69d22eadbb8f32      12\tdir/a file\x00")
	f.Add("120000 blob 4d7a2146 9\t../../etc\x00garbage")
	f.Add("ref: refs/heads/main\tHEAD\n4d7a\trefs/heads/main\n4d7a\trefs/tags/v1\n")
	f.Add("refs/heads/x\x00commit\x00id\x001700000000\x00Ada\x00Subject")
	f.Add("4\nabcd\n9\nxx")
	f.Fuzz(func(t *testing.T, out string) {
		list := &treeReader{limits: Limits{TreeFiles: 100}, cancel: func() {}}
		_, _ = list.Write([]byte(out))
		for _, file := range list.files {
			if !path.IsAbs("/"+file.Path) || path.Clean("/"+file.Path) != "/"+file.Path || strings.ContainsFunc(file.Path, unicode.IsControl) {
				t.Errorf("the tree gave the path %q", file.Path)
			}
		}
		probe := parseRemote(out)
		for _, name := range append(append([]string{probe.DefaultBranch}, probe.Branches...), probe.Tags...) {
			if name != "" && !ValidRef(name) {
				t.Errorf("the remote gave the ref %q", name)
			}
		}
		if ref, ok := parseRef(out); ok && !ValidRef(ref.Name) {
			t.Errorf("the mirror gave the ref %q", ref.Name)
		}
		parseLog(out)
		_, _ = parseLinks([]byte(out), []File{{Path: "a"}, {Path: "b"}})
		if strings.ContainsFunc(reasonIn(out), unicode.IsControl) {
			t.Errorf("the reason has control characters: %q", reasonIn(out))
		}
	})
}

func FuzzALinkThatStaysInsideNeverClimbs(f *testing.F) {
	f.Add("dir/a", "../b")
	f.Add("a", "b/../..")
	f.Add("a", "/etc")
	f.Fuzz(func(t *testing.T, name, target string) {
		if name == "" || hostileName(name) != "" {
			return
		}
		if staysInside(map[string]string{name: target}, name) {
			if clean := path.Join("/top", path.Dir(name), target); !strings.HasPrefix(clean+"/", "/top/") {
				t.Errorf("%q → %q leads to %q", name, target, clean)
			}
		}
	})
}
