package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const printed = `{"Action":"output","Package":"slipway.dev/services/deploy/docker","Test":"TestOther/sub","Output":"x\n"}
{"Action":"pass","Package":"slipway.dev/services/deploy/docker","Test":"TestOther/sub"}
{"Action":"pass","Package":"slipway.dev/services/deploy/aws","Test":"TestSuite/a_command_runs_once"}
{"Action":"output","Package":"slipway.dev/services/deploy/aws","Test":"TestSuite/what_it_can_beside_that_is_written_down","Output":"    abilities.go:1: target: Amazon ECS\n"}
{"Action":"output","Package":"slipway.dev/services/deploy/aws","Test":"TestSuite/what_it_can_beside_that_is_written_down","Output":"    abilities.go:1: ability: Volumes that outlive releases: no\n"}
{"Action":"output","Package":"slipway.dev/services/deploy/aws","Test":"TestSuite/what_it_can_beside_that_is_written_down","Output":"    abilities.go:1: ability: Events of the provider: yes\n"}
{"Action":"pass","Package":"slipway.dev/services/deploy/aws","Test":"TestSuite/what_it_can_beside_that_is_written_down"}
`

func TestThePageSaysWhatTheTestsPrinted(t *testing.T) {
	t.Parallel()
	data, page := filepath.Join(t.TempDir(), "c.json"), filepath.Join(t.TempDir(), "c.md")
	for _, name := range []string{"Amazon ECS", "Other", "Amazon ECS"} {
		if err := run(strings.NewReader(strings.ReplaceAll(printed, "Amazon ECS", name)), data, page); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"| | Amazon ECS | Other |", "| Volumes that outlive releases | – | – |", "| Events of the provider | yes | yes |", "| a command runs once | yes | yes |"} {
		if !strings.Contains(string(got), row+"\n") {
			t.Errorf("the page lacks %s:\n%s", row, got)
		}
	}
	failed := strings.Replace(printed, `"pass","Package":"slipway.dev/services/deploy/aws"`, `"fail","Package":"slipway.dev/services/deploy/aws"`, 1)
	if err := run(strings.NewReader(failed), data, page); err == nil {
		t.Error("a page was made of a test that failed")
	}
	if err := run(strings.NewReader("FAIL\n"), data, page); err == nil {
		t.Error("a page was made of something else")
	}
}

func TestThePageInDocsIsMadeOfWhatIsKnown(t *testing.T) {
	t.Parallel()
	known, err := load("../../docs/capabilities.json")
	if err != nil || len(known) == 0 {
		t.Fatalf("nothing is known: %v", err)
	}
	page, err := os.ReadFile("../../docs/capabilities.md")
	if err != nil || string(page) != known.page() {
		t.Errorf("docs/capabilities.md is not what docs/capabilities.json says: run make capabilities (%v)", err)
	}
}
