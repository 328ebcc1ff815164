package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	maxImport  = 256 << 10 // bytes of text
	importTime = time.Hour // how long a preview can be applied
)

// ImportInput is variables to set as the lines of a .env file.
type ImportInput struct {
	Scope
	Text    string
	Secrets bool   // names that are new become secrets; others stay what they are
	Delete  bool   // variables that the text does not name go; secrets stay
	Plan    string // of the preview that was looked at; empty: whatever is set now
}

// Import is what setting the lines of a text changes.
type Import struct {
	Changes []ImportChange // in the order of the names
	Same    int            // names that stay as they are
	Plan    string         // what was set when it was looked at
	Sealed  string         // of a preview: opens for whoever asked for it, see ApplyImport
}

// ImportChange is a variable or a secret that changes. Values of secrets are left out.
type ImportChange struct {
	Name          string
	Kind          string // added, changed, removed
	Secret        bool
	Before, After string // plain values
}

// PreviewImport tells what ImportVariables with the same input would change. It changes nothing.
func (s *Service) PreviewImport(ctx context.Context, in ImportInput) (*Import, error) {
	l, err := s.level(ctx, in.Scope, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	out, _, err := s.planImport(s.DB.WithContext(ctx), l, in)
	if err != nil {
		return nil, err
	}
	in.Plan = out.Plan
	out.Sealed, err = s.sealImport(ctx, in)
	return out, err
}

// ImportVariables sets the variables of the text, all or none.
func (s *Service) ImportVariables(ctx context.Context, in ImportInput) (*Import, error) {
	l, err := s.level(ctx, in.Scope, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	var out *Import
	return out, s.alter(ctx, l, func(tx *gorm.DB) (changed bool, err error) {
		var edits []edit
		if out, edits, err = s.planImport(tx, l, in); err != nil {
			return false, err
		}
		if in.Plan != "" && in.Plan != out.Plan {
			return false, models.Errorf(models.Conflict, "The variables of %s were changed since you looked. Look at the changes again.", l.name())
		}
		for _, e := range edits {
			_, did, err := s.edit(ctx, tx, l, e)
			if err != nil {
				return false, inText(err)
			}
			changed = changed || did
		}
		return changed, nil
	})
}

// planImport reads the text and compares it with what is set.
func (s *Service) planImport(tx *gorm.DB, l *level, in ImportInput) (*Import, []edit, error) {
	lines, err := readLines(in.Text)
	if err != nil {
		return nil, nil, err
	}
	var set []models.Variable
	if err := l.exactly(tx).Order("name").Find(&set).Error; err != nil {
		return nil, nil, err
	}
	out := &Import{Plan: planOf(set)}
	was := map[string]*models.Variable{}
	for i := range set {
		was[set[i].Name] = &set[i]
	}
	var edits []edit
	for _, v := range set {
		named := slices.ContainsFunc(lines, func(line dotenvLine) bool { return line.name == v.Name })
		if in.Delete && !v.Secret && !named {
			out.Changes = append(out.Changes, ImportChange{Name: v.Name, Kind: "removed", Before: v.Value})
			edits = append(edits, edit{name: v.Name}) // first, so that there is room for others
		}
	}
	for _, line := range lines {
		c, e, err := s.planLine(was[line.name], line, in.Secrets)
		switch {
		case err != nil:
			return nil, nil, err
		case c.Kind == "":
			out.Same++
		default:
			out.Changes, edits = append(out.Changes, c), append(edits, e)
		}
	}
	slices.SortFunc(out.Changes, func(a, b ImportChange) int { return strings.Compare(a.Name, b.Name) })
	return out, edits, nil
}

// planLine tells what a line changes of the variable; nil: it is new. An empty kind: nothing.
func (s *Service) planLine(v *models.Variable, line dotenvLine, secret bool) (ImportChange, edit, error) {
	c := ImportChange{Name: line.name, Kind: "added", Secret: secret}
	if v != nil {
		c.Kind, c.Secret = "changed", v.Secret
	}
	e := edit{name: line.name, to: &content{line.value, c.Secret}}
	if c.Secret && line.value == "" {
		return c, e, models.InvalidField("text", "Line %d: A secret can't be empty.", line.line)
	}
	if v != nil {
		same, err := s.unchanged(v, e.to)
		if err != nil || same {
			return ImportChange{}, e, err
		}
	}
	if !c.Secret {
		c.After = line.value
		if v != nil {
			c.Before = v.Value
		}
	}
	return c, e, nil
}

// readLines reads the text, and says at its field what is wrong with it.
func readLines(text string) ([]dotenvLine, error) {
	if len(text) > maxImport {
		return nil, models.InvalidField("text", "The text holds at most %d KiB.", maxImport>>10)
	}
	if text := wrongText(text); text != "" {
		return nil, models.InvalidField("text", "%s", text)
	}
	lines, err := parseDotenv(text)
	if err != nil {
		return nil, models.InvalidField("text", "%s", err)
	}
	for _, line := range lines {
		if len(line.value) > maxValue {
			return nil, models.InvalidField("text", "Line %d: A value holds at most 32 KiB.", line.line)
		}
	}
	return lines, nil
}

// inText is an error about a value as one about the text that it came from.
func inText(err error) error {
	if e, ok := errors.AsType[*models.Error](err); ok && e.Fields["value"] != "" {
		return models.InvalidField("text", "%s", e.Fields["value"])
	}
	return err
}

// planOf names what is set: it changes with every change of it.
func planOf(set []models.Variable) string {
	h := sha256.New()
	for _, v := range set {
		fmt.Fprintf(h, "%s=%s\n", v.Name, v.Revision)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// sealedImport is a preview on its way through a browser, which can neither read nor change it.
type sealedImport struct {
	Input ImportInput
	At    time.Time
}

func importPlace(ctx context.Context, in Scope) string {
	who := ""
	if p := models.PrincipalFrom(ctx); p != nil {
		who = p.ID
		if p.UserID != "" {
			who = p.UserID
		}
	}
	return strings.Join([]string{"variable_imports", who, in.TeamID, in.EnvironmentID, in.AppID}, "/")
}

func (s *Service) sealImport(ctx context.Context, in ImportInput) (string, error) {
	plain, err := json.Marshal(sealedImport{in, s.now()})
	return base64.RawURLEncoding.EncodeToString(s.Box.Seal(importPlace(ctx, in.Scope), plain)), err
}

// ApplyImport does what a preview showed: sealed is what it answered, to the same person for the same scope.
func (s *Service) ApplyImport(ctx context.Context, in Scope, sealed string) (*Import, error) {
	if _, err := s.level(ctx, in, models.RoleDeveloper); err != nil {
		return nil, err
	}
	var shown sealedImport
	data, err := base64.RawURLEncoding.DecodeString(sealed)
	if err == nil {
		data, err = s.Box.Open(importPlace(ctx, in), data)
	}
	if err == nil {
		err = json.Unmarshal(data, &shown)
	}
	if err != nil || s.now().Sub(shown.At) > importTime {
		return nil, models.Errorf(models.Conflict, "What you looked at is too old, or was somebody else's. Look at the changes again.")
	}
	return s.ImportVariables(ctx, shown.Input)
}

// Dotenv writes what is set there as a .env file, with what is inherited where
// asked. Secrets are named in comments; their values are not in it.
func (s *Service) Dotenv(ctx context.Context, in Scope, inherited bool) (string, error) {
	l, err := s.level(ctx, in, models.RoleViewer)
	if err != nil {
		return "", err
	}
	all, err := s.settingsOf(s.DB.WithContext(ctx), l)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, x := range all {
		switch own := x.EnvironmentID == l.environmentID() && x.AppID == l.appID(); {
		case !own && !inherited:
		case x.Secret:
			fmt.Fprintf(&b, "# %s is a secret\n", x.Name)
		default:
			b.WriteString(formatDotenv(x.Name, x.Value))
		}
	}
	return b.String(), nil
}
