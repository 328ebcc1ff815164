package proxy

import (
	"context"
	"strconv"

	"slipway.dev/models"
)

// row is a route and what its deployment says.
type row struct {
	models.Route
	Stopped  bool
	Paused   bool
	TargetID string
	Kind     models.EnvironmentKind
}

// addressRow is an address and what its domain says.
type addressRow struct {
	models.Address
	DomainID *string // nil: the host is a place's own, or nobody has proven it
	Redirect bool
	HSTS     int64 `gorm:"column:hsts"`
}

// findings are what the database says of visitors at one moment.
type findings struct {
	rows        []row
	addresses   []addressRow
	limits      map[placeKey]models.PlaceLimits
	maintenance map[placeKey]*models.Maintenance
	shown       []*shown
}

func (s *Service) read(ctx context.Context) (*findings, error) {
	f := &findings{limits: map[placeKey]models.PlaceLimits{}, maintenance: map[placeKey]*models.Maintenance{}}
	db := s.DB.WithContext(ctx)
	err := db.Table("routes").Select("routes.*, COALESCE(deployments.stopped, FALSE) AS stopped, COALESCE(deployments.paused, FALSE) AS paused, environments.target_id, environments.kind").
		Joins("JOIN environments ON environments.id = routes.environment_id").
		Joins("LEFT JOIN deployments ON deployments.id = routes.deployment_id").Find(&f.rows).Error
	if err != nil {
		return nil, err
	}
	err = db.Table("addresses").Select("addresses.*, domains.id AS domain_id, COALESCE(domains.redirect, FALSE) AS redirect, COALESCE(domains.hsts, 0) AS hsts").
		Joins("LEFT JOIN domains ON domains.team_id = addresses.team_id AND domains.host = addresses.host AND domains.proven_at IS NOT NULL").Find(&f.addresses).Error
	if err != nil {
		return nil, err
	}
	var limits []models.PlaceLimits
	if err := db.Find(&limits).Error; err != nil {
		return nil, err
	}
	for _, l := range limits {
		key := placeKey{l.EnvironmentID, l.AppID}
		f.limits[key] = models.PlaceLimits{Connect: l.Connect, FirstByte: l.FirstByte, Idle: l.Idle, Body: l.Body}
	}
	var closed []models.Maintenance
	if err := db.Find(&closed).Error; err != nil {
		return nil, err
	}
	for i, m := range closed {
		f.maintenance[placeKey{m.EnvironmentID, m.AppID}] = &closed[i]
	}
	f.shown, err = s.readCertificates(ctx)
	return f, err
}

// table arranges what was found by host names and paths.
func (f *findings) table(s *Service, places map[placeKey]*place) *table {
	t := &table{hosts: make(map[string]*host, len(f.rows))}
	teams := make(map[string]string, len(f.rows)) // by host
	for _, r := range f.rows {
		t.hosts[r.Host] = &host{routes: []*route{newRoute("/", false, places[placeKey{r.EnvironmentID, r.AppID}])}, redirect: s.Scheme == "https"}
		teams[r.Host] = r.TeamID
	}
	for _, a := range f.addresses {
		h := t.hosts[a.Host]
		if a.DomainID == nil && (h == nil || teams[a.Host] != a.TeamID) {
			continue
		}
		if h == nil {
			h = &host{redirect: a.Redirect}
			if a.HSTS > 0 {
				h.hsts = "max-age=" + strconv.FormatInt(a.HSTS, 10)
			}
			t.hosts[a.Host], teams[a.Host] = h, a.TeamID
		}
		p := places[placeKey{a.EnvironmentID, a.AppID}]
		if p == nil {
			p = &place{} // nothing was deployed there yet
		}
		h.routes = append(h.routes, newRoute(a.Path, a.Strip, p))
	}
	for _, h := range t.hosts {
		h.order()
	}
	s.choose(t, teams, f.shown)
	return t
}
