// Package visitor holds the page that a visitor of an app's address gets when no app answers. It stands on its own: an
// app's host serves none of the portal's files.
package visitor

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
)

// View is why no app answers.
type View struct {
	Status  int
	Title   string
	Message string
	Bypass  string // where a visitor with a code sends it; empty: nowhere
}

const style = `:root{color-scheme:light dark}` +
	`body{display:grid;place-content:center;min-height:100vh;margin:0;padding:1.5rem;box-sizing:border-box;background:light-dark(#f9fafc,#101318);color:light-dark(#14171d,#e9ecf1);font:1rem/1.5 system-ui,sans-serif}` +
	`main{max-width:30rem}h1{margin:0 0 .5rem;font-size:1.5rem;letter-spacing:-.02em}p{margin:0;color:light-dark(#4b5260,#a9b1bf);white-space:pre-line;overflow-wrap:anywhere}` +
	`footer{margin-top:2rem;color:light-dark(#5b6270,#98a1b0);font-size:.8125rem}` +
	`details{margin-top:1.5rem}summary{cursor:pointer;color:light-dark(#4b5260,#a9b1bf)}form{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;margin-top:.75rem}` +
	`input,button{font:inherit;padding:.375rem .625rem;border:1px solid light-dark(#8a92a0,#6b7484);border-radius:.375rem;background:light-dark(#fff,#181c23);color:inherit}`

// Policy is the content security policy that lets the page have its one style sheet and its own form, and nothing else.
func Policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}

// sheet is the style element: templ would escape its content.
func sheet() string { return "<style>" + style + "</style>" }

func itoa(n int) string { return strconv.Itoa(n) }
