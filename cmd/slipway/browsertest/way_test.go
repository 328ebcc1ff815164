package browsertest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// shop serves a page that says the version. What an earlier run built of it does not come from the cache.
func shop(t *testing.T, version string) gittest.Files {
	return gittest.Files{
		"Dockerfile": "FROM slipway.test/base:1\n" +
			"WORKDIR /www\n" +
			"COPY . .\n" +
			"RUN printf '\\033[32mpacking\\033[0m the shop\\n' && sleep 1 && test -s index.html\n" +
			"EXPOSE 8080\n" +
			`CMD ["httpd", "-f", "-v", "-p", "8080", "-h", "/www"]` + "\n",
		"fresh":      t.TempDir(),
		"index.html": "<!doctype html><html lang=en><title>Shop</title><h1>Shop " + version + "</h1></html>\n",
	}
}

var setupLink = regexp.MustCompile(`http://\S+(/setup/\S+)`)

const password = "correct horse battery"

func TestAPersonGoesFromTheSetUpPageToTheRunningApp(t *testing.T) {
	t.Parallel()
	dockertest.BaseImage(t)
	repo := gittest.New(t).Repository(t, "acme/shop.git", shop(t, "one"))
	portal := slipwaytest.Launch(t, nil)
	b := open(t, portal.URL)

	b.createAdmin(portal)
	b.signOutAndIn()
	b.makeTeam()
	b.register(repo)
	b.createApp()
	b.watchBuild()
	b.lookAtImage()
	b.makeEnvironment()
	b.deploy()
	b.openApp(portal, "Shop one")

	repo.Commit(t, "main", "Sell more", shop(t, "two"))
	b.buildAndDeployAgain()
	b.openApp(portal, "Shop two")
	b.rollBack()
	b.openApp(portal, "Shop one")
	b.lookAtPlace()
	b.makeToken()
	b.lookAround()
}

func (b *tab) createAdmin(portal *slipwaytest.Portal) {
	b.t.Helper()
	link := setupLink.FindStringSubmatch(portal.Output())
	if link == nil {
		b.t.Fatalf("the portal printed no link to set it up:\n%s", portal.Output())
	}
	b.visit("/")
	b.see("no admin yet")
	b.inspect("not-set-up")
	b.visit(link[1])
	b.see("Create admin")
	b.inspect("set-up")
	b.fill("name", "Ada Lovelace")
	b.fill("user_name", "ada")
	b.fill("email", "ada@example.com")
	b.fill("password", "short")
	b.fill("password_again", "short")
	b.click("Create admin")
	b.see("Some fields need attention")
	b.inspect("set-up-refused")
	b.fill("password", password)
	b.fill("password_again", password)
	b.click("Create admin")
	b.signIn()
}

// signIn goes through the embedded provider, from wherever the portal asks for it, to the first page.
func (b *tab) signIn() {
	b.t.Helper()
	b.await("the sign-in or the first page is there", `location.pathname === "/" && !!document.querySelector("main")
		|| location.pathname === "/idp/login" && !!document.querySelector("[name=user_name]") || [...document.querySelectorAll("a")].some(a => a.textContent.includes("Continue with"))`)
	if eval[bool](b, `[...document.querySelectorAll("a")].some(a => a.textContent.includes("Continue with"))`) {
		b.inspect("sign-in")
		b.press(`//a[contains(normalize-space(), "Continue with")]`)
		b.await("the provider or the first page is there", `location.pathname === "/idp/login" && !!document.querySelector("[name=user_name]")
			|| location.pathname === "/" && !!document.querySelector("main")`)
	}
	if eval[bool](b, `location.pathname === "/idp/login"`) {
		b.inspect("password")
		b.fill("user_name", "ada")
		b.fill("password", password)
		b.click("Sign in")
	}
	b.see("From a repository to a running app")
}

func (b *tab) signOutAndIn() {
	b.t.Helper()
	b.inspect("home-empty")
	b.await("there is a way out", `!!document.querySelector("form[action='/logout']")`)
	eval[bool](b, `(document.querySelector("form[action='/logout']").requestSubmit(), true)`)
	b.see("You are signed out")
	b.inspect("signed-out")
	b.visit("/teams")
	b.see("User name")
	b.fill("user_name", "ada")
	b.fill("password", "a wrong password")
	b.click("Sign in")
	b.await("the wrong password is refused", `!!document.querySelector("[role=alert], .note.is-bad")`)
	b.inspect("password-refused")
	b.fill("user_name", "ada")
	b.fill("password", password)
	b.click("Sign in")
	b.see("No teams yet")
}

func (b *tab) makeTeam() {
	b.t.Helper()
	b.inspect("teams-empty")
	b.click("Create team")
	b.see("Short name")
	b.inspect("team-new")
	b.fill("name", "Acme")
	b.fill("slug", "acme")
	b.click("Create team")
	b.see("Add a member")
	b.inspect("team")
}

func (b *tab) register(repo *gittest.Repo) {
	b.t.Helper()
	b.visit("/repositories")
	b.inspect("repositories-empty")
	b.click("Register repository")
	b.see("Clone URL")
	b.inspect("repository-new")
	b.fill("clone_url", "not a url")
	b.clickIn("main form", "Register repository")
	b.await("the address is refused", `!!document.querySelector("[name=clone_url][aria-invalid=true]")`)
	b.inspect("repository-refused")
	b.fill("clone_url", repo.URL)
	b.clickIn("main form", "Register repository")
	b.see("Found 1 Dockerfile")
	b.inspect("repository-found")
}

func (b *tab) createApp() {
	b.t.Helper()
	b.fill("port-0", "8080")
	b.click("Create app")
	b.await("the first build or the app is there", `/^\/(apps|builds)\/[^\/]+/.test(location.pathname)
		|| [...document.querySelectorAll("a")].some(a => a.getAttribute("href")?.startsWith("/apps/"))`)
	b.visit("/apps")
	b.inspect("apps")
	b.press(`//main//a[starts-with(@href, "/apps/")]`)
	b.reach("/apps/")
	b.see("Last builds")
	b.inspect("app-first-build")
}

func (b *tab) watchBuild() {
	b.t.Helper()
	b.press(`//main//a[starts-with(@href, "/builds/")]`)
	b.reach("/builds/")
	b.see("Steps")
	b.see("packing the shop")
	b.see("Layers and config")
	if title := eval[string](b, `document.title`); !strings.Contains(title, "#1") {
		b.t.Errorf("the build's title is %q", title)
	}
	if !eval[bool](b, `[...document.querySelectorAll(".log span[class]")].some(e => e.textContent === "packing")`) {
		b.t.Error("the log lost its colours")
	}
	b.inspect("build")
	b.do(chromedp.Reload())
	b.see("packing the shop")
}

func (b *tab) lookAtImage() {
	b.t.Helper()
	b.click("Layers and config")
	b.reach("/images/")
	b.see("RUN")
	b.inspect("image")
	b.visit("/images")
	b.see("shop")
	b.inspect("images")
}

func (b *tab) makeEnvironment() {
	b.t.Helper()
	b.visit("/environments")
	b.inspect("environments-empty")
	b.press(`//main//a[contains(normalize-space(), "New environment")]`)
	b.reach("/environments/new")
	b.see("Name")
	b.inspect("environment-new")
	b.fill("name", "staging")
	b.press(`//main//form//button[contains(@class, "primary")]`)
	b.see("staging")
	b.inspect("environment")
}

func (b *tab) deploy() {
	b.t.Helper()
	b.toApp()
	b.press(`//main//a[contains(@href, "/deploy?")]`)
	b.see("What changes")
	b.inspect("deploy")
	b.press(`//main//form//button[contains(@class, "primary")]`)
	b.reach("/deployments/")
	b.see("Succeeded")
	b.inspect("deployment")
}

// toApp opens the page of the one app.
func (b *tab) toApp() {
	b.t.Helper()
	b.visit("/apps")
	b.press(`//main//a[starts-with(@href, "/apps/")]`)
	b.reach("/apps/")
	b.see("Last builds")
}

func (b *tab) openApp(portal *slipwaytest.Portal, words string) {
	b.t.Helper()
	b.toApp()
	b.await("the app has an address", `!!document.querySelector("main a[href*='.localhost']")`)
	address := eval[string](b, `document.querySelector("main a[href*='.localhost']").href`)
	if want := "http://shop-staging.localhost:" + portal.Port; !strings.HasPrefix(address, want) {
		b.t.Errorf("the app is at %s, want %s", address, want)
	}
	visitor := open(b.t, strings.TrimSuffix(address, "/"))
	visitor.visit("/")
	visitor.see(words)
}

func (b *tab) buildAndDeployAgain() {
	b.t.Helper()
	b.toApp()
	b.clickIn("main", "Build")
	b.do(chromedp.WaitVisible(chromedp.CSS("dialog[open]")))
	b.inspect("build-dialog")
	b.clickIn("dialog[open] form", "Build")
	b.reach("/builds/")
	b.see("Sell more")
	b.see("Layers and config")
	b.clickIn("main", "Deploy")
	b.see("What changes")
	b.see("Sell more")
	b.inspect("deploy-again")
	b.press(`//main//form//button[contains(@class, "primary")]`)
	b.reach("/deployments/")
	b.see("Succeeded")
	b.toApp()
	b.inspect("app")
}

func (b *tab) rollBack() {
	b.t.Helper()
	b.toApp()
	b.press(`//main//header//nav//a[contains(@href, "/deployments")]`)
	b.see("Deployments")
	b.inspect("deployments")
	b.press(`(//main//a[starts-with(@href, "/deployments/")])[last()]`)
	b.reach("/deployments/")
	b.see("Roll back")
	b.press(`//main//button[@command="show-modal" and starts-with(normalize-space(), "Roll back")]`)
	b.await("the rollback asks whether it may", `!!document.querySelector("dialog[open]")`)
	b.inspect("rollback-dialog")
	b.press(`//dialog[@open]//form//button[starts-with(normalize-space(), "Roll back")]`)
	b.see("a roll back")
	b.see("Succeeded")
}

// lookAtPlace goes from the deployment to what its instances take and have printed, and searches that.
func (b *tab) lookAtPlace() {
	b.t.Helper()
	b.press(`//main//header//nav//a[contains(@href, "/deployments")]`)
	b.see("Deployments")
	b.press(`(//main//a[starts-with(@href, "/deployments/")])[1]`)
	b.press(`//main//a[contains(@href, "/log?deployment=")]`)
	b.see("Log of all instances")
	b.press(`//main//a[normalize-space() = "Everything"]`)
	b.await("the log is there", `document.querySelectorAll(".log .l").length > 3`)
	b.inspect("place-log")
	b.fill("q", "RESPONSE:200")
	b.clickIn("main form", "Search")
	b.await("the hits are marked", `document.querySelectorAll(".log .l mark").length > 0`)
	b.inspect("place-log-search")
	b.press(`//main//nav//a[normalize-space() = "Instances"]`)
	b.see("Load of the last hour")
	b.await("what the instances take is drawn", `!!document.querySelector("svg.stackbar path[d^=M]")`)
	b.inspect("place")
}

func (b *tab) makeToken() {
	b.t.Helper()
	b.visit("/tokens")
	b.inspect("tokens-empty")
	b.fill("name", "laptop")
	b.press(`//main//form//button[contains(@class, "primary")]`)
	b.see("Copy the token")
	b.inspect("token-made")
}

// lookAround inspects the pages that the way did not lead through, now that there is something on them.
func (b *tab) lookAround() {
	b.t.Helper()
	for path, name := range map[string]string{
		"/": "home", "/builds": "builds", "/environments": "environments", "/teams": "teams", "/repositories": "repositories",
		"/admin/users": "users", "/admin/audit": "audit", "/admin/targets": "targets", "/admin/registries": "registries-empty", "/admin/queue": "queue", "/admin/engines": "engines", "/admin/registry": "registry-storage", "/account": "account", "/search?q=shop": "search",
		"/api/docs": "api-docs", "/no/such/page": "not-found",
	} {
		b.visit(path)
		b.inspect(name)
	}
}
