package previews

import (
	"context"
	"fmt"
	"strings"

	"slipway.dev/models"
)

// CommentText is what the comment on the pull request says, in Markdown: where
// each app's preview is, of which commit, and how it stands. Nothing of it comes
// from the pull request. It is empty where there never was a preview.
func (s *Service) CommentText(ctx context.Context, repositoryID string, number int64) (string, error) {
	var all []models.Preview
	err := with(s.DB.WithContext(ctx)).Where("repository_id = ? AND number = ? AND (state <> ? OR started_at IS NOT NULL)", repositoryID, number, models.PreviewEnded).Find(&all).Error
	if err != nil || len(all) == 0 {
		return "", err
	}
	var text strings.Builder
	text.WriteString("### Preview\n\n| App | Address | Commit | State |\n| --- | --- | --- | --- |\n")
	for i := range all {
		s.row(&text, &all[i])
	}
	for i := range all {
		if note := sentence(&all[i]); note != "" {
			fmt.Fprintf(&text, "\n**%s**: %s\n", all[i].App.Name, note)
		}
	}
	return text.String(), nil
}

// row is one line of the table.
func (s *Service) row(text *strings.Builder, p *models.Preview) {
	address, commit := "", ""
	if p.URL != "" && p.ServingID != "" && !p.Stopped {
		_, host, _ := strings.Cut(p.URL, "://")
		address = fmt.Sprintf("[%s](%s)", host, p.URL)
	}
	if p.Commit != "" {
		commit = "`" + p.Commit[:min(len(p.Commit), 8)] + "`"
	}
	links := []string{said(p)}
	if p.HeadID != "" {
		links = append(links, fmt.Sprintf("[build #%d](%s/builds/%s)", p.HeadNumber, s.ExternalURL, p.HeadID))
	}
	if p.Deployment != nil {
		links = append(links, fmt.Sprintf("[deployment %s](%s/deployments/%s)", p.Deployment.Title(), s.ExternalURL, p.DeploymentID))
	}
	fmt.Fprintf(text, "| [%s](%s/previews/%s) | %s | %s | %s |\n", p.App.Name, s.ExternalURL, p.ID, address, commit, strings.Join(links, " · "))
}

// words are the statuses as people read them in a comment.
var words = map[string]string{
	"building": "Building", "waiting": "Build needs approval", "canceled": "Build canceled", "queued": "Waiting for a place", "deploying": "Deploying",
	"ready": "**Ready**", "stopped": "Stopped", "removing": "Being removed", "ended": "Removed",
}

func said(p *models.Preview) string {
	switch {
	case p.Status() != "failed":
		return words[p.Status()]
	case p.State == models.PreviewBuilding:
		return "Build failed"
	case p.ServingID != "":
		return "Deployment failed; the version before serves on"
	}
	return "Not deployed"
}

// sentence is what else there is to say of the preview.
func sentence(p *models.Preview) string {
	switch {
	case p.State == models.PreviewEnded && p.EndReason == models.PreviewExpired:
		return "nothing was pushed for so long that it was removed. The next push brings it back."
	case p.State == models.PreviewEnded && p.EndReason == models.PreviewRemoved:
		return "it was removed. The next push brings it back."
	case p.State == models.PreviewQueued:
		return p.Note
	case p.State == models.PreviewLive:
		return "each push updates it. It goes when the pull request is closed, or on " + p.ExpiresAt.UTC().Format("2 January 2006 at 15:04 UTC") + "."
	}
	return ""
}
