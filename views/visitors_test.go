package views_test

import (
	"net/netip"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
	"slipway.dev/views/visitors"
)

// visitorSamples are the pages about how visitors reach apps.
func visitorSamples() []sample {
	proven := models.Domain{ID: "d1", TeamID: payments.ID, Host: "shop.example.com", Token: "k3w", ProvenAt: &now, ProvenBy: "dns", Redirect: true, HSTS: 86400, CreatedAt: now, Team: payments}
	waiting := models.Domain{ID: "d2", TeamID: payments.ID, Host: "checkout.example.org", Token: "q7r5x2k3wz4m6n8p", CheckedAt: &now, Note: "There is no TXT record at _slipway.checkout.example.org yet. A new record can take some minutes to be seen.", CreatedAt: now, Team: payments}
	e := models.Environment{ID: "e9", TeamID: payments.ID, Name: "production"}
	at := []visitors.Address{
		{Address: models.Address{ID: "x1", EnvironmentID: e.ID, AppID: checkout.ID, Host: proven.Host, Path: "/api", Strip: true}, Domain: &proven},
		{Address: models.Address{ID: "x2", EnvironmentID: e.ID, AppID: checkout.ID, Host: waiting.Host, Path: "/"}, Domain: &waiting},
	}
	noon := now.Add(2 * time.Hour)
	closed := &models.Maintenance{Message: "We are moving house and back at noon.", EndsAt: &noon, Allow: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, StartedByName: "Mira Kovač", StartedAt: now}
	given := models.Certificate{ID: "c1", TeamID: payments.ID, Hosts: []string{"shop.example.com", "www.shop.example.com"}, Issuer: "Acme authority", NotBefore: now.AddDate(0, -11, 0), NotAfter: time.Now().AddDate(0, 0, 10), CreatedByName: "Mira Kovač"}
	ordered := models.Certificate{ID: "c2", TeamID: payments.ID, OrderedFor: "shop.example.com", Hosts: []string{"shop.example.com"}, Issuer: "R11", NotBefore: now, NotAfter: time.Now().AddDate(0, 0, 80), CreatedByName: "Slipway"}
	full := visitors.PlaceView{Environment: e, App: checkout, Own: "checkout-production.apps.example.com", OwnURL: "https://checkout-production.apps.example.com", Addresses: at, CanChange: true}
	inside := full
	inside.Maintenance, inside.Code, inside.Limits = closed, "k3wz4m6n8pq7r5x2k3wz4m6n8p", models.PlaceLimits{FirstByte: 30, Body: 8 << 20}
	wrong := full
	wrong.AddressForm = components.Form{Values: map[string][]string{"host": {"*.example.com"}}, Err: models.InvalidField("host", "A wildcard is no address. Enter each host name.").(*models.Error)}
	reader := full
	reader.CanChange, reader.Maintenance = false, closed
	cluster := full
	cluster.Front, cluster.Own, cluster.OwnURL = visitors.Front{Target: "cluster", Domains: true}, "checkout-production.cluster.example.com", "https://checkout-production.cluster.example.com"
	cluster.Addresses = []visitors.Address{{Address: models.Address{ID: "x3", EnvironmentID: e.ID, AppID: checkout.ID, Host: proven.Host, Path: "/"}, Domain: &proven, Target: "cluster", LeadsTo: cluster.Own}}
	cloud := full
	cloud.Front, cloud.Addresses = visitors.Front{Target: "cloud"}, nil
	page := placePage("checkout-api in production", "addresses")
	return []sample{
		{"visitors", visitors.Place(page, full)}, {"visitors-maintenance", visitors.Place(page, inside)}, {"visitors-wrong", visitors.Place(page, wrong)}, {"visitors-reader", visitors.Place(page, reader)},
		{"visitors-cluster", visitors.Place(page, cluster)}, {"visitors-cloud", visitors.Place(page, cloud)},
		{"domain-cluster", visitors.Domain(testPage(proven.Host), visitors.DomainView{Domain: proven, Addresses: cluster.Addresses, Places: map[string]string{e.ID + "/" + checkout.ID: "checkout in production"}, CanChange: true})},
		{"domain", visitors.Domain(testPage(proven.Host), visitors.DomainView{Domain: proven, Addresses: at[:1], Places: map[string]string{e.ID + "/" + checkout.ID: "checkout in production"}, Certificate: &ordered, CanChange: true})},
		{"domain-waiting", visitors.Domain(testPage(waiting.Host), visitors.DomainView{Domain: waiting, CanChange: true, CanConfirm: true,
			Order: &models.CertificateOrder{Tries: 2, Note: "The authority did not see this host as Slipway's: connection refused", NextAt: noon}})},
		{"domains", visitors.List(testPage("Payments"), visitors.ListView{TeamSlug: "payments", Domains: []models.Domain{proven, waiting}, Certificates: []models.Certificate{given, ordered}, CanChange: true})},
		{"domains-empty", visitors.List(testPage("Admin"), visitors.ListView{CanChange: true})},
	}
}
