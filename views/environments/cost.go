package environments

import "slipway.dev/views/components"

// Cost is what runs in an environment costs in a month, by an estimate. Without apps it is not known.
type Cost struct {
	Apps     map[string]float64 // US dollars, by an app's id
	Month    float64            // of all together
	PricesOf string             // which list the prices are of
	Edited   bool               // an admin has entered other prices
}

// of is what the app costs, as a page says it; empty where that is not known.
func (c Cost) of(appID string) string {
	month, ok := c.Apps[appID]
	if !ok {
		return ""
	}
	return "about " + components.Dollars(month) + " a month"
}
