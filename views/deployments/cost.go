package deployments

import "slipway.dev/views/components"

// Cost is what an app costs in a month, by an estimate. Without lines it is not known.
type Cost struct {
	Lines    []CostLine
	Month    float64 // US dollars
	Before   float64 // of what runs now; only where HasBefore
	PricesOf string  // which list the prices are of
	Edited   bool    // an admin has entered other prices

	HasBefore bool
}

// CostLine is a part of it.
type CostLine struct {
	Title string
	Month float64 // US dollars
}

// said is the estimate in words.
func (c Cost) said() string {
	text := "about " + components.Dollars(c.Month) + " a month"
	switch {
	case !c.HasBefore:
		return text
	case c.Month-c.Before >= 0.005:
		return text + ", " + components.Dollars(c.Month-c.Before) + " more than now"
	case c.Before-c.Month >= 0.005:
		return text + ", " + components.Dollars(c.Before-c.Month) + " less than now"
	}
	return text + ", as now"
}
