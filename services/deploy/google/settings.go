package google

import (
	"regexp"
	"slices"
	"strconv"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/googlelogin"
)

// fields are what an admin says of a project and region.
var fields = slices.Concat([]deploy.Field{
	{Group: "Project", Name: "project", Label: "Project", Example: "acme-apps", Required: true, Help: "The project's id, not its number."},
	{Name: "region", Label: "Region", Example: "europe-west1", Required: true},
	{Name: "run_as", Label: "Account of the apps", Example: "slipway-apps@acme-apps.iam.gserviceaccount.com", Required: true,
		Help: "The service account that apps run as. Whatever it may do in Google Cloud, each app of this target may do. It reads the apps' secrets."},
}, googlelogin.Fields(), []deploy.Field{
	{Group: "Visitors", Name: "public", Label: "Anybody may visit", Check: true,
		Help: "Gives allUsers the right to invoke each service. Without it visitors need a Google identity with that right, and Slipway does not ask for health from outside."},
	{Name: "ingress", Label: "Ingress", Example: "all", Help: "Where visitors come from: all, internal, or internal-and-cloud-load-balancing. Empty: all."},
	{Group: "Instances", Name: "sleeps", Label: "Sleep without visitors", Check: true,
		Help: "Instances end while nobody asks, and get CPU only while they answer; the next visitor waits for a start. Without it as many instances as the scale says always run."},
	{Name: "concurrency", Label: "Requests at once", Example: "80", Help: "How many requests an instance gets at once before Cloud Run adds another one. Empty: 80."},
	{Group: "Network", Name: "network", Label: "VPC network", Example: "default", Help: "The network that apps reach private addresses through (Direct VPC egress). Empty: none."},
	{Name: "subnet", Label: "Subnet", Example: "default", Help: "Of that network, in the region. Empty: the one of the network's name."},
	{Group: "Private endpoints", Name: "endpoint", Label: "Another address of the API", Example: "https://{service}.googleapis.com",
		Help: "For Private Service Connect and other universes. {service} stands for run, logging, monitoring, secretmanager, iam, sts and the like."},
})

const (
	defaultConcurrency = 80
	maxConcurrency     = 1000
)

// ingresses are the values of the field by gcloud's words, and those of the API.
var ingresses = map[string]string{
	"":                                  "INGRESS_TRAFFIC_ALL",
	"all":                               "INGRESS_TRAFFIC_ALL",
	"internal":                          "INGRESS_TRAFFIC_INTERNAL_ONLY",
	"internal-and-cloud-load-balancing": "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
}

// settings are what an admin says of the target, read.
type settings struct {
	googlelogin.Login
	region, runAs            string
	public, sleeps           bool
	ingress, network, subnet string
	concurrency              int64
}

var (
	regions  = regexp.MustCompile(`^[a-z]+(-[a-z]+)+[0-9]+$`)
	networks = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
)

func readSettings(c deploy.Config) (settings, error) {
	in, wrong := c.Settings, map[string]string{}
	s := settings{
		Login: googlelogin.Read(c, wrong), region: in["region"], runAs: in["run_as"],
		public: in["public"] == "true", sleeps: in["sleeps"] == "true", network: in["network"], subnet: in["subnet"],
	}
	for field, of := range map[string]*regexp.Regexp{"region": regions, "run_as": googlelogin.Account} {
		if !of.MatchString(in[field]) {
			wrong[field] = "This is not of the form that the example has."
		}
	}
	for field, of := range map[string]*regexp.Regexp{"network": networks, "subnet": networks} {
		if in[field] != "" && !of.MatchString(in[field]) {
			wrong[field] = "This is not of the form that the example has."
		}
	}
	if s.Key != "" && s.Provider != "" {
		wrong["key"] = "With a workload identity provider no key is needed. Leave one of the two empty."
	}
	if s.Account != "" && s.Provider == "" {
		wrong["service_account"] = "This goes with a workload identity provider alone."
	}
	var ok bool
	if s.ingress, ok = ingresses[in["ingress"]]; !ok {
		wrong["ingress"] = "Say all, internal, or internal-and-cloud-load-balancing."
	}
	if s.concurrency, ok = number(in["concurrency"], defaultConcurrency, maxConcurrency); !ok {
		wrong["concurrency"] = "Say a number from 1 to 1000."
	}
	if s.subnet != "" && s.network == "" {
		wrong["subnet"] = "Say the network that it belongs to."
	}
	if s.Endpoint != "" && !s.Endpoint.Valid() {
		wrong["endpoint"] = "This is not a URL with https, such as https://{service}.googleapis.com."
	}
	return s, models.InvalidFields(wrong)
}

func number(text string, otherwise, most int64) (int64, bool) {
	if text == "" {
		return otherwise, true
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return n, err == nil && n >= 1 && n <= most
}

// location is the parent of all that is made in Cloud Run.
func (s settings) location() string { return "projects/" + s.Project + "/locations/" + s.region }

// reachable tells whether the portal, which has no Google identity for visitors, gets an answer of an app.
func (s settings) reachable() bool { return s.public && s.ingress == ingresses["all"] }
