package deploy_test

import (
	"fmt"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

func TestLinesAreSetAllOrNoneAfterOneHasSeenWhatTheyChange(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		c := newCabinet(t, db)
		c.set(c.environment(), "SAME", "a b")
		c.set(c.environment(), "LEVEL", "info")
		c.set(c.environment(), "GONE", "1")
		c.keep(c.environment(), "KEY", "canary-one")
		in := deploy.ImportInput{Scope: c.environment(), Text: "SAME='a b'\nLEVEL=debug\nFRESH=1\nKEY=canary-two\n", Delete: true}
		seen, err := c.service.PreviewImport(c.ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		want := "[{FRESH added false  1} {GONE removed false 1 } {KEY changed true  } {LEVEL changed false info debug}]"
		if fmt.Sprint(seen.Changes) != want || seen.Same != 1 || strings.Contains(seen.Sealed, "canary") {
			t.Errorf("it shows %v and %d the same", seen.Changes, seen.Same)
		}
		if got := c.counts(c.environment()); got["FRESH"] != "" || got["GONE"] == "" {
			t.Fatalf("looking changed %v", got)
		}
		for who, person := range map[string]*models.User{"another person": c.Maintainer, "a stranger": c.Stranger} {
			if _, err := c.service.ApplyImport(modelstest.As(t, db, person), c.environment(), seen.Sealed); err == nil {
				t.Errorf("%s applied it", who)
			}
		}
		for what, at := range map[string]deploy.Scope{"to another level": c.app(), "to the team": c.team()} {
			if _, err := c.service.ApplyImport(c.ctx, at, seen.Sealed); !models.IsCode(err, models.Conflict) {
				t.Errorf("%s: %v", what, err)
			}
		}
		c.set(c.environment(), "LEVEL", "warn")
		if _, err := c.service.ApplyImport(c.ctx, c.environment(), seen.Sealed); !models.IsCode(err, models.Conflict) {
			t.Errorf("after a change by somebody else: %v", err)
		}
		if seen, err = c.service.PreviewImport(c.ctx, in); err != nil {
			t.Fatal(err)
		}
		if _, err := c.service.ApplyImport(c.ctx, c.environment(), seen.Sealed); err != nil {
			t.Fatal(err)
		}
		got := c.counts(c.environment())
		if got["LEVEL"] != "debug environment" || got["FRESH"] != "1 environment" || got["GONE"] != "" || c.opened(c.environment(), "KEY") != "canary-two" {
			t.Errorf("it is %v", got)
		}
		if again, err := c.service.ImportVariables(c.ctx, in); err != nil || len(again.Changes) != 0 || again.Same != 4 {
			t.Errorf("again: %+v (%v)", again, err)
		}
		for _, change := range c.changes(c.environment(), "")[:4] { // each can be taken back
			if err := c.undo(change.ID); err != nil {
				t.Error(err)
			}
		}
		if got := c.counts(c.environment()); got["LEVEL"] != "warn environment" || got["GONE"] != "1 environment" || got["FRESH"] != "" || c.opened(c.environment(), "KEY") != "canary-one" {
			t.Errorf("taken back it is %v", got)
		}
		secrets := deploy.ImportInput{Scope: c.team(), Text: "A=canary-a\nB=canary-b", Secrets: true}
		if _, err := c.service.ImportVariables(c.ctx, secrets); err != nil {
			t.Fatal(err)
		}
		if text, err := c.service.Dotenv(c.ctx, c.environment(), true); err != nil || text != "# A is a secret\n# B is a secret\nGONE=1\n# KEY is a secret\nLEVEL=warn\nSAME='a b'\n" {
			t.Errorf("the lines are %q (%v)", text, err)
		}
		if text, err := c.service.Dotenv(c.ctx, c.environment(), false); err != nil || strings.Contains(text, "A is") {
			t.Errorf("its own lines are %q (%v)", text, err)
		}
		bad := deploy.ImportInput{Scope: c.team(), Text: "C=1\nD=" + strings.Repeat("x", 40<<10)}
		if _, err := c.service.ImportVariables(c.ctx, bad); !models.IsCode(err, models.Invalid) || c.counts(c.team())["C"] != "" {
			t.Errorf("one of two can't be: %v", err)
		}
		c.nowhere("canary-")
	})
}

func TestWhatIsWrongWithALineIsSaidWithoutRepeatingIt(t *testing.T) {
	t.Parallel()
	c := newCabinet(t, modelstest.DB(t))
	for text, want := range map[string]string{
		"A=1\n\n# x\nhunter2":               "Line 4: This is not NAME=value.",
		"A=1\nhunter2-B=1":                  "Line 2: Use letters",
		"PORT=80":                           "Line 1: PORT",
		"A=1\nA=hunter2":                    "Line 2: A stands in line 1 already.",
		"A=1\nB=\"hunter2\nC=1":             "Line 2: A quote is left open.",
		"A=1\nB='hunter2' hunter2":          "Line 2: Something stands after",
		"A=hunter2\x00":                     "NUL",
		"A=hunter2\xff":                     "UTF-8",
		"A=" + strings.Repeat("x", 300<<10): "at most 256 KiB",
	} {
		_, err := c.service.PreviewImport(c.ctx, deploy.ImportInput{Scope: c.team(), Text: text})
		if !models.IsCode(err, models.Invalid) {
			t.Errorf("%.40q: %v", text, err)
			continue
		}
		said := err.(*models.Error).Fields["text"]
		if !strings.Contains(said, want) || strings.Contains(said, "hunter2") {
			t.Errorf("%.40q: %q", text, said)
		}
	}
}
