package azure

import (
	"fmt"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// pricesOf is the region of the prices.
const pricesOf = "East US"

const (
	priceCPU    = "vcpu_hour"
	priceMemory = "gib_hour"
)

// prices are those of the Consumption plan for replicas that are active, in East
// US, without the monthly free grant (https://azure.microsoft.com/pricing/details/container-apps/):
// $0.000024 for a vCPU-second, $0.000003 for a GiB-second. Replicas that wait for
// requests cost less, and requests beyond two millions more.
func prices() []deploy.Price {
	return []deploy.Price{
		{Name: priceCPU, Title: "Processor", Unit: "vCPU-hour", Amount: 0.0864},
		{Name: priceMemory, Title: "Memory", Unit: "GiB-hour", Amount: 0.0108},
	}
}

// estimate counts replicas that run all the time.
func estimate(prices map[string]float64, scale models.Scale) []deploy.CostLine {
	n, of := float64(max(scale.Replicas, 1)), float64(quarters(scale))
	return []deploy.CostLine{
		{Title: fmt.Sprintf("%g × %g vCPU", n, of/4), Month: n * of / 4 * prices[priceCPU] * deploy.MonthHours},
		{Title: fmt.Sprintf("%g × %g GiB", n, of/2), Month: n * of / 2 * prices[priceMemory] * deploy.MonthHours},
	}
}
