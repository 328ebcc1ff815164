package images

import (
	"strings"
	"testing"
)

func TestDeepOrLargeJSONIsNotMadeLargerToBeShown(t *testing.T) {
	t.Parallel()
	for what, content := range map[string]string{
		"deep":     strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000),
		"large":    `{"a":"` + strings.Repeat("b", 1<<20) + `"}`,
		"nonsense": "{\xff",
	} {
		if shown := pretty([]byte(content)); len(shown) > 300<<10 {
			t.Errorf("%s is shown with %d bytes", what, len(shown))
		}
	}
	if shown := pretty([]byte(`{"a":{"b":1}}`)); shown != "{\n  \"a\": {\n    \"b\": 1\n  }\n}" {
		t.Errorf("shown is %s", shown)
	}
}
