package secrets

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func box(t *testing.T) *Box {
	t.Helper()
	b, err := Load(filepath.Join(t.TempDir(), "keys", "master"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASealedValueOpensOnlyWhereItWasSealed(t *testing.T) {
	b := box(t)
	sealed := b.Seal("variables/1", []byte("hunter2"))
	if got, err := b.Open("variables/1", sealed); err != nil || string(got) != "hunter2" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := b.Open("variables/2", sealed); err == nil {
		t.Error("a value moved to another row opened")
	}
	for i := range sealed {
		bent := bytes.Clone(sealed)
		bent[i] ^= 1
		if _, err := b.Open("variables/1", bent); err == nil {
			t.Errorf("a value with byte %d changed opened", i)
		}
	}
	if bytes.Equal(sealed, b.Seal("variables/1", []byte("hunter2"))) {
		t.Error("the same value sealed twice looks the same")
	}
}

func TestARotatedKeyStillOpensOldValues(t *testing.T) {
	dir := t.TempDir()
	old, _ := Load(filepath.Join(dir, "old"))
	sealed := old.Seal("p", []byte("v"))
	if _, err := Load(filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	a, _ := os.ReadFile(filepath.Join(dir, "new"))
	z, _ := os.ReadFile(filepath.Join(dir, "old"))
	both, err := Parse(string(a) + string(z))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := both.Open("p", sealed); err != nil || string(got) != "v" {
		t.Fatalf("got %q, %v", got, err)
	}
	if both.Fingerprint("p", []byte("v")) != old.Fingerprint("p", []byte("v")) {
		t.Error("the rotation changed a fingerprint")
	}
	if _, err := old.Open("p", both.Seal("p", []byte("v"))); err == nil {
		t.Error("the old key opened what the new one sealed")
	}
}

func TestTwoInstallationsShareNoKey(t *testing.T) {
	a, b := box(t), box(t)
	if _, err := b.Open("p", a.Seal("p", []byte("v"))); err == nil {
		t.Error("one installation opened another's secret")
	}
}

func TestTheKeyFileIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, err := Load(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}
