package vmtest

import (
	"encoding/base64"
	"maps"
	"net/http"
	"slices"
	"strings"

	"slipway.dev/models"
)

// resource answers for a resource at the path.
func (a *ARM) resource(w http.ResponseWriter, r *http.Request, path string) {
	kind := strings.Split(path, "/")
	if len(kind) != 3 {
		refuseARM(w, &Fault{Status: 404, Code: "InvalidResourceType", Message: path})
		return
	}
	call := kind[1] + "." + strings.ToLower(r.Method)
	f := a.fault(call)
	if f != nil && !f.Done {
		refuseARM(w, f)
		return
	}
	var refused *Fault
	switch r.Method {
	case http.MethodGet:
		a.read(w, path)
		return
	case http.MethodPut:
		refused = a.write(w, r, path, call, f != nil)
	case http.MethodDelete:
		refused = a.remove(w, path, call)
	}
	if f == nil {
		f = refused
	}
	if f != nil {
		refuseARM(w, f)
	}
}

func (a *ARM) read(w http.ResponseWriter, path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.resources[path]
	if r == nil {
		refuseARM(w, &Fault{Status: 404, Code: "ResourceNotFound", Message: "The Resource was not found."})
		return
	}
	out := *r
	out.Properties = maps.Clone(r.Properties)
	if power, ok := out.Properties["power"]; ok {
		out.Properties["instanceView"] = map[string]any{"statuses": []any{map[string]any{"code": "ProvisioningState/succeeded"}, map[string]any{"code": power}}}
	}
	answerARM(w, 200, out)
}

// begin starts work that ends at its second poll, tells where to look for it, and returns how it will end
// (https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations).
func (a *ARM) begin(w http.ResponseWriter, call string, end func()) (fails bool) {
	a.mu.Unlock()
	f := a.fault(call + ".work")
	a.mu.Lock()
	id := models.NewID()
	a.operations[id] = &armOperation{fault: f, end: end}
	w.Header().Set("Azure-AsyncOperation", a.URL+"/subscriptions/"+Subscription+"/operations/"+id+"?api-version=2024-07-01")
	return f != nil
}

func (a *ARM) poll(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	op := a.operations[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
	if op == nil {
		a.mu.Unlock()
		refuseARM(w, &Fault{Status: 404, Code: "OperationNotFound"})
		return
	}
	op.polls++
	polls, f, end := op.polls, op.fault, op.end
	op.end = nil
	if polls == 1 {
		op.end = end
		end = nil
	}
	a.mu.Unlock()
	if end != nil && f == nil {
		end()
	}
	switch {
	case polls == 1:
		answerARM(w, 200, map[string]string{"status": "InProgress"})
	case f != nil:
		answerARM(w, 200, map[string]any{"status": "Failed", "error": map[string]string{"code": f.Code, "message": f.Message}})
	default:
		answerARM(w, 200, map[string]string{"status": "Succeeded"})
	}
}

// write makes a resource or changes it.
func (a *ARM) write(w http.ResponseWriter, r *http.Request, path, call string, mute bool) *Fault {
	var in armIn
	if err := decode(r, &in); err != nil {
		return &Fault{Status: 400, Code: "InvalidRequestContent", Message: err.Error()}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	have := a.resources[path]
	if have != nil && r.Header.Get("If-None-Match") == "*" {
		return &Fault{Status: 412, Code: "PreconditionFailed"}
	}
	p := in.Properties
	made := &armResource{ID: armGroup + "/providers/" + path, Location: in.Location, Tags: in.Tags, Properties: map[string]any{"provisioningState": "Succeeded"}}
	userData := ""
	switch {
	case strings.Contains(path, "/networkSecurityGroups/"):
		if len(p.SecurityRules) != 2 || p.SecurityRules[0].Properties.DestinationPortRange != "22" || p.SecurityRules[1].Properties.Access != "Deny" {
			return &Fault{Status: 400, Code: "SecurityRuleInvalid"}
		}
		made.Properties["from"] = p.SecurityRules[0].Properties.SourceAddressPrefixes
	case strings.Contains(path, "/publicIPAddresses/") && in.SKU.Name != "Standard":
		return &Fault{Status: 400, Code: "InvalidSku"}
	case strings.Contains(path, "/networkInterfaces/"):
		if len(p.IPConfigurations) != 1 {
			return &Fault{Status: 400, Code: "InvalidRequestFormat"}
		}
		c := p.IPConfigurations[0].Properties
		subnet, _, _ := strings.Cut(c.Subnet.ID, "/subnets/")
		made.uses = []string{subnet, c.PublicIPAddress.ID, p.NetworkSecurityGroup.ID}
	case strings.Contains(path, "/virtualMachines/"):
		text, err := base64.StdEncoding.DecodeString(p.OSProfile.CustomData)
		keys := p.OSProfile.LinuxConfiguration.SSH.PublicKeys
		if err != nil || !p.OSProfile.LinuxConfiguration.DisablePasswordAuthentication || len(keys) != 1 || !strings.HasPrefix(keys[0].KeyData, "ssh-ed25519 ") || p.OSProfile.AdminUsername != a.User() ||
			p.StorageProfile.OSDisk.DeleteOption != "Delete" || p.StorageProfile.ImageReference.Offer != "ubuntu-24_04-lts" || len(p.NetworkProfile.NetworkInterfaces) != 1 {
			return &Fault{Status: 400, Code: "InvalidParameter", Message: "The value of a parameter is invalid."}
		}
		if p.HardwareProfile.VMSize != "Standard_B2als_v2" {
			return &Fault{Status: 400, Code: "InvalidParameter", Message: "The value " + p.HardwareProfile.VMSize + " provided for the VM size is not valid."}
		}
		made.uses, userData = []string{p.NetworkProfile.NetworkInterfaces[0].ID}, string(text)
		made.Properties["power"] = "PowerState/starting"
	}
	for i, id := range made.uses {
		made.uses[i] = strings.TrimPrefix(id, armGroup+"/providers/")
		if id != "" && a.resources[made.uses[i]] == nil {
			return &Fault{Status: 400, Code: "InvalidResourceReference", Message: id}
		}
	}
	if in.Location != Location || in.Tags["slipway-target"] == "" {
		return &Fault{Status: 400, Code: "LocationRequired"}
	}
	if have != nil {
		for name, value := range have.Properties {
			if _, set := made.Properties[name]; !set {
				made.Properties[name] = value
			}
		}
	}
	failed := a.begin(w, call, func() { a.run(path, made) })
	if userData != "" && failed {
		made.Properties["provisioningState"], made.Properties["power"] = "Failed", "PowerState/unknown"
	}
	a.resources[path] = made
	if userData != "" && !failed {
		a.mu.Unlock()
		address := a.boot(userData)
		a.mu.Lock()
		made.address = address
		a.give(made)
	}
	if !mute {
		answerARM(w, http.StatusCreated, map[string]any{"id": made.ID, "location": made.Location, "tags": made.Tags, "properties": map[string]string{"provisioningState": "Creating"}})
	}
	return nil
}

// give gives the machine's address to what stands before it.
func (a *ARM) give(machine *armResource) {
	for _, card := range machine.uses {
		a.resources[card].Properties["ipConfigurations"] = []any{map[string]any{"properties": map[string]string{"privateIPAddress": machine.address}}}
		for _, path := range a.resources[card].uses {
			if strings.Contains(path, "publicIPAddresses") {
				a.resources[path].Properties["ipAddress"] = machine.address
			}
		}
	}
}

// run has a machine run once its work is done.
func (a *ARM) run(path string, made *armResource) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if strings.Contains(path, "/virtualMachines/") {
		made.Properties["power"] = "PowerState/running"
	}
}

// remove deletes a resource that no other one uses.
func (a *ARM) remove(w http.ResponseWriter, path, call string) *Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.resources[path]
	if r == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	for _, other := range a.resources {
		if slices.Contains(other.uses, path) {
			return &Fault{Status: 400, Code: "InUse", Message: "Resource " + path + " is in use."}
		}
	}
	a.begin(w, call, func() {
		a.mu.Lock()
		delete(a.resources, path)
		a.mu.Unlock()
		a.halt(r.address)
	})
	w.WriteHeader(http.StatusAccepted)
	return nil
}
