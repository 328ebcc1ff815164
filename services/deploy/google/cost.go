package google

import (
	"fmt"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// prices are those of Cloud Run's instance-based billing in regions of the first
// tier, such as us-central1 and europe-west1 (https://cloud.google.com/run/pricing). What is free each month is not taken off.
var prices = []deploy.Price{
	{Name: "vcpu_second", Title: "Processor", Unit: "vCPU-second", Amount: 0.000018},
	{Name: "gib_second", Title: "Memory", Unit: "GiB-second", Amount: 0.000002},
}

// estimate counts instances that run all the time. Those that sleep without visitors cost less.
func estimate(prices map[string]float64, scale models.Scale) []deploy.CostLine {
	of, err := sizeOf(scale)
	if err != nil {
		return nil // such an app can't be deployed
	}
	n := scale.OrOne().Replicas
	seconds := float64(n) * deploy.MonthHours * 3600
	memory := float64(of.memory) / 1024
	return []deploy.CostLine{
		{Title: fmt.Sprintf("%d × %d vCPU", n, of.cpu), Month: seconds * float64(of.cpu) * prices["vcpu_second"]},
		{Title: fmt.Sprintf("%d × %g GiB", n, memory), Month: seconds * memory * prices["gib_second"]},
	}
}
