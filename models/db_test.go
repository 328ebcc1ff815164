package models_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/models"
)

func TestASQLiteDatabaseOpensWhateverItsFolderIsCalled(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain", "a?mode=ro", "#00", "50%25 off", "two words", "ünï"} {
		folder := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(folder, "slipway.db")
		db, err := models.Open(t.Context(), "sqlite:"+path)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := db.Exec("CREATE TABLE kept (id INTEGER)").Error; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var tables int64
		if err := db.Raw("SELECT COUNT(*) FROM sqlite_schema").Scan(&tables).Error; err != nil || tables != 1 {
			t.Errorf("%s: a reader sees %d tables: %v", name, tables, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%s: the file is somewhere else: %v", name, err)
		}
	}
}

func TestNothingOfAClosedSQLiteDatabaseStaysOpen(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	db, err := models.Open(t.Context(), "sqlite:"+filepath.Join(folder, "slipway.db"))
	if err != nil {
		t.Fatal(err)
	}
	var tables int64
	if err := errors.Join(db.Exec("CREATE TABLE kept (id INTEGER)").Error, db.Raw("SELECT COUNT(*) FROM sqlite_schema").Scan(&tables).Error, db.Close()); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if at, _ := os.Readlink("/proc/self/fd/" + f.Name()); strings.HasPrefix(at, folder) {
			t.Errorf("%s is still open", at)
		}
	}
	if left, err := filepath.Glob(filepath.Join(folder, "*")); err != nil || len(left) != 1 {
		t.Errorf("beside the database there are %v, %v", left, err)
	}
}
