package builds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/models"
)

// cacheTag is the name in the image's repository that the build cache has.
const cacheTag = "buildcache"

// addSecrets adds to the request the secrets that this build's code may have, and why it does not get the others. What
// it gets is masked in everything that the build prints from here on.
func (r *run) addSecrets(ctx context.Context, to *Request) error {
	b := r.build
	var all []models.BuildSecret
	if err := r.DB.WithContext(ctx).Where("app_id = ?", b.AppID).Order("name").Find(&all).Error; err != nil {
		return fmt.Errorf("reading build secrets: %w", err)
	}
	sum := sha256.New()
	for _, secret := range all {
		why, err := r.withheld(ctx, &secret)
		if err != nil {
			return err
		}
		if why != "" {
			if to.Withheld == nil {
				to.Withheld = map[string]string{}
			}
			to.Withheld[secret.Name] = why
			continue
		}
		value, err := r.Box.Open(secret.Place(), secret.Sealed)
		if err != nil {
			return Failure(ClassInfrastructure, fmt.Sprintf("The build secret %q can't be opened: %s. Set it again in the app's build settings.", secret.Name, err), err)
		}
		r.mask.Add(string(value))
		to.Secrets = append(to.Secrets, Secret{Kind: secret.Kind, ID: secret.Name, Value: value})
		fmt.Fprintf(sum, "%s\x00%s\x00", secret.Name, secret.Fingerprint)
	}
	if len(to.Secrets) > 0 {
		to.SecretsKey = hex.EncodeToString(sum.Sum(nil))
	}
	return nil
}

// withheld says why the build's code does not get the secret; empty where it does. A secret is for code of the
// repository that it was set for, on the branches that it names. A tag and a bare commit count as the branches that
// hold them: otherwise whoever may push a tag would get what is meant for a protected branch.
func (r *run) withheld(ctx context.Context, secret *models.BuildSecret) (string, error) {
	b := r.build
	switch {
	case secret.RepositoryID != b.App.RepositoryID:
		return "It was set for another repository. Set it again for this one.", nil
	case b.Untrusted:
		return "Builds of code from outside of the repository, such as pull requests of forks, get no secrets.", nil
	case b.RefKind == string(models.RefBranch):
		if secret.OnBranch(b.Ref) {
			return "", nil
		}
		return only(secret) + fmt.Sprintf(" and this build is of %s.", b.Ref), nil
	case b.RefKind == string(models.RefTag) && len(secret.Branches) == 0:
		return "", nil
	}
	branches, err := r.Git.BranchesWith(ctx, b.App.RepositoryID, b.Commit)
	if err != nil {
		return "", told(err)
	}
	if slices.ContainsFunc(branches, secret.OnBranch) {
		return "", nil
	}
	if len(secret.Branches) == 0 {
		return "Only commits on a branch of the repository get secrets, and this one is on none.", nil
	}
	return only(secret) + " and this commit is on none of them.", nil
}

func only(secret *models.BuildSecret) string {
	return "It is released to " + strings.Join(secret.Branches, ", ") + " only,"
}

// cache is where the build's cache is kept. Code from outside reads it and never writes it.
func (r *run) cache(to Destination) Cache {
	if r.build.Settings.Cache != models.CacheRegistry {
		return Cache{}
	}
	return Cache{Ref: to.Repository + ":" + cacheTag, Write: !r.build.Untrusted}
}

// cacheKey keeps what builds leave in an engine apart: between apps, and between an app's own code and that from outside.
func (r *run) cacheKey() string {
	if r.build.Untrusted {
		return r.build.AppID + "-untrusted"
	}
	return r.build.AppID
}
