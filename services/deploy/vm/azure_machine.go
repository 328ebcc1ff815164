package vm

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// azureResource is a resource of any type, as far as Slipway asks for it.
type azureResource struct {
	ID         string
	Tags       map[string]string
	Properties struct {
		ProvisioningState string
		IPAddress         string // of a public address
		IPConfigurations  []struct {
			Properties struct{ PrivateIPAddress string }
		} // of an interface
		InstanceView struct {
			Statuses []struct{ Code string }
		} // of a machine
	}
}

// object is a resource as it is written.
type object = map[string]any

// part is one of the resources of a machine.
type part struct {
	title, kind, version string
}

// The parts, in the order in which they are made. They go in the other order.
var (
	partFirewall  = part{"Network security group", "Microsoft.Network/networkSecurityGroups", apiNetwork}
	partNetwork   = part{"Virtual network", "Microsoft.Network/virtualNetworks", apiNetwork}
	partAddress   = part{"Public IP address", "Microsoft.Network/publicIPAddresses", apiNetwork}
	partInterface = part{"Network interface", "Microsoft.Network/networkInterfaces", apiNetwork}
	partMachine   = part{"Virtual machine", "Microsoft.Compute/virtualMachines", apiCompute}

	azureParts = []part{partFirewall, partNetwork, partAddress, partInterface, partMachine}
)

// name is of all parts: it is the target's own, so that each is made once.
func (a *azureVM) name() string { return "slipway-" + a.id }

func (a *azureVM) path(p part) string {
	return a.group + "/providers/" + p.kind + "/" + a.name()
}

// get returns a part, or errNoMachine. One that does not carry the target's tag is not touched.
func (a *azureVM) get(ctx context.Context, p part) (r azureResource, err error) {
	path := a.path(p)
	if p == partMachine {
		path += "?$expand=instanceView"
	}
	err = a.api.call(ctx, armCall{method: http.MethodGet, path: path, version: p.version}, &r)
	if told := new(azcore.ResponseError); errors.As(err, &told) && told.StatusCode == http.StatusNotFound && !groupMissing(told) {
		return r, errNoMachine
	}
	if err == nil && r.Tags[labelTarget] != a.id {
		return r, deploy.Failf(deploy.StageTarget, nil, "There is a %s %s that does not carry this target's tag %s, so it is not touched.", strings.ToLower(p.title), a.name(), labelTarget)
	}
	return r, a.explain(err)
}

// put makes a part, or makes it as the settings say.
func (a *azureVM) put(ctx context.Context, p part, location string, properties object, more ...object) error {
	body := object{"location": location, "tags": map[string]string{labelTarget: a.id}, "properties": properties}
	for _, m := range more {
		for name, value := range m {
			body[name] = value
		}
	}
	return a.api.call(ctx, armCall{method: http.MethodPut, path: a.path(p), version: p.version, body: body, fresh: p == partMachine}, nil)
}

// Find returns the machine of the target's name. One that Azure failed to make counts as none: Make makes it anew.
func (a *azureVM) Find(ctx context.Context) (machine, error) {
	r, err := a.get(ctx, partMachine)
	if err != nil {
		return machine{}, err
	}
	m := machine{Name: a.name(), State: stateStarting, Link: a.link(partMachine), Output: a.link(partMachine) + "/bootDiagnostics"}
	for _, s := range r.Properties.InstanceView.Statuses {
		switch s.Code {
		case "PowerState/running":
			m.State = stateRunning
		case "PowerState/stopping", "PowerState/stopped", "PowerState/deallocating", "PowerState/deallocated":
			m.State = stateStopped
		}
	}
	if r.Properties.ProvisioningState == "Failed" && m.State == stateStarting {
		return machine{}, errNoMachine
	}
	if m.State == stateRunning {
		m.Address, err = a.address(ctx)
	}
	return m, err
}

// address is where SSH is to answer.
func (a *azureVM) address(ctx context.Context) (string, error) {
	p := partAddress
	if a.private {
		p = partInterface
	}
	r, err := a.get(ctx, p)
	if errors.Is(err, errNoMachine) {
		return "", deploy.Failf(deploy.StageTarget, err, "The machine %s has lost its %s. End the machine at Azure, and deploy again.", a.name(), strings.ToLower(p.title))
	}
	if a.private && len(r.Properties.IPConfigurations) > 0 {
		return r.Properties.IPConfigurations[0].Properties.PrivateIPAddress, err
	}
	return r.Properties.IPAddress, err
}

func (a *azureVM) link(p part) string { return "https://portal.azure.com/#resource" + a.path(p) }

// Make makes the parts in their order. All have names of the target's own, so that none is made twice.
func (a *azureVM) Make(ctx context.Context, userData string, say func(string)) error {
	location, err := a.where(ctx)
	if err != nil {
		return err
	}
	if err := a.clear(ctx); err != nil {
		return err
	}
	if err := a.guard(ctx, location); err != nil {
		return err
	}
	say(fmt.Sprintf("The network security group %s lets nothing in but SSH from %s.", a.name(), joined(a.from)))
	if err := a.connect(ctx, location); err != nil {
		return err
	}
	say(fmt.Sprintf("%s makes the machine %s: %s with %d GB in %s.", a, a.name(), a.size, a.disk, location))
	err = a.put(ctx, partMachine, location, a.order(userData))
	if status := azurelogin.Status(err); status == http.StatusPreconditionFailed || status == http.StatusConflict {
		if _, err := a.get(ctx, partMachine); err == nil {
			return nil // another process has ordered it
		}
	}
	return a.explain(err)
}

// clear takes away a machine that Azure failed to make, and refuses to touch anything of the name that is not the target's.
func (a *azureVM) clear(ctx context.Context) error {
	for _, p := range azureParts {
		r, err := a.get(ctx, p)
		if errors.Is(err, errNoMachine) {
			continue
		}
		if err == nil && p == partMachine && r.Properties.ProvisioningState == "Failed" {
			err = a.remove(ctx, p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// guard makes the rules of the firewall those of the settings. The second rule is there because Azure's own let in all of the network.
func (a *azureVM) guard(ctx context.Context, location string) error {
	rule := func(name string, priority int, access, port string, from []string) object {
		return object{"name": name, "properties": object{"priority": priority, "direction": "Inbound", "access": access, "protocol": map[bool]string{true: "*", false: "Tcp"}[port == "*"],
			"sourceAddressPrefixes": from, "sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": port}}
	}
	err := a.put(ctx, partFirewall, location, object{"securityRules": []object{
		rule("ssh", 100, "Allow", sshPort, a.from), rule("nothing-else", 4096, "Deny", "*", []string{"0.0.0.0/0"}),
	}})
	return a.explain(err)
}

// connect makes what is between the machine and the world.
func (a *azureVM) connect(ctx context.Context, location string) error {
	subnet := a.subnet
	if subnet == "" {
		subnet = a.path(partNetwork) + "/subnets/machine"
		err := a.put(ctx, partNetwork, location, object{"addressSpace": object{"addressPrefixes": []string{"10.77.0.0/24"}},
			"subnets": []object{{"name": "machine", "properties": object{"addressPrefix": "10.77.0.0/24"}}}})
		if err != nil {
			return a.explain(err)
		}
	}
	way := object{"subnet": object{"id": subnet}, "privateIPAllocationMethod": "Dynamic"}
	if !a.private {
		err := a.put(ctx, partAddress, location, object{"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"}, object{"sku": object{"name": "Standard"}})
		if err != nil {
			return a.explain(err)
		}
		way["publicIPAddress"] = object{"id": a.path(partAddress)}
	}
	return a.explain(a.put(ctx, partInterface, location, object{
		"networkSecurityGroup": object{"id": a.path(partFirewall)},
		"ipConfigurations":     []object{{"name": "machine", "properties": way}},
	}))
}

// order is the machine. Its disk goes with it, and nobody's key is on it but Slipway's.
func (a *azureVM) order(userData string) object {
	urn := strings.Split(a.image, ":")
	return object{
		"hardwareProfile": object{"vmSize": a.size},
		"storageProfile": object{
			"imageReference": object{"publisher": urn[0], "offer": urn[1], "sku": urn[2], "version": urn[3]},
			"osDisk":         object{"createOption": "FromImage", "diskSizeGB": a.disk, "deleteOption": "Delete", "managedDisk": object{"storageAccountType": "StandardSSD_LRS"}},
		},
		"osProfile": object{
			"computerName": "slipway", "adminUsername": a.user, "customData": base64.StdEncoding.EncodeToString([]byte(userData)),
			"linuxConfiguration": object{"disablePasswordAuthentication": true, "ssh": object{"publicKeys": []object{{"path": "/home/" + a.user + "/.ssh/authorized_keys", "keyData": a.publicKey}}}},
		},
		"networkProfile":     object{"networkInterfaces": []object{{"id": a.path(partInterface), "properties": object{"deleteOption": "Detach"}}}},
		"diagnosticsProfile": object{"bootDiagnostics": object{"enabled": true}},
	}
}

// Adjust makes the rules of the firewall those of the settings.
func (a *azureVM) Adjust(ctx context.Context) error {
	location, err := a.where(ctx)
	if err == nil {
		_, err = a.get(ctx, partFirewall)
	}
	if err != nil && !errors.Is(err, errNoMachine) {
		return err
	}
	return a.guard(ctx, location)
}

// Keeps lists the parts that there are.
func (a *azureVM) Keeps(ctx context.Context) (out []deploy.Resource, err error) {
	for _, p := range azureParts {
		_, err := a.get(ctx, p)
		if errors.Is(err, errNoMachine) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, deploy.Resource{Kind: p.title, Name: a.name(), Link: a.link(p)})
	}
	return out, nil
}

// Destroy deletes the parts, the machine with its disk first, for each is held by those that were made after it.
func (a *azureVM) Destroy(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, a.o.Patience, errSlow)
	defer cancel()
	for i := len(azureParts) - 1; i >= 0; i-- {
		_, err := a.get(ctx, azureParts[i])
		if errors.Is(err, errNoMachine) {
			continue
		}
		if err == nil {
			err = a.remove(ctx, azureParts[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *azureVM) remove(ctx context.Context, p part) error {
	err := a.api.call(ctx, armCall{method: http.MethodDelete, path: a.path(p), version: p.version}, nil)
	if azurelogin.Status(err) == http.StatusNotFound {
		return nil
	}
	return a.explain(err)
}
