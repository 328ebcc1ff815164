package azuretest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// read decodes a request's body into a model of the SDK. A field that the model
// does not have is an error: Azure would not know it either.
func read(r *http.Request, into any) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, err
	}
	again, err := json.Marshal(into)
	if err != nil {
		return nil, err
	}
	var sent, known any
	if err := json.Unmarshal(body, &sent); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(again, &known); err != nil {
		return nil, err
	}
	return body, within(sent, known, "")
}

// within looks that all that was sent is known.
func within(sent, known any, at string) error {
	switch s := sent.(type) {
	case map[string]any:
		k, _ := known.(map[string]any)
		for name, v := range s {
			if v == nil {
				continue
			}
			other, ok := k[name]
			if !ok {
				return fmt.Errorf("unknown field %s.%s", at, name)
			}
			if err := within(v, other, at+"."+name); err != nil {
				return err
			}
		}
	case []any:
		k, _ := known.([]any)
		for i, v := range s {
			if i >= len(k) {
				return fmt.Errorf("unknown element of %s", at)
			}
			if err := within(v, k[i], at); err != nil {
				return err
			}
		}
	}
	return nil
}

// merge applies a JSON merge patch (RFC 7386).
func merge(to, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	out, ok := to.(map[string]any)
	if !ok {
		out = map[string]any{}
	}
	for name, v := range p {
		if v == nil {
			delete(out, name)
		} else {
			out[name] = merge(out[name], v)
		}
	}
	return out
}

// convert reads one JSON value as another type.
func convert(from, into any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.NewDecoder(bytes.NewReader(text)).Decode(into)
}
