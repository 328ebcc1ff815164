package views_test

import (
	"time"

	"slipway.dev/models"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/deployments"
	"slipway.dev/views/environments"
)

// aCost is an estimate of more than what runs.
func aCost() deployments.Cost {
	return deployments.Cost{Month: 44.4, Before: 29.2, HasBefore: true, PricesOf: "Testland", Edited: true,
		Lines: []deployments.CostLine{{Title: "3 × 0.5 vCPU", Month: 36.5}, {Title: "3 × 1 GiB of memory", Month: 7.9}}}
}

// cloudSamples are the pages about what is at a provider.
func cloudSamples(stage models.Environment, serving models.Deployment, cell environments.Cell) []sample {
	p := testPage("What was made at the provider")
	curl := p.Curl("GET", "/api/v1/deployments/d/resources", "").For("Read what was made")
	far := serving
	far.Copied = models.ImagePlaceName{Registry: "r", Host: "123456789012.dkr.ecr.eu-central-1.amazonaws.com", Repository: "apps/payments/checkout-api"}
	cloud := models.Target{ID: "c", Name: "aws", Kind: "aws", AllTeams: true, Settings: map[string]string{"registry": "r1", "registry_path": "apps", "price_vcpu_hour": "0.036"}}
	return []sample{
		{"provider", deployments.ProviderPage(p, deployments.ProviderView{Deployment: serving, Curl: curl, EventsCurl: p.Curl("GET", "/api/v1/deployments/d/events", "").For("Read the events"),
			Resources: []deployments.Resource{{Kind: "Service", Name: "payments-checkout-api-staging-0b81d9aa5d20", Link: "https://console.aws.amazon.com/ecs/v2"}, {Kind: "Log group", Name: "/slipway/payments/checkout-api"},
				{Kind: "Target group", Name: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/slipway-0b81d9aa5d20/73e2d6bc24d8a067", Link: "https://console.aws.amazon.com/ec2"}},
			Events: []deployments.ProviderEvent{{At: now.Add(-time.Minute), Object: "Service checkout-api", Text: "has reached a steady state."}, {At: now.Add(-9 * time.Minute), Object: "Task 4f1c", Text: "was unable to be placed: RESOURCE:MEMORY.", Warning: true}}})},
		{"provider-none", deployments.ProviderPage(p, deployments.ProviderView{Deployment: serving, Curl: curl, EventsCurl: curl, NoEvents: "The provider of the target aws did not answer within 20s. Try again later."})},
		deploymentSample("deployment-cloud", far, func(v *deployments.PageView) { v.Tells = true }),
		{"environment-cost", environments.Page(testPage("staging"), environments.PageView{Environment: stage, CanChange: true, Cells: []environments.AppCell{{App: checkout, Cell: cell, Scale: models.Scale{Replicas: 3}}},
			Cost: environments.Cost{Apps: map[string]float64{checkout.ID: 44.4}, Month: 1244.4, PricesOf: "Testland"}})},
		{"target-cloud", admin.Target(testPage("aws"), admin.TargetView{Target: cloud, KindTitle: "AWS", KindHelp: "Containers on ECS.", State: "reachable", Message: "ECS in eu-central-1", Keeps: true,
			Fields:  []admin.TargetField{{Group: "Account", Name: "region", Label: "Region", Required: true, Example: "eu-central-1"}, {Group: "Images", Name: "registry", Label: "Registry that it pulls from", Help: "A rollout copies the image there first.", Registry: true}, {Name: "registry_path", Label: "Path in that registry", Example: "apps"}},
			Choices: []components.Option{{Label: "Where images are"}, {Value: "embedded", Label: "The portal's own"}, {Value: "r1", Label: "House (123456789012.dkr.ecr.eu-central-1.amazonaws.com)"}},
			Prices:  []admin.TargetField{{Name: "price_vcpu_hour", Label: "Processor", Help: "US dollars for one vCPU-hour. While this is empty it is 0.04048, by the list of Testland.", Example: "0.04048"}}})},
		{"target-delete", admin.TargetDelete(testPage("Delete aws"), admin.TargetDeleteView{Target: cloud, Resources: []admin.KeptResource{{Kind: "Cluster", Name: "slipway", Link: "https://console.aws.amazon.com/ecs/v2"}, {Kind: "Security group", Name: "sg-0f2a"}}, Curl: p.Curl("GET", "/api/v1/targets/c/kept", "")})},
		{"target-delete-unknown", admin.TargetDelete(testPage("Delete aws"), admin.TargetDeleteView{Target: cloud, Unknown: "The role lacks ecs:DescribeClusters. Add it to its policy."})},
		{"targets-removed", admin.Targets(testPage("Admin"), admin.TargetsView{Removals: []models.TargetRemoval{
			{ID: "x1", Name: "aws", Kind: "aws", Tries: 3, Error: "The role lacks ecs:DeleteCluster. Add it to its policy.", CreatedAt: now.Add(-time.Hour)}, {ID: "x2", Name: "lab", Kind: "azure", CreatedAt: now}}})},
	}
}
