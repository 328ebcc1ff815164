package deploy

import (
	"net"
	"net/url"
	"strings"
)

// Endpoint is an address of a provider's APIs in place of its public ones, as an admin enters it. {service} stands in it
// for the name of a service, such as ec2.
type Endpoint string

// Valid tells whether credentials may be sent to the address: over HTTPS, without it to this very machine alone, and with
// nothing in the address that would change where they go.
func (e Endpoint) Valid() bool {
	u, err := url.Parse(e.Of("service"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// Of is the address of the service.
func (e Endpoint) Of(service string) string {
	return strings.ReplaceAll(string(e), "{service}", service)
}
