package admin

import (
	"strings"
	"testing"

	"slipway.dev/models"
)

func TestAuditEntriesCutHashesAndLeaveOutWhatIsEmpty(t *testing.T) {
	hash := strings.Repeat("87c7aa86", 8)
	e := models.AuditEntry{Name: "acme/shop@sha256:" + hash, Detail: map[string]string{"config": hash, "environment": "dev", "reason": ""}}
	if got, want := short(subject(e)), "acme/shop@sha256:87c7aa8687c7"; got != want {
		t.Errorf("the subject is %s, want %s", got, want)
	}
	if got, want := short(detail(e)), "config=87c7aa8687c7 environment=dev"; got != want {
		t.Errorf("the detail is %s, want %s", got, want)
	}
}
