// Package cleanup holds the pages that keep the registry small: what a clean-up would do and did, what was deleted and
// can be restored, what asks before something is deleted, and what images take.
package cleanup

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// PolicyForm is the form of a policy.
type PolicyForm struct {
	Action     string // where it is sent
	Repository string // empty: the team's
	Policy     models.EffectivePolicy
	Form       components.Form
	CanEdit    bool
}

// RepositoryView is what a clean-up of a repository would do, and its policy.
type RepositoryView struct {
	Name        string
	Preview     models.RetentionPreview
	Only        string // goes, stays or both
	Policy      PolicyForm
	Runs        []models.RetentionRun // the newest few
	CanRun      bool
	First, Next string
	Err         *models.Error // of a run that was not started
	Curl        []components.CurlExample
}

// RunView is one clean-up.
type RunView struct {
	Run         models.RetentionRun
	Items       []models.RetentionItem
	First, Next string
	Curl        components.CurlExample
}

// DeletedView is what was deleted and can be restored.
type DeletedView struct {
	Items       []models.RegistryDeletion
	Repository  string // empty: of the whole team
	CanEdit     bool
	First, Next string
	Err         *models.Error
	Curl        []components.CurlExample
}

// DeleteView asks before something is deleted.
type DeleteView struct {
	models.DeletionForecast
	Tag  string
	Form components.Form
	Curl components.CurlExample
}

// TeamView is what a team's images take, and the policy that its repositories inherit.
type TeamView struct {
	Team        models.Team
	Usage       models.TeamImageUsage
	Policy      PolicyForm
	First, Next string
	Curl        []components.CurlExample
}

// SiteView is what each team's images take, for admins.
type SiteView struct {
	Items       []models.ImageUsage
	Form        components.Form
	FormTeam    string // whose quota the form is about; empty: that of every team
	Default     int64  // bytes; 0: none
	First, Next string
	Curl        []components.CurlExample
}

// URL is the clean-up page of a repository.
func URL(repository string) string {
	return "/images/clean-up?repository=" + url.QueryEscape(repository)
}

// DeletedURL lists what was deleted of a repository.
func DeletedURL(repository string) string {
	return "/images/deleted?repository=" + url.QueryEscape(repository)
}

// DeleteURL is the page that asks before an image, or with an empty digest the repository, is deleted.
func DeleteURL(repository, digest string) string {
	q := url.Values{"repository": {repository}}
	if digest != "" {
		q.Set("digest", digest)
	}
	return "/images/delete?" + q.Encode()
}

// DeleteTagURL is the page that asks before a tag is deleted.
func DeleteTagURL(repository, tag string) string {
	return "/images/delete?" + url.Values{"repository": {repository}, "tag": {tag}}.Encode()
}

func imageURL(repository, digest string) string { return "/images/" + repository + "@" + digest }

// row is one line of the form of rules.
type row struct {
	N          string
	Kind       string // tags, untagged or nothing
	Tags       string
	Last, Days string
}

// spareRows are the empty lines below the rules that there are.
const spareRows = 2

// rows are the lines of the form: as they were typed, or as the rules are.
func (p PolicyForm) rows() []row {
	var out []row
	if n, err := strconv.Atoi(p.Form.Value("rows", "")); err == nil && n >= 0 && n <= 40 {
		for i := range n {
			at := strconv.Itoa(i)
			out = append(out, row{at, p.Form.Value("kind-"+at, ""), p.Form.Value("tags-"+at, ""), p.Form.Value("last-"+at, ""), p.Form.Value("days-"+at, "")})
		}
		return out
	}
	for i, r := range p.Policy.Rules {
		kind := "tags"
		if r.Untagged {
			kind = "untagged"
		}
		out = append(out, row{strconv.Itoa(i), kind, strings.Join(r.Tags, ", "), some(r.Last), some(r.Days)})
	}
	for range spareRows {
		out = append(out, row{N: strconv.Itoa(len(out))})
	}
	return out
}

func some(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// wrong is the sentence about a field of a rule.
func (p PolicyForm) wrong(r row) string {
	for _, field := range []string{"tags", "last", "days"} {
		if text := p.Form.Error("rules." + r.N + "." + field); text != "" {
			return text
		}
	}
	return ""
}

// entryState is the state whose badge an entry has.
func entryState(e models.RetentionEntry) string {
	if e.Goes {
		return "goes"
	}
	return "stays"
}

// summary says in a sentence what a clean-up would do.
func summary(p models.RetentionPreview) string {
	switch {
	case !p.Policy.Set:
		return "No policy: nothing is cleaned up here."
	case p.Goes == 0:
		return fmt.Sprintf("Nothing would go: all %s stay.", components.Count(p.Manifests, "manifest", "manifests"))
	}
	return fmt.Sprintf("%s of %s would go, with %s. That frees %s once they are gone for good.", components.Count(p.Goes, "manifest", "manifests"),
		components.Thousands(p.Manifests), components.Count(p.GoesTags, "tag", "tags"), components.Bytes(p.Bytes))
}

// runSentence says in a sentence what a clean-up did.
func runSentence(r models.RetentionRun) string {
	if r.Error != "" {
		return r.Error
	}
	if r.FinishedAt == nil {
		return fmt.Sprintf("%d of %s done", r.Deleted+r.Spared, components.Thousands(r.Planned))
	}
	text := fmt.Sprintf("%s deleted, with %s", components.Count(r.Deleted, "manifest", "manifests"), components.Count(r.Tags, "tag", "tags"))
	if r.Spared > 0 {
		text += fmt.Sprintf("; %s spared, since something keeps them by now", components.Thousands(r.Spared))
	}
	return text
}

// what says in words what was deleted.
func what(d models.RegistryDeletion) string {
	switch d.Kind {
	case models.DeletionTag:
		return "Tag " + d.Name
	case models.DeletionRepository:
		return "All images of " + d.Name
	}
	return "Image " + components.ShortDigest(d.Digest)
}

// took says what went with it.
func took(d models.RegistryDeletion) string {
	if d.Kind == models.DeletionTag {
		return "of " + components.ShortDigest(d.Digest)
	}
	return components.Count(d.Manifests, "manifest", "manifests") + ", " + components.Count(d.Tags, "tag", "tags") + ", " + components.Bytes(d.Size)
}

// days writes how long something can be restored.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return components.Count(int(d.Hours()), "hour", "hours")
	}
	return components.Count(int(d.Hours()/24), "day", "days")
}

// share is how much of its quota a team has used, of 100.
func share(u models.ImageUsage) int64 {
	if u.Quota <= 0 {
		return 0
	}
	return min(100, u.Bytes*100/u.Quota)
}

func bars(u models.ImageUsage) []components.Bar {
	class := "base"
	if u.Nearly() {
		class = "own"
	}
	return []components.Bar{{X: "0", Width: strconv.FormatInt(max(share(u), 1), 10), Class: class}}
}

// quotaOf writes "9.8 GB of 10 GB".
func quotaOf(u models.ImageUsage) string {
	if u.Quota == 0 {
		return components.Bytes(u.Bytes)
	}
	return components.Bytes(u.Bytes) + " of " + components.Bytes(u.Quota)
}

func growth(u models.ImageUsage) string {
	if u.GrowthOf <= 0 {
		return ""
	}
	sign, n := "+", u.Growth
	if n < 0 {
		sign, n = "−", -n
	}
	return sign + components.Bytes(n) + " in " + days(u.GrowthOf)
}

// quotaValue is what stands in the field of a quota.
func quotaValue(bytes int64) string {
	if bytes <= 0 {
		return ""
	}
	return strconv.FormatFloat(float64(bytes)/1e9, 'f', -1, 64)
}

func ownQuota(u models.ImageUsage) string {
	switch {
	case !u.OwnQuota:
		return ""
	case u.Quota == 0:
		return "none"
	}
	return quotaValue(u.Quota)
}

// form is the form of the team's quota as it was sent, where it was that one.
func (v SiteView) form(team string) components.Form {
	if v.FormTeam != team {
		return components.Form{}
	}
	return v.Form
}

// number is the rule's number for people.
func number(n string) string {
	i, _ := strconv.Atoi(n)
	return strconv.Itoa(i + 1)
}

// sentences are the policy in words.
func (p PolicyForm) sentences() []string {
	if !p.Policy.Set {
		return []string{"There is no policy: nothing is cleaned up."}
	}
	out := []string{"Clean-ups are off."}
	if p.Policy.Enabled {
		out[0] = "Cleaned up every day."
	}
	for _, r := range p.Policy.Rules {
		out = append(out, strings.ToUpper(r.Sentence()[:1])+r.Sentence()[1:]+".")
	}
	return out
}

func by(name string) string {
	if name == "" {
		return "Slipway"
	}
	return name
}

// outcomeState is the state whose badge an outcome has.
func outcomeState(i models.RetentionItem) string {
	switch i.Outcome {
	case models.OutcomeDeleted:
		return "deleted"
	case models.OutcomeSpared:
		return "spared"
	}
	return "queued"
}

func firstTags(tags []string) []string { return tags[:min(len(tags), 5)] }

func (v DeleteView) action() string { return "/images/delete/" + string(v.Kind) }

func (v DeleteView) back() string {
	if v.Kind == models.DeletionImage {
		return imageURL(v.Repository, v.Digest)
	}
	return "/images/" + v.Repository
}

func (v DeleteView) verb() string { return "Delete " + string(v.Kind) }

func (v DeleteView) goes() string {
	if v.Kind == models.DeletionTag {
		return "The name " + v.Tag
	}
	return components.Count(v.Manifests, "manifest", "manifests") + " with " + components.Count(v.TagCount, "tag", "tags") + ": images, their platforms, and what is about them"
}

func (v DeleteView) stays() string {
	switch v.Kind {
	case models.DeletionTag:
		return "The image " + components.ShortDigest(v.Digest) + " under its digest and its other tags, until a clean-up takes it"
	case models.DeletionImage:
		return "Platforms that other indexes name or that have tags, layers that other images need, builds and deployments"
	}
	return "Builds, deployments and the history of tags"
}

func (v DeleteView) undo() string {
	if v.Undo <= 0 {
		return "Not possible: deleted images are not kept here"
	}
	return "For " + days(v.Undo) + ", under Deleted"
}

func (v DeleteView) moreTags() string {
	if n := v.TagCount - int64(len(v.Tags)); n > 0 {
		return "and " + components.Thousands(n) + " more"
	}
	return ""
}
