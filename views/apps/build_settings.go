package apps

import (
	"fmt"
	"strings"

	"slipway.dev/models"
	"slipway.dev/views/components"
)

// BuildSettingsView is how an app is built, and its build secrets.
type BuildSettingsView struct {
	Header
	Embedded   string            // where its images are in the portal's own registry
	Registries []models.Registry // external ones that the team may push to
	Stages     []string          // of the Dockerfile on the default branch; empty where they are not known here
	Secrets    []models.BuildSecret
	Form       components.Form
	SecretForm components.Form
	Curl       components.CurlExample
	SecretCurl components.CurlExample
}

// buildSettingsURL is the page of an app's build settings.
func buildSettingsURL(a models.App) string { return URL(a) + "/build-settings" }

// targets are the stages that a build may end with.
func (v BuildSettingsView) targets() []components.Option {
	options := []components.Option{{Value: "", Label: "The last stage"}}
	known := v.App.BuildSettings.Target == ""
	for _, s := range v.Stages {
		options = append(options, components.Option{Value: s, Label: s})
		known = known || s == v.App.BuildSettings.Target
	}
	if !known {
		options = append(options, components.Option{Value: v.App.BuildSettings.Target, Label: v.App.BuildSettings.Target + " (not on the default branch)"})
	}
	return options
}

// destinations are the registries that the app's images may go to.
func (v BuildSettingsView) destinations() []components.Option {
	options := []components.Option{{Value: "", Label: "This portal: " + v.Embedded}}
	known := v.App.RegistryID == ""
	for _, r := range v.Registries {
		options = append(options, components.Option{Value: r.ID, Label: r.Name + " (" + r.Host + ")"})
		known = known || r.ID == v.App.RegistryID
	}
	if !known {
		name := "a registry that is gone"
		if v.App.Registry != nil {
			name = v.App.Registry.Name
		}
		options = append(options, components.Option{Value: v.App.RegistryID, Label: name + " (no longer granted)"})
	}
	return options
}

// argumentLines are the arguments as the form has them.
func argumentLines(s models.BuildSettings) string {
	var b strings.Builder
	for _, a := range s.Arguments {
		b.WriteString(a.Name + "=" + a.Value + "\n")
	}
	return b.String()
}

// branches says whose code gets the secret.
func branches(s models.BuildSecret) string {
	if len(s.Branches) == 0 {
		return "every branch and tag"
	}
	return strings.Join(s.Branches, ", ")
}

// mountOf is the line of a Dockerfile that uses the secret.
func mountOf(s models.BuildSecret) string {
	return fmt.Sprintf("RUN --mount=type=%s,id=%s …", s.Kind, s.Name)
}

var secretKinds = []components.Option{
	{Value: string(models.BuildSecretMount), Label: "Secret: a file that a command reads"},
	{Value: string(models.BuildSecretSSH), Label: "SSH key: a command signs with it and never sees it"},
}

// fact is one line about how an app is built.
type fact struct{ name, value string }

// buildFacts are what is set, in words.
func buildFacts(s models.BuildSettings, secrets int) []fact {
	list := []fact{{"Target", "the last stage"}, {"Platforms", "the engine's own"}, {"Arguments", "none"}, {"Cache", "in the engine"}, {"Attestations", "none"}}
	if s.Target != "" {
		list[0].value = s.Target
	}
	if len(s.Platforms) > 0 {
		list[1].value = strings.Join(s.Platforms, ", ")
	}
	if len(s.Arguments) > 0 {
		names := make([]string, len(s.Arguments))
		for i, a := range s.Arguments {
			names[i] = a.Name
		}
		list[2].value = strings.Join(names, ", ")
	}
	if s.Cache == models.CacheRegistry {
		list[3].value = "in the registry too"
	}
	switch {
	case s.Provenance && s.SBOM:
		list[4].value = "provenance, bill of materials"
	case s.Provenance:
		list[4].value = "provenance"
	case s.SBOM:
		list[4].value = "bill of materials"
	}
	if secrets >= 0 {
		list = append(list, fact{"Secrets", components.Count(secrets, "secret", "secrets")})
	}
	return list
}
