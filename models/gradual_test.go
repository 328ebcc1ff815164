package models_test

import (
	"strings"
	"testing"

	"slipway.dev/models"
)

func TestStepsAreReadAsPeopleWriteThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                      "",
		"  ":                                    "",
		"10% for 5 min":                         "10% for 5 min",
		"10 % for 5min, 50% FOR 1 h":            "10% for 5 min, 50% for 60 min",
		"1% for 1 minute,99%  for 1440 minutes": "1% for 1 min, 99% for 1440 min",
		"25% for 2 hours":                       "25% for 120 min",
	} {
		got, err := models.ParseGradual(text)
		if err != nil || got.String() != want {
			t.Errorf("%q gives %q, %v", text, got, err)
		}
		if again, err := models.ParseGradual(got.String()); err != nil || again.String() != want {
			t.Errorf("%q is not read as it is written: %v", want, err)
		}
	}
}

func TestStepsThatCanNotBeAreRefusedWithWords(t *testing.T) {
	t.Parallel()
	for text, word := range map[string]string{
		"10%":                          "is no step",
		"10% for 5 min,":               "is no step",
		"10% for ever":                 "is no step",
		"ten% for 5 min":               "is no step",
		"-1% for 5 min":                "is no step",
		"10% for 5 min; 20% for 5 min": "is no step",
		"0% for 5 min":                 "from 1 to 99",
		"100% for 5 min":               "from 1 to 99",
		"10% for 0 min":                "from 1 to 1440 minutes",
		"10% for 25 h":                 "from 1 to 1440 minutes",
		"99999% for 5 min":             "is no step",
		"50% for 5 min, 50% for 5 min": "can't follow",
		"50% for 5 min, 10% for 5 min": "can't follow",
		strings.Repeat("1% for 1 min,", 10) + "2% for 1 min": "At most 10",
	} {
		_, err := models.ParseGradual(text)
		wrong, ok := err.(*models.Error)
		if !ok || !strings.Contains(wrong.Fields["gradual"], word) {
			t.Errorf("%q gives %v, not %q", text, err, word)
		}
	}
}
