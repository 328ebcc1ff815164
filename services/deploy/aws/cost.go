package aws

import (
	"fmt"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// pricesOf is the region of the prices below.
const pricesOf = "US East (N. Virginia)"

// prices are those of Fargate on x86 in US East, by https://aws.amazon.com/fargate/pricing/,
// https://aws.amazon.com/secrets-manager/pricing/ and https://aws.amazon.com/vpc/pricing/. An admin enters those of the region.
func prices() []deploy.Price {
	return []deploy.Price{
		{Name: "vcpu_hour", Title: "Processor on Fargate", Unit: "vCPU-hour", Amount: 0.04048},
		{Name: "gb_hour", Title: "Memory on Fargate", Unit: "GB-hour", Amount: 0.004445},
		{Name: "secret_month", Title: "Secret of a release", Unit: "secret and month", Amount: 0.40},
		{Name: "load_balancer_hour", Title: "Share of the load balancer", Unit: "app-hour", Amount: 0},
	}
}

// estimate is what an app costs in a month on Fargate. The load balancer is there
// for all apps, so that it counts only where an admin shares it out.
func estimate(prices map[string]float64, scale models.Scale) []deploy.CostLine {
	s, ok := sizeFor(scale)
	if !ok {
		return nil
	}
	n := float64(scale.OrOne().Replicas)
	cpu, memory := float64(s.cpu)/1024, float64(s.memory)/1024
	lines := []deploy.CostLine{
		{Title: fmt.Sprintf("%g × %g vCPU", n, cpu), Month: n * cpu * prices["vcpu_hour"] * deploy.MonthHours},
		{Title: fmt.Sprintf("%g × %g GB of memory", n, memory), Month: n * memory * prices["gb_hour"] * deploy.MonthHours},
		{Title: "Secret", Month: prices["secret_month"]},
	}
	if share := prices["load_balancer_hour"]; share > 0 {
		lines = append(lines, deploy.CostLine{Title: "Share of the load balancer", Month: share * deploy.MonthHours})
	}
	return lines
}
