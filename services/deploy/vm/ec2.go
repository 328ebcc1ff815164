package vm

import (
	"context"
	"fmt"
	"regexp"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// AWSKindName is how targets of the kind are stored.
const AWSKindName = "aws-vm"

// ubuntuOnAWS is Canonical's public parameter that names its newest image of the architecture
// (https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/).
const ubuntuOnAWS = "/aws/service/canonical/ubuntu/server/24.04/stable/current/%s/hvm/ebs-gp3/ami-id"

// AWS is the kind of target for a virtual machine of Amazon EC2.
func AWS(o Options) deploy.Kind {
	fields := machineFields(
		deploy.Field{Name: "size", Label: "Instance type", Example: "t3.small", Help: "Empty: t3.small, or t4g.small for arm64."},
		deploy.Field{Name: "image", Label: "Image", Example: "ami-0123456789abcdef0", Help: "An AMI, or the name of a parameter of Systems Manager that names one. It has to run cloud-init, and have docker.io among its packages. Empty: the newest Ubuntu 24.04 of Canonical."},
		deploy.Field{Name: "subnet", Label: "Subnet", Example: "subnet-0123456789abcdef0", Help: "Empty: one of the region's default VPC."},
		"https://{service}.eu-central-1.amazonaws.com",
	)
	return deploy.Kind{
		Name:  AWSKindName,
		Title: "Virtual machine (Amazon EC2)",
		Help:  "One machine of Amazon EC2 that Slipway makes at the first rollout, with Docker on it. For a machine that exists, choose Docker over SSH.",
		// A host's containers are Docker's: volumes and policies of restarts with them.
		Volumes: true, Restarts: true, Splits: true,
		Federation: "aws", Machines: true,
		Fields:  append(awsFields(), fields...),
		Prices:  awsPrices,
		Prepare: prepare, PricesOf: "US East (N. Virginia)", Estimate: estimate,
		Open: func(c deploy.Config) (deploy.Target, error) { return openAWS(c, o.orDefaults()) },
	}
}

var (
	amis  = regexp.MustCompile(`^ami-[0-9a-f]{8,40}$`)
	paths = regexp.MustCompile(`^/[A-Za-z0-9./_-]{1,500}$`)
)

// ec2 is the machine of a target at Amazon EC2.
type ec2 struct {
	settings
	api    awsAPI
	region string
	id     string // the target's
	name   string
	o      Options
}

// String is the provider's name.
func (e *ec2) String() string { return "Amazon EC2" }

func openAWS(c deploy.Config, o Options) (deploy.Target, error) {
	wrong := map[string]string{}
	s := readSettings(c.Settings, wrong)
	login := awsLogin(c, o, wrong)
	if s.subnet != "" && !awslogin.Subnet.MatchString(s.subnet) {
		wrong["subnet"] = "This is not the id of a subnet."
	}
	if s.image == "" {
		s.image = fmt.Sprintf(ubuntuOnAWS, s.arch)
	}
	if !amis.MatchString(s.image) && !paths.MatchString(s.image) {
		wrong["image"] = "This is neither an AMI (ami-…) nor the name of a parameter (/aws/service/…)."
	}
	if s.size == "" {
		s.size = map[string]string{"amd64": "t3.small", "arm64": "t4g.small"}[s.arch]
	}
	if err := models.InvalidFields(wrong); err != nil {
		return nil, err
	}
	api := awsAPI{login.Session(deploy.Subject{})}
	return newTarget(c, o, s, &ec2{settings: s, api: api, region: login.Region, id: c.ID, name: "slipway-" + c.Name, o: o}, nil)
}

// Inspect asks EC2 by its dry runs (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html).
func (e *ec2) Inspect(ctx context.Context) ([]deploy.Check, error) {
	order, err := e.order(ctx)
	if err != nil {
		return refusal("Image and network", err)
	}
	checks := []deploy.Check{{Name: "Image and network", OK: true, Message: fmt.Sprintf("%s has the image %s, and the subnet %s.", e, order.image, order.subnet)}}
	group := e.groupForm(order.vpc)
	group.Set("DryRun", "true")
	machine := e.machineForm(order, "", "", "")
	machine.Set("DryRun", "true")
	for _, c := range []struct {
		what string
		err  error
	}{
		{"make a security group", e.api.ec2(ctx, "CreateSecurityGroup", group, &nothingXML{})},
		{"make a machine", e.api.ec2(ctx, "RunInstances", machine, &nothingXML{})},
	} {
		if awslogin.Code(c.err) == "DryRunOperation" {
			checks = append(checks, deploy.Check{Name: "Permission", OK: true, Message: "The credential may " + c.what + "."})
			continue
		}
		found, err := refusal("Permission", e.explain(c.err))
		if err != nil {
			return nil, err
		}
		checks = append(checks, found...)
	}
	return checks, nil
}

// nothingXML takes an answer of which nothing is wanted.
type nothingXML struct{}
