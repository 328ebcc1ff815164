package catalog_test

import (
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/catalog"
)

// connection makes a connection of the team to the forge at the address.
func (w *world) connection(t *testing.T, team, name, baseURL string) string {
	t.Helper()
	c := &models.Connection{ID: models.NewID(), TeamID: team, Kind: models.ForgeGitea, Name: name, BaseURL: baseURL, Credential: models.ConnectionNone, WebhookSecret: []byte("x")}
	if baseURL == "" {
		c.Kind = models.ForgeGeneric
	}
	if err := w.db.Create(c).Error; err != nil {
		t.Fatal(err)
	}
	return c.ID
}

// connected is the repository's connection, and the error of what made or changed it.
func connected(r *models.Repository, err error) (string, error) {
	if err != nil || r.ConnectionID == nil {
		return "", err
	}
	return *r.ConnectionID, nil
}

func TestARepositoryGetsTheOneConnectionWithItsHostOrTheOneThatIsChosen(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		one := w.connection(t, w.Team.ID, "one", "https://one.example.test")
		generic := w.connection(t, w.Team.ID, "script", "")
		others := w.connection(t, w.OtherTeam.ID, "others", "https://one.example.test")
		w.connection(t, w.Team.ID, "two", "https://two.example.test")
		w.connection(t, w.Team.ID, "two again", "https://two.example.test:8443")
		register := func(name, url string, asked *string) (string, error) {
			return connected(w.catalog.RegisterRepository(w.as["maintainer"], catalog.NewRepository{Team: "payments", Name: name, CloneURL: url, ConnectionID: asked}))
		}
		for _, test := range []struct {
			name, url string
			asked     *string
			want      string
		}{
			{"by-host", "https://one.example.test/a/b.git", nil, one}, {"by-ssh", "ssh://git@ONE.example.test:2222/a/b.git", nil, one},
			{"none", "https://one.example.test/a/b.git", ptr(""), ""}, {"unknown", "https://three.example.test/a/b.git", nil, ""},
			{"two", "https://two.example.test/a/b.git", nil, ""}, {"chosen", "https://three.example.test/a/b.git", &generic, generic},
		} {
			if got, err := register(test.name, test.url, test.asked); got != test.want || err != nil {
				t.Errorf("%s: got %q, %v", test.name, got, err)
			}
		}
		_, err := register("foreign", "https://one.example.test/a/b.git", &others)
		wantField(t, err, "connection_id", "no such connection")
		_, err = register("elsewhere", "https://three.example.test/a/b.git", &one)
		wantField(t, err, "connection_id", "one.example.test, but the repository is at three.example.test")
	})
}

func TestAConnectionStaysTrueToTheRepositorysAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	one := w.connection(t, w.Team.ID, "one", "https://one.example.test")
	two := w.connection(t, w.Team.ID, "two", "https://two.example.test")
	r, err := w.catalog.RegisterRepository(w.as["maintainer"], catalog.NewRepository{Team: "payments", CloneURL: "https://one.example.test/a/b.git"})
	if err != nil {
		t.Fatal(err)
	}
	learn := func() {
		t.Helper()
		if err := w.db.Model(&models.Repository{}).Where("id = ?", r.ID).Update("external_id", "77").Error; err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		change             catalog.UpdateRepository
		connection, number string
	}{
		{catalog.UpdateRepository{DefaultBranch: ptr("main")}, one, "77"},
		{catalog.UpdateRepository{ConnectionID: &one}, one, "77"},
		{catalog.UpdateRepository{CloneURL: ptr("https://one.example.test/a/other.git")}, one, ""},
		{catalog.UpdateRepository{CloneURL: ptr("https://two.example.test/a/b.git")}, two, ""},
		{catalog.UpdateRepository{ConnectionID: ptr("")}, "", ""},
		{catalog.UpdateRepository{ConnectionID: &two}, two, ""},
		{catalog.UpdateRepository{CloneURL: ptr("https://three.example.test/a/b.git")}, "", ""},
	} {
		learn()
		got, err := w.catalog.UpdateRepository(w.as["maintainer"], r.ID, step.change)
		if err != nil {
			t.Fatal(err)
		}
		if id, _ := connected(got, nil); id != step.connection || got.ExternalID != step.number {
			t.Errorf("%+v: got %q with %q", step.change, id, got.ExternalID)
		}
	}
	_, err = w.catalog.UpdateRepository(w.as["maintainer"], r.ID, catalog.UpdateRepository{CloneURL: ptr("https://three.example.test/a/c.git"), ConnectionID: &one})
	wantField(t, err, "connection_id", "the repository is at three.example.test")
}
