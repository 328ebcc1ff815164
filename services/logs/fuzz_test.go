package logs_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"slipway.dev/services/logs"
)

func FuzzASecretIsNeverLeftInAText(f *testing.F) {
	f.Add("s3cret-value", "before s3cret-value after")
	f.Add("aaaa", "aaaaaaa")
	f.Add("two\nlines-of-a-key", "x lines-of-a-key two")
	f.Add("p@ss/w\xff", "p@ss/w\xff")
	f.Fuzz(func(t *testing.T, secret, text string) {
		m := logs.NewMasker(secret)
		whole := strings.TrimSpace(secret)
		if len(whole) < 4 {
			return
		}
		if strings.ContainsAny(whole, "•") || strings.Contains("••••••", whole) {
			return // the mask itself
		}
		if got := m.Mask(text + whole + text); strings.Contains(got, whole) {
			t.Errorf("%q is left in %q", whole, got)
		}
		if encoded := base64.StdEncoding.EncodeToString([]byte(whole)); len(whole) >= 8 && len(encoded) <= 76 {
			if got := m.Mask("=" + encoded); strings.Contains(got, encoded) {
				t.Errorf("%q is left in %q", encoded, got)
			}
		}
	})
}
