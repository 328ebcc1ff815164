package docker

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

var (
	// missing is how programs say that a variable is not there, and variable is how such are written.
	missing  = regexp.MustCompile(`(?i)not set|missing|required|undefined|must be set|is empty|unset|not found|not defined`)
	variable = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b`)
	// spoken is how programs say which port they listen on.
	spoken = regexp.MustCompile(`(?i)\b(?:listening|listen|serving|started|running|ready)\b.{0,80}?(?:[:\s])(\d{2,5})\b`)
)

// hints are what the last lines of many programs say, and what helps then.
var hints = []struct{ says, help string }{
	{"address already in use", "Something else listens on its port: with the host's network, on the host itself. Choose another port in the app's settings."},
	{"read-only file system", "It tried to write where it may only read. Give it a volume there that it may write to."},
	{"no space left on device", "The target's disk is full. Remove images and volumes that nobody uses there."},
	{"permission denied", "The image's user may not do what it tried. Give the file to that user in the Dockerfile, or write to a volume."},
}

// hint says what the last lines point at and what to do; empty: nothing that is known.
func hint(r deploy.Release, lines []string) string {
	for _, line := range slices.Backward(lines) {
		if name := missingVariable(r, line); name != "" {
			return fmt.Sprintf(" It says that %s is missing: set it under Variables and secrets of the environment, and deploy again.", name)
		}
		for _, h := range hints {
			if strings.Contains(strings.ToLower(line), h.says) {
				return " " + h.help
			}
		}
	}
	if len(lines) > 0 {
		return " Its last lines say why."
	}
	return ""
}

// missingVariable is the variable that the line calls missing, where the release has none of the name.
func missingVariable(r deploy.Release, line string) string {
	if !missing.MatchString(line) {
		return ""
	}
	for _, name := range variable.FindAllString(line, 5) {
		if _, set := r.Env[name]; !set && len(name) <= 80 {
			return name
		}
	}
	return ""
}

// unhealthy says what to do about an app that runs and never gave a good answer.
func (t *target) unhealthy(ctx context.Context, r deploy.Release, id, answer string, lines []string) string {
	switch {
	case r.Health == models.HealthImage:
		return ""
	case strings.HasPrefix(answer, "HTTP 404"):
		return " The app has no such path: set the health path in its settings to one that it has."
	case strings.Contains(answer, "in a circle"):
		return " Set the health path in the app's settings to one that answers by itself."
	case strings.HasPrefix(answer, "HTTP 5"):
		return " The app itself reports an error: its last lines say why."
	case strings.HasPrefix(answer, "HTTP 401"), strings.HasPrefix(answer, "HTTP 403"):
		return " The health path has to answer without a login, whichever host name it is asked for."
	case strings.HasPrefix(answer, "HTTP 4"):
		return " The app refuses the request itself: the health path has to answer a plain GET, whichever host name it is asked for."
	case strings.HasPrefix(answer, "no answer within"):
		return " It takes the connection and does not answer: have the health path answer without waiting for anything else."
	case answer == "connection refused" || answer == "no connection" || answer == "":
		return t.deaf(ctx, r, id, lines)
	}
	return ""
}

// deaf says what an app listens on that does not listen where it should.
func (t *target) deaf(ctx context.Context, r deploy.Release, id string, lines []string) string {
	ports, loopback, known := t.listens(ctx, id)
	switch {
	case slices.Contains(loopback, r.Port) && !slices.Contains(ports, r.Port):
		return fmt.Sprintf(" It listens on port %d for itself alone (127.0.0.1): have it listen on 0.0.0.0.", r.Port)
	case len(ports) > 0 && !slices.Contains(ports, r.Port):
		return fmt.Sprintf(" It listens on port %s instead: set that port in the app's settings, or have it listen on the one that the variable PORT names.", numbers(ports))
	case known && len(ports)+len(loopback) == 0:
		return " It runs, and listens on nothing: its last lines say how far it came."
	}
	for _, line := range slices.Backward(lines) {
		if m := spoken.FindStringSubmatch(line); m != nil && m[1] != strconv.Itoa(r.Port) {
			return fmt.Sprintf(" Its log speaks of port %s: set that port in the app's settings, or have it listen on the one that the variable PORT names.", m[1])
		}
	}
	return ""
}

func numbers(ports []int) string {
	var out []string
	for _, p := range ports[:min(len(ports), 5)] {
		out = append(out, strconv.Itoa(p))
	}
	return strings.Join(out, ", ")
}

// listens returns the ports that the container listens on, for everybody and for itself alone, and whether that could
// be read at all. No engine tells, and nothing is run in the container: its part of the system's table (proc(5),
// /proc/PID/net/tcp) is read on this machine or through SSH.
func (t *target) listens(ctx context.Context, id string) (ports, loopback []int, known bool) {
	c, err := t.docker.ContainerInspect(ctx, id)
	if err != nil || c.State == nil || c.State.Pid <= 0 || c.HostConfig.NetworkMode.IsHost() {
		return nil, nil, false
	}
	text := t.tables(ctx, c.State.Pid)
	if !strings.Contains(text, id) { // the process is another machine's, or another one by now
		return nil, nil, false
	}
	for line := range strings.Lines(text) {
		port, own, ok := parseListen(line)
		switch {
		case !ok:
		case own && !slices.Contains(loopback, port):
			loopback = append(loopback, port)
		case !own && !slices.Contains(ports, port):
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	return ports, loopback, true
}

// tables are the process's control group, which names its container, and its tables of TCP sockets.
func (t *target) tables(ctx context.Context, pid int) string {
	at := fmt.Sprintf("/proc/%d/", pid)
	names := []string{at + "cgroup", at + "net/tcp", at + "net/tcp6"}
	if t.machine != nil {
		return t.machine.output(ctx, "cat "+strings.Join(names, " "))
	}
	var all strings.Builder
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		_, _ = io.Copy(&all, io.LimitReader(f, outputMax))
		_ = f.Close()
	}
	return all.String()
}

// parseListen reads a line of /proc/net/tcp: "sl local remote st …". Own tells that the address is the loopback's.
// Docker's own resolver, which listens on 127.0.0.11 in every container, is none of the app's.
func parseListen(line string) (port int, own, ok bool) {
	columns := strings.Fields(line)
	if len(columns) < 4 || columns[3] != "0A" {
		return 0, false, false
	}
	address, number, ok := strings.Cut(columns[1], ":")
	n, err := strconv.ParseUint(number, 16, 16)
	raw, bad := hex.DecodeString(address)
	if !ok || err != nil || bad != nil || (len(raw) != 4 && len(raw) != 16) {
		return 0, false, false
	}
	last := raw[len(raw)-4:] // each word is in the machine's order: the last byte is the first of an IPv4 address
	if last[3] == 127 && last[0] == 11 {
		return 0, false, false
	}
	own = last[3] == 127 || (len(raw) == 16 && strings.Trim(address[:24], "0") == "" && address[24:] == "01000000")
	return int(n), own, true
}
