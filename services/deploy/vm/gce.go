package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/googlelogin"
)

// GoogleKindName is how targets of the kind are stored.
const GoogleKindName = "google-vm"

// ubuntuOnGoogle is the family of Canonical's newest image of the architecture
// (https://cloud.google.com/compute/docs/images/os-details). Google's images of Debian do not run cloud-init.
const ubuntuOnGoogle = "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-%s"

// Google is the kind of target for a virtual machine of Compute Engine.
func Google(o Options) deploy.Kind {
	fields := machineFields(
		deploy.Field{Name: "size", Label: "Machine type", Example: "e2-small", Help: "Empty: e2-small, or t2a-standard-1 for arm64."},
		deploy.Field{Name: "image", Label: "Image", Example: "projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64", Help: "An image or a family of images. It has to run cloud-init, which Google's own Debian does not, and have docker.io among its packages. Empty: the newest Ubuntu 24.04 of Canonical."},
		deploy.Field{Name: "subnet", Label: "Subnet", Example: "default", Help: "Of the zone's region. Empty: that of the network default."},
		"https://{service}.googleapis.com",
	)
	return deploy.Kind{
		Name:  GoogleKindName,
		Title: "Virtual machine (Google Compute Engine)",
		Help:  "One machine of Compute Engine that Slipway makes at the first rollout, with Docker on it. For a machine that exists, choose Docker over SSH.",
		// A host's containers are Docker's: volumes and policies of restarts with them.
		Volumes: true, Restarts: true, Splits: true,
		Federation: "google", Machines: true,
		Fields: slices.Concat(googleFields(), googlelogin.Fields(), fields),
		Prices: googlePrices, PricesOf: "us-central1", Estimate: estimate,
		Prepare: prepare,
		Open:    func(c deploy.Config) (deploy.Target, error) { return openGoogle(c, o.orDefaults()) },
	}
}

// googleFields say where the machine is.
func googleFields() []deploy.Field {
	return []deploy.Field{
		{Group: "Project", Name: "project", Label: "Project", Example: "acme-apps", Required: true, Help: "The project's id, not its number."},
		{Name: "zone", Label: "Zone", Example: "europe-west1-b", Required: true},
	}
}

var (
	zones        = regexp.MustCompile(`^([a-z]+(-[a-z]+)+\d+)-[a-z]$`)
	googleNames  = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	googleImages = regexp.MustCompile(`^projects/[a-z0-9.:-]+/global/images/(family/)?[a-z0-9-]+$`)
)

// gce is the machine of a target at Compute Engine.
type gce struct {
	settings
	api          *googleAPI
	zone, region string
	id           string // the target's
	o            Options
}

// String is the provider's name.
func (g *gce) String() string { return "Compute Engine" }

func openGoogle(c deploy.Config, o Options) (deploy.Target, error) {
	wrong := map[string]string{}
	s := readSettings(c.Settings, wrong)
	login, zone := googlelogin.Read(c, wrong), c.Settings["zone"]
	if !zones.MatchString(zone) {
		wrong["zone"] = "This is not a zone, such as europe-west1-b."
	}
	if s.subnet == "" {
		s.subnet = "default"
	}
	if !googleNames.MatchString(s.subnet) {
		wrong["subnet"] = "This is not the name of a subnet."
	}
	if s.image == "" {
		s.image = fmt.Sprintf(ubuntuOnGoogle, s.arch)
	}
	if !googleImages.MatchString(s.image) {
		wrong["image"] = "This is not an image, such as projects/PROJECT/global/images/family/FAMILY."
	}
	if s.size == "" {
		s.size = map[string]string{"amd64": "e2-small", "arm64": "t2a-standard-1"}[s.arch]
	}
	if err := models.InvalidFields(wrong); err != nil {
		return nil, err
	}
	if login.Identity == nil {
		login.Identity = noIssuer("The target signs in by a workload identity provider, but this portal is no issuer of identity tokens. Give it an address with https, or give the target a key.")
	}
	api := &googleAPI{Login: login, client: o.Client, tokens: login.Tokens(deploy.Subject{}, o.Client.Transport), slow: o.Every}
	return newTarget(c, o, s, &gce{settings: s, api: api, zone: zone, region: zones.FindStringSubmatch(zone)[1], id: c.ID, o: o}, guestAgent)
}

// guestAgent has Google's agent leave the machine's host key as it is: by default it makes new ones at the first start
// (https://github.com/GoogleCloudPlatform/guest-agent, Instance Setup).
var guestAgent = map[string]string{"/etc/default/instance_configs.cfg": "[InstanceSetup]\nset_host_keys = false\n"}

// name is of the machine, its firewall rule and the tag that the rule is for: it is the target's own, so that Google
// makes each once.
func (g *gce) name() string { return "slipway-" + g.id }

// gcePermissions are what a rollout and the end of a target need
// (https://cloud.google.com/compute/docs/access/iam-permissions).
var gcePermissions = []string{
	"compute.instances.create", "compute.instances.delete", "compute.instances.get", "compute.instances.setMetadata", "compute.instances.setLabels", "compute.instances.setTags",
	"compute.disks.create", "compute.subnetworks.get", "compute.subnetworks.use", "compute.subnetworks.useExternalIp",
	"compute.firewalls.create", "compute.firewalls.delete", "compute.firewalls.get", "compute.firewalls.update", "compute.networks.updatePolicy",
	"compute.zoneOperations.get", "compute.globalOperations.get",
}

// Inspect asks Google which of the permissions the account has
// (https://cloud.google.com/resource-manager/reference/rest/v1/projects/testIamPermissions), and for the subnet.
func (g *gce) Inspect(ctx context.Context) ([]deploy.Check, error) {
	var has struct{ Permissions []string }
	in := map[string]any{"permissions": gcePermissions}
	err := g.api.call(ctx, http.MethodPost, g.api.At("cloudresourcemanager")+"v1/projects/"+g.api.Project+":testIamPermissions", nil, in, &has)
	if err != nil {
		return refusal("Permissions", g.explain(err))
	}
	var lacks []string
	for _, p := range gcePermissions {
		if !slices.Contains(has.Permissions, p) {
			lacks = append(lacks, p)
		}
	}
	if len(lacks) > 0 {
		return []deploy.Check{{Name: "Permissions", Message: fmt.Sprintf("The account lacks %s in the project %s. roles/compute.instanceAdmin.v1 and roles/compute.securityAdmin have them.", strings.Join(lacks, ", "), g.api.Project)}}, nil
	}
	checks := []deploy.Check{{Name: "Permissions", OK: true, Message: "The account has all that a machine takes."}}
	if _, err := g.network(ctx); err != nil {
		found, err := refusal("Network", err)
		return append(checks, found...), err
	}
	quota, err := g.quota(ctx)
	return append(append(checks, deploy.Check{Name: "Network", OK: true, Message: fmt.Sprintf("The subnet %s is there.", g.subnet)}), quota...), err
}

// quota looks whether the region has an address and processors left for one machine.
func (g *gce) quota(ctx context.Context) ([]deploy.Check, error) {
	var region struct {
		Quotas []struct {
			Metric       string
			Limit, Usage float64
		}
	}
	if err := g.api.compute(ctx, http.MethodGet, "/regions/"+g.region, nil, nil, &region); err != nil {
		return refusal("Quota", g.explain(err))
	}
	for _, q := range region.Quotas {
		if (q.Metric == "CPUS" || q.Metric == "INSTANCES" || q.Metric == "IN_USE_ADDRESSES" && !g.private) && q.Limit-q.Usage < 1 {
			return []deploy.Check{{Name: "Quota", Message: fmt.Sprintf("The quota %s of %s is used up: %g of %g. Have it raised under IAM & Admin → Quotas, or end machines that nobody needs.", q.Metric, g.region, q.Usage, q.Limit)}}, nil
		}
	}
	return []deploy.Check{{Name: "Quota", OK: true, Message: fmt.Sprintf("The quotas of %s leave room for a machine.", g.region)}}, nil
}

// explain turns an error of a call into a *deploy.Failure that says what to do.
func (g *gce) explain(err error) error {
	failed, told := new(deploy.Failure), new(googleError)
	fail := func(format string, args ...any) error { return deploy.Failf(deploy.StageTarget, err, format, args...) }
	switch {
	case err == nil || errors.As(err, &failed):
		return err
	case unanswered(err):
		return fail("Compute Engine's API does not answer. What was made is kept; deploy again once it does.")
	case !errors.As(err, &told):
		return err
	case throttledByGoogle(err):
		return fail("Google takes no more requests of this project now, though Slipway waited and asked %d times. Deploy again in a few minutes.", googleAttempts)
	case told.status == http.StatusUnauthorized:
		return fail("Google does not accept the target's credential. Check the key, or the workload identity provider, and the clock of this machine.")
	case told.reason == "QUOTA_EXCEEDED" || told.reason == "quotaExceeded":
		return fail("The project's quota in %s does not allow another %s. Have it raised under IAM & Admin → Quotas, choose a smaller size, or end machines that nobody needs. %s", g.region, g.size, told.text)
	case strings.HasPrefix(told.reason, "ZONE_RESOURCE_POOL_EXHAUSTED") || told.reason == "STOCKOUT":
		return fail("Google has no %s free in %s now. Try again later, or choose another size or zone.", g.size, g.zone)
	case told.reason == "accessNotConfigured" || told.reason == "SERVICE_DISABLED":
		return fail("The project %s has not enabled the Compute Engine API. Enable it: gcloud services enable compute.googleapis.com --project %s", g.api.Project, g.api.Project)
	case told.status == http.StatusForbidden:
		permission := cmp.Or(googlelogin.Lacks(told.text), "that this takes")
		return fail("The target's Google account lacks the permission %s in the project %s. Give it a role that has it, and deploy again.", permission, g.api.Project)
	}
	return fail("Compute Engine refused: %s (%s)", told.text, told.reason)
}

// network returns the address of the subnet's network.
func (g *gce) network(ctx context.Context) (string, error) {
	var subnet struct{ Network string }
	err := g.api.compute(ctx, http.MethodGet, "/regions/"+g.region+"/subnetworks/"+url.PathEscape(g.subnet), nil, nil, &subnet)
	if notThere(err) {
		return "", deploy.Failf(deploy.StageTarget, err, "There is no subnet %s in %s. Name one in the target's settings.", g.subnet, g.region)
	}
	return subnet.Network, g.explain(err)
}

func notThere(err error) bool {
	told := new(googleError)
	return errors.As(err, &told) && told.status == http.StatusNotFound
}

func taken(err error) bool {
	told := new(googleError)
	return errors.As(err, &told) && told.status == http.StatusConflict
}
