package admin

import (
	"strconv"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// QueueView is what waits, what runs, and who works.
type QueueView struct {
	Board    models.Board
	Workers  []models.WorkerInfo
	Form     components.Form // of the limit that was not taken
	FormTeam string          // whose limit that is
	Curl     components.CurlExample
}

// WorkerView is the form of one worker.
type WorkerView struct {
	Worker models.WorkerInfo
	Form   components.Form
	Curl   components.CurlExample
}

// WorkerURL is the worker's page.
func WorkerURL(id string) string { return "/admin/workers/" + id }

// space says how much of a disk is free.
func space(name string, free, total int64) string {
	return name + " " + components.Bytes(free) + " free of " + components.Bytes(total)
}

// limitField is the input of a team's limit.
func (v QueueView) limitField(l models.TeamLimit) (components.Form, string) {
	if v.FormTeam == l.Team.Slug {
		return v.Form, v.Form.Value("builds", "")
	}
	if l.Team.BuildLimit == 0 {
		return components.Form{}, ""
	}
	return components.Form{}, strconv.Itoa(l.Team.BuildLimit)
}

// limitWords says what holds for the team.
func limitWords(l models.TeamLimit) string {
	if l.Limit == 0 {
		return strconv.Itoa(l.Running) + " running, any number at once"
	}
	return strconv.Itoa(l.Running) + " of " + strconv.Itoa(l.Limit) + " running"
}

// asked says what asked for the build.
func asked(t models.BuildTrigger) string {
	return map[models.BuildTrigger]string{
		models.TriggerManual: "by a person", models.TriggerPush: "by a push", models.TriggerPullRequest: "by a pull request",
		models.TriggerSchedule: "by a schedule", models.TriggerForge: "by the forge",
	}[t]
}
