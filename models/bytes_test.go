package models_test

import (
	"testing"

	"slipway.dev/models"
)

func TestSizesHaveThreeDigitsAndAUnit(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.00 kB", 48_213_004: "48.2 MB", 999_600: "1.00 MB", 123_456_789: "123 MB", 5_000_000_000: "5.00 GB"} {
		if got := models.Bytes(n); got != want {
			t.Errorf("Bytes(%d) is %q, want %q", n, got, want)
		}
	}
}
