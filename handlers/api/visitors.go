package api

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/certificates"
	"slipway.dev/services/visitors"
)

// Address is where visitors find an app in an environment, beside its own host name.
type Address struct {
	ID            string    `json:"id"`
	EnvironmentID string    `json:"environment_id"`
	AppID         string    `json:"app_id"`
	Host          string    `json:"host" example:"shop.example.com"`
	Path          string    `json:"path" doc:"/ for all paths."`
	Strip         bool      `json:"strip" doc:"The app sees paths without this one."`
	CreatedAt     time.Time `json:"created_at"`
	LeadsTo       string    `json:"leads_to,omitempty" doc:"Host name that DNS has to lead visitors to (CNAME) where the environment's target sends them itself. Absent: this server, or nothing serves there yet."`
}

// NewAddress asks for an address.
type NewAddress struct {
	AppID string `json:"app_id" maxLength:"100"`
	Host  string `json:"host" maxLength:"300" example:"shop.example.com"`
	Path  string `json:"path,omitempty" maxLength:"300" doc:"Empty: all paths. Of several the longest that fits counts." example:"/api"`
	Strip bool   `json:"strip,omitempty" doc:"The app sees paths without this one, and gets it as X-Forwarded-Prefix."`
}

// Domain is a host name that a team wants its apps to answer for.
type Domain struct {
	ID          string     `json:"id"`
	TeamID      string     `json:"team_id"`
	Host        string     `json:"host"`
	Proven      bool       `json:"proven" doc:"Nobody is served there before."`
	ProvenAt    *time.Time `json:"proven_at"`
	ProvenBy    string     `json:"proven_by,omitempty" doc:"dns, or the admin who confirmed it."`
	RecordName  string     `json:"record_name" doc:"Name of the TXT record that proves the domain."`
	RecordValue string     `json:"record_value" doc:"What it has to say."`
	CheckedAt   *time.Time `json:"checked_at"`
	Note        string     `json:"note,omitempty" doc:"What was found there instead."`
	Redirect    bool       `json:"redirect" doc:"http becomes https, once there is a certificate."`
	HSTS        int64      `json:"hsts" doc:"Seconds for which browsers are told to use https alone; 0: they are not told."`
	CreatedAt   time.Time  `json:"created_at"`
}

// UpdateDomain changes how visitors come to https.
type UpdateDomain struct {
	Redirect *bool  `json:"redirect,omitempty"`
	HSTS     *int64 `json:"hsts,omitempty"`
}

// PlaceLimits bounds the requests to an app in an environment; 0 stands for the default.
type PlaceLimits struct {
	Connect   int64 `json:"connect" doc:"Seconds until an instance takes the connection; 0: 10."`
	FirstByte int64 `json:"first_byte" doc:"Seconds until an instance begins to answer, from the end of the request on; 0: 120."`
	Idle      int64 `json:"idle" doc:"Seconds without a byte in either direction; 0: 600."`
	Body      int64 `json:"body" doc:"Bytes of a request's body; 0: 1 GiB, -1: any number."`
}

// Maintenance keeps visitors away from an app in an environment.
type Maintenance struct {
	AppID     string     `json:"app_id"`
	On        bool       `json:"on"`
	Message   string     `json:"message"`
	EndsAt    *time.Time `json:"ends_at" doc:"When it ends by itself."`
	Allow     []string   `json:"allow" nullable:"false" doc:"Ranges from where the app is reached all the same."`
	StartedAt *time.Time `json:"started_at"`
	StartedBy string     `json:"started_by,omitempty"`
	Code      string     `json:"code,omitempty" doc:"With it visitors reach the app all the same. Told when it is made, and never again."`
}

// StartMaintenance says what visitors read meanwhile.
type StartMaintenance struct {
	Message string     `json:"message,omitempty" maxLength:"1000" doc:"Empty: a sentence of Slipway's."`
	EndsAt  *time.Time `json:"ends_at,omitempty" doc:"When it ends by itself; absent: somebody ends it."`
	Allow   []string   `json:"allow,omitempty" maxItems:"50" doc:"Addresses and ranges from where the app is reached all the same." example:"[\"203.0.113.0/24\"]"`
	NewCode bool       `json:"new_code,omitempty" doc:"Where it is on already: make another code."`
}

// Certificate is what hosts show to visitors who come by TLS.
type Certificate struct {
	ID         string    `json:"id"`
	TeamID     string    `json:"team_id" doc:"Empty: of the whole site."`
	OrderedFor string    `json:"ordered_for,omitempty" doc:"The host that Slipway ordered it for; empty: it was given."`
	Hosts      []string  `json:"hosts" nullable:"false"`
	Issuer     string    `json:"issuer"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	CreatedAt  time.Time `json:"created_at"`
}

// NewCertificate gives a certificate.
type NewCertificate struct {
	Team  string `json:"team,omitempty" maxLength:"100" doc:"Slug of the team for whose domains it is; empty: for any host, which only admins may say."`
	Chain string `json:"chain" maxLength:"65536" doc:"PEM: the host's certificate first, then those that signed it."`
	Key   string `json:"key" maxLength:"65536" doc:"PEM, without a passphrase. Stored encrypted and never shown."`
}

func (a *API) visitors() {
	get(a, "/environments/{id}/addresses", "list-addresses", "Where visitors find the environment's apps", a.listAddresses,
		about("Beside the host name that each app has in the environment by itself."))
	post(a, "/environments/{id}/addresses", "add-address", "Send visitors of a host and path to an app", a.addAddress, status(http.StatusCreated),
		about("A host that the team did not name before becomes a domain, which has to be proven before anybody is served there."))
	remove(a, "/addresses/{id}", "remove-address", "Send visitors there no longer", a.removeAddress)
	get(a, "/domains", "list-domains", "Domains of a team", a.listDomains, about("Without a team those of all teams, for site admins."))
	get(a, "/domains/{id}", "get-domain", "A domain", a.getDomain)
	patch(a, "/domains/{id}", "update-domain", "Change how visitors come to https", a.updateDomain)
	post(a, "/domains/{id}/check", "check-domain", "Look the domain's TXT record up now", a.checkDomain)
	post(a, "/domains/{id}/confirm", "confirm-domain", "Confirm that the domain is its team's", a.confirmDomain, admin)
	remove(a, "/domains/{id}", "delete-domain", "Delete a domain and its addresses", a.deleteDomain)
	get(a, "/environments/{id}/limits/{app_id}", "get-limits", "Limits of requests to an app", a.getLimits)
	put(a, "/environments/{id}/limits/{app_id}", "set-limits", "Limit requests to an app", a.setLimits, about("They count at once, for requests that come from then on."))
	get(a, "/environments/{id}/maintenance/{app_id}", "get-maintenance", "Whether visitors are kept away", a.getMaintenance)
	put(a, "/environments/{id}/maintenance/{app_id}", "start-maintenance", "Keep visitors away from an app", a.startMaintenance,
		about("At once and without a deployment. Repeated, it changes what visitors read."))
	remove(a, "/environments/{id}/maintenance/{app_id}", "end-maintenance", "Let visitors in again", a.endMaintenance)
	get(a, "/certificates", "list-certificates", "Certificates of a team", a.listCertificates, about("Without a team those of the whole site, for site admins."))
	post(a, "/certificates", "add-certificate", "Give a certificate", a.addCertificate, status(http.StatusCreated))
	remove(a, "/certificates/{id}", "delete-certificate", "Delete a certificate", a.deleteCertificate)
}

func (a *API) listAddresses(ctx context.Context, in *IDIn) (*answer[List[Address]], error) {
	all, err := a.Visitors.Addresses(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	front, err := a.Visitors.FrontOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(all, addressAt(front)), nil
}

func (a *API) addAddress(ctx context.Context, in *struct {
	IDIn
	Body NewAddress
}) (*answer[Address], error) {
	row, err := a.Visitors.AddAddress(ctx, visitors.AddressInput{EnvironmentID: in.ID, AppID: in.Body.AppID, Host: in.Body.Host, Path: in.Body.Path, Strip: in.Body.Strip})
	if err != nil {
		return nil, err
	}
	front, err := a.Visitors.FrontOf(ctx, in.ID)
	return replyWith(row, addressAt(front), err)
}

func (a *API) removeAddress(ctx context.Context, in *IDIn) error {
	return a.Visitors.RemoveAddress(ctx, in.ID)
}

// addressAt describes addresses of an environment whose visitors that front answers.
func addressAt(front visitors.Front) func(*models.Address) Address {
	return func(x *models.Address) Address {
		return Address{x.ID, x.EnvironmentID, x.AppID, x.Host, x.Path, x.Strip, x.CreatedAt.UTC(), front.LeadsTo(x.AppID)}
	}
}

func (a *API) listDomains(ctx context.Context, in *struct {
	PageIn
	Team string `query:"team" maxLength:"100" doc:"Slug of the team."`
}) (*answer[List[Domain]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	list, err := a.Visitors.Domains(ctx, visitors.DomainFilter{Page: in.page(), TeamID: team})
	if err != nil {
		return nil, err
	}
	return listOf(list, domainOf), nil
}

func (a *API) getDomain(ctx context.Context, in *IDIn) (*answer[Domain], error) {
	d, err := a.Visitors.Domain(ctx, in.ID)
	return replyWith(d, domainOf, err)
}

func (a *API) updateDomain(ctx context.Context, in *struct {
	IDIn
	Body UpdateDomain
}) (*answer[Domain], error) {
	d, err := a.Visitors.UpdateDomain(ctx, in.ID, visitors.DomainInput{Redirect: in.Body.Redirect, HSTS: in.Body.HSTS})
	return replyWith(d, domainOf, err)
}

func (a *API) checkDomain(ctx context.Context, in *IDIn) (*answer[Domain], error) {
	d, err := a.Visitors.CheckDomain(ctx, in.ID)
	return replyWith(d, domainOf, err)
}

func (a *API) confirmDomain(ctx context.Context, in *IDIn) (*answer[Domain], error) {
	d, err := a.Visitors.ConfirmDomain(ctx, in.ID)
	return replyWith(d, domainOf, err)
}

func (a *API) deleteDomain(ctx context.Context, in *IDIn) error {
	return a.Visitors.DeleteDomain(ctx, in.ID)
}

func domainOf(d *models.Domain) Domain {
	return Domain{d.ID, d.TeamID, d.Host, d.Proven(), utc(d.ProvenAt), d.ProvenBy, d.RecordName(), d.RecordValue(), utc(d.CheckedAt), d.Note, d.Redirect, d.HSTS, d.CreatedAt.UTC()}
}

// placeIn names an app in an environment.
type placeIn struct {
	IDIn
	AppID string `path:"app_id" maxLength:"100"`
}

func (a *API) getLimits(ctx context.Context, in *placeIn) (*answer[PlaceLimits], error) {
	l, err := a.Visitors.Limits(ctx, in.ID, in.AppID)
	return replyWith(l, limitsOf, err)
}

func (a *API) setLimits(ctx context.Context, in *struct {
	IDIn
	AppID string `path:"app_id" maxLength:"100"`
	Body  PlaceLimits
}) (*answer[PlaceLimits], error) {
	l, err := a.Visitors.SetLimits(ctx, models.PlaceLimits{EnvironmentID: in.ID, AppID: in.AppID, Connect: in.Body.Connect, FirstByte: in.Body.FirstByte, Idle: in.Body.Idle, Body: in.Body.Body})
	return replyWith(l, limitsOf, err)
}

func limitsOf(l *models.PlaceLimits) PlaceLimits {
	return PlaceLimits{l.Connect, l.FirstByte, l.Idle, l.Body}
}

func (a *API) getMaintenance(ctx context.Context, in *placeIn) (*answer[Maintenance], error) {
	m, err := a.Visitors.Maintenance(ctx, in.ID, in.AppID)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return reply(Maintenance{AppID: in.AppID, Allow: []string{}}), nil
	}
	return reply(maintenanceOf(m)), nil
}

func (a *API) startMaintenance(ctx context.Context, in *struct {
	IDIn
	AppID string `path:"app_id" maxLength:"100"`
	Body  StartMaintenance
}) (*answer[Maintenance], error) {
	m, code, err := a.Visitors.StartMaintenance(ctx, visitors.MaintenanceInput{EnvironmentID: in.ID, AppID: in.AppID, Message: in.Body.Message, EndsAt: in.Body.EndsAt, Allow: in.Body.Allow, NewCode: in.Body.NewCode})
	if err != nil {
		return nil, err
	}
	out := maintenanceOf(m)
	out.Code = code
	return reply(out), nil
}

func (a *API) endMaintenance(ctx context.Context, in *placeIn) error {
	return a.Visitors.EndMaintenance(ctx, in.ID, in.AppID)
}

func maintenanceOf(m *models.Maintenance) Maintenance {
	return Maintenance{AppID: m.AppID, On: true, Message: m.Message, EndsAt: utc(m.EndsAt), Allow: sliceOf(m.Allow, func(p *netip.Prefix) string { return p.String() }),
		StartedAt: utc(&m.StartedAt), StartedBy: m.StartedByName}
}

func (a *API) listCertificates(ctx context.Context, in *struct {
	PageIn
	Team string `query:"team" maxLength:"100" doc:"Slug of the team."`
}) (*answer[List[Certificate]], error) {
	team, err := a.teamID(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	list, err := a.Certificates.List(ctx, certificates.Filter{Page: in.page(), TeamID: team})
	if err != nil {
		return nil, err
	}
	return listOf(list, certificateOf), nil
}

func (a *API) addCertificate(ctx context.Context, in *struct{ Body NewCertificate }) (*answer[Certificate], error) {
	team, err := a.teamID(ctx, in.Body.Team)
	if err != nil {
		return nil, err
	}
	c, err := a.Certificates.Add(ctx, certificates.Input{TeamID: team, Chain: in.Body.Chain, Key: in.Body.Key})
	return replyWith(c, certificateOf, err)
}

func (a *API) deleteCertificate(ctx context.Context, in *IDIn) error {
	return a.Certificates.Delete(ctx, in.ID)
}

func certificateOf(c *models.Certificate) Certificate {
	return Certificate{c.ID, c.TeamID, c.OrderedFor, append([]string{}, c.Hosts...), c.Issuer, c.NotBefore.UTC(), c.NotAfter.UTC(), c.CreatedAt.UTC()}
}
