package gittest

import (
	"fmt"
	"testing"

	"slipway.dev/services/sshtest"
)

// SSH is a real sshd that repositories are fetched from.
type SSH struct{ *sshtest.Server }

// NewSSH starts an sshd that ends with the test. The authorized key is in the format of a .pub file.
func NewSSH(t testing.TB, authorizedKey string) *SSH {
	t.Helper()
	return &SSH{sshtest.New(t, authorizedKey)}
}

// URL is the ssh address of a repository on this machine's disk.
func (s *SSH) URL(repo *Repo) string {
	return fmt.Sprintf("ssh://%s@%s%s", s.User, s.Address, repo.Dir)
}
