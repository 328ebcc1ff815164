package ansi

import (
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func TestLineKeepsColoursAndEscapesTheRest(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                            "plain",
		"\x1b[31mred\x1b[0m rest":          `<span class="fg31">red</span> rest`,
		"\x1b[1;32mbold\x1b[m":             `<span class="fg32 bold">bold</span>`,
		"\x1b[38;5;9mbright":               `<span class="fg91">bright</span>`,
		"\x1b[38;2;1;2;3mtrue":             "true",
		"\x1b[48;5;1mground":               "ground",
		"10%\r50%\r100%\r\n":               "100%",
		"<script>alert(1)</script>":        "&lt;script&gt;alert(1)&lt;/script&gt;",
		"\x1b]8;;javascript:alert(1)\x07x": "x",
		"\x1b]1337;File=inline=1:AAAA\x07": "",
		"\x1b]0;title\x1b\\text":           "text",
		"\x1b[2Kcleared\x1b[1A":            "cleared",
		"a\x00b\x08c\td":                   "abc\td",
		"cut\x1b[":                         "cut",
		"cut\x1b":                          "cut",
	} {
		if got := new(Converter).Line(in); got != want {
			t.Errorf("%q gave %q, want %q", in, got, want)
		}
	}
}

func TestColoursGoOnInTheNextLine(t *testing.T) {
	c := new(Converter)
	c.Line("\x1b[33mone")
	if got, want := c.Line("two"), `<span class="fg33">two</span>`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStripLeavesTheText(t *testing.T) {
	if got := Strip("a\r\x1b[31m<b>\x1b]8;;x\x07\x00 c\n"); got != "<b> c" {
		t.Errorf("got %q", got)
	}
}

var allowed = regexp.MustCompile(`^((fg\d\d|bold|dim|it|ul) ?)+$`)

func FuzzLineGivesOnlyTextAndSpans(f *testing.F) {
	for _, seed := range []string{
		"\x1b[2m#12 3.20\x1b[0m compile \x1b[36mpkg\x1b[0m <generic[T]> && ok", "<img src=x onerror=alert(1)>",
		"\x1b]8;;javascript:alert(1)\x07x\x1b]8;;\x07", "a\rb", "\x1b[38;5;9mred", "\x1b[", "\xff\xfe", "\x1b[38;5", "\x1b[1\";m",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c := new(Converter)
		for range 2 {
			checkSafe(t, line, c.Line(line))
		}
	})
}

func checkSafe(t *testing.T, in, out string) {
	z := html.NewTokenizer(strings.NewReader(out))
	depth := 0
	for z.Next() != html.ErrorToken {
		switch token := z.Token(); token.Type {
		case html.TextToken:
		case html.EndTagToken:
			depth--
		case html.StartTagToken:
			depth++
			if token.Data != "span" || len(token.Attr) != 1 || token.Attr[0].Key != "class" || !allowed.MatchString(token.Attr[0].Val) {
				t.Fatalf("%q gave %v", in, token)
			}
		default:
			t.Fatalf("%q gave %v", in, token)
		}
	}
	if depth != 0 {
		t.Fatalf("%q gave unbalanced %q", in, out)
	}
}

func BenchmarkLine(b *testing.B) {
	const in = "\x1b[2m#12 3.20\x1b[0m compile \x1b[36mgithub.com/acme/checkout/internal/pkg0001\x1b[0m <generic[T]> && ok in 12ms"
	c := new(Converter)
	b.ReportAllocs()
	for b.Loop() {
		c.Line(in)
	}
}
