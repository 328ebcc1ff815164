package handlers

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/sse"
	"slipway.dev/models"
	"slipway.dev/services/events"
)

const maxTopics = 50

// live tells open pages that what they show has changed.
type live struct {
	events  *events.Service
	streams *sse.Streams
}

func (r *routes) live(l *live) {
	r.group(accessSignedIn).GET("/live", l.follow)
}

// change is what a page is told: which topic, and what happened to it.
type change struct {
	Topic string `json:"topic"`
	Kind  string `json:"kind"`
}

// follow streams the changes of the topics for as long as the session lasts.
func (l *live) follow(c echo.Context) error {
	topics, err := topicsOf(c.QueryParam("topics"))
	if err != nil {
		return err
	}
	st, err := l.streams.Open(c.Response(), c.Request(), nil)
	if err != nil {
		return err
	}
	defer st.Close()
	for e := range l.events.Subscribe(st.Context()) {
		if !events.Visible(st.Principal(), e) || !about(e, topics) {
			continue
		}
		data, err := json.Marshal(change{e.Topic, e.Kind})
		if err != nil {
			return err
		}
		if st.Send(e.ID, "change", string(data)) != nil {
			return nil
		}
	}
	return nil
}

func topicsOf(list string) ([]string, error) {
	topics := strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
	if len(topics) == 0 || len(topics) > maxTopics {
		return nil, models.Errorf(models.Invalid, "Name 1 to %d topics, separated by commas, such as ?topics=build:ID.", maxTopics)
	}
	return topics, nil
}

// plural is the noun of several things of the kind.
func plural(kind string) string {
	if stem, ok := strings.CutSuffix(kind, "y"); ok {
		return stem + "ies"
	}
	return kind + "s"
}

// about tells whether the event is about one of the topics. "builds" stands for
// every topic that begins with "build:".
func about(e models.Event, topics []string) bool {
	return slices.ContainsFunc(topics, func(t string) bool {
		kind, _, _ := strings.Cut(e.Topic, ":")
		return t == e.Topic || t == e.Parent || t == plural(kind) || t == "*"
	})
}
