package deploy

import (
	"context"
	"fmt"

	"slipway.dev/models"
)

// A new version answers worse than what serves beside it when the share of its errors is larger by more than worseBy,
// and it gave at least fewestErrors, for fewer may be chance.
const (
	worseBy      = 0.05
	fewestErrors = 5
)

// Answers are how a new version and what serves beside it have answered since visitors began to move. Both are empty
// where no proxy of Slipway stands in front of them.
type Answers struct{ New, Former models.Tally }

// Answers are those of the deployment, which Get has returned, and of what serves in its place.
func (s *Service) Answers(ctx context.Context, d *models.Deployment) (a Answers, err error) {
	if !d.Shifting() {
		return a, nil
	}
	var sums []struct {
		DeploymentID string
		models.Tally
	}
	err = s.DB.WithContext(ctx).Model(&models.ProxyHold{}).Select("deployment_id, SUM(answers) AS answers, SUM(errors) AS errors").
		Joins("JOIN deployments ON deployments.id = deployment_id").
		Where("app_id = ? AND environment_id = ? AND (active OR deployments.id = ?)", d.AppID, d.EnvironmentID, d.ID).Group("deployment_id").Find(&sums).Error
	for _, sum := range sums {
		if sum.DeploymentID == d.ID {
			a.New = sum.Tally
		} else {
			a.Former = sum.Tally
		}
	}
	return a, err
}

// worse tells whether the new version answers worse than the former one.
func (a Answers) worse() bool {
	return a.New.Errors >= fewestErrors && a.New.Share()-a.Former.Share() > worseBy
}

// String says it in a sentence; empty where the new version has answered nothing.
func (a Answers) String() string {
	if a.New.Answers == 0 {
		return ""
	}
	return fmt.Sprintf("Of %d answers of the new version %.1f%% were errors (5xx, or none came), of %d of what serves beside it %.1f%%.",
		a.New.Answers, 100*a.New.Share(), a.Former.Answers, 100*a.Former.Share())
}
