package hooks

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"slipway.dev/models"
	"slipway.dev/services/git"
)

// eventKind is what a webhook is about.
type eventKind string

const (
	eventPing  eventKind = "ping" // the forge looks whether anybody is there
	eventPush  eventKind = "push" // to a branch or a tag
	eventPull  eventKind = "pull" // a pull or merge request
	eventOther eventKind = "other"
	eventRun   eventKind = "run" // a run at the forge, or one of its jobs
)

// event is a webhook of any forge in one form.
type event struct {
	kind   eventKind
	repo   place
	sender string // who pushed, or who did something to the pull request
	push   push
	pull   pull
}

// place is the repository that an event is about, as its forge names it.
type place struct {
	id            string // at the forge
	name          string // such as acme/shop
	urls          []string
	defaultBranch string
}

// push is what happened to a branch or a tag.
type push struct {
	name   string // of the branch or tag
	kind   models.RefKind
	before string // empty: it is new
	after  string // empty: it is gone
	commit commit
	files  []string // that changed, where the payload tells all of them
	whole  bool     // files is all
}

// commit is the head of what was pushed.
type commit struct {
	id, message, author string
}

// pull is what happened to a pull request.
type pull struct {
	models.PullRequest
	ref    string // where its head can be fetched: refs/pull/7/head
	target string // the branch that it goes into
	base   string // that branch's commit, where the payload names it
	commit commit
	step   pullStep
	action string // as the forge calls it
}

// pullStep is what an action on a pull request means to builds.
type pullStep string

const (
	pullChanged pullStep = "changed" // there is a commit to build
	pullClosed  pullStep = "closed"
	pullSame    pullStep = "same" // nothing to build came of it
)

// parse understands a webhook whose signature was right. Its errors are for people. A payload that is not what its forge
// documents is refused; what a forge may add is passed over.
func parse(kind models.ForgeKind, name string, body []byte) (*event, error) {
	var e *event
	var err error
	switch kind {
	case models.ForgeGitHub:
		e, err = parseGitHub(name, body)
	case models.ForgeGitea:
		e, err = parseGitea(name, body)
	case models.ForgeGitLab:
		e, err = parseGitLab(body)
	case models.ForgeGeneric:
		e, err = parseGeneric(name, body)
	default:
		return nil, models.Errorf(models.Invalid, "Slipway knows no webhooks of the kind %q.", kind)
	}
	if err != nil {
		return nil, err
	}
	e.trim()
	return e, e.check()
}

// decode reads the payload as JSON.
func decode(body []byte, into any) error {
	if strings.HasPrefix(string(body[:min(len(body), 8)]), "payload=") {
		return models.Errorf(models.Invalid, "The payload is a form. Choose the content type application/json at the forge.")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return models.Errorf(models.Invalid, "The payload can't be read: %s.", oneLine(err.Error(), 200))
	}
	return nil
}

// trim cuts texts to what is shown of them.
func (e *event) trim() {
	for _, text := range []*string{&e.sender, &e.repo.name, &e.push.commit.author, &e.pull.commit.author, &e.pull.Title, &e.pull.Source, &e.pull.action} {
		*text = oneLine(*text, 200)
	}
	if url := e.pull.URL; !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") || len(url) > 1000 || strings.ContainsFunc(url, unicode.IsControl) {
		e.pull.URL = ""
	}
}

// check refuses what can't be built because it is not what it says.
func (e *event) check() error {
	switch e.kind {
	case eventPush:
		return e.push.check()
	case eventPull:
		return e.pull.check()
	}
	return nil
}

func (p push) check() error {
	switch {
	case !git.ValidRef(p.name):
		return models.Errorf(models.Invalid, "The payload names no branch and no tag that could be built: %q.", oneLine(p.name, 100))
	case p.before != "" && !git.ValidCommit(p.before), p.after != "" && !git.ValidCommit(p.after), p.commit.id != "" && !git.ValidCommit(p.commit.id):
		return models.Errorf(models.Invalid, "The payload names no commit that could be built.")
	}
	return nil
}

func (p pull) check() error {
	switch {
	case !git.ValidPullRef(p.ref) || p.Number <= 0:
		return models.Errorf(models.Invalid, "The payload names no pull request.")
	case p.step == pullChanged && !git.ValidCommit(p.commit.id):
		return models.Errorf(models.Invalid, "The payload names no commit that could be built.")
	case p.base != "" && !git.ValidCommit(p.base):
		return models.Errorf(models.Invalid, "The payload names no commit of the branch that the pull request goes into.")
	}
	return nil
}

// summary is the event in a few words.
func (e *event) summary() string {
	text := ""
	switch e.kind {
	case eventPing:
		text = "ping"
	case eventPush:
		text = fmt.Sprintf("push to %s", e.push.name)
		if e.push.kind == models.RefTag {
			text = "tag " + e.push.name
		}
		if e.push.after == "" {
			text = fmt.Sprintf("%s %s deleted", e.push.kind, e.push.name)
		}
	case eventPull:
		text = fmt.Sprintf("pull request #%d %s", e.pull.Number, e.pull.action)
	}
	if e.sender != "" && text != "" {
		text += " by " + e.sender
	}
	if e.repo.name != "" && text != "" {
		text += " in " + e.repo.name
	}
	return oneLine(text, 300)
}

// setRef takes a full name of a ref apart.
func (p *push) setRef(ref string) {
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		p.name, p.kind = branch, models.RefBranch
	} else if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		p.name, p.kind = tag, models.RefTag
	}
}

// real is a commit's id, or empty for the zeros that stand for none.
func real(id string) string {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// oneLine makes a text from outside fit to be shown: without control characters, at most so many runes.
func oneLine(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return text
}
