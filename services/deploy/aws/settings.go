package aws

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// fields are the settings of the kind.
func fields() []deploy.Field {
	return []deploy.Field{
		{Group: "Account", Name: "region", Label: "Region", Example: "eu-central-1", Required: true},
		{Group: "How Slipway signs in", Name: "role", Label: "Role", Example: "arn:aws:iam::123456789012:role/slipway",
			Help: "The role that Slipway takes. Without an access key it is taken by a short-lived token of this portal, so that no key is stored; with one by that key; where the portal gives no tokens by the machine's own credentials."},
		{Name: "access_key_id", Label: "Access key ID", Example: "AKIA…",
			Help: "Empty, and without a role: the credentials of the machine that Slipway runs on (instance role, task role, environment)."},
		{Name: "secret_access_key", Label: "Secret access key", Secret: true},
		{Group: "Where tasks run", Name: "launch", Label: "Capacity", Example: "FARGATE",
			Help: "FARGATE, or EC2 for the container instances of the cluster."},
		{Name: "architecture", Label: "Processor", Example: "X86_64", Help: "X86_64 or ARM64."},
		{Name: "cluster", Label: "Cluster", Example: "production",
			Help: "Empty: Slipway makes one. On EC2 capacity it has to be there."},
		{Group: "Network", Name: "subnets", Label: "Subnets", Example: "subnet-0a1b2c3d, subnet-4e5f6a7b", Required: true,
			Help: "In which the tasks run, of two zones at best. From them they have to reach the registry and CloudWatch: by a public address, a NAT gateway or VPC endpoints."},
		{Name: "security_groups", Label: "Security groups", Example: "sg-0a1b2c3d",
			Help: "Of the tasks. The load balancer, or visitors, have to reach the app's port. Empty: the network's default."},
		{Name: "public_address", Label: "Public addresses", Check: true,
			Help: "Tasks on Fargate get a public address. It is needed without a listener, and in subnets whose way out is an internet gateway."},
		{Group: "Visitors", Name: "listener", Label: "Listener of the load balancer", Example: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/apps/50dc6c495c0c9188/f2f7dc8efc522ab2",
			Help: "Of an Application Load Balancer. Each app gets a rule there. Empty: visitors come to the public address of a task, which changes with every release."},
		{Name: "domain", Label: "Domain of the apps", Example: "apps.example.com",
			Help: "With a listener: each app gets a name below it. Its DNS, *.apps.example.com, leads to the load balancer."},
		{Group: "What tasks may do", Name: "execution_role", Label: "Execution role", Example: "arn:aws:iam::123456789012:role/slipway-execution", Required: true,
			Help: "By which ECS pulls images, reads the app's secrets and writes logs."},
		{Name: "task_role", Label: "Task role", Example: "arn:aws:iam::123456789012:role/app", Help: "What the apps themselves may do in AWS. Empty: nothing."},
		{Group: "Logs and measures", Name: "log_days", Label: "Days that logs are kept", Example: "30", Help: "As CloudWatch has them: 1, 3, 5, 7, 14, 30, 60, 90, 180, 365, …"},
		{Name: "container_insights", Label: "Container Insights", Check: true,
			Help: "ECS measures what each task takes of processors and memory, in the cluster that Slipway makes. CloudWatch asks money for it. Unchecked, Slipway leaves it as it is."},
		{Group: "Private endpoints", Name: "endpoint", Label: "Another address of the API", Example: "https://{service}.eu-central-1.example.com",
			Help: "For private endpoints. {service} stands for ecs, logs, elasticloadbalancing, secretsmanager, sts, ec2 and iam."},
	}
}

// settings are what an admin says of the account.
type settings struct {
	region, cluster, listener, domain, executionRole, taskRole string

	launch       types.LaunchType
	architecture types.CPUArchitecture
	subnets      []string
	groups       []string
	public       bool
	insights     bool
	logDays      int32
}

var (
	listeners = regexp.MustCompile(`^arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:listener/app/[A-Za-z0-9-]+/[0-9a-f]+/[0-9a-f]+$`)
	clusters  = regexp.MustCompile(`^(arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:cluster/)?[A-Za-z0-9_-]{1,255}$`)
	groups    = regexp.MustCompile(`^sg-[0-9a-f]{8,17}$`)
	domains   = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}$`)

	// retentions are those that CloudWatch knows
	// (https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html).
	retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}
)

const (
	defaultLogDays = 30
	maxDomain      = 64 // with the label in front of it a host name that a rule takes
)

func readSettings(c deploy.Config) (settings, awslogin.Login, error) {
	in, wrong := c.Settings, map[string]string{}
	login := awslogin.Read(c, wrong)
	s := settings{
		region: login.Region, cluster: in["cluster"], listener: in["listener"], domain: in["domain"],
		executionRole: in["execution_role"], taskRole: in["task_role"], public: in["public_address"] == "true", insights: in["container_insights"] == "true",
		launch: types.LaunchType(orElse(in["launch"], string(types.LaunchTypeFargate))), architecture: types.CPUArchitecture(orElse(in["architecture"], string(types.CPUArchitectureX8664))),
		subnets: words(in["subnets"]), groups: words(in["security_groups"]),
	}
	matches := func(field, value string, pattern *regexp.Regexp, otherwise string) {
		if value != "" && !pattern.MatchString(value) {
			wrong[field] = otherwise
		}
	}
	matches("execution_role", s.executionRole, awslogin.Role, "This is not the ARN of a role.")
	matches("task_role", s.taskRole, awslogin.Role, "This is not the ARN of a role.")
	matches("cluster", s.cluster, clusters, "This is not the name or ARN of a cluster.")
	matches("listener", s.listener, listeners, "This is not the ARN of a listener of an Application Load Balancer.")
	matches("domain", s.domain, domains, "This is not a domain, such as apps.example.com.")
	if len(s.domain) > maxDomain {
		wrong["domain"] = "A load balancer takes host names of at most 128 characters: the domain may have 64."
	}
	each := func(field string, values []string, pattern *regexp.Regexp, otherwise string) {
		if slices.ContainsFunc(values, func(v string) bool { return !pattern.MatchString(v) }) || len(values) > 16 {
			wrong[field] = otherwise
		}
	}
	each("subnets", s.subnets, awslogin.Subnet, "At most 16 ids of subnets, such as subnet-0a1b2c3d, with commas between.")
	each("security_groups", s.groups, groups, "At most 16 ids of security groups, such as sg-0a1b2c3d, with commas between.")
	if (login.KeyID == "") != (login.Secret == "") {
		wrong["secret_access_key"] = "An access key has an ID and a secret: enter both, or neither."
	}
	if login.Endpoint != "" && !login.Endpoint.Valid() {
		wrong["endpoint"] = "This is an address such as https://{service}.eu-central-1.example.com: https, or http on this machine."
	}
	s.choices(in, wrong)
	_, s.cluster, _ = cutLast(s.cluster, "/")
	return s, login, models.InvalidFields(wrong)
}

// choices checks what depends on each other.
func (s *settings) choices(in, wrong map[string]string) {
	if s.launch != types.LaunchTypeFargate && s.launch != types.LaunchTypeEc2 {
		wrong["launch"] = "Say FARGATE or EC2."
	}
	if s.architecture != types.CPUArchitectureX8664 && s.architecture != types.CPUArchitectureArm64 {
		wrong["architecture"] = "Say X86_64 or ARM64."
	}
	if (s.listener == "") != (s.domain == "") {
		wrong["domain"] = "A listener needs the domain of the apps, and the domain a listener."
	}
	switch {
	case s.launch == types.LaunchTypeEc2 && s.cluster == "":
		wrong["cluster"] = "On EC2 capacity name the cluster that has it."
	case s.launch == types.LaunchTypeEc2 && s.public:
		wrong["public_address"] = "Tasks on EC2 capacity can have no public address. Use a load balancer."
	case s.launch == types.LaunchTypeEc2 && s.listener == "":
		wrong["listener"] = "Tasks on EC2 capacity have no public address, so visitors need a load balancer."
	case s.listener == "" && !s.public:
		wrong["public_address"] = "Without a listener visitors come to the tasks' public addresses: check this, or name a listener."
	}
	if s.insights && s.cluster != "" {
		wrong["container_insights"] = "Slipway changes no cluster that it did not make: turn Container Insights on there, in AWS."
	}
	days, err := strconv.ParseInt(orElse(in["log_days"], strconv.Itoa(defaultLogDays)), 10, 32)
	if s.logDays = int32(days); err != nil || !slices.Contains(retentions, s.logDays) {
		wrong["log_days"] = "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653 days."
	}
}

// words splits a list.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

// cutLast cuts around the last separator; without one all is after it.
func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return "", text, false
}
