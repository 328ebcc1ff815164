package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// maxLabel is the length of a label of a host name (RFC 1035 §2.3.4).
const maxLabel = 63

// address returns the address of a new deployment to the place, and keeps its
// host name. Where the target itself sends visitors it gives the address, at
// the first deployment only once it does.
func (s *Service) address(tx *gorm.DB, p *place) (string, error) {
	if s.routesItself(p.Environment) {
		return s.willServeAt(tx, p)
	}
	host, err := s.reserve(tx, p)
	return s.Apps.URL(host), err
}

// routesItself tells whether the environment's target sends visitors to releases itself.
func (s *Service) routesItself(e *models.Environment) bool {
	kind, err := s.KindOf(e.Target.Kind)
	return err == nil && kind.Routes
}

// reserve returns the place's host name: the one it has, else the first free one.
func (s *Service) reserve(tx *gorm.DB, p *place) (string, error) {
	var r models.Route
	err := tx.Where("app_id = ? AND environment_id = ?", p.App.ID, p.Environment.ID).Limit(1).Find(&r).Error
	if r.Host != "" || err != nil {
		return r.Host, err
	}
	for _, label := range labels(p) {
		var taken int64
		host := label + "." + s.Apps.Domain
		if err := tx.Model(&models.Route{}).Where("host = ?", host).Count(&taken).Error; err != nil {
			return "", err
		}
		if taken > 0 {
			continue
		}
		r = models.Route{Host: host, TeamID: p.App.TeamID, AppID: p.App.ID, EnvironmentID: p.Environment.ID, Addresses: []string{}, UpdatedAt: s.now()}
		return host, tx.Create(&r).Error
	}
	return "", models.Errorf(models.Conflict, "Every host name for %s in %s is taken. Rename the app.", p.App.Name, p.Environment.Name)
}

// labels are the names that a place may get, the wanted one first: another
// team, or another pair of names with a hyphen in it, may have that one.
func labels(p *place) []string {
	short := p.App.Name + "-" + p.Environment.Name
	if p.Environment.Kind == models.EnvironmentPreview {
		short = p.Environment.Name // which has the app's name in it: pr-12-checkout
	}
	mark := markOf(p.App.ID + "/" + p.Environment.ID)
	all := []string{fit(short, mark), fit(short+"-"+p.Team.Slug, mark)}
	return append(all, short[:min(len(short), maxLabel-len(mark))]+mark)
}

// Hosts are the host names below the domain that the release's app may get where its target itself sends visitors, the
// wanted one first. Another pair of names with a hyphen in it may have that one; nobody else has the last.
func (r Release) Hosts(domain string) []string {
	short, end := r.App+"-"+r.Environment, markOf(r.EnvironmentID+"/"+r.App)
	labels := []string{short, short + "-" + r.Team}
	for i, label := range labels {
		if len(label) > maxLabel {
			labels[i] = Cut(label, maxLabel-len(end)) + end
		}
	}
	labels = append(labels, Cut(short, maxLabel-len(end))+end)
	for i := range labels {
		labels[i] += "." + domain
	}
	return labels
}

// Cut shortens a name to at most length bytes that may stand before more of it: it ends in no hyphen.
func Cut(name string, length int) string {
	return strings.TrimRight(name[:min(len(name), length)], "-")
}

// markOf makes a label its place's own where the wanted one is taken.
func markOf(place string) string {
	sum := sha256.Sum256([]byte(place))
	return "-" + hex.EncodeToString(sum[:4])
}

// fit cuts a name that is too long for a label and marks it.
func fit(name, mark string) string {
	if len(name) <= maxLabel {
		return name
	}
	return name[:maxLabel-len(mark)] + mark
}

// willServeAt returns the address that the place has or would get first.
func (s *Service) willServeAt(tx *gorm.DB, p *place) (string, error) {
	if s.routesItself(p.Environment) {
		var d models.Deployment
		err := tx.Select("url").Where("app_id = ? AND environment_id = ? AND active", p.App.ID, p.Environment.ID).Limit(1).Find(&d).Error
		return d.URL, err
	}
	var r models.Route
	err := tx.Where("app_id = ? AND environment_id = ?", p.App.ID, p.Environment.ID).Limit(1).Find(&r).Error
	return s.Apps.URL(or(r.Host, labels(p)[0]+"."+s.Apps.Domain)), err
}
