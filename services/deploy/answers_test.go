package deploy

import (
	"testing"

	"slipway.dev/models"
)

func TestAVersionIsWorseOnlyByErrorsThatTheOtherDoesNotHave(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		own, beside models.Tally
		want        bool
	}{
		"nobody came":                       {},
		"no errors":                         {own: models.Tally{Answers: 900}, beside: models.Tally{Answers: 9000}},
		"a few errors, which may be chance": {own: models.Tally{Answers: 4, Errors: 4}},
		"every answer of five":              {own: models.Tally{Answers: 5, Errors: 5}, want: true},
		"one error in ten":                  {own: models.Tally{Answers: 100, Errors: 10}, beside: models.Tally{Answers: 900, Errors: 9}, want: true},
		"one in twenty":                     {own: models.Tally{Answers: 100, Errors: 5}, beside: models.Tally{Answers: 900}},
		"as many as the other":              {own: models.Tally{Answers: 100, Errors: 40}, beside: models.Tally{Answers: 900, Errors: 350}},
		"fewer than the other":              {own: models.Tally{Answers: 100, Errors: 10}, beside: models.Tally{Answers: 900, Errors: 350}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (Answers{c.own, c.beside}).worse(); got != c.want {
				t.Errorf("%+v beside %+v is worse: %v", c.own, c.beside, got)
			}
		})
	}
}

func TestTheAnswersOfTwoVersionsAreToldInOneSentence(t *testing.T) {
	t.Parallel()
	want := "Of 240 answers of the new version 12.5% were errors (5xx, or none came), of 0 of what serves beside it 0.0%."
	if got := (Answers{New: models.Tally{Answers: 240, Errors: 30}}).String(); got != want {
		t.Errorf("it says %q", got)
	}
}
