package deploy

import (
	"context"
	"strconv"

	"slipway.dev/models"
)

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

// Cost is what an app costs in a month, by an estimate. Its zero value says that this is not known.
type Cost struct {
	Lines    []CostLine
	Month    float64 // US dollars, the sum of the lines
	PricesOf string  // which list the prices are of, such as US East (N. Virginia)
	Edited   bool    // an admin has entered other prices
}

// Known tells whether there is an estimate.
func (c Cost) Known() bool { return len(c.Lines) > 0 }

// AppCost is what an app costs that runs in an environment.
type AppCost struct {
	AppID string
	App   string // its name
	Cost
}

// EnvironmentCost is what runs in an environment costs in a month.
type EnvironmentCost struct {
	Apps []AppCost // by name; those of which it is known
	Cost           // of all together, without lines of its own
}

// cost estimates what the scale costs on the target.
func (s *Service) cost(t *models.Target, scale models.Scale) (Cost, error) {
	kind, err := s.KindOf(t.Kind)
	if err != nil || kind.Estimate == nil {
		return Cost{}, err
	}
	out := Cost{PricesOf: kind.PricesOf}
	prices := map[string]float64{}
	for _, p := range kind.Prices {
		prices[p.Name] = p.Amount
		if n, err := strconv.ParseFloat(t.Settings[pricePrefix+p.Name], 64); err == nil {
			prices[p.Name], out.Edited = n, true
		}
	}
	out.Lines = kind.Estimate(prices, scale.OrOne())
	for _, l := range out.Lines {
		out.Month += l.Month
	}
	return out, nil
}

// EnvironmentCost estimates what the apps cost that run in the environment now; it is not known where its target is
// nobody's whom Slipway knows the prices of.
func (s *Service) EnvironmentCost(ctx context.Context, id string) (EnvironmentCost, error) {
	var out EnvironmentCost
	e, err := s.environment(ctx, id, models.RoleViewer)
	if err != nil {
		return out, err
	}
	var t models.Target
	if err := s.DB.WithContext(ctx).Omit("secrets").First(&t, "id = ?", e.TargetID).Error; err != nil {
		return out, models.FromDB(err, "target")
	}
	kind, err := s.KindOf(t.Kind)
	if err != nil || kind.Estimate == nil {
		return out, err
	}
	var running []models.Deployment
	err = s.DB.WithContext(ctx).Select("deployments.id", "app_id", "config").Preload("App").Joins("JOIN apps ON apps.id = deployments.app_id").
		Where("environment_id = ? AND active AND NOT stopped", id).Order("apps.name").Find(&running).Error
	if err != nil {
		return out, err
	}
	for _, d := range running {
		c, err := s.cost(&t, d.Config.Scale)
		if err != nil {
			return out, err
		}
		out.PricesOf, out.Edited, out.Month = c.PricesOf, c.Edited, out.Month+c.Month
		out.Apps = append(out.Apps, AppCost{AppID: d.AppID, App: d.App.Name, Cost: c})
	}
	return out, nil
}

// compareCosts fills in what the plan's scale costs, and what runs.
func (s *Service) compareCosts(ctx context.Context, p *Plan, before models.Scale) error {
	var t models.Target
	err := s.DB.WithContext(ctx).Omit("secrets").First(&t, "id = ?", p.Environment.TargetID).Error
	if err != nil {
		return models.FromDB(err, "target")
	}
	if p.Cost, err = s.cost(&t, p.Scale); err != nil || p.Current == nil || p.Current.Stopped {
		return err
	}
	p.CostBefore, err = s.cost(&t, before)
	return err
}
