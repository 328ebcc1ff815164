package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// logAnalytics names the query API of Log Analytics among a cloud's services.
const logAnalytics cloud.ServiceName = "query/logs"

// historyRights let Log Analytics be asked for what replicas that are gone have printed. A rollout does not need them.
// Azure has no right for a single table of the kind (https://learn.microsoft.com/azure/azure-monitor/logs/manage-access).
var historyRights = []string{"Microsoft.OperationalInsights/workspaces/query/read", "Microsoft.OperationalInsights/workspaces/query/Tables.Custom/read"}

const (
	consoleTable = "ContainerAppConsoleLogs_CL" // of what apps print, in the workspace of an environment
	historyMost  = 2000                         // lines of one answer, each of maxLine characters
	historyTime  = 20 * time.Second
	historyBack  = 30 * 24 * time.Hour // as long as a workspace keeps lines unless told otherwise
	toAnalytics  = "log-analytics"     // an environment's destination of logs
)

// kustoNames are names that stand in a query as they are.
var kustoNames = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

// newHistory makes the way to Log Analytics; nil where the cloud's address of it is not known.
func newHistory(s settings, credential azcore.TokenCredential, base azcore.ClientOptions) (*azcore.Client, error) {
	of, ok := s.Cloud.Services[logAnalytics]
	if !ok {
		return nil, nil
	}
	scope := of.Audience + "/.default"
	base.PerRetryPolicies = []policy.Policy{azurelogin.Renewal(credential, scope)}
	return azcore.NewClient("slipway", "v1.0.0", runtime.PipelineOptions{PerRetry: []policy.Policy{runtime.NewBearerTokenPolicy(credential, []string{scope}, nil)}}, &base)
}

// workspace is the id of the workspace that has the environment's logs; empty: none has, or none that can be asked.
func (t *target) workspace(ctx context.Context) (string, error) {
	home, err := t.environment(ctx)
	if err != nil {
		return "", err
	}
	logs := home.Properties.AppLogsConfiguration
	if t.history == nil || logs == nil || value(logs.Destination) != toAnalytics || logs.LogAnalyticsConfiguration == nil {
		return "", nil
	}
	id := value(logs.LogAnalyticsConfiguration.CustomerID)
	if !azurelogin.GUID.MatchString(id) {
		return "", nil
	}
	return id, nil
}

// gone returns what the release's replicas have printed that do not run any more, oldest first, of the time after
// the given one. Their numbers follow those of the living, which are named. Where there is no workspace, or Slipway may
// not ask it, or it gives no answer, nothing is known.
func (t *target) gone(ctx context.Context, release string, living []deploy.Instance, o deploy.LogOptions) ([]deploy.LogLine, error) {
	workspace, err := t.workspace(ctx)
	if err != nil || workspace == "" {
		return nil, err
	}
	text, err := query(release, living, o)
	if err != nil {
		return nil, err
	}
	answer, err := t.askHistory(ctx, workspace, text)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err == nil:
		return answer.lines(len(living), o.After)
	case azurelogin.Status(err) == http.StatusForbidden, missing(err), passing(err), strings.Contains(err.Error(), "Failed to resolve table"): // that comes with its first line
		return nil, nil
	}
	return nil, t.explain(ctx, deploy.StageTarget, err)
}

// query asks for the lines in Kusto's language. Names that come from elsewhere are of letters, digits and hyphens, or there is no query.
func query(release string, living []deploy.Instance, o deploy.LogOptions) (string, error) {
	names := []string{suffixOf(release)}
	for _, i := range living {
		names = append(names, i.Name)
	}
	if i := slices.IndexFunc(names, func(n string) bool { return !kustoNames.MatchString(n) }); i >= 0 {
		return "", fmt.Errorf("azure: %q is no name for a query", names[i])
	}
	since := o.After
	if since.IsZero() {
		since = time.Now().Add(-historyBack)
	}
	most := historyMost
	if o.Tail > 0 {
		most = min(o.Tail, most)
	}
	parts := []string{
		consoleTable,
		`where TimeGenerated > datetime(` + since.UTC().Format("2006-01-02T15:04:05.0000000Z") + `)`,
		`where RevisionName_s endswith "--` + names[0] + `" and ContainerName_s == "` + containerName + `"`,
	}
	if len(living) > 0 {
		parts = append(parts, `where ContainerGroupName_s !in ("`+strings.Join(names[1:], `", "`)+`")`)
	}
	parts = append(parts, fmt.Sprintf("top %d by TimeGenerated desc", most), fmt.Sprintf("project TimeGenerated, ContainerGroupName_s, Log_s = substring(Log_s, 0, %d)", maxLine))
	return strings.Join(parts, "\n| "), nil
}

// answered is the answer of Log Analytics: rows of values, by columns.
type answered struct {
	Tables []struct {
		Columns []struct {
			Name string `json:"name"`
		} `json:"columns"`
		Rows [][]json.RawMessage `json:"rows"`
	} `json:"tables"`
}

// askHistory asks once (https://learn.microsoft.com/azure/azure-monitor/logs/api/request-format).
func (t *target) askHistory(ctx context.Context, workspace, text string) (answered, error) {
	var answer answered
	ctx, cancel := context.WithTimeout(ctx, historyTime)
	defer cancel()
	ctx = policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1, TryTimeout: historyTime})
	req, err := runtime.NewRequest(ctx, http.MethodPost, runtime.JoinPaths(t.settings.Cloud.Services[logAnalytics].Endpoint, "/v1/workspaces/"+workspace+"/query"))
	if err != nil {
		return answer, err
	}
	if err := runtime.MarshalAsJSON(req, map[string]string{"query": text}); err != nil {
		return answer, err
	}
	res, err := t.history.Pipeline().Do(req)
	if err != nil {
		return answer, err
	}
	if !runtime.HasStatusCode(res, http.StatusOK) {
		return answer, runtime.NewResponseError(res)
	}
	return answer, runtime.UnmarshalAsJSON(res, &answer)
}

var errColumns = errors.New("azure: Log Analytics answers with other columns than were asked for")

// lines reads the rows after the time, the oldest first: a time in a query is less exact than one of a line. Replicas
// have numbers after those of the so many living, in the order in which they began to print.
func (a answered) lines(before int, after time.Time) (all []deploy.LogLine, err error) {
	if len(a.Tables) == 0 {
		return nil, nil
	}
	table := a.Tables[0]
	if len(table.Columns) != 3 || table.Columns[0].Name != "TimeGenerated" || table.Columns[1].Name != "ContainerGroupName_s" || table.Columns[2].Name != "Log_s" {
		return nil, errColumns
	}
	type printed struct {
		at            time.Time
		replica, text string
	}
	var rows []printed
	for _, r := range table.Rows {
		var p printed
		if len(r) != 3 || json.Unmarshal(r[0], &p.at) != nil || json.Unmarshal(r[1], &p.replica) != nil || json.Unmarshal(r[2], &p.text) != nil {
			return nil, errColumns
		}
		if p.at.After(after) {
			rows = append(rows, p)
		}
	}
	slices.Reverse(rows)
	slices.SortStableFunc(rows, func(a, b printed) int { return a.at.Compare(b.at) })
	numbers := map[string]int{}
	for _, p := range rows {
		if numbers[p.replica] == 0 {
			numbers[p.replica] = before + len(numbers) + 1
		}
		all = append(all, deploy.LogLine{At: p.at.UTC(), Replica: numbers[p.replica], Text: cut(p.text)})
	}
	return all, nil
}

// withFormer puts what replicas that are gone have printed among the lines of the living. They are asked for where the
// living have fewer lines than are wanted.
func (t *target) withFormer(ctx context.Context, release string, living []deploy.Instance, lines []deploy.LogLine, o deploy.LogOptions) ([]deploy.LogLine, error) {
	if o.Tail > 0 && len(lines) >= o.Tail {
		return lines, nil
	}
	gone, err := t.gone(ctx, release, living, o)
	if err != nil {
		return nil, err
	}
	lines = append(gone, lines...)
	slices.SortStableFunc(lines, func(a, b deploy.LogLine) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	if o.Tail > 0 && len(lines) > o.Tail {
		lines = lines[len(lines)-o.Tail:]
	}
	return lines, nil
}

// checkHistory looks whether lines of replicas that are gone can be read. Nothing of it speaks against a rollout.
func (t *target) checkHistory(ctx context.Context, _ deploy.Release) (deploy.Check, error) {
	c := deploy.Check{Name: "Logs", OK: true, Message: "Of replicas that are gone Slipway shows the lines that it kept: the environment's logs go to no Log Analytics workspace that can be asked."}
	workspace, err := t.workspace(ctx)
	if err != nil || workspace == "" {
		return c, err
	}
	text, err := query(models.NewID(), nil, deploy.LogOptions{Tail: 1})
	if err != nil {
		return c, err
	}
	_, err = t.askHistory(ctx, workspace, text)
	switch {
	case err == nil, strings.Contains(err.Error(), "Failed to resolve table"):
		c.Message = "Log Analytics has the lines of replicas that are gone."
	case azurelogin.Status(err) == http.StatusForbidden:
		c.Message = "Slipway's application may not ask the Log Analytics workspace " + workspace + ", so that of replicas that are gone it shows the lines that it kept. To see all, give it a role with " + strings.Join(historyRights, " and ") + " there."
	case azurelogin.Status(err) != 0 || passing(err):
		c.Message = "Not looked at: Log Analytics gives no answer now."
	default:
		return c, t.explain(ctx, deploy.StageTarget, err)
	}
	return c, nil
}
