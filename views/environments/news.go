package environments

import (
	"slipway.dev/models"
	"slipway.dev/views/components"
)

// NewsView is what came to an environment.
type NewsView struct {
	Environment models.Environment
	Items       []NewsItem
	Apps        []models.App // to choose from
	AppID       string       // empty: all
	First, Next string
	Curl        components.CurlExample
	FeedCurl    components.CurlExample
}

// NewsItem is a deployment that served, with what it brought.
type NewsItem struct {
	Deployment models.Deployment // with App, its Repository, and Build
	Words      string            // such as "3 commits", or why there are none
	Commits    []models.ChangeCommit
	More       bool
	Compare    string // the address that compares it with what served before; empty: nothing did
}

func (n NewsItem) repository() *models.Repository {
	if n.Deployment.App == nil {
		return nil
	}
	return n.Deployment.App.Repository
}
