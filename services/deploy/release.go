package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"slipway.dev/models"
)

// release is the deployment as its target sees it, secrets opened.
func (s *Service) release(d *models.Deployment) (Release, error) {
	values, err := s.openValues(d)
	if err != nil {
		return Release{}, err
	}
	env := maps.Clone(values)
	maps.Copy(env, d.Config.Variables)
	env["PORT"] = strconv.Itoa(d.Config.Port)
	plain := slices.Sorted(maps.Keys(d.Config.Variables))
	if !slices.Contains(plain, "PORT") {
		plain = append(plain, "PORT")
	}
	e, app := d.Environment, d.App
	name := fmt.Sprintf("%s-%s-%s", e.Team.Slug, app.Name, e.Name)
	return Release{
		ID: d.ID, Name: Cut(name, 50) + "-" + d.ID[len(d.ID)-12:],
		Team: e.Team.Slug, App: app.Name, AppID: app.ID, Environment: e.Name, EnvironmentID: e.ID, Image: pulledAs(d), From: s.from(d, "release:", pullTTL), Env: env, Plain: plain,
		Port: d.Config.Port, Health: d.Config.Health, HealthPath: or(d.Config.HealthPath, "/"), Scale: d.Config.Scale.OrOne(), Command: d.Config.Command,
		Patience: s.startTime(), Runtime: d.Config.Runtime,
	}, nil
}

// from is where the deployment's image comes from, and what it is read with for
// as long as what is said of the deployment holds: it is under way ("deployment:"), or serves ("release:").
func (s *Service) from(d *models.Deployment, subject string, ttl time.Duration) Source {
	own := func(ctx context.Context) context.Context {
		return models.WithPrincipal(ctx, models.SystemFor(subject+d.ID, titleOf(d)))
	}
	if d.Copied.Host != "" {
		return s.copySource(own, d.Copied, d.ImageDigest)
	}
	return s.source(own, d.TeamID, imageOf(d), ttl)
}

// imageOf is the image where it was chosen.
func imageOf(d *models.Deployment) Image {
	return Image{Repository: d.ImageRepository, Digest: d.ImageDigest}
}
