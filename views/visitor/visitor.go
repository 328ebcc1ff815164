// Package visitor holds the page that a visitor of an app's address gets when no app answers. It stands on its own: an
// app's host serves none of the portal's files.
package visitor

import (
	"crypto/sha256"
	"encoding/base64"
)

const style = `:root{color-scheme:light dark}` +
	`body{display:grid;place-content:center;min-height:100vh;margin:0;padding:1.5rem;box-sizing:border-box;background:light-dark(#f9fafc,#101318);color:light-dark(#14171d,#e9ecf1);font:1rem/1.5 system-ui,sans-serif}` +
	`main{max-width:30rem}h1{margin:0 0 .5rem;font-size:1.5rem;letter-spacing:-.02em}p{margin:0;color:light-dark(#4b5260,#a9b1bf)}`

// Policy is the content security policy that lets the page have its one style sheet and nothing else.
func Policy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// sheet is the style element: templ would escape its content.
func sheet() string { return "<style>" + style + "</style>" }
