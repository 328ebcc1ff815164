package vmtest

// armIn is what is written of the parts of a machine; a field that is not here is refused
// (https://learn.microsoft.com/rest/api/compute/virtual-machines/create-or-update, …/rest/api/virtualnetwork/).
type armIn struct {
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags"`
	SKU      struct {
		Name string `json:"name"`
	} `json:"sku"`
	Properties struct {
		SecurityRules []struct {
			Name       string `json:"name"`
			Properties struct {
				Priority                 int      `json:"priority"`
				Direction                string   `json:"direction"`
				Access                   string   `json:"access"`
				Protocol                 string   `json:"protocol"`
				SourceAddressPrefixes    []string `json:"sourceAddressPrefixes"`
				SourcePortRange          string   `json:"sourcePortRange"`
				DestinationAddressPrefix string   `json:"destinationAddressPrefix"`
				DestinationPortRange     string   `json:"destinationPortRange"`
			} `json:"properties"`
		} `json:"securityRules"`

		AddressSpace struct {
			AddressPrefixes []string `json:"addressPrefixes"`
		} `json:"addressSpace"`
		Subnets []struct {
			Name       string `json:"name"`
			Properties struct {
				AddressPrefix string `json:"addressPrefix"`
			} `json:"properties"`
		} `json:"subnets"`

		PublicIPAllocationMethod string `json:"publicIPAllocationMethod"`
		PublicIPAddressVersion   string `json:"publicIPAddressVersion"`

		NetworkSecurityGroup armRef `json:"networkSecurityGroup"`
		IPConfigurations     []struct {
			Name       string `json:"name"`
			Properties struct {
				Subnet                    armRef `json:"subnet"`
				PublicIPAddress           armRef `json:"publicIPAddress"`
				PrivateIPAllocationMethod string `json:"privateIPAllocationMethod"`
			} `json:"properties"`
		} `json:"ipConfigurations"`

		HardwareProfile struct {
			VMSize string `json:"vmSize"`
		} `json:"hardwareProfile"`
		StorageProfile struct {
			ImageReference struct {
				Publisher string `json:"publisher"`
				Offer     string `json:"offer"`
				SKU       string `json:"sku"`
				Version   string `json:"version"`
			} `json:"imageReference"`
			OSDisk struct {
				CreateOption string `json:"createOption"`
				DiskSizeGB   int    `json:"diskSizeGB"`
				DeleteOption string `json:"deleteOption"`
				ManagedDisk  struct {
					StorageAccountType string `json:"storageAccountType"`
				} `json:"managedDisk"`
			} `json:"osDisk"`
		} `json:"storageProfile"`
		OSProfile struct {
			ComputerName       string `json:"computerName"`
			AdminUsername      string `json:"adminUsername"`
			CustomData         string `json:"customData"`
			LinuxConfiguration struct {
				DisablePasswordAuthentication bool `json:"disablePasswordAuthentication"`
				SSH                           struct {
					PublicKeys []struct {
						Path    string `json:"path"`
						KeyData string `json:"keyData"`
					} `json:"publicKeys"`
				} `json:"ssh"`
			} `json:"linuxConfiguration"`
		} `json:"osProfile"`
		NetworkProfile struct {
			NetworkInterfaces []struct {
				ID         string `json:"id"`
				Properties struct {
					DeleteOption string `json:"deleteOption"`
				} `json:"properties"`
			} `json:"networkInterfaces"`
		} `json:"networkProfile"`
		DiagnosticsProfile struct {
			BootDiagnostics struct {
				Enabled bool `json:"enabled"`
			} `json:"bootDiagnostics"`
		} `json:"diagnosticsProfile"`
	} `json:"properties"`
}

type armRef struct {
	ID string `json:"id"`
}
