// Clients calls a forge of the tests with the forge's official client, so that the tests' forges speak as the real ones
// do. It has a module of its own, which keeps those clients out of Slipway's.
//
// Usage: clients gitlab|gitea URL TOKEN REPOSITORY. It exits with 1 and a reason where something is amiss.
package main

import (
	"fmt"
	"os"
	"strings"

	"code.gitea.io/sdk/gitea"
	gitlab "gitlab.com/gitlab-org/api/client-go"
)

const (
	commit = "0123456789abcdef0123456789abcdef01234567"
	target = "https://slipway.example.test/builds/1"
)

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: clients gitlab|gitea URL TOKEN REPOSITORY")
		os.Exit(2)
	}
	talk := map[string]func(url, token, repository string) error{"gitlab": talkGitLab, "gitea": talkGitea}[os.Args[1]]
	if err := talk(os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func talkGitLab(url, token, path string) error {
	client, err := gitlab.NewClient(token, gitlab.WithBaseURL(url), gitlab.WithoutRetries())
	if err != nil {
		return err
	}
	own, _, err := client.PersonalAccessTokens.GetSinglePersonalAccessToken()
	if err != nil || !own.Active || len(own.Scopes) == 0 || own.ExpiresAt == nil {
		return fmt.Errorf("the token: %+v, %w", own, err)
	}
	project, _, err := client.Projects.GetProject(path, nil)
	if err != nil || project.ID == 0 || project.PathWithNamespace != path || project.Permissions.ProjectAccess.AccessLevel < gitlab.DeveloperPermissions {
		return fmt.Errorf("the project: %+v, %w", project, err)
	}
	tell := func(id any, state gitlab.BuildStateValue) (*gitlab.CommitStatus, error) {
		s, _, err := client.Commits.SetCommitStatus(id, commit, &gitlab.SetCommitStatusOptions{
			State: state, Name: gitlab.Ptr("slipway/shop"), Ref: gitlab.Ptr("main"), TargetURL: gitlab.Ptr(target), Description: gitlab.Ptr("Build #1"),
		})
		return s, err
	}
	for _, state := range []gitlab.BuildStateValue{gitlab.Pending, gitlab.Running} {
		if s, err := tell(path, state); err != nil || s.Status != string(state) || s.SHA != commit || s.Name != "slipway/shop" || s.TargetURL != target || s.Ref != "main" {
			return fmt.Errorf("the status %s: %+v, %w", state, s, err)
		}
	}
	if _, err := tell(project.ID, gitlab.Running); err == nil || !strings.Contains(err.Error(), "Cannot transition status") {
		return fmt.Errorf("a state was taken twice: %v", err)
	}
	return nil
}

func talkGitea(url, token, path string) error {
	client, err := gitea.NewClient(url, gitea.SetToken(token), gitea.SetGiteaVersion("1.24.0"))
	if err != nil {
		return err
	}
	owner, name, _ := strings.Cut(path, "/")
	repository, _, err := client.GetRepo(owner, name)
	if err != nil || repository.FullName != path || !repository.Permissions.Push {
		return fmt.Errorf("the repository: %+v, %w", repository, err)
	}
	for _, state := range []gitea.StatusState{gitea.StatusPending, gitea.StatusSuccess, gitea.StatusFailure, gitea.StatusError} {
		s, _, err := client.CreateStatus(owner, name, commit, gitea.CreateStatusOption{State: state, TargetURL: target, Description: "Build #1", Context: "slipway/shop"})
		if err != nil || s.State != state || s.Context != "slipway/shop" || s.TargetURL != target {
			return fmt.Errorf("the status %s: %+v, %w", state, s, err)
		}
	}
	return nil
}
