package visitors_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/visitors"
)

// dns is a name server on a port of its own that answers about TXT records.
type dns struct {
	mu      sync.Mutex
	records map[string]string // by name with its dot
	broken  bool
}

func newDNS(t *testing.T) (*dns, *net.Resolver) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &dns{records: map[string]string{}}
	var wg sync.WaitGroup
	wg.Go(func() { d.serve(conn) })
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, "udp", conn.LocalAddr().String())
	}
	return d, &net.Resolver{PreferGo: true, Dial: dial}
}

func (d *dns) set(name, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.records[name+"."] = text
}

// fail makes the server answer everything that it is asked from now on with a failure of its own.
func (d *dns) fail() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = true
}

func (d *dns) serve(conn net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var ask dnsmessage.Message
		if ask.Unpack(buf[:n]) != nil || len(ask.Questions) != 1 {
			continue
		}
		if out, err := d.answer(ask).Pack(); err == nil {
			conn.WriteTo(out, from)
		}
	}
}

func (d *dns) answer(ask dnsmessage.Message) *dnsmessage.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := ask.Questions[0]
	out := &dnsmessage.Message{Header: dnsmessage.Header{ID: ask.ID, Response: true, Authoritative: true, RecursionAvailable: true}, Questions: ask.Questions}
	text, ok := d.records[q.Name.String()]
	switch {
	case d.broken:
		out.RCode = dnsmessage.RCodeServerFailure
	case !ok || q.Type != dnsmessage.TypeTXT:
		out.RCode = dnsmessage.RCodeNameError
	default:
		out.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}, Body: &dnsmessage.TXTResource{TXT: []string{text}}}}
	}
	return out
}

type world struct {
	*modelstest.World
	t  *testing.T
	db *models.Database
	s  *visitors.Service
	d  *dns
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	d, resolver := newDNS(t)
	return &world{World: modelstest.Seed(t, db), t: t, db: db, d: d,
		s: &visitors.Service{DB: db, Resolver: resolver, Portal: "portal.example.com", Apps: "apps.example.com"}}
}

func (w *world) as(u *models.User) context.Context { return modelstest.As(w.t, w.db, u) }

func (w *world) place(host, path string) visitors.AddressInput {
	return visitors.AddressInput{EnvironmentID: w.Environment.ID, AppID: w.App.ID, Host: host, Path: path}
}

func (w *world) domain(host string, team *models.Team) *models.Domain {
	w.t.Helper()
	var d models.Domain
	if err := w.db.Take(&d, "host = ? AND team_id = ?", host, team.ID).Error; err != nil {
		w.t.Fatal(err)
	}
	return &d
}

// rival is a place of the other team.
func (w *world) rival(host string) visitors.AddressInput {
	w.t.Helper()
	app, e := *w.App, *w.Environment
	app.ID, app.TeamID, e.ID, e.TeamID = models.NewID(), w.OtherTeam.ID, models.NewID(), w.OtherTeam.ID
	r := *w.Repository
	r.ID, r.TeamID, app.RepositoryID = models.NewID(), w.OtherTeam.ID, ""
	app.RepositoryID = r.ID
	for _, row := range []any{&r, &app, &e} {
		if err := w.db.Create(row).Error; err != nil {
			w.t.Fatal(err)
		}
	}
	return visitors.AddressInput{EnvironmentID: e.ID, AppID: app.ID, Host: host}
}

func field(err error, name string) string {
	if e, ok := errors.AsType[*models.Error](err); ok {
		return e.Fields[name]
	}
	return ""
}

func TestAHostAndAPathAreStoredInOneFormOrRefused(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"shop.example.com": "shop.example.com", " Shop.Example.COM. ": "shop.example.com", "müller.example": "xn--mller-kva.example",
		"xn--mller-kva.example": "xn--mller-kva.example", "ｓｈｏｐ.example.com": "shop.example.com", "a-b.c1.example": "a-b.c1.example",
		"": "", "example": "", "localhost": "", "shop.example.com:443": "", "https://shop.example.com": "", "shop.example.com/api": "", "*.example.com": "",
		"127.0.0.1": "", "::1": "", "[::1]": "", "1.2.3": "", "0x7f.1": "", "shop..example.com": "", ".example.com": "", "-a.example.com": "", "a-.example.com": "",
		"a_b.example.com": "", "shop.example.com\r\nX: y": "", "shop%2eexample.com": "", "user@example.com": "", "shop example.com": "", "xn--a.example": "",
		"shop.example.com\x00": "", "s\u200bhop.example.com": "shop.example.com", "shop。example。com": "shop.example.com", "аpple.example\u202e": "",
		strings.Repeat("a", 64) + ".example.com": "", strings.Repeat("a.", 130) + "example": "",
	} {
		got, err := visitors.Host(in)
		if got != want || (want == "") != (field(err, "host") != "") {
			t.Errorf("the host %q became %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"": "/", "/": "/", "/api": "/api", "/api/": "/api", "/api/v2": "/api/v2", "/~mira/a_b-c.d": "/~mira/a_b-c.d",
		"api": "", "//": "", "//api": "", "/api//v2": "", "/api/../x": "", "/.": "", "/./api": "", "/.env": "", "/%61pi": "", "/a%2fb": "", `/a\b`: "", "/a;b": "", "/a?b": "", "/a#b": "", "/a b": "", "/ä": "", "/a\x00": "",
		"/" + strings.Repeat("a", 200): "",
	} {
		got, err := visitors.Path(in)
		if got != want || (want == "") != (field(err, "path") != "") {
			t.Errorf("the path %q became %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestAHostIsTheTeamsThatProvesItFirst(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		if _, err := w.s.AddAddress(w.as(w.Maintainer), w.place("shop.example.org", "")); err != nil {
			t.Fatal(err)
		}
		if _, err := w.s.AddAddress(w.as(w.Maintainer), w.place("shop.example.org", "/")); field(err, "path") == "" {
			t.Errorf("the same address twice: %v", err)
		}
		theirs := w.rival("shop.example.org")
		if _, err := w.s.AddAddress(w.as(w.Stranger), theirs); err != nil {
			t.Fatalf("a host that nobody has proven: %v", err)
		}
		mine, other := w.domain("shop.example.org", w.Team), w.domain("shop.example.org", w.OtherTeam)
		if mine.Token == other.Token || len(mine.Token) < 20 {
			t.Errorf("the tokens are %q and %q", mine.Token, other.Token)
		}
		for _, c := range []struct{ record, note string }{{"", "no TXT record"}, {"slipway=guess", "says something else"}, {"slipway=" + other.Token, "says something else"}} {
			if c.record != "" {
				w.d.set("_slipway.shop.example.org", c.record)
			}
			d, err := w.s.CheckDomain(w.as(w.Maintainer), mine.ID)
			if err != nil || d.Proven() || !strings.Contains(d.Note, c.note) || d.CheckedAt == nil {
				t.Errorf("with the record %q: %+v %v", c.record, d, err)
			}
		}
		w.d.set("_slipway.shop.example.org", mine.RecordValue())
		if err := w.s.CheckDomains(t.Context()); err != nil { // looked at a moment ago
			t.Fatal(err)
		}
		if w.domain("shop.example.org", w.Team).Proven() {
			t.Error("a domain was looked at again at once")
		}
		if err := db.Model(&models.Domain{}).Where("TRUE").Update("checked_at", db.NowFunc().Add(-time.Hour)).Error; err != nil {
			t.Fatal(err)
		}
		if err := w.s.CheckDomains(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := w.domain("shop.example.org", w.Team); !d.Proven() || d.ProvenBy != "dns" || d.Note != "" {
			t.Fatalf("the domain is not proven: %+v", d)
		}
		w.d.set("_slipway.shop.example.org", other.RecordValue())
		if _, err := w.s.CheckDomain(w.as(w.Stranger), other.ID); !models.IsCode(err, models.Conflict) {
			t.Errorf("a second team proved the host: %v", err)
		}
		if d := w.domain("shop.example.org", w.OtherTeam); d.Proven() || d.Note == "" {
			t.Errorf("the second team's domain: %+v", d)
		}
		theirs.Path = "/api"
		if _, err := w.s.AddAddress(w.as(w.Stranger), theirs); field(err, "host") != "" {
			t.Logf("refused as it should be: %v", err)
		} else {
			t.Errorf("another team's host was taken: %v", err)
		}
	})
}

func TestAnAdminConfirmsADomainThatDNSCantProve(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.d.fail()
	if _, err := w.s.AddAddress(w.as(w.Maintainer), w.place("shop.corp.internal", "")); err != nil {
		t.Fatal(err)
	}
	d := w.domain("shop.corp.internal", w.Team)
	if seen, err := w.s.CheckDomain(w.as(w.Maintainer), d.ID); err != nil || !strings.Contains(seen.Note, "DNS gave no answer") {
		t.Errorf("a name server that fails: %+v %v", seen, err)
	}
	if _, err := w.s.ConfirmDomain(w.as(w.Maintainer), d.ID); !models.IsCode(err, models.Denied) {
		t.Errorf("a maintainer confirmed a domain: %v", err)
	}
	if _, err := w.s.ConfirmDomain(w.as(w.Admin), d.ID); err != nil {
		t.Fatal(err)
	}
	if d := w.domain("shop.corp.internal", w.Team); !d.Proven() || d.ProvenBy != "admin" {
		t.Errorf("the domain is %+v", d)
	}
}

func TestNoTeamTakesAHostOfThePortalOrOfAnotherPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	now := w.db.NowFunc()
	theirs := w.rival("")
	for _, r := range []models.Route{
		{Host: "checkout-dev.apps.example.com", TeamID: w.Team.ID, AppID: w.App.ID, EnvironmentID: w.Environment.ID, Addresses: []string{}, UpdatedAt: now},
		{Host: "search-dev.apps.example.com", TeamID: w.OtherTeam.ID, AppID: theirs.AppID, EnvironmentID: theirs.EnvironmentID, Addresses: []string{}, UpdatedAt: now},
	} {
		if err := w.db.Create(&r).Error; err != nil {
			t.Fatal(err)
		}
	}
	for _, host := range []string{"portal.example.com", "PORTAL.example.com.", "apps.example.com", "search-dev.apps.example.com", "nobody-dev.apps.example.com", "a.b.apps.example.com"} {
		for _, path := range []string{"", "/api"} {
			if _, err := w.s.AddAddress(w.as(w.Maintainer), w.place(host, path)); field(err, "host") == "" {
				t.Errorf("%s%s was taken: %v", host, path, err)
			}
		}
	}
	if _, err := w.s.AddAddress(w.as(w.Maintainer), w.place("checkout-dev.apps.example.com", "/")); field(err, "path") == "" {
		t.Errorf("a place's own host name was given away whole: %v", err)
	}
	if _, err := w.s.AddAddress(w.as(w.Maintainer), w.place("checkout-dev.apps.example.com", "/api")); err != nil {
		t.Errorf("a path of the own host name: %v", err)
	}
	var domains int64
	if err := w.db.Model(&models.Domain{}).Count(&domains).Error; err != nil || domains != 0 {
		t.Errorf("%d domains, %v", domains, err)
	}
}

func TestOnlyMaintainersChangeHowVisitorsReachAnApp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	a, err := w.s.AddAddress(w.as(w.Maintainer), w.place("shop.example.org", ""))
	if err != nil {
		t.Fatal(err)
	}
	d := w.domain("shop.example.org", w.Team)
	for who, code := range map[*models.User]models.Code{w.Stranger: models.NotFound, w.Viewer: models.Denied, w.Developer: models.Denied} {
		ctx := w.as(who)
		_, add := w.s.AddAddress(ctx, w.place("other.example.org", ""))
		_, check := w.s.CheckDomain(ctx, d.ID)
		_, update := w.s.UpdateDomain(ctx, d.ID, visitors.DomainInput{})
		_, limits := w.s.SetLimits(ctx, models.PlaceLimits{EnvironmentID: w.Environment.ID, AppID: w.App.ID})
		_, _, start := w.s.StartMaintenance(ctx, visitors.MaintenanceInput{EnvironmentID: w.Environment.ID, AppID: w.App.ID})
		for name, err := range map[string]error{"add": add, "check": check, "update": update, "limits": limits, "start": start,
			"end": w.s.EndMaintenance(ctx, w.Environment.ID, w.App.ID), "remove": w.s.RemoveAddress(ctx, a.ID), "delete": w.s.DeleteDomain(ctx, d.ID)} {
			if !models.IsCode(err, code) {
				t.Errorf("%s by %s: %v", name, who.Name, err)
			}
		}
	}
	if err := w.s.DeleteDomain(w.as(w.Maintainer), d.ID); err != nil {
		t.Fatal(err)
	}
	if all, err := w.s.Addresses(w.as(w.Viewer), w.Environment.ID); err != nil || len(all) != 0 {
		t.Errorf("addresses of a deleted domain: %v %v", all, err)
	}
}

func TestMaintenanceHasACodeThatIsToldOnceAndAnEnd(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		ctx := w.as(w.Maintainer)
		in := visitors.MaintenanceInput{EnvironmentID: w.Environment.ID, AppID: w.App.ID, Message: " Back at noon. ", Allow: []string{"203.0.113.7", "10.1.2.3/8", ""}}
		m, code, err := w.s.StartMaintenance(ctx, in)
		if err != nil || !m.Admits(code) || m.Admits(code+"x") || m.Admits("") || m.Message != "Back at noon." {
			t.Fatalf("%+v %q %v", m, code, err)
		}
		if len(m.Allow) != 2 || m.Allow[0].String() != "203.0.113.7/32" || m.Allow[1].String() != "10.0.0.0/8" {
			t.Errorf("allowed are %v", m.Allow)
		}
		again, none, err := w.s.StartMaintenance(ctx, in)
		if err != nil || none != "" || !again.Admits(code) {
			t.Errorf("a change of the text changed the code: %+v %q %v", again, none, err)
		}
		in.NewCode = true
		if again, fresh, err := w.s.StartMaintenance(ctx, in); err != nil || fresh == "" || again.Admits(code) || !again.Admits(fresh) {
			t.Errorf("a new code: %+v %q %v", again, fresh, err)
		}
		past := db.NowFunc().Add(-time.Minute)
		for name, bad := range map[string]visitors.MaintenanceInput{"ends_at": {EndsAt: &past}, "allow": {Allow: []string{"example.com"}}, "message": {Message: strings.Repeat("x", 1001)}} {
			bad.EnvironmentID, bad.AppID = in.EnvironmentID, in.AppID
			if _, _, err := w.s.StartMaintenance(ctx, bad); field(err, name) == "" {
				t.Errorf("%s: %v", name, err)
			}
		}
		ends := db.NowFunc().Add(time.Hour)
		in.EndsAt = &ends
		if _, _, err := w.s.StartMaintenance(ctx, in); err != nil {
			t.Fatal(err)
		}
		for end, going := range map[time.Time]bool{ends: true, past: false} {
			if err := db.Model(&models.Maintenance{}).Where("app_id = ?", in.AppID).Update("ends_at", end).Error; err != nil {
				t.Fatal(err)
			}
			if m, err := w.s.Maintenance(ctx, in.EnvironmentID, in.AppID); err != nil || (m != nil) != going {
				t.Errorf("until %s it is %+v, %v", end, m, err)
			}
		}
	})
}

func TestLimitsThatMakeNoSenseAreRefusedByField(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	for name, l := range map[string]models.PlaceLimits{"connect": {Connect: 61}, "first_byte": {FirstByte: -1}, "idle": {Idle: 1}, "body": {Body: -2}} {
		l.EnvironmentID, l.AppID = w.Environment.ID, w.App.ID
		if _, err := w.s.SetLimits(w.as(w.Maintainer), l); field(err, name) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.s.SetLimits(w.as(w.Maintainer), models.PlaceLimits{EnvironmentID: w.Environment.ID, AppID: w.App.ID, Idle: 30, Body: -1}); err != nil {
		t.Fatal(err)
	}
	l, err := w.s.Limits(w.as(w.Viewer), w.Environment.ID, w.App.ID)
	if err != nil || l.Idle != 30 || l.WithDefaults().Connect != models.DefaultConnect || l.WithDefaults().Body != -1 {
		t.Errorf("%+v %v", l, err)
	}
}

func TestWhereATargetSendsVisitorsItselfAnAddressIsOneThatItCanServe(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		itself, domains := true, false
		w.s.Front = func(string) (bool, bool) { return itself, domains }
		told := 0
		w.s.Changed = func(context.Context, *gorm.DB, string, string, string) error { told++; return nil }
		ctx := w.as(w.Maintainer)
		refused := func(in visitors.AddressInput, field, want string) {
			t.Helper()
			_, err := w.s.AddAddress(ctx, in)
			if e, ok := errors.AsType[*models.Error](err); !ok || !strings.Contains(e.Fields[field], want) {
				t.Errorf("%+v: %v", in, err)
			}
		}
		refused(w.place("shop.example.org", ""), "host", "at no other host")
		if _, err := w.s.SetLimits(ctx, models.PlaceLimits{EnvironmentID: w.Environment.ID, AppID: w.App.ID, Idle: 60}); !models.IsCode(err, models.Conflict) {
			t.Errorf("limits that would not hold: %v", err)
		}
		if _, _, err := w.s.StartMaintenance(ctx, visitors.MaintenanceInput{EnvironmentID: w.Environment.ID, AppID: w.App.ID}); !models.IsCode(err, models.Conflict) {
			t.Errorf("maintenance that would not hold: %v", err)
		}
		domains = true
		strip := w.place("shop.example.org", "/api")
		strip.Strip = true
		refused(strip, "strip", "takes no path off")
		strip.Strip = false
		a, err := w.s.AddAddress(ctx, strip)
		if err != nil || told != 1 {
			t.Fatalf("told %d times: %v", told, err)
		}
		d := models.Deployment{ID: models.NewID(), TeamID: w.Team.ID, AppID: w.App.ID, EnvironmentID: w.Environment.ID, Active: true, State: models.DeploymentSucceeded, Action: models.ActionDeploy, URL: "https://checkout-dev.cluster.example.com", Number: 900}
		if err := w.db.Create(&d).Error; err != nil {
			t.Fatal(err)
		}
		f, err := w.s.FrontOf(w.as(w.Viewer), w.Environment.ID)
		if err != nil || !f.Itself() || f.LeadsTo(w.App.ID) != "checkout-dev.cluster.example.com" || f.LeadsTo("other") != "" {
			t.Errorf("the front is %+v: %v", f, err)
		}
		if own, err := w.s.Own(w.as(w.Viewer), w.Environment.ID); err != nil || own[w.App.ID] != "checkout-dev.cluster.example.com" {
			t.Errorf("its own hosts are %v: %v", own, err)
		}
		itself = false
		if err := w.s.RemoveAddress(ctx, a.ID); err != nil || told != 2 {
			t.Errorf("told %d times: %v", told, err)
		}
		if err := w.s.DeleteDomain(ctx, w.domain("shop.example.org", w.Team).ID); err != nil || told != 3 {
			t.Errorf("told %d times: %v", told, err)
		}
	})
}

func TestAHostLeadsToOnePlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	other, cluster := *w.Environment, *w.Target
	cluster.ID, cluster.Name, cluster.Kind = models.NewID(), "cluster", "cluster"
	other.ID, other.Name, other.TargetID, other.Target, other.Team = models.NewID(), "elsewhere", cluster.ID, nil, nil
	for _, row := range []any{&cluster, &other} {
		if err := w.db.Create(row).Error; err != nil {
			t.Fatal(err)
		}
	}
	w.s.Front = func(kind string) (bool, bool) { return kind == "cluster", true }
	ctx := w.as(w.Maintainer)
	if _, err := w.s.AddAddress(ctx, w.place("shop.example.org", "")); err != nil {
		t.Fatal(err)
	}
	in := w.place("shop.example.org", "/api")
	in.EnvironmentID = other.ID
	_, err := w.s.AddAddress(ctx, in)
	if e, ok := errors.AsType[*models.Error](err); !ok || !strings.Contains(e.Fields["host"], "leads to one place") {
		t.Errorf("a host at two places: %v", err)
	}
}
