package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	findTime = 30 * time.Second // for a target to ask an image's registry
	leftDisk = 64 << 20         // bytes that have to be free for anything to start
	// unpacked is how much disk an image takes at most, by experience, for each compressed byte: the byte itself while
	// it is pulled, and what comes out of it.
	unpacked = 3
)

// Found says how a target would get an image.
type Found struct {
	Here      bool     // it has it
	Carried   bool     // it can't ask the registry, so that Slipway would carry the image over
	Platforms []string // that the image is made for, such as linux/amd64; empty: not known
}

// Finder is a Target that can look for an image before anything is touched. Slipway itself asks the registry for one that
// can't.
type Finder interface {
	// Find tells how the target would get the image, with the source's credential
	// where it lacks it, and changes nothing. That it can't get it is a *Failure.
	Find(ctx context.Context, image Image, from Source) (Found, error)
}

// subject is what is looked at before anything is touched.
type subject struct {
	at     *place
	image  *Choice
	from   Source
	config models.DeploymentConfig
}

// checklist collects what was looked at.
type checklist []Check

func (l *checklist) pass(name, format string, args ...any) {
	*l = append(*l, Check{Name: name, OK: true, Message: fmt.Sprintf(format, args...)})
}

func (l *checklist) fail(stage, name, format string, args ...any) {
	*l = append(*l, Check{Name: name, Message: fmt.Sprintf(format, args...), stage: stage})
}

// preflight looks whether the target can run what is asked for: that it answers, gets the image with the credential
// that there is, is of the image's platform and has room, and that it offers, and its admin allows, what the app wants
// beside. A plan shows it, and a rollout begins with it, for much can change in between.
func (s *Service) preflight(ctx context.Context, of subject) ([]Check, error) {
	var row models.Target
	if err := s.DB.WithContext(ctx).Omit("secrets").First(&row, "id = ?", of.at.Environment.TargetID).Error; err != nil {
		return nil, models.FromDB(err, "target")
	}
	list := &checklist{}
	if err := s.checkWishes(&row, of.config.Runtime, list); err != nil {
		return nil, err
	}
	target, err := s.target(ctx, row.ID)
	if err != nil {
		return nil, err
	}
	info, err := target.Check(ctx)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		info, err = target.Check(ctx) // one that has much to do answers late
	}
	if f := new(Failure); errors.As(err, &f) {
		list.fail(f.Stage, "Target", "%s", f.Message)
		return *list, nil
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		list.fail(StageTarget, "Target", "The target %s did not answer in time. Look whether it is overloaded, and try again.", row.Name)
		return *list, nil
	}
	if err != nil {
		return nil, err
	}
	list.pass("Target", "%s answers: %s.", row.Name, info.Version)
	found, err := s.locate(ctx, target, &row, &of, list)
	if err != nil {
		return nil, err
	}
	checkPlatform(of.image.Platforms, found.Platforms, info, list)
	checkDisk(of.image.Size, found.Here, info, list)
	checkRoom(of.config.Scale.OrOne(), info, list)
	checkAbilities(of.config, info, list)
	return *list, s.inspect(ctx, target, &row, of, list)
}

// checkWishes looks at what the app wants beside its image, as the target's kind and settings are now.
func (s *Service) checkWishes(t *models.Target, r models.Runtime, list *checklist) error {
	kind, err := s.KindOf(t.Kind)
	if err != nil {
		return err
	}
	switch {
	case len(r.Volumes) > 0 && !kind.Volumes:
		list.fail(StageCheck, "Volumes", "%s", noVolumes(t.Name))
	case len(r.Volumes) > 0:
		list.pass("Volumes", "%s; what is in them stays.", volumesText(r.Volumes))
	}
	if r.Restart.OrAlways() != models.RestartAlways && !kind.Restarts {
		list.fail(StageCheck, "Restart", "%s", onlyAlways(t.Name))
	}
	if !r.HostNetwork && len(r.HostPaths) == 0 {
		return nil
	}
	may, err := ParsePermissions(t.Settings)
	if err != nil {
		return err
	}
	told, refused := errors.AsType[*models.Error](may.Check(r))
	if !refused {
		list.pass("Host", "The target's settings allow what the app gets of the host.")
		return nil
	}
	for _, field := range []string{"host_network", "host_paths"} {
		if told.Fields[field] != "" {
			list.fail(StageCheck, "Host", "%s", told.Fields[field])
		}
	}
	return nil
}

// find asks the target how it would get the image.
func find(ctx context.Context, finder Finder, of subject, list *checklist) (Found, error) {
	limited, cancel := context.WithTimeout(ctx, findTime)
	defer cancel()
	found, err := finder.Find(limited, of.image.Image, of.from)
	if f := new(Failure); errors.As(err, &f) {
		list.fail(f.Stage, "Image", "%s", f.Message)
		return Found{}, nil
	}
	switch {
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		list.fail(StageTimeout, "Image", "The target did not say within %s whether it gets the image. Look whether it or the registry is overloaded, and try again.", findTime)
		return Found{}, nil
	case err != nil:
		return Found{}, err
	case found.Here:
		list.pass("Image", "The target has it already.")
	case found.Carried:
		list.pass("Image", "The registry has it. The target can't ask the registry itself, so Slipway carries the image over.")
	default:
		list.pass("Image", "The registry has it, and gives it to the target.")
	}
	return found, nil
}

func checkPlatform(known, found []string, info Info, list *checklist) {
	if len(known) == 0 {
		known = found
	}
	made := strings.Join(known, ", ")
	switch {
	case len(known) == 0:
	case info.Platform == "" || slices.ContainsFunc(known, func(p string) bool { return samePlatform(p, info.Platform) }):
		list.pass("Platform", "The image is made for %s.", made)
	default:
		list.fail(StageCheck, "Platform", "The image is made for %s, the target is %s. Build it for the target's platform.", made, info.Platform)
	}
}

// samePlatform compares an image's platform, which may name a variant, with a target's.
func samePlatform(image, target string) bool {
	return image == target || strings.HasPrefix(image, target+"/")
}

// checkDisk looks whether the image fits, where the target says how much is free.
func checkDisk(size int64, here bool, info Info, list *checklist) {
	switch {
	case info.Disk == 0:
	case info.Disk < leftDisk:
		list.fail(StageCheck, "Disk", "The target has %s left on its disk. Remove images and volumes that nobody uses there.", models.Bytes(info.Disk))
	case here || size == 0:
		list.pass("Disk", "%s are free.", models.Bytes(info.Disk))
	case info.Disk < unpacked*size:
		list.fail(StageCheck, "Disk", "The image is %s compressed and needs up to %s on the target, which has %s left. Remove images and volumes that nobody uses there, or make the image smaller.", models.Bytes(size), models.Bytes(unpacked*size), models.Bytes(info.Disk))
	default:
		list.pass("Disk", "The image is %s compressed; %s are free.", models.Bytes(size), models.Bytes(info.Disk))
	}
}

// checkRoom looks whether the target is large enough for one instance.
func checkRoom(scale models.Scale, info Info, list *checklist) {
	switch {
	case info.CPU > 0 && scale.CPU > info.CPU:
		list.fail(StageCheck, "Room", "An instance may take %s processors, and the target has %s. Lower the limit.", processors(scale.CPU), processors(info.CPU))
	case info.Memory > 0 && scale.Memory > info.Memory:
		list.fail(StageCheck, "Room", "An instance may take %s of memory, and the target has %s. Lower the limit.", memory(scale.Memory), memory(info.Memory))
	case scale.CPU == 0 && scale.Memory == 0:
		list.pass("Room", "%s without limits of CPU and memory.", count(scale.Replicas, "instance", "instances"))
	default:
		list.pass("Room", "%s; each may take %s of CPU and %s of memory.", count(scale.Replicas, "instance", "instances"), processors(scale.CPU), memory(scale.Memory))
	}
}

// checkAbilities looks for what not every target can do.
func checkAbilities(config models.DeploymentConfig, info Info, list *checklist) {
	switch {
	case config.Scale.Autoscales() && info.Autoscales:
		list.pass("Autoscaler", "Up to %d instances, when they take more than %d%% of their CPU.", config.Scale.Max, config.Scale.CPUTarget)
	case config.Scale.Autoscales():
		list.fail(StageCheck, "Autoscaler", "The target does not add instances by their load. Set the scale's maximum to 0.")
	}
	several := !config.Recreate || config.Scale.OrOne().Replicas > 1 || config.Scale.Autoscales()
	if len(config.Volumes) > 0 && info.SingleMount && several {
		list.fail(StageCheck, "Volumes", "The target's volumes can be had on one of its machines at a time. Choose one version at a time in the app's settings, and one instance as its scale.")
	}
	if config.Health == models.HealthImage && !info.HealthCheck {
		list.fail(StageCheck, "Health check", "The target does not run an image's HEALTHCHECK. Choose an HTTP path or the TCP port in the app's settings.")
	}
}

// check is the rollout's first phase: what was looked at when the deployment was asked for may be otherwise by now, and
// nothing is touched yet.
func (r *rollout) check(ctx context.Context, say func(string)) error {
	if err := r.checkRules(ctx, say); err != nil {
		return err
	}
	image := &Choice{Image: imageOf(r.d), Build: r.d.Build}
	if r.d.Build != nil {
		image.Size = r.d.Build.ImageSize
	}
	from := r.from(r.d, "deployment:", lookTTL)
	checks, err := r.preflight(ctx, subject{placeOf(r.d), image, from, r.d.Config})
	if err != nil {
		return err
	}
	if r.d.Config.Health == models.HealthImage && r.d.Action == models.ActionDeploy { // what is repeated had it
		checks = append(checks, checkOwnHealth(ctx, image.Image, from)...)
	}
	for _, c := range checks {
		say(c.Name + ": " + c.Message)
	}
	if at := slices.IndexFunc(checks, func(c Check) bool { return !c.OK }); at >= 0 {
		say(checks[at].Message)
		return Failf(checks[at].stage, nil, "%s", checks[at].Message)
	}
	say("All " + count(len(checks), "check", "checks") + " passed.")
	return nil
}

// noHealthCheck is said of an image without the HEALTHCHECK that its app wants.
const noHealthCheck = "The app's settings say to use the image's HEALTHCHECK, and the image has none. Add one to the Dockerfile, or choose an HTTP path or the TCP port."

// checkOwnHealth looks whether the image has a HEALTHCHECK. It finds nothing where the image can't be read: a target
// that has it already needs no registry, and another one says what is the matter.
func checkOwnHealth(ctx context.Context, img Image, from Source) []Check {
	c := &Choice{Image: img}
	if describe(ctx, c, from) != nil {
		return nil
	}
	list := &checklist{}
	if c.HealthCheck {
		list.pass("Health", "The image has a HEALTHCHECK.")
	} else {
		list.fail(StageHealth, "Health", noHealthCheck)
	}
	return *list
}

// checkRules looks whether the environment's protection still lets the deployment in.
func (r *rollout) checkRules(ctx context.Context, say func(string)) error {
	tx := r.DB.WithContext(ctx)
	bad, err := badImage(tx, r.d.TeamID, r.d.ImageDigest)
	if err != nil {
		return err
	}
	if bad != nil && (r.d.Action == models.ActionDeploy || r.d.Action == models.ActionRollback) {
		return Failf(StageCheck, nil, "%s marked this image as bad%s. Choose another one, or take the mark away.", bad.MarkedByName, because(bad.Reason))
	}
	if r.d.Action != models.ActionDeploy {
		return nil
	}
	gates, err := r.gatesOf(ctx, tx, placeOf(r.d), r.d)
	if err != nil {
		return err
	}
	for _, g := range gates {
		if !g.OK {
			return Failf(StageCheck, nil, "%s", g.Message)
		}
		if g.Name != gateApproval { // whose words are for those who wait
			say(g.Name + ": " + g.Message)
		}
	}
	return r.checkApprovals(tx, say)
}

// checkApprovals counts the words that hold for this very image and configuration.
func (r *rollout) checkApprovals(tx *gorm.DB, say func(string)) error {
	needed := r.d.Environment.Protection.Approvals
	if needed == 0 {
		return nil
	}
	by, err := approvals(tx, r.d)
	if err != nil {
		return err
	}
	if len(by) < needed {
		return Failf(StageCheck, nil, "%s needs %s by now, and this deployment has %d. Deploy again, and have it approved.", r.d.Environment.Name, count(needed, "approval", "approvals"), len(by))
	}
	say(gateApproval + ": " + strings.Join(by, ", ") + " approved it.")
	return nil
}

// maintains tells whether the user's word on the team's environments counts now: a maintainer's, or an admin's.
func maintains(tx *gorm.DB, userID, teamID string) (bool, error) {
	if userID == "" {
		return false, nil
	}
	member := tx.Session(&gorm.Session{NewDB: true}).Model(&models.Member{}).Select("1").
		Where("members.user_id = users.id AND members.team_id = ? AND members.role = ?", teamID, models.RoleMaintainer)
	var n int64
	err := tx.Model(&models.User{}).Where("id = ? AND disabled_at IS NULL AND (admin OR EXISTS (?))", userID, member).Count(&n).Error
	return n > 0, err
}
