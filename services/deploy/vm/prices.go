package vm

import (
	"fmt"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// The list prices of what a machine of the default size is made of, on demand, in the provider's cheapest common
// region, with Linux. An admin enters those of another size.
var (
	// https://aws.amazon.com/ec2/pricing/on-demand/, https://aws.amazon.com/ebs/pricing/, https://aws.amazon.com/vpc/pricing/ (us-east-1)
	awsPrices = prices(0.0208, 0.08, 0.005)
	// https://cloud.google.com/compute/vm-instance-pricing, https://cloud.google.com/compute/disks-image-pricing, https://cloud.google.com/vpc/network-pricing (us-central1)
	googlePrices = prices(0.01675, 0.10, 0.005)
	// https://azure.microsoft.com/pricing/details/virtual-machines/linux/, https://azure.microsoft.com/pricing/details/managed-disks/, https://azure.microsoft.com/pricing/details/ip-addresses/ (East US)
	azurePrices = prices(0.0376, 0.075, 0.005)
)

func prices(machine, disk, address float64) []deploy.Price {
	return []deploy.Price{
		{Name: "machine_hour", Title: "Machine of the target's size", Unit: "hour", Amount: machine},
		{Name: "disk_gb_month", Title: "Disk", Unit: "GB-month", Amount: disk},
		{Name: "address_hour", Title: "Public IPv4 address", Unit: "hour", Amount: address},
	}
}

// estimate counts the target's one machine with a disk of the default size. All apps of the target share it, and more
// instances cost nothing more.
func estimate(prices map[string]float64, _ models.Scale) []deploy.CostLine {
	return []deploy.CostLine{
		{Title: "The target's machine, which all of its apps share", Month: prices["machine_hour"] * deploy.MonthHours},
		{Title: fmt.Sprintf("Its disk of %d GB", defaultDisk), Month: prices["disk_gb_month"] * defaultDisk},
		{Title: "Its public address", Month: prices["address_hour"] * deploy.MonthHours},
	}
}
