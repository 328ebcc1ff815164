package vm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"slipway.dev/services/deploy"
)

// labelTarget is the label of all that can carry one.
const labelTarget = "slipway-target"

// gceInstance is an instance as it is ordered and described
// (https://cloud.google.com/compute/docs/reference/rest/v1/instances).
type gceInstance struct {
	Name        string            `json:"name"`
	Status      string            `json:"status,omitempty"`
	MachineType string            `json:"machineType"`
	Labels      map[string]string `json:"labels"`
	Tags        gceTags           `json:"tags"`
	Disks       []gceDisk         `json:"disks"`
	Interfaces  []gceInterface    `json:"networkInterfaces"`
	Metadata    gceMetadata       `json:"metadata"`
}

type gceTags struct {
	Items []string `json:"items"`
}

type gceDisk struct {
	Boot       bool        `json:"boot"`
	AutoDelete bool        `json:"autoDelete"`
	Params     *gceNewDisk `json:"initializeParams,omitempty"`
}

type gceNewDisk struct {
	Image  string            `json:"sourceImage"`
	Size   string            `json:"diskSizeGb"`
	Type   string            `json:"diskType"`
	Labels map[string]string `json:"labels"`
}

type gceInterface struct {
	Subnet  string      `json:"subnetwork"`
	Private string      `json:"networkIP,omitempty"`
	Access  []gceAccess `json:"accessConfigs,omitempty"`
}

type gceAccess struct {
	Type   string `json:"type"`
	Name   string `json:"name"`
	Public string `json:"natIP,omitempty"`
}

type gceMetadata struct {
	Items []gceItem `json:"items"`
}

type gceItem struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// gceFirewall is a firewall rule. Rules carry no labels; its description does.
type gceFirewall struct {
	Name        string       `json:"name"`
	Description string       `json:"description"`
	Network     string       `json:"network"`
	Direction   string       `json:"direction"`
	From        []string     `json:"sourceRanges"`
	Targets     []string     `json:"targetTags"`
	Allowed     []gceAllowed `json:"allowed"`
}

type gceAllowed struct {
	Protocol string   `json:"IPProtocol"`
	Ports    []string `json:"ports"`
}

func (g *gce) instances() string { return "/zones/" + g.zone + "/instances" }

// instance returns the instance of the target's name, or errNoMachine. One that is not the target's is not touched.
func (g *gce) instance(ctx context.Context) (i gceInstance, err error) {
	err = g.api.compute(ctx, http.MethodGet, g.instances()+"/"+g.name(), nil, nil, &i)
	if notThere(err) {
		return i, errNoMachine
	}
	if err == nil && i.Labels[labelTarget] != g.id {
		return i, deploy.Failf(deploy.StageTarget, nil, "There is an instance %s that does not carry this target's label %s, so it is not touched.", g.name(), labelTarget)
	}
	return i, g.explain(err)
}

// Find returns the machine of the target's name.
func (g *gce) Find(ctx context.Context) (machine, error) {
	i, err := g.instance(ctx)
	if err != nil {
		return machine{}, err
	}
	m := machine{Name: i.Name, State: stateStarting, Link: g.link("compute/instancesDetail/zones/" + g.zone + "/instances/" + i.Name),
		Output: fmt.Sprintf("gcloud compute instances get-serial-port-output %s --zone %s --project %s", i.Name, g.zone, g.api.Project)}
	switch i.Status {
	case "RUNNING":
		m.State = stateRunning
	case "STOPPING", "SUSPENDING", "SUSPENDED", "TERMINATED": // Google calls a stopped one terminated; a deleted one is not there
		m.State = stateStopped
	}
	if len(i.Interfaces) > 0 {
		m.Address = i.Interfaces[0].Private
		if !g.private {
			m.Address = ""
			if len(i.Interfaces[0].Access) > 0 {
				m.Address = i.Interfaces[0].Access[0].Public
			}
		}
	}
	return m, nil
}

func (g *gce) link(page string) string {
	return "https://console.cloud.google.com/" + page + "?project=" + g.api.Project
}

// Make makes the firewall rule and orders the machine. Both have names of the target's own, so that neither is made twice.
func (g *gce) Make(ctx context.Context, userData string, say func(string)) error {
	if err := g.letIn(ctx); err != nil {
		return err
	}
	say(fmt.Sprintf("The firewall rule %s lets SSH in from %s.", g.name(), joined(g.from)))
	var op operation
	err := g.api.compute(ctx, http.MethodPost, g.instances(), once(), g.order(userData), &op)
	if taken(err) {
		return nil // another process has ordered it
	}
	if err == nil {
		say(fmt.Sprintf("%s makes the machine %s: %s with %d GB in %s.", g, g.name(), g.size, g.disk, g.zone))
		err = g.api.finish(ctx, g.zone, op)
	}
	return g.explain(err)
}

// once is a request's own id: repeated with it, Google does the work once (AIP-155).
func once() url.Values { return url.Values{"requestId": {uuid.NewString()}} }

// order is the machine. It has no service account, and nobody's key but Slipway's.
func (g *gce) order(userData string) gceInstance {
	labels := map[string]string{labelTarget: g.id}
	network := gceInterface{Subnet: "projects/" + g.api.Project + "/regions/" + g.region + "/subnetworks/" + g.subnet}
	if !g.private {
		network.Access = []gceAccess{{Type: "ONE_TO_ONE_NAT", Name: "External NAT"}}
	}
	return gceInstance{
		Name: g.name(), MachineType: "zones/" + g.zone + "/machineTypes/" + g.size, Labels: labels, Tags: gceTags{[]string{g.name()}},
		Disks:      []gceDisk{{Boot: true, AutoDelete: true, Params: &gceNewDisk{Image: g.image, Size: strconv.Itoa(g.disk), Type: "zones/" + g.zone + "/diskTypes/pd-balanced", Labels: labels}}},
		Interfaces: []gceInterface{network},
		Metadata:   gceMetadata{[]gceItem{{"user-data", userData}, {"block-project-ssh-keys", "TRUE"}, {"enable-oslogin", "FALSE"}}},
	}
}

// rule is the firewall rule as it is now, or errNoMachine.
func (g *gce) rule(ctx context.Context) (f gceFirewall, err error) {
	err = g.api.compute(ctx, http.MethodGet, "/global/firewalls/"+g.name(), nil, nil, &f)
	if notThere(err) {
		return f, errNoMachine
	}
	if err == nil && f.Description != g.mark() {
		return f, deploy.Failf(deploy.StageTarget, nil, "There is a firewall rule %s that is not Slipway's, so it is not touched.", g.name())
	}
	return f, g.explain(err)
}

func (g *gce) mark() string { return labelTarget + "=" + g.id }

// letIn makes the firewall rule as the settings say.
func (g *gce) letIn(ctx context.Context) error {
	var op operation
	have, err := g.rule(ctx)
	switch {
	case errors.Is(err, errNoMachine):
		network, err := g.network(ctx)
		if err != nil {
			return err
		}
		f := gceFirewall{Name: g.name(), Description: g.mark(), Network: network, Direction: "INGRESS", From: g.from, Targets: []string{g.name()}, Allowed: []gceAllowed{{"tcp", []string{sshPort}}}}
		if err = g.api.compute(ctx, http.MethodPost, "/global/firewalls", once(), f, &op); taken(err) {
			return nil // another process was first
		}
		if err == nil {
			err = g.api.finish(ctx, g.zone, op)
		}
		return g.explain(err)
	case err != nil:
		return err
	}
	if slices.Sort(have.From); slices.Equal(have.From, g.from) {
		return nil
	}
	if err = g.api.compute(ctx, http.MethodPatch, "/global/firewalls/"+g.name(), once(), map[string]any{"sourceRanges": g.from}, &op); err == nil {
		err = g.api.finish(ctx, g.zone, op)
	}
	return g.explain(err)
}

// Adjust makes the firewall rule as the settings say.
func (g *gce) Adjust(ctx context.Context) error { return g.letIn(ctx) }

// Keeps lists the target's machine and its firewall rule.
func (g *gce) Keeps(ctx context.Context) (out []deploy.Resource, err error) {
	i, err := g.instance(ctx)
	switch {
	case err == nil:
		out = append(out, deploy.Resource{Kind: "Instance", Name: i.Name, Link: g.link("compute/instancesDetail/zones/" + g.zone + "/instances/" + i.Name)})
	case !errors.Is(err, errNoMachine):
		return nil, err
	}
	f, err := g.rule(ctx)
	switch {
	case err == nil:
		out = append(out, deploy.Resource{Kind: "Firewall rule", Name: f.Name, Link: g.link("networking/firewalls/details/" + f.Name)})
	case !errors.Is(err, errNoMachine):
		return nil, err
	}
	return out, nil
}

// Destroy deletes the machine, with its disk, and then the firewall rule.
func (g *gce) Destroy(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, g.o.Patience, errSlow)
	defer cancel()
	_, err := g.instance(ctx)
	if err == nil {
		err = g.remove(ctx, g.instances()+"/"+g.name())
	}
	if err != nil && !errors.Is(err, errNoMachine) {
		return err
	}
	if _, err = g.rule(ctx); err == nil {
		err = g.remove(ctx, "/global/firewalls/"+g.name())
	}
	if errors.Is(err, errNoMachine) {
		return nil
	}
	return err
}

func (g *gce) remove(ctx context.Context, path string) error {
	var op operation
	err := g.api.compute(ctx, http.MethodDelete, path, once(), nil, &op)
	if notThere(err) {
		return nil
	}
	if err == nil {
		err = g.api.finish(ctx, g.zone, op)
	}
	return g.explain(err)
}
