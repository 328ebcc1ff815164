package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// What a manifest may hold: more than one of the largest size has use for, and
// so little that what is read of it takes a few times its bytes and no more.
const (
	maxDepth    = 32      // objects and lists inside of each other
	maxElements = 20_000  // of all its lists together
	maxKeys     = 100_000 // of all its objects together
)

// fields are the names that mean something in a manifest.
var fields = []string{
	"schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs", "manifests", "subject", "annotations",
	"digest", "size", "urls", "data", "platform",
}

// checkJSON refuses what two readers could understand in two ways, and what
// would take much memory to read: a key that is there twice or in other letters
// than it is written with, deep nesting, more elements than any manifest needs.
func checkJSON(body []byte) error {
	if !utf8.Valid(body) {
		return manifestInvalid("The manifest is not UTF-8.")
	}
	w := walk{tokens: json.NewDecoder(bytes.NewReader(body))}
	w.tokens.UseNumber()
	for {
		token, err := w.tokens.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return manifestInvalid("The manifest is not the JSON of an image, an index or an artifact.")
		}
		if err := w.next(token); err != nil {
			return err
		}
	}
}

// walk goes through the tokens of a manifest.
type walk struct {
	tokens   *json.Decoder
	open     []level // the objects and lists around the token
	elements int
	keys     int
}

// level is an object or a list that has not ended.
type level struct {
	keys map[string]bool // of an object; nil in a list
	key  string          // whose value comes next; empty where a key comes next
	free bool            // its keys are anybody's
}

func (w *walk) next(token json.Token) error {
	delim, _ := token.(json.Delim)
	if delim == '}' || delim == ']' {
		w.open = w.open[:len(w.open)-1]
		return nil
	}
	free := false
	if len(w.open) > 0 {
		in := &w.open[len(w.open)-1]
		if in.keys != nil && in.key == "" {
			return w.addKey(in, token.(string))
		}
		free = in.free || in.key == "annotations"
		if in.keys == nil {
			w.elements++
		}
		in.key = ""
	}
	if w.elements > maxElements {
		return manifestInvalid(fmt.Sprintf("The manifest names more than %d things.", maxElements))
	}
	switch delim {
	case '{':
		w.open = append(w.open, level{keys: map[string]bool{}, free: free})
	case '[':
		w.open = append(w.open, level{free: free})
	}
	if len(w.open) > maxDepth {
		return manifestInvalid(fmt.Sprintf("The manifest's JSON is nested more than %d deep.", maxDepth))
	}
	return nil
}

func (w *walk) addKey(in *level, key string) error {
	if in.keys[key] {
		return manifestInvalid(fmt.Sprintf("The manifest has %q twice in one object.", shorten(key)))
	}
	known := func(field string) bool { return field != key && strings.EqualFold(field, key) }
	if i := slices.IndexFunc(fields, known); i >= 0 && !in.free {
		return manifestInvalid(fmt.Sprintf("The manifest has %q where %q is meant.", shorten(key), fields[i]))
	}
	if w.keys++; w.keys > maxKeys {
		return manifestInvalid(fmt.Sprintf("The manifest has more than %d keys.", maxKeys))
	}
	in.keys[key], in.key = true, key
	if key == "" {
		in.key = "\x00" // a key all the same
	}
	return nil
}

// shorten keeps a message readable whatever it quotes.
func shorten(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}
