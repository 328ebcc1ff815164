package modelstest_test

import (
	"testing"

	"slipway.dev/migrations"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
)

func TestEveryFieldOfEveryModelHasAColumnAndEveryColumnAField(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		for _, m := range models.All() {
			stmt := db.Model(m).Statement
			if err := stmt.Parse(m); err != nil {
				t.Fatal(err)
			}
			columns, err := db.Migrator().ColumnTypes(m)
			if err != nil {
				t.Fatal(err)
			}
			stored := map[string]bool{}
			for _, c := range columns {
				stored[c.Name()] = true
				if stmt.Schema.FieldsByDBName[c.Name()] == nil {
					t.Errorf("%s.%s has no field", stmt.Schema.Table, c.Name())
				}
			}
			for _, f := range stmt.Schema.Fields {
				if f.DBName != "" && !stored[f.DBName] {
					t.Errorf("%s.%s has no column", stmt.Schema.Table, f.DBName)
				}
			}
		}
	})
}

func TestMigrationsGoUpAndDownAndUpAgain(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p, err := migrations.New(db.SQL, db.Dialect())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.DownTo(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
