package deploy

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Setting is a variable or a secret that counts somewhere, where it comes from
// (its Level), and what it overrides. A secret's fingerprint is the one that a
// deployment there has, wherever the secret is set.
type Setting struct {
	models.Variable
	Overrides []models.Variable // what would count without it, the nearest first
}

// SettingFilter narrows what counts for an app, for an environment or for a team.
type SettingFilter struct {
	models.Page
	Scope
	Query string // part of the name
	Name  string // exactly this name
}

// Settings lists by name what counts there, inherited or set: for an app that
// is what its next deployment gets. Values of secrets are left out.
func (s *Service) Settings(ctx context.Context, f SettingFilter) (models.List[Setting], error) {
	list := models.List[Setting]{}
	l, err := s.level(ctx, f.Scope, models.RoleViewer)
	if err != nil {
		return list, err
	}
	all, err := s.settingsOf(s.DB.WithContext(ctx), l)
	if err != nil {
		return list, err
	}
	wanted := strings.ToLower(f.Query)
	for _, x := range all {
		if x.Name <= f.Cursor || f.Name != "" && x.Name != f.Name || !strings.Contains(strings.ToLower(x.Name), wanted) {
			continue
		}
		if len(list.Items) == f.Size() {
			list.Next = list.Items[f.Size()-1].Name
			break
		}
		x.Sealed = nil
		for i := range x.Overrides {
			x.Overrides[i].Sealed = nil
		}
		list.Items = append(list.Items, x)
	}
	return list, nil
}

// SettingCounts is how much counts for every app of an environment.
type SettingCounts struct {
	Variables int
	Secrets   int
	Inherited int // of them from the team
}

// CountSettings counts what every app of the environment gets.
func (s *Service) CountSettings(ctx context.Context, environmentID string) (SettingCounts, error) {
	var n SettingCounts
	e, err := s.environment(ctx, environmentID, models.RoleViewer)
	if err != nil {
		return n, err
	}
	all, err := s.settings(s.DB.WithContext(ctx), e, "")
	for _, x := range all {
		if x.Secret {
			n.Secrets++
		} else {
			n.Variables++
		}
		if x.Level() == models.LevelTeam {
			n.Inherited++
		}
	}
	return n, err
}

// settingsOf is what counts at the level.
func (s *Service) settingsOf(tx *gorm.DB, l *level) ([]Setting, error) {
	if l.Environment != nil {
		return s.settings(tx, l.Environment, l.appID())
	}
	var own []models.Variable
	err := l.exactly(tx).Find(&own).Error
	return inherit(own), err
}

// settings is what the app gets in the environment; without an app, what every app gets there.
func (s *Service) settings(tx *gorm.DB, e *models.Environment, appID string) ([]Setting, error) {
	var all []models.Variable
	err := tx.Where("(team_id = ? AND environment_id IS NULL) OR (environment_id = ? AND app_id IN ?)", e.TeamID, e.ID, []string{"", appID}).Find(&all).Error
	if err != nil {
		return nil, err
	}
	out := inherit(all)
	for i := range out {
		if err := s.localize(e.ID, &out[i].Variable); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// localize gives a team's secret the fingerprint that its value has in the
// environment, so that a deployment does not change where the same value is set at another level.
func (s *Service) localize(environmentID string, v *models.Variable) error {
	if !v.Secret || v.EnvironmentID != "" {
		return nil
	}
	value, err := s.valueOf(v)
	v.Fingerprint = s.fingerprint(v.TeamID, environmentID, v.Name, value)
	return err
}

// inherit has the variable that is nearest to the app win under each name; in the order of the names.
func inherit(all []models.Variable) []Setting {
	slices.SortFunc(all, func(a, b models.Variable) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(nearness(b.Level()), nearness(a.Level())))
	})
	var out []Setting
	for _, v := range all {
		if n := len(out); n > 0 && out[n-1].Name == v.Name {
			out[n-1].Overrides = append(out[n-1].Overrides, v)
			continue
		}
		out = append(out, Setting{Variable: v})
	}
	return out
}

func nearness(l models.VariableLevel) int {
	return slices.Index([]models.VariableLevel{models.LevelTeam, models.LevelEnvironment, models.LevelApp}, l)
}

// addOrigins says of the variables and secrets of a plan where they come from.
func (s *Service) addOrigins(ctx context.Context, p *Plan) error {
	all, err := s.settings(s.DB.WithContext(ctx), p.Environment, p.App.ID)
	if err != nil {
		return err
	}
	from := origins(all)
	for _, list := range [][]Change{p.Variables, p.Secrets} {
		for i, c := range list {
			if c.Kind != "removed" {
				list[i].Origin = from[c.Name]
			}
		}
	}
	return nil
}

func origins(all []Setting) map[string]models.VariableLevel {
	from := map[string]models.VariableLevel{}
	for _, x := range all {
		from[x.Name] = x.Level()
	}
	return from
}

// NotRolledOut is an app that runs with other variables or secrets than are set now.
type NotRolledOut struct {
	Deployment models.Deployment // what serves, with App and Environment; its frozen secrets left out
	Variables  []Change
	Secrets    []Change
	SetBy      map[string]string // name → id of the variable that the next deployment takes it from; a name that goes has none
}

// NotRolledOut lists the apps there whose next deployment would change
// variables or secrets even if nothing else changed.
func (s *Service) NotRolledOut(ctx context.Context, in Scope) ([]NotRolledOut, error) {
	l, err := s.level(ctx, in, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	q := s.DB.WithContext(ctx).Select("id", "team_id", "app_id", "environment_id", "number", "image_digest", "config").
		Where("active AND NOT stopped AND environment_id IN (?)", pipeline(s.DB.DB).Select("id"))
	if l.Environment != nil {
		q = l.below(q)
	} else {
		q = q.Where("team_id = ?", l.Team.ID)
	}
	var serving []models.Deployment
	if err := q.Preload("App").Preload("Environment").Order("environment_id, app_id").Find(&serving).Error; err != nil {
		return nil, err
	}
	return s.notRolledOut(ctx, l, serving)
}

func (s *Service) notRolledOut(ctx context.Context, l *level, serving []models.Deployment) ([]NotRolledOut, error) {
	var all []models.Variable
	q := s.DB.WithContext(ctx).Where("team_id = ?", l.Team.ID)
	if l.Environment != nil {
		q = q.Where("(environment_id IS NULL OR environment_id = ?)", l.Environment.ID)
	}
	if err := q.Find(&all).Error; err != nil {
		return nil, err
	}
	byLevel := map[[2]string][]models.Variable{}
	for _, v := range all {
		at := [2]string{v.EnvironmentID, v.AppID}
		byLevel[at] = append(byLevel[at], v)
	}
	var out []NotRolledOut
	for _, d := range serving {
		counts := inherit(slices.Concat(byLevel[[2]string{"", ""}], byLevel[[2]string{d.EnvironmentID, ""}], byLevel[[2]string{d.EnvironmentID, d.AppID}]))
		n, err := s.difference(d, counts)
		if err != nil {
			return nil, err
		}
		if len(n.Variables)+len(n.Secrets) > 0 {
			out = append(out, n)
		}
	}
	return out, nil
}

// difference compares what runs with what counts now.
func (s *Service) difference(d models.Deployment, counts []Setting) (NotRolledOut, error) {
	n := NotRolledOut{Deployment: d, SetBy: map[string]string{}}
	variables, secrets := map[string]string{}, map[string]string{}
	for i := range counts {
		v := &counts[i].Variable
		if err := s.localize(d.EnvironmentID, v); err != nil {
			return n, err
		}
		n.SetBy[v.Name] = v.ID
		if v.Secret {
			secrets[v.Name] = v.Fingerprint
		} else {
			variables[v.Name] = v.Value
		}
	}
	n.Variables, n.Secrets = compare(d.Config.Variables, variables), compare(d.Config.Secrets, secrets)
	return n, nil
}

// Waits tells whether the variable counts for the app, and the app does not run with it yet.
func (n *NotRolledOut) Waits(v *models.Variable) bool {
	return n.SetBy[v.Name] == v.ID && slices.ContainsFunc(slices.Concat(n.Variables, n.Secrets), func(c Change) bool { return c.Name == v.Name })
}
