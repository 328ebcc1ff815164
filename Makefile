# Slipway: make lists what there is to do.

TOOLS    := go tool -modfile=tools.mod
TEMPL    := $(TOOLS) templ
PROGRAMS := $(patsubst cmd/%/main.go,bin/%,$(wildcard cmd/*/main.go))
# The whole program is tested as it is shipped; everything below it with the race detector. What takes minutes comes
# first: begun last, it would keep one processor busy while the others have nothing left to do.
RACED    := ./services/deploy ./services/builds ./handlers ./views ./services/deploy/vm ./services/deploy/docker \
            ./services/registry ./services/images ./services/deploy/... ./handlers/... ./migrations/... ./models/... ./services/... ./static/... ./test/... ./views/...
TESTED   := ./cmd/...
# What kills processes and counts to hundreds would take the race detector's time for little: its own processes are not watched.
HEAVY    := ^(TestWhoMayCallWhat|TestTwoHundredBuildsOfFiveTeamsAreEachBuiltOnceAndNoTeamStarves|TestABuildIsMadeOnceWhereverItsWorkerIsKilled|TestBuildsOutliveADatabaseThatCrashesUnderLoad|TestFailuresAreSaidWithEvidenceAndWhatToDo|TestNoRequestFailsWhileVersionsAreDeployed|TestARolloutEndsTrueWhereverItsWorkerIsKilled|TestARolloutEndsTrueWhenTheEngineStopsInTheMiddle|TestAWorkerThatIsKilledBetweenTwoVersionsLeavesNoneOfThemTwice)$$
# SQLite is C in the words of Go, on memory that is not Go's, which the detector does not watch; asking it all the same
# would take more than half of the time of all tests. What calls SQLite, its driver too, is watched.
RACE     := -race '-gcflags=modernc.org/...=-race=false'
TIMEOUT  := 40m
# Nobody debugs a test's program: without the tables for it each of the sixty links in half the time.
LINK     := -ldflags=-w

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## set this machine up and start the portal on http://localhost:8080
	@.ci/setup run
	@$(MAKE) --no-print-directory fonts-if-npm build
	@.ci/with bin/slipway serve

.PHONY: test
test: ## set this machine up and run every test
	@.ci/setup test
	@failed=0; \
	.ci/with go test $(RACE) $(LINK) -timeout $(TIMEOUT) -skip '$(HEAVY)' $(RACED) || failed=1; \
	.ci/with go test $(LINK) -timeout $(TIMEOUT) -p 1 -run '$(HEAVY)' ./handlers ./services/builds ./services/deploy || failed=1; \
	.ci/with go test $(LINK) -timeout $(TIMEOUT) $(TESTED) || failed=1; \
	exit $$failed

# The tests of the Kubernetes target against a real API server. They are no part of make test: the server and its
# controllers take about ten minutes of two processors to compile, once, which is more than CI has to spare.
.PHONY: test-kubernetes
test-kubernetes: ## set this machine up and test the Kubernetes target against a real cluster
	@.ci/setup kubernetes
	@.ci/with go vet -tags kubernetes ./services/deploy/kubernetes
	@.ci/with go test -tags kubernetes -count 1 -timeout $(TIMEOUT) ./services/deploy/kubernetes

# The tests of the clouds' targets against accounts that are real: each runs where its variables (docs/aws.md,
# docs/google-cloud.md, docs/azure.md) name one. What they make is tagged, removed at the end, and costs cents.
CLOUDS = $(patsubst %,./%,$(shell git grep -l '^//go:build realclouds' -- services/deploy | xargs -r -n1 dirname | sort -u))
.PHONY: test-clouds
test-clouds: ## test the clouds' targets against the accounts that the environment names
	@[ -n "$(CLOUDS)" ] || { echo 'no target of a cloud has such tests'; exit 1; }
	go vet -tags realclouds $(CLOUDS)
	go test -tags realclouds -run RealAccount -count 1 -v -timeout 2h $(CLOUDS)

# The tests that run the suite of all targets. TAGS=kubernetes adds the cluster, which takes ten minutes
# to compile the first time. SUITES=services/deploy/kubernetes/cluster_test.go, for one, leaves the others as they are.
SUITES = $(shell git grep -l 'deploytest[.]Run' -- 'services/deploy/*_test.go')
TAGS  :=
.PHONY: capabilities
capabilities: ## run the suite of all targets and write docs/capabilities.md
	@.ci/setup test $(filter kubernetes,$(TAGS))
	@.ci/with go test -json -count 1 -tags '$(TAGS)' -timeout $(TIMEOUT) \
		-run "^($$(awk '/^func Test/ { name = $$2; sub(/\(.*/, "", name) } /deploytest\.Run\(/ { print name }' $(SUITES) | sort -u | paste -sd '|'))$$" \
		$(patsubst %,./%,$(sort $(dir $(SUITES)))) | go run ./test/capabilities docs/capabilities.json docs/capabilities.md

# How long each of the tests that make soak runs goes on; some also take more of everything.
SOAK := 5m

.PHONY: soak
soak: ## run for minutes what the tests run for seconds: make soak SOAK=30m
	@.ci/setup test
	@SLIPWAY_TEST_SOAK=$(SOAK) .ci/with go test -count 1 -v -timeout 24h -run Soak $$(git grep -l 'func TestSoak' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')

.PHONY: check
check: lint test ## format, vet, staticcheck, generated files and modules are fresh, then every test

.PHONY: lint
lint: ## the part of check that runs no test
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	[ -z "$$unformatted" ] || { echo "not formatted, run gofmt -w on: $$unformatted"; exit 1; }
	$(TEMPL) fmt -fail views
	@$(MAKE) --no-print-directory generate
	@git diff --exit-code --stat -- '*_templ.go' || { echo "generated files were not fresh: commit them"; exit 1; }
	go mod tidy -diff
	go vet ./...
	$(TOOLS) staticcheck ./...

.PHONY: build
build: $(PROGRAMS) ## build the programs into bin/

.PHONY: $(PROGRAMS)
$(PROGRAMS): bin/%:
	CGO_ENABLED=0 go build -trimpath -tags disable_grpc_modules -ldflags='-s -w' -o $@ ./cmd/$*

.PHONY: generate
generate: ## write views/**/*_templ.go anew from the templates
	$(TEMPL) generate -path views

.PHONY: dev
dev: ## start the portal so that it follows every edit, on http://localhost:7331
	@.ci/setup run
	.ci/with $(TEMPL) generate -path views --watch --open-browser=false \
		--proxy=http://localhost:8080 --cmd='go run ./cmd/slipway serve --dev static'

.PHONY: fonts
fonts: ## fetch the portal's fonts (needs npm); without them pages use the system's
	@npm ci --prefix static --loglevel=error --no-progress
	@cp static/node_modules/@fontsource-variable/geist/files/geist-latin-wght-normal.woff2 static/fonts/geist.woff2
	@cp static/node_modules/@fontsource-variable/geist-mono/files/geist-mono-latin-wght-normal.woff2 static/fonts/geist-mono.woff2
	@cp static/node_modules/@fontsource-variable/geist/LICENSE static/fonts/OFL.txt

.PHONY: fonts-if-npm
fonts-if-npm:
	@[ -e static/fonts/geist.woff2 ] || ! command -v npm >/dev/null || $(MAKE) --no-print-directory fonts || \
		echo 'the fonts could not be fetched: pages use the system fonts'

.PHONY: bench
bench: ## measure Slipway against the tools it stands on
	@.ci/setup bench
	@$(MAKE) --no-print-directory fonts-if-npm build
	@.ci/with go test -run '^$$' -bench . -benchtime 1x -timeout 60m ./cmd/slipway/bench

.PHONY: pictures
pictures: ## take a picture of every page, light, dark and phone, into pictures/
	@.ci/setup test
	@$(MAKE) --no-print-directory fonts-if-npm
	@SLIPWAY_TEST_PICTURES=$(CURDIR)/pictures .ci/with go test -count 1 -timeout $(TIMEOUT) ./cmd/slipway/browsertest

.PHONY: clean
clean: ## remove what the other targets made, and the tests' PostgreSQL
	@.ci/setup clean
	@rm -rf bin pictures .cache
