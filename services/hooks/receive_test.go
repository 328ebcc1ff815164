package hooks_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/hooks"
)

// kinds are the ways to sign, each with the kind of connection that takes it.
var kinds = map[models.ForgeKind]models.ForgeKind{
	models.ForgeGitHub: models.ForgeGitHub, models.ForgeGitLab: models.ForgeGitLab, "gitlab signed": models.ForgeGitLab,
	models.ForgeGitea: models.ForgeGitea, models.ForgeGeneric: models.ForgeGeneric,
}

func TestEachForgesSignatureIsTakenAndWritesOneDeliveryAndOneJob(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		for way, kind := range kinds {
			w.connect(kind)
			body := []byte(`{"hello":"` + string(way) + `"}`)
			in := hooks.Incoming{ConnectionID: w.connection.ID, Body: body, Header: signed(way, w.secret, "one-"+string(way), "push", body, time.Now())}
			receipt, err := w.hooks.Receive(t.Context(), in)
			if err != nil || receipt.Again {
				t.Errorf("%s: %+v, %v", way, receipt, err)
			}
			d, stored, err := w.hooks.Get(w.as["viewer"], receipt.DeliveryID)
			if err != nil || string(stored) != string(body) || d.Event != "push" || d.ExternalID != "one-"+string(way) || d.State != models.DeliveryReceived || d.TeamID != w.Team.ID {
				t.Errorf("%s: stored %+v, %v", way, d, err)
			}
			if all := fmt.Sprint(d.Headers); strings.Contains(all, "whsec_") || strings.Contains(strings.ToLower(all), "signature") {
				t.Errorf("%s: kept %s", way, all)
			}
			before := w.rows()
			again, err := w.hooks.Receive(t.Context(), in)
			if err != nil || !again.Again || again.DeliveryID != receipt.DeliveryID || w.rows() != before {
				t.Errorf("%s a second time: %+v, %v", way, again, err)
			}
			w.must(w.forges.Delete(w.as["maintainer"], w.connection.ID))
		}
	})
}

func TestWhatIsNotSignedRightWritesNothingAndIsToldTheSame(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		body := []byte(`{"ref":"refs/heads/main"}`)
		for way, kind := range kinds {
			w.connect(kind)
			right := func() http.Header { return signed(way, w.secret, "x", "push", body, time.Now()) }
			wrongs := map[string]http.Header{
				"no headers": {}, "another secret": signed(way, "whsec_b3RoZXI=", "x", "push", body, time.Now()), "another body": signed(way, w.secret, "x", "push", []byte(`{}`), time.Now()),
				"an empty secret": signed(way, "", "x", "push", body, time.Now()),
			}
			if kind == models.ForgeGitLab {
				delete(wrongs, "another body")
			}
			for _, name := range []string{"X-Hub-Signature-256", "X-Gitea-Signature", "X-Gitlab-Token", "Webhook-Signature", "X-Slipway-Signature-256"} {
				if value := right().Get(name); value != "" {
					for what, bad := range map[string]string{"cut": value[:len(value)-2], "empty": "", "nothing but its form": "sha256=", "longer": value + "00"} {
						h := right()
						h.Set(name, bad)
						wrongs[what] = h
					}
				}
			}
			if way == "gitlab signed" || way == models.ForgeGeneric {
				wrongs["an old time"] = signed(way, w.secret, "x", "push", body, time.Now().Add(-6*time.Minute))
				wrongs["a time to come"] = signed(way, w.secret, "x", "push", body, time.Now().Add(6*time.Minute))
			}
			if way == "gitlab signed" {
				h := signed(way, "whsec_b3RoZXI=", "x", "push", body, time.Now())
				h.Set("X-Gitlab-Token", w.secret)
				wrongs["a wrong signature beside the right token"] = h
			}
			before := w.rows()
			_, unknown := w.hooks.Receive(t.Context(), hooks.Incoming{ConnectionID: models.NewID(), Body: body, Header: right()})
			for what, h := range wrongs {
				_, err := w.hooks.Receive(t.Context(), hooks.Incoming{ConnectionID: w.connection.ID, Body: body, Header: h})
				if !models.IsCode(err, models.Unauthorized) || err.Error() != unknown.Error() {
					t.Errorf("%s, %s: %v; of no connection: %v", way, what, err, unknown)
				}
			}
			if w.rows() != before {
				t.Errorf("%s: something was written", way)
			}
			w.must(w.forges.Delete(w.as["maintainer"], w.connection.ID))
		}
	})
}

func TestASignatureOfOneForgeIsNotTakenForAnothers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	body := []byte(`{}`)
	for way, kind := range kinds {
		w.connect(kind)
		for other, otherKind := range kinds {
			if otherKind == kind {
				continue
			}
			_, err := w.hooks.Receive(t.Context(), hooks.Incoming{ConnectionID: w.connection.ID, Body: body, Header: signed(other, w.secret, "x", "push", body, time.Now())})
			wantCode(t, string(other)+" at "+string(way), err, models.Unauthorized)
		}
		w.must(w.forges.Delete(w.as["maintainer"], w.connection.ID))
	}
}

func TestTheSamePayloadUnderAnotherIDIsARepetition(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		for _, kind := range []models.ForgeKind{models.ForgeGitHub, models.ForgeGitea, models.ForgeGitLab, models.ForgeGeneric} {
			w.connect(kind)
			body, at := []byte(`{"a":1}`), time.Now()
			send := func(id string, at time.Time) hooks.Receipt {
				t.Helper()
				r, err := w.hooks.Receive(t.Context(), hooks.Incoming{ConnectionID: w.connection.ID, Body: body, Header: signed(kind, w.secret, id, "push", body, at)})
				w.must(err)
				return r
			}
			first := send("first", at)
			if again := send("second", at); !again.Again || again.DeliveryID != first.DeliveryID {
				t.Errorf("%s: %+v", kind, again)
			}
			if later := send("third", at.Add(time.Second)); later.Again != (kind != models.ForgeGeneric) {
				t.Errorf("%s at another time: %+v", kind, later) // only there the time is signed too
			}
			w.must(w.forges.Delete(w.as["maintainer"], w.connection.ID))
		}
	})
}

func TestOldSecretsAreRefusedOnceTheyAreReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.connect(models.ForgeGitHub)
	_, fresh, err := w.forges.RotateSecret(w.as["maintainer"], w.connection.ID)
	w.must(err)
	body := []byte(`{}`)
	_, err = w.hooks.Receive(t.Context(), hooks.Incoming{ConnectionID: w.connection.ID, Body: body, Header: signed(models.ForgeGitHub, w.secret, "x", "push", body, time.Now())})
	wantCode(t, "the old one", err, models.Unauthorized)
	_, err = w.hooks.Receive(t.Context(), hooks.Incoming{ConnectionID: w.connection.ID, Body: body, Header: signed(models.ForgeGitHub, fresh, "x", "push", body, time.Now())})
	wantCode(t, "the new one", err, "")
}

func TestASignedWebhookThatNamesNoDeliveryIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	body := []byte(`{}`)
	for kind, name := range map[models.ForgeKind]string{models.ForgeGitHub: "X-GitHub-Delivery", models.ForgeGitea: "X-Gitea-Delivery", models.ForgeGeneric: "X-Slipway-Delivery"} {
		w.connect(kind)
		for _, bad := range []string{"", strings.Repeat("x", 300), "a\x01b"} {
			h := signed(kind, w.secret, "x", "push", body, time.Now())
			h.Set(name, bad)
			_, err := w.hooks.Receive(t.Context(), hooks.Incoming{ConnectionID: w.connection.ID, Body: body, Header: h})
			wantCode(t, string(kind)+" "+bad, err, models.Invalid)
		}
	}
}
