package deploy

import (
	"fmt"
	"regexp"
	"strings"
)

// dotenvLine is one NAME=value of a text.
type dotenvLine struct {
	line  int // from 1
	name  string
	value string
}

// dotenvError says what is wrong in which line; it repeats nothing of the line, which may hold a secret.
type dotenvError struct {
	line int
	text string
}

func (e *dotenvError) Error() string { return fmt.Sprintf("Line %d: %s", e.line, e.text) }

// parseDotenv reads a .env file as the dotenv package of npm writes and reads
// it: NAME=value lines, comments, an optional "export", and values in quotes,
// also over several lines. A value is what stands there: $NAME is not replaced.
func parseDotenv(text string) ([]dotenvLine, error) {
	r := &dotenvReader{rest: strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n"), line: 1}
	seen := map[string]int{}
	var out []dotenvLine
	for r.rest != "" {
		at := r.line
		name, ok, err := r.name()
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if seen[name] > 0 {
			return nil, &dotenvError{at, fmt.Sprintf("%s stands in line %d already.", name, seen[name])}
		}
		seen[name] = at
		value, err := r.value()
		if err != nil {
			return nil, err
		}
		out = append(out, dotenvLine{at, name, value})
	}
	return out, nil
}

// dotenvReader is what is left of a text, and the line in which it begins.
type dotenvReader struct {
	rest string
	line int
}

// take returns the first n bytes and leaves the rest.
func (r *dotenvReader) take(n int) string {
	part := r.rest[:n]
	r.rest = r.rest[n:]
	r.line += strings.Count(part, "\n")
	return part
}

// toEnd takes the rest of the line, with its end.
func (r *dotenvReader) toEnd() string {
	n := strings.IndexByte(r.rest, '\n')
	if n < 0 {
		return r.take(len(r.rest))
	}
	return r.take(n + 1)
}

var dotenvName = regexp.MustCompile(`^[ \t]*(?:export[ \t]+)?([^\s=#'"]+)[ \t]*=[ \t]*`)

// name takes a line up to its value; false: the line holds none.
func (r *dotenvReader) name() (string, bool, error) {
	line, _, _ := strings.Cut(r.rest, "\n")
	if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
		r.toEnd()
		return "", false, nil
	}
	found := dotenvName.FindStringSubmatch(line)
	if found == nil {
		return "", false, &dotenvError{r.line, "This is not NAME=value."}
	}
	if text := wrongName(found[1]); text != "" {
		return "", false, &dotenvError{r.line, text}
	}
	r.take(len(found[0]))
	return found[1], true, nil
}

// value takes a value with all that is left of its line.
func (r *dotenvReader) value() (string, error) {
	if r.rest == "" || !strings.ContainsRune("'\"`", rune(r.rest[0])) {
		value := r.toEnd()
		for i := range value { // a comment begins with # after a space
			if value[i] == '#' && (i == 0 || value[i-1] == ' ' || value[i-1] == '\t') {
				value = value[:i]
				break
			}
		}
		return strings.TrimSpace(value), nil
	}
	at, quote := r.line, r.rest[0]
	end := closing(r.rest, quote)
	if end < 0 {
		return "", &dotenvError{at, "A quote is left open."}
	}
	value := r.take(end + 1)[1:end]
	if after := strings.TrimSpace(r.toEnd()); after != "" && after[0] != '#' {
		return "", &dotenvError{at, "Something stands after the closing quote. Put the whole value into other quotes."}
	}
	if quote == '"' {
		value = dotenvEscapes.Replace(value)
	}
	return value, nil
}

// closing finds the quote that ends the quoted value which the text begins with; -1: there is none.
func closing(text string, quote byte) int {
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote == '"':
			i++
		case text[i] == quote:
			return i
		}
	}
	return -1
}

var dotenvEscapes = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n", `\r`, "\r", `\t`, "\t", `\$`, "$")

var dotenvPlain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=?&-]*$`)

// formatDotenv writes a line that parseDotenv, and others, read as the value.
func formatDotenv(name, value string) string {
	switch {
	case dotenvPlain.MatchString(value):
		return name + "=" + value + "\n"
	case !strings.ContainsAny(value, "'\n\r"):
		return name + "='" + value + "'\n"
	}
	return name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(value) + "\"\n"
}
