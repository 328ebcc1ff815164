package vmtest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
	"slipway.dev/models"
)

func decode(r *http.Request, into any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, 1<<20))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// begin starts work that ends at the second look; a fault of the name work ends it badly.
func (c *Compute) begin(r *http.Request, zone, work string, end func()) *gceOperation {
	if known := c.requests[r.URL.Query().Get("requestId")]; known != "" {
		return c.operations[known]
	}
	op := &gceOperation{Name: "operation-" + models.NewID(), Zone: zone, Status: "PENDING", end: end}
	c.operations[op.Name] = op
	if id := r.URL.Query().Get("requestId"); uuid.Validate(id) == nil {
		c.requests[id] = op.Name
	}
	c.mu.Unlock()
	f := c.fault(work)
	c.mu.Lock()
	if f != nil {
		op.Error, op.end = map[string]any{"errors": []any{map[string]string{"code": f.Code, "message": f.Message}}}, func() {}
	}
	return op
}

func (c *Compute) wait(_ *http.Request, name string) (any, *Fault) {
	c.mu.Lock()
	op := c.operations[name]
	if op == nil {
		c.mu.Unlock()
		return nil, &Fault{Status: 404, Code: "notFound"}
	}
	var end func()
	switch op.Status {
	case "PENDING":
		op.Status = "RUNNING"
	case "RUNNING":
		op.Status, end = "DONE", op.end
	}
	out := *op
	c.mu.Unlock()
	if end != nil {
		end()
	}
	return out, nil
}

func (c *Compute) getInstance(_ *http.Request, name string) (any, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.instances[name]
	if i == nil {
		return nil, &Fault{Status: 404, Code: "notFound", Message: "The resource was not found"}
	}
	out := *i
	out.NetworkInterfaces = slices.Clone(i.NetworkInterfaces) // what is answered is written once others may change it
	for n, card := range out.NetworkInterfaces {
		out.NetworkInterfaces[n].AccessConfigs = slices.Clone(card.AccessConfigs)
	}
	if i.Status == "PROVISIONING" {
		i.Status = "RUNNING"
	}
	return out, nil
}

func (c *Compute) insertInstance(r *http.Request, _ string) (any, *Fault) {
	var i gceInstance
	if err := decode(r, &i); err != nil {
		return nil, &Fault{Status: 400, Code: "invalid", Message: err.Error()}
	}
	items := map[string]string{}
	for _, item := range i.Metadata.Items {
		items[item.Key] = item.Value
	}
	if i.Status != "" || len(i.Disks) != 1 || !i.Disks[0].Boot || !i.Disks[0].AutoDelete || i.Disks[0].InitializeParams.Labels["slipway-target"] == "" || i.Labels["slipway-target"] == "" ||
		len(i.NetworkInterfaces) != 1 || i.NetworkInterfaces[0].NetworkIP != "" || len(i.NetworkInterfaces[0].AccessConfigs) != 1 || !strings.Contains(i.Disks[0].InitializeParams.SourceImage, "ubuntu") || items["block-project-ssh-keys"] != "TRUE" || !strings.Contains(items["user-data"], "set_host_keys = false") || len(i.Tags.Items) != 1 {
		return nil, &Fault{Status: 400, Code: "invalid", Message: "Invalid value"}
	}
	if i.MachineType != "zones/"+Zone+"/machineTypes/e2-small" {
		return nil, &Fault{Status: 404, Code: "notFound", Message: "The resource '" + i.MachineType + "' was not found"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, again := c.requests[r.URL.Query().Get("requestId")]; !again && c.instances[i.Name] != nil {
		return nil, &Fault{Status: 409, Code: "alreadyExists"}
	}
	op := c.begin(r, "https://www.googleapis.com"+computeAt+"/zones/"+Zone, "instances.insert.work", func() {})
	if op.Error == nil && c.instances[i.Name] == nil {
		i.Status = "PROVISIONING"
		c.instances[i.Name] = &i
		c.mu.Unlock()
		address := c.boot(items["user-data"])
		c.mu.Lock()
		i.NetworkInterfaces[0].NetworkIP, i.NetworkInterfaces[0].AccessConfigs[0].NatIP = address, address
	}
	return *op, nil
}

func (c *Compute) deleteInstance(r *http.Request, name string) (any, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.instances[name]
	if i == nil {
		return nil, &Fault{Status: 404, Code: "notFound"}
	}
	return *c.begin(r, "https://www.googleapis.com"+computeAt+"/zones/"+Zone, "instances.delete.work", func() {
		c.mu.Lock()
		delete(c.instances, name)
		c.mu.Unlock()
		if len(i.NetworkInterfaces) > 0 {
			c.halt(i.NetworkInterfaces[0].NetworkIP)
		}
	}), nil
}

func (c *Compute) getFirewall(_ *http.Request, name string) (any, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.firewalls[name]
	if f == nil {
		return nil, &Fault{Status: 404, Code: "notFound"}
	}
	return *f, nil
}

func (c *Compute) insertFirewall(r *http.Request, _ string) (any, *Fault) {
	var f gceFirewall
	if err := decode(r, &f); err != nil || f.Direction != "INGRESS" || len(f.TargetTags) != 1 || f.TargetTags[0] != f.Name || len(f.Allowed) != 1 || f.Allowed[0].IPProtocol != "tcp" || !slices.Equal(f.Allowed[0].Ports, []string{"22"}) || f.Network == "" {
		return nil, &Fault{Status: 400, Code: "invalid", Message: "Invalid value"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.firewalls[f.Name] != nil {
		return nil, &Fault{Status: 409, Code: "alreadyExists"}
	}
	c.firewalls[f.Name] = &f
	return *c.begin(r, "", "firewalls.insert.work", func() {}), nil
}

func (c *Compute) patchFirewall(r *http.Request, name string) (any, *Fault) {
	var in struct {
		SourceRanges []string `json:"sourceRanges"`
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if decode(r, &in) != nil || c.firewalls[name] == nil {
		return nil, &Fault{Status: 400, Code: "invalid"}
	}
	c.firewalls[name].SourceRanges = in.SourceRanges
	return *c.begin(r, "", "firewalls.patch.work", func() {}), nil
}

func (c *Compute) deleteFirewall(r *http.Request, name string) (any, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.begin(r, "", "firewalls.delete.work", func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.firewalls, name)
	}), nil
}

func (c *Compute) subnet(_ *http.Request, name string) (any, *Fault) {
	if name != "default" {
		return nil, &Fault{Status: 404, Code: "notFound"}
	}
	return map[string]string{"name": name, "network": "https://www.googleapis.com" + computeAt + "/global/networks/default"}, nil
}

func (c *Compute) region(*http.Request, string) (any, *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return map[string]any{"quotas": []any{map[string]any{"metric": "IN_USE_ADDRESSES", "limit": 8, "usage": c.used}}}, nil
}

// UseUp leaves nothing of the quota of addresses.
func (c *Compute) UseUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = 8
}
