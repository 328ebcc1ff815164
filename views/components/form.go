package components

import (
	"net/url"

	"slipway.dev/models"
)

// Form is what a form was filled with and what was wrong with it. Its zero value is an empty form; after an error the
// handler puts what was typed and the error back, so that nothing is lost.
type Form struct {
	Values url.Values
	Err    *models.Error
}

// Value is what was typed into the field, or else the default.
func (f Form) Value(name, fallback string) string {
	if f.Values.Has(name) {
		return f.Values.Get(name)
	}
	return fallback
}

// Checked tells whether the box was ticked, or else whether it is by default.
func (f Form) Checked(name string, fallback bool) bool {
	if len(f.Values) > 0 {
		return f.Values.Has(name)
	}
	return fallback
}

// Error is the sentence about the field, empty when it is right.
func (f Form) Error(name string) string {
	if f.Err == nil {
		return ""
	}
	return f.Err.Fields[name]
}

// Field describes one input. Name and Label are needed, the rest is as it says.
type Field struct {
	Name         string
	ID           string // where a page has several fields of the name; made of Name unless given
	Label        string
	Hint         string
	Value        string // the default, unless something was typed
	Type         string // text unless given
	Placeholder  string
	Autocomplete string // off unless given
	Required     bool
	Optional     bool // says so beside the label
	ReadOnly     bool
	Mono         bool
	Autofocus    bool
	Pattern      string // a regular expression that the browser checks
	Rows         int    // of a TextArea
}

// id is the input's id; Problem links to it.
func (f Field) id() string {
	if f.ID != "" {
		return f.ID
	}
	return "f-" + f.Name
}

// shown is what stands in the input: passwords and tokens are never sent back.
func (f Field) shown(form Form) string {
	if f.Type == "password" {
		return ""
	}
	return form.Value(f.Name, f.Value)
}

func (f Field) inputType() string {
	if f.Type == "" {
		return "text"
	}
	return f.Type
}

func (f Field) autocomplete() string {
	if f.Autocomplete == "" {
		return "off"
	}
	return f.Autocomplete
}

// describedBy names the elements that explain the input to screen readers.
func (f Field) describedBy(form Form) string {
	s := ""
	if f.Hint != "" {
		s = f.id() + "-hint"
	}
	if form.Error(f.Name) != "" {
		s += " " + f.id() + "-error"
	}
	return s
}

// Option is one choice of a Select or of Choices.
type Option struct {
	Value    string
	Label    string
	Sub      string // a few words more, in Choices
	Disabled bool
}
