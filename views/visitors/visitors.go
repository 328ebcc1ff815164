// Package visitors holds the pages about how visitors reach apps: an app's addresses, limits and maintenance in an
// environment, a domain, and the domains and certificates of a team or of the whole site.
package visitors

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// PlaceView is how visitors reach an app in an environment.
type PlaceView struct {
	Environment models.Environment
	App         models.App
	Own         string // the host name that the app has there by itself; empty: none yet
	OwnURL      string
	Front       Front
	Addresses   []Address
	Limits      models.PlaceLimits
	Maintenance *models.Maintenance // nil: visitors reach the app
	Code        string              // with which visitors reach the app all the same; told once
	CanChange   bool

	AddressForm, LimitsForm, MaintenanceForm components.Form

	AddressCurl, LimitsCurl, MaintenanceCurl components.CurlExample
}

// Front is who answers the visitors of an environment.
type Front struct {
	Target  string // its name, where it sends visitors itself; empty: they come to Slipway's proxies
	Domains bool   // that target takes the team's own hosts too
}

// Address is an address and its domain; nil where the host is a place's own.
type Address struct {
	models.Address
	Domain  *models.Domain
	Target  string // that sends its visitors itself; empty: they come to Slipway's proxies
	LeadsTo string // the host name that DNS has to lead them to there; empty: nothing serves there yet
}

// PlaceURL is the page of the app in the environment.
func PlaceURL(environmentID, appID string) string {
	return "/environments/" + environmentID + "/visitors/" + appID
}

// DomainURL is the domain's page.
func DomainURL(d models.Domain) string { return "/domains/" + d.ID }

// Served tells whether visitors of the address reach the app.
func (a Address) Served() bool { return a.Domain == nil || a.Domain.Proven() }

// elsewhere is the target to which the domain's addresses lead past Slipway's proxies; empty where they don't.
func (v DomainView) elsewhere() string {
	for _, a := range v.Addresses {
		if a.Target != "" {
			return a.Target
		}
	}
	return ""
}

// DomainView is one domain.
type DomainView struct {
	Domain      models.Domain // with its team
	Addresses   []Address
	Places      map[string]string        // names by environment id and app id, with a slash between
	Certificate *models.Certificate      // that visitors are shown; nil: none
	Order       *models.CertificateOrder // of another one; nil: none is under way
	CanChange   bool
	CanConfirm  bool
	Form        components.Form
	Curl        components.CurlExample
	CheckCurl   components.CurlExample
}

func (v DomainView) place(a Address) string {
	return cmp.Or(v.Places[a.EnvironmentID+"/"+a.AppID], "an app")
}

// ListView is the domains and certificates of a team, or of the whole site.
type ListView struct {
	TeamSlug     string // empty: of the whole site
	Domains      []models.Domain
	Certificates []models.Certificate
	CanChange    bool
	Form         components.Form // of a new certificate

	DomainsFirst, DomainsNext string
	Curl                      components.CurlExample
	AddCurl                   components.CurlExample
}

func (v ListView) certificatesURL() string {
	if v.TeamSlug == "" {
		return "/admin/certificates"
	}
	return "/teams/" + v.TeamSlug + "/certificates"
}

// number is a limit as its field has it: empty where the default counts.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// body is the limit of a request's body as its field has it, in MiB.
func body(n int64) string {
	if n <= 0 {
		return number(n)
	}
	return strconv.FormatFloat(float64(n)/(1<<20), 'f', -1, 64)
}

func allow(m *models.Maintenance) string {
	if m == nil {
		return ""
	}
	var lines []string
	for _, r := range m.Allow {
		lines = append(lines, rangeText(r))
	}
	return strings.Join(lines, "\n")
}

func rangeText(r netip.Prefix) string {
	if r.IsSingleIP() {
		return r.Addr().String()
	}
	return r.String()
}

func message(m *models.Maintenance) string {
	if m == nil {
		return ""
	}
	return m.Message
}

// ends is the end as a field for date and time has it, in UTC.
func ends(m *models.Maintenance) string {
	if m == nil || m.EndsAt == nil {
		return ""
	}
	return m.EndsAt.UTC().Format("2006-01-02T15:04")
}

// life is how a certificate stands, as a badge and a word.
func life(c models.Certificate) (class, word string) {
	now := time.Now()
	switch {
	case now.Before(c.NotBefore):
		return "is-warn", "not valid yet"
	case !c.Valid(now):
		return "is-bad", "ended"
	case c.Ends(now) && c.OrderedFor == "":
		return "is-warn", "ends soon"
	}
	return "is-ok", "valid"
}

func lifeClass(c models.Certificate) string {
	class, _ := life(c)
	return "badge " + class
}

func lifeWord(c models.Certificate) string {
	_, word := life(c)
	return word
}

func source(c models.Certificate) string {
	if c.OrderedFor != "" {
		return "ordered by Slipway"
	}
	return "given by " + cmp.Or(c.CreatedByName, "somebody")
}

// days are how long browsers keep to https, to choose from.
func days(now int64) []components.Option {
	list := []components.Option{{Value: "0", Label: "Not at all"}, {Value: "300", Label: "5 minutes, to try it"}, {Value: "86400", Label: "1 day"}, {Value: "2592000", Label: "30 days"}, {Value: "31536000", Label: "1 year"}}
	for _, o := range list {
		if o.Value == strconv.FormatInt(now, 10) {
			return list
		}
	}
	return append(list, components.Option{Value: strconv.FormatInt(now, 10), Label: strconv.FormatInt(now, 10) + " seconds"})
}

// certificateRow is a certificate in a list.
type certificateRow = models.Certificate

func firstHost(c models.Certificate) string {
	if len(c.Hosts) == 0 {
		return "no host"
	}
	return c.Hosts[0]
}

// field is a limit's field; those who may not change it only read it.
func (v PlaceView) field(f components.Field) components.Field {
	f.Type, f.Optional, f.ReadOnly = "number", v.CanChange, !v.CanChange
	return f
}
