package components

import "strings"

// look is how a state appears everywhere: an icon, a word and one of the five tones of static/css/00-tokens.css.
type look struct{ icon, word, tone string }

// looks holds every state of design.md §1 and of their parts.
var looks = map[string]look{
	// builds, deployments and their steps
	"queued":      {"queued", "Queued", "warn"},
	"pending":     {"pending", "Pending", "idle"},
	"running":     {"run", "Running", "run"},
	"succeeded":   {"ok", "Succeeded", "ok"},
	"cached":      {"cached", "Cached", "ok"},
	"failed":      {"fail", "Failed", "bad"},
	"canceled":    {"cancel", "Canceled", "idle"},
	"waiting":     {"wait", "Needs approval", "warn"},
	"rolled_back": {"rollback", "Rolled back", "idle"},
	"skipped":     {"cancel", "Skipped", "idle"},
	"superseded":  {"cancel", "Superseded", "idle"},
	"deploying":   {"run", "Deploying", "run"},
	"canceling":   {"run", "Canceling", "warn"},
	// checks
	"passed":  {"ok", "Passed", "ok"},
	"missing": {"fail", "Missing", "bad"},

	"not_tried": {"cancel", "Not tried", "idle"},
	"verified":  {"ok", "Verified", "ok"},
	// webhooks
	"received": {"queued", "Received", "warn"},
	"handled":  {"ok", "Handled", "ok"},
	"ignored":  {"cancel", "Ignored", "idle"},
	// runs that ask for a credential
	"granted": {"ok", "Granted", "ok"},
	"refused": {"fail", "Refused", "bad"},
	// repositories and targets
	"fetching":    {"run", "Fetching", "run"},
	"ready":       {"ok", "Ready", "ok"},
	"reachable":   {"ok", "Reachable", "ok"},
	"unreachable": {"fail", "Unreachable", "bad"},
	// what runs
	"starting": {"run", "Starting", "run"},
	"healthy":  {"ok", "Healthy", "ok"},
	"failing":  {"fail", "Failing", "bad"},
	"degraded": {"warn", "Degraded", "warn"},
	"down":     {"fail", "Down", "bad"},
	"stopped":  {"cancel", "Stopped", "idle"},
	"unknown":  {"unknown", "Unknown", "idle"},
	// previews
	"building": {"run", "Building", "run"},
	"removing": {"run", "Being removed", "idle"},
	"ended":    {"cancel", "Ended", "idle"},
	// workers
	"working":  {"ok", "Working", "ok"},
	"draining": {"wait", "Draining", "warn"},
	"silent":   {"fail", "Silent", "bad"},
	// clean-ups of images
	"goes":    {"cancel", "Goes", "warn"},
	"stays":   {"ok", "Stays", "ok"},
	"deleted": {"cancel", "Deleted", "idle"},
	"spared":  {"ok", "Spared", "ok"},
	// people and tokens
	"active":   {"ok", "Active", "ok"},
	"expired":  {"cancel", "Expired", "idle"},
	"revoked":  {"cancel", "Revoked", "idle"},
	"disabled": {"cancel", "Disabled", "idle"},
}

func lookOf(state string) look {
	if l, ok := looks[state]; ok {
		return l
	}
	word := strings.ReplaceAll(state, "_", " ")
	if word == "" {
		return looks["unknown"]
	}
	return look{"unknown", strings.ToUpper(word[:1]) + word[1:], "idle"}
}

// Word is the state's word for people, such as "Rolled back".
func Word[T ~string](state T) string { return lookOf(string(state)).word }

// Tone is the class that colours an element like the state, such as "is-bad".
func Tone[T ~string](state T) string { return "is-" + lookOf(string(state)).tone }

// StateIcon is the name of the state's icon.
func StateIcon[T ~string](state T) string { return lookOf(string(state)).icon }

// Favicon is the name of the favicon of a page about something in the state, such as "favicon-bad.svg".
func Favicon(state string) string {
	tone := lookOf(state).tone
	if state == "" || tone == "idle" {
		return "favicon.svg"
	}
	return "favicon-" + tone + ".svg"
}

// TitleMark is what stands before the title of a page about something in the state, so that a tab tells it.
func TitleMark(state string) string {
	if state == "" {
		return ""
	}
	return map[string]string{"ok": "✓ ", "run": "● ", "warn": "◷ ", "bad": "✗ "}[lookOf(state).tone]
}

// spins tells whether the state's icon turns.
func spins(state string) bool { return lookOf(state).icon == "run" }
