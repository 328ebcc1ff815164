package google

import (
	"os"
	"strings"
	"testing"
)

func TestTheDocumentationGrantsWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/google-cloud.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range append(rights[:len(rights):len(rights)], metricsRight) {
		row := "| " + r.role + " | " + strings.Join(r.permissions, ", ") + " |"
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/google-cloud.md has no row %q", row)
		}
	}
	if !strings.Contains(string(text), actAs) {
		t.Errorf("docs/google-cloud.md does not name %s", actAs)
	}
	for _, f := range fields {
		if !strings.Contains(string(text), f.Label) {
			t.Errorf("docs/google-cloud.md does not explain the setting %q", f.Label)
		}
	}
}
