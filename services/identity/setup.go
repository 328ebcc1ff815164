package identity

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"slipway.dev/models"
)

// Setup says how a cloud is made to trust a target of this portal.
type Setup struct {
	TargetID string // empty: it is to be made
	Target   string // its name
	Cloud    string // as deploy.Kind.Federation says it
	Title    string // of the cloud
	Issuer   string
	Audience string // of the tokens; empty while it depends on an input that is missing
	Subject  string // of tokens for the target as a whole
	Releases string // the pattern of the subjects of its releases; empty where the cloud gets none
	Inputs   []Input
	Missing  []string  // names of inputs that are needed and empty
	Parts    []Part    // what to run; empty while an input is missing
	Settings []Setting // what to enter on the target's page afterwards
	Notes    []string
}

// Input is something that the commands are made with.
type Input struct {
	Name     string
	Label    string
	Help     string
	Example  string
	Required bool
	Check    bool // a box to check: "true" or empty
	Value    string

	form  *regexp.Regexp // of the whole value
	wrong string         // what a value of another form is told
}

// Part is a piece of the set-up to copy.
type Part struct {
	Title    string
	Help     string
	Language string // sh or hcl
	Text     string
}

// Setting is one of the target's settings that goes with the set-up.
type Setting struct{ Name, Value string }

// cloud is what is particular to one provider.
type cloud struct {
	name  string // as deploy.Kind.Federation says it
	title string
	// releases tells whether tokens of releases name their team, environment and app there.
	releases bool
	inputs   func(t *models.Target, machines bool) []Input
	audience func(v values) string
	// write makes the parts and settings of the inputs, which all have the form that they should.
	write func(b brief) ([]Part, []Setting)
	check func(ctx context.Context, c *check) error
	// lend returns the credential of the target as a whole, or a *lack.
	lend func(ctx context.Context, c *check) (Credential, error)
}

func cloudOf(name string) (cloud, bool) {
	switch name {
	case "aws":
		return amazon, true
	case "google":
		return google, true
	case "azure":
		return azure, true
	}
	return cloud{}, false
}

// values are the inputs by their names.
type values map[string]string

// brief is what commands are made of.
type brief struct {
	values
	machines bool // the target is a virtual machine
	issuer   string
	targetID string
	target   string
	subject  string // of tokens for the target as a whole
	releases string // the pattern of those of its releases
	audience string
	keys     string // the public keys as JSON, where they are to be uploaded
}

// Setup returns how the target's cloud is made to trust it, with the commands
// made of what was given; admins may. What was not given is taken from the
// target's settings, or is as the cloud's own documents have it. A value that
// is not of its form is an error that names the input.
func (s *Service) Setup(ctx context.Context, targetID string, given map[string]string) (*Setup, error) {
	t, cloud, err := s.federated(ctx, targetID)
	if err != nil {
		return nil, err
	}
	return s.setup(ctx, t, cloud, s.machines(t.Kind), given)
}

// SetupNew is Setup for a target that is to be made, of the kind and with the name: some kinds need what the set-up
// brings before they can be stored.
func (s *Service) SetupNew(ctx context.Context, kind, name string, given map[string]string) (*Setup, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	cloud, err := s.cloudOf(kind)
	if err != nil {
		return nil, err
	}
	if !models.ValidName(name) {
		return nil, models.InvalidField("name", models.NameHelp)
	}
	return s.setup(ctx, &models.Target{Name: name, Kind: kind, Settings: map[string]string{}}, cloud, s.machines(kind), given)
}

// machines tells whether targets of the kind are virtual machines.
func (s *Service) machines(kind string) bool {
	k, err := s.Deploy.KindOf(kind)
	return err == nil && k.Machines
}

func (s *Service) setup(ctx context.Context, t *models.Target, cloud cloud, machines bool, given map[string]string) (*Setup, error) {
	inputs, v, err := fill(cloud.inputs(t, machines), given)
	if err != nil {
		return nil, err
	}
	out := s.describe(t, cloud)
	out.Inputs, out.Missing = inputs, missing(inputs)
	if len(out.Missing) > 0 {
		return out, nil
	}
	b := brief{values: v, machines: machines, issuer: out.Issuer, targetID: t.ID, target: t.Name, subject: out.Subject, releases: out.Releases, audience: cloud.audience(v)}
	if v["upload"] == "true" {
		if b.keys, err = s.upload(ctx, out); err != nil {
			return nil, err
		}
	}
	out.Audience = b.audience
	out.Parts, out.Settings = cloud.write(b)
	return out, nil
}

// cloudOf returns the cloud that can trust targets of the kind.
func (s *Service) cloudOf(kind string) (cloud, error) {
	k, err := s.Deploy.KindOf(kind)
	if err != nil {
		return cloud{}, err
	}
	c, ok := cloudOf(k.Federation)
	if !ok {
		return cloud{}, models.Errorf(models.NotFound, "Targets of the kind %s know no trust without keys.", k.Title)
	}
	return c, nil
}

// federated returns the target and the cloud that can trust it, for admins.
func (s *Service) federated(ctx context.Context, targetID string) (*models.Target, cloud, error) {
	t, _, err := s.Deploy.Target(ctx, targetID)
	if err != nil {
		return nil, cloud{}, err
	}
	c, err := s.cloudOf(t.Kind)
	return t, c, err
}

func (s *Service) describe(t *models.Target, c cloud) *Setup {
	out := &Setup{TargetID: t.ID, Target: t.Name, Cloud: c.name, Title: c.title, Issuer: s.Issuer(), Subject: "target:" + t.Name}
	if c.releases {
		out.Releases = out.Subject + ":*"
	}
	out.Notes = []string{
		fmt.Sprintf("%s reads %s by HTTPS from the internet, without a login and without a private network.", c.title, s.ExternalURL+DiscoveryPath),
		fmt.Sprintf("The trust is in the name %s. Under another name the target is another one: run the commands again after renaming it, and take the trust away before you give the name to another target.", t.Name),
	}
	if problem := s.address(); problem != "" {
		out.Notes = append([]string{problem}, out.Notes...)
	}
	return out
}

// address says what keeps clouds from taking the issuer's address, as far as the address itself tells; empty: nothing.
func (s *Service) address() string {
	u, err := url.Parse(s.ExternalURL)
	switch {
	case err != nil || u.Scheme != "https":
		return fmt.Sprintf("The portal's address is %s, and clouds take issuers by https alone. Set SLIPWAY_EXTERNAL_URL to an https address.", s.ExternalURL)
	case u.Port() != "":
		return fmt.Sprintf("The portal's address %s names a port, which AWS takes in no issuer. Serve it at port 443, and set SLIPWAY_EXTERNAL_URL to the address without a port.", s.ExternalURL)
	}
	return ""
}

// upload returns the public keys for a cloud that can't reach the portal, and notes until when they are good.
func (s *Service) upload(ctx context.Context, out *Setup) (string, error) {
	set, err := s.Keys(ctx)
	if err != nil {
		return "", err
	}
	known, err := s.ring.Known(ctx)
	if err != nil {
		return "", err
	}
	next := known[0].CreatedAt.Add(KeyLife + KeyAhead)
	out.Notes = append(out.Notes, fmt.Sprintf("Uploaded keys have to be uploaded again by %s at the latest: the key that signs from then on is published here two weeks before.", next.UTC().Format(time.DateOnly)))
	return pretty(set), nil
}

// fill puts what was given over the defaults. What is wrong with it is said by the inputs' names.
func fill(inputs []Input, given map[string]string) ([]Input, values, error) {
	v, wrong := values{}, map[string]string{}
	for i := range inputs {
		in := &inputs[i]
		if value, ok := given[in.Name]; ok {
			in.Value = strings.TrimSpace(value)
		}
		switch {
		case in.Check && in.Value != "" && in.Value != "true":
			wrong[in.Name] = "This is true, or empty."
		case !in.Check && in.Value != "" && !in.form.MatchString(in.Value):
			if _, ok := given[in.Name]; !ok {
				in.Value = "" // a setting of the target that is no such thing
				continue
			}
			wrong[in.Name] = in.wrong
		}
		v[in.Name] = in.Value
	}
	return inputs, v, models.InvalidFields(wrong)
}

func missing(inputs []Input) []string {
	var out []string
	for _, in := range inputs {
		if in.Required && in.Value == "" {
			out = append(out, in.Name)
		}
	}
	return out
}

// short cuts a default name to the length, and what it ends with to letters and digits.
func short(name string, length int) string {
	return strings.TrimRight(name[:min(len(name), length)], "-")
}
