package deploy

import "slipway.dev/models"

// Price is what a provider asks for one thing, by its public list. An admin may enter another amount in a target's
// settings, such as what a contract says.
type Price struct {
	Name   string  // key in Estimate's map: lower-case letters, digits and _, such as vcpu_hour
	Title  string  // for people, such as Processor
	Unit   string  // what one costs, such as vCPU-hour
	Amount float64 // US dollars for one Unit
}

// CostLine is a part of what an app costs.
type CostLine struct {
	Title string  // what is paid for, such as 2 × 0.5 vCPU
	Month float64 // US dollars for a month of MonthHours
}

// MonthHours is how long a month is in an estimate, as in the providers' own calculators.
const MonthHours = 730

// Estimator tells what an app costs in a month: prices has an amount for each of the kind's Prices by its name, the
// admin's or else the list's. Of the scale it takes what is set; a limit that is not (0) costs what the kind gives an
// instance then. It takes Replicas of it, not Max. What depends on use, such as traffic, is left out.
type Estimator func(prices map[string]float64, scale models.Scale) []CostLine
