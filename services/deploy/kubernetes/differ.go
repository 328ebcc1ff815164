package kubernetes

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"slipway.dev/services/deploy"
)

// How many bytes are shown of a value, and of what the cluster says against an object.
const (
	maxShown   = 120
	maxRefusal = 400
)

// differ collects how two readings of an object differ.
type differ struct {
	object string
	hide   bool
	found  []deploy.Drift
}

// ignored is what the API server itself keeps of an object.
var ignored = []string{"status", "metadata.managedFields", "metadata.resourceVersion", "metadata.generation", "metadata.uid", "metadata.creationTimestamp"}

func (d *differ) compare(path string, want, have any) {
	if slices.Contains(ignored, path) || reflect.DeepEqual(want, have) {
		return
	}
	a, isMap := want.(map[string]any)
	b, alsoMap := have.(map[string]any)
	if isMap && alsoMap {
		all := maps.Clone(a)
		maps.Copy(all, b)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			d.compare(strings.TrimPrefix(path+"."+key, "."), a[key], b[key])
		}
		return
	}
	x, isList := want.([]any)
	y, alsoList := have.([]any)
	if isList && alsoList && len(x) == len(y) {
		for i := range x {
			d.compare(fmt.Sprintf("%s[%d]", path, i), x[i], y[i])
		}
		return
	}
	one := deploy.Drift{Object: d.object, Field: path, Want: shown(want), Have: shown(have)}
	if d.hide {
		one.Want, one.Have = "as deployed", "another value"
	}
	d.found = append(d.found, one)
}

// shown is a value as people read it.
func shown(v any) string {
	if v == nil {
		return "nothing"
	}
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return "?"
		}
		text = string(b)
	}
	return cut(deploy.Plain(text), maxShown)
}

// cut is the text, or as many bytes of it and a sign that there was more.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
