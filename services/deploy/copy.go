package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/copies"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registries"
)

const (
	copyTime  = time.Hour              // for an image to get to the target's own registry
	copyEvery = 250 * time.Millisecond // how often a copy that is under way is looked at
)

// mirrored is where the rollout's image has to be for its target; without a host it need not be copied.
func (r *rollout) mirrored(ctx context.Context) (models.ImagePlaceName, error) {
	if r.d.Copied.Host != "" {
		return r.d.Copied, nil // a worker before this one has begun with it
	}
	var t models.Target
	if err := r.DB.WithContext(ctx).Omit("secrets").First(&t, "id = ?", r.d.Environment.TargetID).Error; err != nil {
		return models.ImagePlaceName{}, models.FromDB(err, "target")
	}
	return r.mirror(ctx, &t, placeOf(r.d), imageOf(r.d))
}

// copy brings the image by its digest to the registry that its target pulls from. What is there is not copied again,
// and what is under way, for this deployment or another one, is waited for.
func (r *rollout) copy(ctx context.Context, say func(string)) error {
	limited, cancel := context.WithTimeout(models.WithPrincipal(ctx, models.System(titleOf(r.d))), copyTime)
	defer cancel()
	c, err := r.askForCopy(limited)
	if err != nil {
		return r.notCopied(err)
	}
	say("From " + c.Source.Name() + " to " + c.Target.Name() + ".")
	c, err = r.followCopy(limited, c, say)
	switch {
	case err != nil && errors.Is(context.Cause(ctx), jobs.ErrCanceled):
		return errors.Join(err, r.cancelCopy(ctx, c))
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return Failf(StageTimeout, err, "The image was not in %s within %s. The copy goes on; deploy again once it is there.", r.to.Host, copyTime)
	case err != nil:
		return err
	case c.State == models.CopyFailed:
		return Failf(StageImage, nil, "The image was not copied to %s, from which the target pulls. %s", r.to.Host, c.Error)
	case c.State == models.CopyCanceled:
		return Failf(StageImage, nil, "%s canceled the copy of the image to %s, from which the target pulls. Deploy again.", or(c.CanceledBy, "Somebody"), r.to.Host)
	}
	say(copied(c))
	return r.keepCopy(ctx)
}

// askForCopy returns the copy that was made, is under way, or begins now.
func (r *rollout) askForCopy(ctx context.Context) (*models.Copy, error) {
	id, path, err := r.Registries.Locate(ctx, r.d.TeamID, r.d.ImageRepository, registries.Pull)
	if err != nil {
		return nil, err
	}
	return r.Copies.Ensure(ctx, copies.Input{
		Source: copies.Place{RegistryID: id, Repository: path}, Reference: r.d.ImageDigest,
		Target: copies.Place{RegistryID: r.to.Registry, Repository: r.to.Repository}, Team: r.d.Environment.Team.Slug,
	})
}

// notCopied says why no copy could begin.
func (r *rollout) notCopied(err error) error {
	told, ok := errors.AsType[*models.Error](err)
	if !ok {
		return err
	}
	text := told.Message
	for _, field := range told.Fields {
		text = field
	}
	return Failf(StageImage, err, "The image can't be copied to %s, from which the target pulls. %s", r.to.Host, text)
}

// followCopy waits for the end of the copy and tells how far it is.
func (r *rollout) followCopy(ctx context.Context, c *models.Copy, say func(string)) (*models.Copy, error) {
	tick := time.NewTicker(copyEvery)
	defer tick.Stop()
	for said := ""; !c.State.Ended(); {
		if text := underWay(c); text != said {
			say(text)
			said = text
		}
		select {
		case <-ctx.Done():
			return c, context.Cause(ctx)
		case <-tick.C:
		}
		now, err := r.Copies.Get(ctx, c.ID)
		if err != nil {
			return c, err
		}
		c = now
	}
	return c, nil
}

// underWay says how far the copy is.
func underWay(c *models.Copy) string {
	switch {
	case c.Note != "":
		return c.Note + " It is tried again."
	case c.Blobs == 0:
		return "The copy waits for a worker."
	}
	return fmt.Sprintf("%s of %s, %d of %d parts.", models.Bytes(c.BytesDone), models.Bytes(c.Bytes), c.BlobsDone, c.Blobs)
}

// copied says what the copy took.
func copied(c *models.Copy) string {
	if c.BytesThere >= c.Bytes {
		return "The image is in " + c.Target.Name() + "; nothing had to be sent."
	}
	return fmt.Sprintf("The image is in %s; %s were sent.", c.Target.Name(), models.Bytes(c.Bytes-c.BytesThere))
}

// cancelCopy ends the copy together with the deployment, unless another deployment waits for the same image.
func (r *rollout) cancelCopy(ctx context.Context, c *models.Copy) error {
	ctx, cancel := context.WithTimeout(models.WithPrincipal(context.WithoutCancel(ctx), models.System(titleOf(r.d))), cleanTime)
	defer cancel()
	var others int64
	err := r.DB.WithContext(ctx).Model(&models.Deployment{}).Where("state = ? AND image_digest = ? AND app_id = ? AND id <> ?", models.DeploymentRunning, r.d.ImageDigest, r.d.AppID, r.d.ID).Count(&others).Error
	if err != nil || others > 0 {
		return err
	}
	if _, err = r.Copies.Cancel(ctx, c.ID); models.IsCode(err, models.Conflict) {
		return nil // it has just ended
	}
	return err
}

// keepCopy writes down where the image is: what runs comes from there, whatever becomes of the target's settings.
func (r *rollout) keepCopy(ctx context.Context) error {
	return r.whileHeld(ctx, func(tx *gorm.DB) error {
		r.d.Copied = r.to
		return tx.Model(&models.Deployment{}).Where("id = ?", r.d.ID).Select("copied_registry", "copied_host", "copied_repository").
			Updates(&models.Deployment{Copied: r.to}).Error
	})
}

// titleOf is what people call the deployment where they don't see which app's it is.
func titleOf(d *models.Deployment) string {
	return "deployment " + d.Title() + " of " + d.App.Name + " to " + d.Environment.Name
}

// placeOf is where the deployment goes.
func placeOf(d *models.Deployment) *place { return &place{d.Environment, d.App, d.Environment.Team} }
