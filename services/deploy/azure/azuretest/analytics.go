package azuretest

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// row is a line that a container printed, as Log Analytics has it.
type row struct {
	at                      time.Time
	revision, replica, text string
}

// The parts of the one query that is known here, each a line.
var kusto = []*regexp.Regexp{
	regexp.MustCompile(`^ContainerAppConsoleLogs_CL$`),
	regexp.MustCompile(`^\| where TimeGenerated > datetime\(([0-9T:.Z-]+)\)$`),
	regexp.MustCompile(`^\| where RevisionName_s endswith "([a-z0-9-]+)" and ContainerName_s == "app"$`),
	regexp.MustCompile(`^\| where ContainerGroupName_s !in \("([a-z0-9-]+(?:", "[a-z0-9-]+)*)"\)$`),
	regexp.MustCompile(`^\| top ([0-9]+) by TimeGenerated desc$`),
	regexp.MustCompile(`^\| project TimeGenerated, ContainerGroupName_s, Log_s = substring\(Log_s, 0, 16384\)$`),
}

// analytics answers as Log Analytics does (https://learn.microsoft.com/azure/azure-monitor/logs/api/response-format).
func (s *Server) analytics(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.mu.Lock()
	known := s.tokens[token] && s.scopes[token] == s.URL()+"/.default"
	denied := slices.Contains(s.denied, "Microsoft.OperationalInsights/workspaces/query/read")
	s.mu.Unlock()
	var ask struct {
		Query string `json:"query"`
	}
	if _, err := read(r, &ask); err != nil {
		refuse(w, http.StatusBadRequest, "BadArgumentError", "%v", err)
		return
	}
	switch {
	case !known:
		refuse(w, http.StatusUnauthorized, "InvalidTokenError", "Valid authentication was not provided")
		return
	case r.PathValue("workspace") != s.Workspace:
		refuse(w, http.StatusNotFound, "WorkspaceNotFoundError", "The workspace could not be found")
		return
	case denied:
		refuse(w, http.StatusForbidden, "InsufficientAccessError", "The provided credentials have insufficient access to perform the requested operation")
		return
	}
	since, suffix, without, most, ok := parse(ask.Query)
	if !ok {
		refuse(w, http.StatusBadRequest, "BadArgumentError", "The query is not known here: %s", ask.Query)
		return
	}
	rows := []any{}
	for _, one := range s.printed(r.Context()) {
		if len(rows) < most && one.at.After(since) && strings.HasSuffix(one.revision, suffix) && !slices.Contains(without, one.replica) {
			rows = append(rows, []string{one.at.UTC().Format(time.RFC3339Nano), one.replica, one.text})
		}
	}
	column := func(name, kind string) map[string]string { return map[string]string{"name": name, "type": kind} }
	answer(w, http.StatusOK, map[string]any{"tables": []any{map[string]any{"name": "PrimaryResult", "rows": rows,
		"columns": []any{column("TimeGenerated", "datetime"), column("ContainerGroupName_s", "string"), column("Log_s", "string")}}}})
}

// parse reads the query, in which there may be no replicas to leave out.
func parse(query string) (since time.Time, suffix string, without []string, most int, ok bool) {
	lines := strings.Split(query, "\n")
	if len(lines) == len(kusto)-1 {
		lines = slices.Insert(lines, 3, `| where ContainerGroupName_s !in ("none")`)
	}
	if len(lines) != len(kusto) {
		return since, "", nil, 0, false
	}
	var found []string
	for n, line := range lines {
		m := kusto[n].FindStringSubmatch(line)
		if m == nil {
			return since, "", nil, 0, false
		}
		found = append(found, m[len(m)-1])
	}
	since, err := time.Parse(time.RFC3339Nano, found[1])
	most, failed := strconv.Atoi(found[4])
	return since, found[2], strings.Split(found[3], `", "`), most, err == nil && failed == nil
}

// printed are the lines of all replicas, of those that have gone too, the newest first.
func (s *Server) printed(ctx context.Context) []row {
	s.mu.Lock()
	all := slices.Clone(s.rows)
	living := map[string]row{} // by containers
	for _, a := range s.apps {
		for _, rev := range a.revisions {
			for _, r := range rev.replicas {
				living[r.id] = row{revision: rev.name, replica: r.name}
			}
		}
	}
	s.mu.Unlock()
	for id, of := range living {
		all = append(all, s.rowsOf(ctx, id, of)...)
	}
	slices.SortStableFunc(all, func(a, b row) int { return b.at.Compare(a.at) })
	return all
}

// keepRows keeps the lines of a replica that goes.
func (s *Server) keepRows(ctx context.Context, r *replica) {
	all := s.rowsOf(ctx, r.id, row{revision: r.revision, replica: r.name})
	s.set(func() { s.rows = append(s.rows, all...) })
}

// rowsOf reads the lines of a container.
func (s *Server) rowsOf(ctx context.Context, id string, of row) (all []row) {
	if id == "" {
		return nil
	}
	body, err := s.docker.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true})
	if err != nil {
		return nil
	}
	defer body.Close()
	lines, in := io.Pipe()
	s.beside(func() {
		_, err := stdcopy.StdCopy(in, in, body)
		in.CloseWithError(err)
	})
	for scan := bufio.NewScanner(lines); scan.Scan(); {
		at, text, _ := strings.Cut(scan.Text(), " ")
		of.text = text
		if of.at, err = time.Parse(time.RFC3339Nano, at); err == nil {
			all = append(all, of)
		}
	}
	_ = lines.Close()
	return all
}

// Replace ends all replicas and, once they have gone, runs others in their place, as Azure does when it moves them.
func (s *Server) Replace() {
	moved := map[*revision]*app{}
	s.set(func() {
		for _, a := range s.apps {
			for _, rev := range a.revisions {
				if rev.active {
					s.rest(rev)
					moved[rev] = a
				}
			}
		}
	})
	for rev := range moved {
		rev.running.Wait()
	}
	s.set(func() {
		for rev, a := range moved {
			s.wake(a, rev)
		}
	})
}
