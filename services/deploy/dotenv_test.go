package deploy

import (
	"strings"
	"testing"
)

func TestLinesAreReadAsOtherToolsReadThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"A=1":                          "1",
		"\ufeffA=1\r\n":                "1",
		"  export  A = 1 ":             "1",
		"A=":                           "",
		"A= # nothing":                 "",
		"A=b#c # d":                    "b#c",
		"A=http://u:p@h/x?y=1#z":       "http://u:p@h/x?y=1#z",
		"A=pa$word${HOME}":             "pa$word${HOME}",
		`A={"x": "y"}`:                 `{"x": "y"}`,
		`A='a "b" \n $c' # d`:          `a "b" \n $c`,
		"A=\"a\\n\\\"b\\\" \\$c\\\\\"": "a\n\"b\" $c\\",
		"A=\"-----BEGIN\nx\n-----\"":   "-----BEGIN\nx\n-----",
		"A=`it's \"so\"`":              "it's \"so\"",
	} {
		lines, err := parseDotenv("# before\n\n" + text + "\n# after\nZ=1")
		if strings.HasPrefix(text, "\ufeff") {
			lines, err = parseDotenv(text + "Z=1")
		}
		if err != nil || len(lines) != 2 || lines[0].name != "A" || lines[0].value != want {
			t.Errorf("%q gives %+v (%v), want %q", text, lines, err, want)
		}
	}
}

func FuzzALineIsReadAsItWasWritten(f *testing.F) {
	for _, value := range []string{"", "plain", "a b", "it's", "\"", "a\nb", "\\", "\\n", "# x", "$HOME", "'\"`\n\\", " x ", "\r", "ä=1"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		value = strings.ReplaceAll(value, "\r\n", "\n") // the end of a line on Windows
		lines, err := parseDotenv("A=1\n" + formatDotenv("NAME", value) + "Z='x'")
		if err != nil || len(lines) != 3 || lines[1].name != "NAME" || lines[1].value != value {
			t.Errorf("%q was read as %+v (%v)", value, lines, err)
		}
	})
}
