package git_test

import (
	"path/filepath"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/git/gittest"
	"slipway.dev/services/sshtest"
)

func TestADeployKeyFetchesOverSSH(t *testing.T) {
	private, public := sshtest.KeyPair(t, "")
	server := gittest.NewSSH(t, public)
	repo := gittest.NewRepo(t, filepath.Join(t.TempDir(), "shop.git"), gittest.Files{"Dockerfile": "FROM scratch\n"})
	remote := git.Remote{URL: server.URL(repo), PrivateKey: private}
	s := newService(t)

	first, err := s.Fetch(t.Context(), "r1", remote)
	if err != nil {
		t.Fatal(err)
	}
	if first.DefaultBranch != "main" || first.HostKey != server.HostKey() {
		t.Errorf("got %+v, want the host key %s", first, server.HostKey())
	}

	remote.HostKey = first.HostKey
	if _, err := s.Fetch(t.Context(), "r1", remote); err != nil {
		t.Errorf("the pinned host key is not accepted: %v", err)
	}

	left, err := filepath.Glob(filepath.Join(s.Dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("keys were left behind: %v %v", left, err)
	}

	server.NewHostKey()
	server.Restart()
	_, err = s.Fetch(t.Context(), "r1", remote)
	wantError(t, err, models.Invalid, "another SSH host key")
	if changed, err := s.Check(t.Context(), git.Remote{URL: remote.URL, PrivateKey: private}); err != nil || changed.HostKey != server.HostKey() {
		t.Errorf("after the old key was forgotten: %+v, %v", changed, err)
	}
}

func TestFailuresOverSSHSayWhatToDo(t *testing.T) {
	private, public := sshtest.KeyPair(t, "")
	server := gittest.NewSSH(t, public)
	repo := gittest.NewRepo(t, filepath.Join(t.TempDir(), "shop.git"), gittest.Files{"a": "1"})
	stranger, _ := sshtest.KeyPair(t, "")
	s := newService(t)
	_, err := s.Check(t.Context(), git.Remote{URL: server.URL(repo), PrivateKey: stranger})
	wantError(t, err, models.Invalid, "did not accept the deploy key", "Permission denied")
	_, err = s.Check(t.Context(), git.Remote{URL: server.URL(repo), PrivateKey: "not a key"})
	wantError(t, err, models.Invalid, "did not accept the deploy key")
	_, err = s.Check(t.Context(), git.Remote{URL: server.URL(&gittest.Repo{Dir: "/no/such.git"}), PrivateKey: private})
	wantError(t, err, models.Invalid, "no such repository")
	_, err = s.Check(t.Context(), git.Remote{URL: "git@10.1.2.3:acme/shop.git", PrivateKey: private})
	wantError(t, err, models.Invalid, "10.1.2.3 is a private address", "SLIPWAY_OUTBOUND_ALLOW")
}
