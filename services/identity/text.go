package identity

import (
	"encoding/json"
	"regexp"
	"strings"
)

// plain is text that sh takes as one word as it is.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// quote writes the text as one word of sh (POSIX, Shell Command Language §2.2.2).
func quote(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// command is a command for sh.
type command struct{ text strings.Builder }

// sh begins a command with the words of a program, which are written as they are.
func sh(program string) *command {
	c := &command{}
	c.text.WriteString(program)
	return c
}

// word adds an argument on the same line.
func (c *command) word(value string) *command {
	c.text.WriteString(" " + quote(value))
	return c
}

// flag adds a flag and its value on a line of their own.
func (c *command) flag(name, value string) *command { return c.raw(name, quote(value)) }

// raw adds a flag and its value as sh reads it, such as "$id".
func (c *command) raw(name, value string) *command {
	c.text.WriteString(" \\\n  " + name)
	if value != "" {
		c.text.WriteString(" " + value)
	}
	return c
}

func (c *command) String() string { return c.text.String() }

// lines joins commands with an empty line between them.
func lines(parts ...string) string { return strings.Join(parts, "\n\n") + "\n" }

// pretty is the value as JSON for people.
func pretty(v any) string {
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // the values are made here, of maps and texts
		panic(err)
	}
	return string(out)
}

// hcl writes the text as a string of the Terraform language (Syntax Configuration, "String Literals").
func hcl(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "${", "$${", "%{", "%%{").Replace(text) + `"`
}

// heredoc writes the text as a string of several lines of the Terraform language. None of its lines may be END alone.
func heredoc(text string) string {
	return "<<END\n" + strings.NewReplacer("${", "$${", "%{", "%%{").Replace(text) + "\nEND"
}

// attribute is one line of a Terraform block: a name and a value in the Terraform language.
type attribute struct{ name, value string }

// block writes a Terraform block as terraform fmt does: the equals signs of its
// attributes below each other. Inner blocks follow the attributes.
func block(header string, attributes []attribute, inner ...string) string {
	var out strings.Builder
	out.WriteString(header + " {\n")
	width := 0
	for _, a := range attributes {
		width = max(width, len(a.name))
	}
	for _, a := range attributes {
		out.WriteString("  " + a.name + strings.Repeat(" ", width-len(a.name)) + " = " + a.value + "\n")
	}
	for i, b := range inner {
		if i > 0 || len(attributes) > 0 {
			out.WriteString("\n")
		}
		for line := range strings.Lines(b) {
			if line != "\n" {
				line = "  " + line
			}
			out.WriteString(line)
		}
		out.WriteString("\n")
	}
	out.WriteString("}")
	return out.String()
}
