package googletest

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/api/logging/v2"
)

// write stores an entry of a log.
func (c *Cloud) write(log, severity, text string, at time.Time, of *logging.MonitoredResource, instance string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, &logging.LogEntry{
		InsertId: fmt.Sprintf("e%d", c.number()), LogName: "projects/" + Project + "/logs/run.googleapis.com%2F" + log, Severity: severity, TextPayload: text,
		Timestamp: at.UTC().Format(time.RFC3339Nano), Resource: of, Labels: map[string]string{"instanceId": instance},
	})
}

func (c *Cloud) listEntries(q *call) (any, error) {
	in := &logging.ListLogEntriesRequest{}
	if err := q.into(in); err != nil {
		return nil, err
	}
	if len(in.ResourceNames) != 1 || in.ResourceNames[0] != "projects/"+Project {
		return nil, refuse(400, "INVALID_ARGUMENT", "Unknown resource names %q.", in.ResourceNames)
	}
	c.mu.Lock()
	all := slices.Clone(c.entries)
	c.mu.Unlock()
	out := &logging.ListLogEntriesResponse{}
	for _, e := range all {
		fits, err := fits(e, in.Filter)
		if err != nil {
			return nil, err
		}
		if fits {
			out.Entries = append(out.Entries, e)
		}
	}
	slices.SortStableFunc(out.Entries, func(a, b *logging.LogEntry) int { return timeOf(a).Compare(timeOf(b)) })
	if in.OrderBy == "timestamp desc" {
		slices.Reverse(out.Entries)
	} else if in.OrderBy != "timestamp asc" {
		return nil, refuse(400, "INVALID_ARGUMENT", "Unknown order %q.", in.OrderBy)
	}
	return page(out, in), nil
}

// page is the part of the answer that the page token asks for.
func page(all *logging.ListLogEntriesResponse, in *logging.ListLogEntriesRequest) *logging.ListLogEntriesResponse {
	from := 0
	if in.PageToken != "" {
		_, _ = fmt.Sscanf(in.PageToken, "%d", &from)
	}
	size := int(cmp.Or(in.PageSize, 50))
	to := min(from+size, len(all.Entries))
	out := &logging.ListLogEntriesResponse{Entries: all.Entries[min(from, to):to]}
	if to < len(all.Entries) {
		out.NextPageToken = fmt.Sprint(to)
	}
	return out
}

func timeOf(e *logging.LogEntry) time.Time {
	at, _ := time.Parse(time.RFC3339Nano, e.Timestamp)
	return at
}

var comparison = regexp.MustCompile(`^([A-Za-z_.]+)(=~|>=|=)"([^"]*)"$`)

// fits knows comparisons that are joined by AND, in parentheses by OR.
func fits(e *logging.LogEntry, filter string) (bool, error) {
	for _, part := range strings.Split(filter, " AND ") {
		any := false
		for _, one := range strings.Split(strings.Trim(part, "()"), " OR ") {
			m := comparison.FindStringSubmatch(one)
			if m == nil {
				return false, refuse(400, "INVALID_ARGUMENT", "Unparseable filter: %q", one)
			}
			ok, err := compare(e, m[1], m[2], m[3])
			if err != nil {
				return false, err
			}
			any = any || ok
		}
		if !any {
			return false, nil
		}
	}
	return true, nil
}

func compare(e *logging.LogEntry, field, operator, value string) (bool, error) {
	var has string
	switch name, isLabel := strings.CutPrefix(field, "resource.labels."); {
	case isLabel:
		has = e.Resource.Labels[name]
	case field == "resource.type":
		has = e.Resource.Type
	case field == "logName":
		has = e.LogName
	case field == "timestamp" && operator == ">=":
		at, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return false, refuse(400, "INVALID_ARGUMENT", "Unparseable time %q.", value)
		}
		return !timeOf(e).Before(at), nil
	default:
		return false, refuse(400, "INVALID_ARGUMENT", "Unknown field %q.", field)
	}
	switch operator {
	case "=":
		return has == value, nil
	case "=~":
		return regexp.MatchString(value, has)
	}
	return false, refuse(400, "INVALID_ARGUMENT", "Unknown operator %q.", operator)
}
