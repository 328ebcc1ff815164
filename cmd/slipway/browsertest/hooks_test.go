package browsertest

import (
	"testing"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

func TestAPersonConnectsAForgeAndApprovesWhatAForkBrings(t *testing.T) {
	t.Parallel()
	dockertest.BaseImage(t)
	repo := gittest.New(t).Repository(t, "acme/shop.git", shop(t, "one"))
	portal := slipwaytest.Launch(t, nil)
	b := open(t, portal.URL)
	b.createAdmin(portal)
	b.visit("/teams")
	b.makeTeam()
	c := b.connect()
	b.register(repo)
	b.createApp()
	b.chooseTriggers()

	head := repo.Commit(t, "tmp", "Mine is better", shop(t, "two"))
	repo.Git(t, "update-ref", "refs/pull/7/head", head)
	repo.DeleteBranch(t, "tmp")
	if status, said := c.Hook(t, "1", "pull_request", slipwaytest.HubFork(repo.URL, head, repo.Git(t, "rev-parse", "main"))); status != 202 {
		t.Fatalf("got %d %s", status, said)
	}
	b.lookAtDelivery()
	b.approve(head)
	b.redeliver()
}

// connect makes a connection and reads what is to be pasted at the forge.
func (b *tab) connect() slipwaytest.Connection {
	b.t.Helper()
	b.click("Connections")
	b.see("No connection yet")
	b.inspect("connections-empty")
	b.click("Connect a forge")
	b.see("Where is the code?")
	b.inspect("connection-kinds")
	b.click("GitHub")
	b.see("How Slipway calls the forge")
	b.press(`//label[contains(normalize-space(), "GitHub App")]`)
	b.see("Installation ID")
	b.inspect("connection-new")
	b.press(`//label[contains(normalize-space(), "None")]`)
	b.fill("base_url", "http://127.0.0.1")
	b.click("Connect")
	b.see("Copy it now")
	b.inspect("connection-made")
	c := slipwaytest.Connection{
		HookURL: eval[string](b, `[...document.querySelectorAll(".snippet pre")].map(e => e.textContent).find(t => t.includes("/hooks/"))`),
		Secret:  eval[string](b, `[...document.querySelectorAll(".snippet pre")].map(e => e.textContent).find(t => t.startsWith("whsec_"))`),
	}
	b.visit("/teams/acme/connections")
	b.inspect("connections")
	b.click("127.0.0.1")
	b.see("It was shown when it was made")
	b.inspect("connection")
	return c
}

func (b *tab) chooseTriggers() {
	b.t.Helper()
	b.toApp()
	b.click("Settings")
	b.see("Triggers")
	b.fill("branches", "main")
	b.press(`//label[contains(normalize-space(), "Forks too")]`)
	b.click("Save triggers")
	b.see("Triggers saved")
	b.inspect("app-triggers")
}

func (b *tab) lookAtDelivery() {
	b.t.Helper()
	b.visit("/teams/acme/deliveries")
	b.see("waits for approval: from a fork")
	b.inspect("deliveries")
	b.click("pull request #7 opened by stranger in acme/shop")
	b.see("What became of it")
	b.inspect("delivery")
}

func (b *tab) approve(head string) {
	b.t.Helper()
	b.visit("/")
	b.see("waits for approval: pull request #7 comes from a fork")
	b.inspect("home-approval")
	b.click("Review")
	b.see("Approve and build this commit")
	b.see(head)
	b.inspect("build-needs-approval")
	b.click("Approve and build this commit")
	b.see("approved by Ada Lovelace")
	b.see("packing the shop")
	b.see("Layers and config")
	b.inspect("build-approved")
}

func (b *tab) redeliver() {
	b.t.Helper()
	b.visit("/teams/acme/deliveries")
	b.click("pull request #7 opened by stranger in acme/shop")
	b.click("Redeliver")
	b.see("the first time")
	b.see("build #3 waits for approval: from a fork")
	b.inspect("delivery-again")
}
