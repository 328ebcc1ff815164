package kubernetes

import (
	"cmp"
	"regexp"

	quantity "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"slipway.dev/models"
)

const (
	defaultPrefix = "slipway-"
	defaultVolume = "10Gi"
)

// maxPrefix leaves room for the names of a team and an environment.
const maxPrefix = 20

// settings are what an admin says of the cluster.
type settings struct {
	domain, class, issuer, tlsSecret, prefix, storage string
	https, isolated, shared                           bool
	volumeSize                                        quantity.Quantity
}

var prefixes = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

func readSettings(in map[string]string) (settings, error) {
	s := settings{domain: in["domain"], class: in["ingress_class"], issuer: in["cluster_issuer"], tlsSecret: in["tls_secret"], prefix: in["namespace_prefix"], storage: in["storage_class"]}
	wrong := map[string]string{}
	if len(validation.IsDNS1123Subdomain(s.domain)) > 0 || len(s.domain) > 180 {
		wrong["domain"] = "This is not a domain, such as apps.example.com."
	}
	for field, name := range map[string]string{"ingress_class": s.class, "cluster_issuer": s.issuer, "tls_secret": s.tlsSecret, "storage_class": s.storage} {
		if name != "" && len(validation.IsDNS1123Subdomain(name)) > 0 {
			wrong[field] = "This is not the name of an object: lower-case letters, digits, hyphens and dots."
		}
	}
	if s.prefix == "" {
		s.prefix = defaultPrefix
	}
	if !prefixes.MatchString(s.prefix) || len(s.prefix) > maxPrefix {
		wrong["namespace_prefix"] = "At most 20 lower-case letters, digits and hyphens, a letter first."
	}
	var ok bool
	if s.https, ok = yes(in["https"], false); !ok {
		wrong["https"] = "Say yes or no."
	}
	if s.isolated, ok = yes(in["network_policy"], true); !ok {
		wrong["network_policy"] = "Say on or off."
	}
	if s.shared, ok = yes(in["volumes_shared"], false); !ok {
		wrong["volumes_shared"] = "Say yes or no."
	}
	var err error
	if s.volumeSize, err = quantity.ParseQuantity(cmp.Or(in["volume_size"], defaultVolume)); err != nil || s.volumeSize.Sign() <= 0 {
		wrong["volume_size"] = "This is not a size, such as 500Mi or 10Gi."
	}
	s.https = s.https || s.issuer != "" || s.tlsSecret != ""
	return s, models.InvalidFields(wrong)
}

// yes reads an answer; empty is otherwise.
func yes(text string, otherwise bool) (answer, ok bool) {
	switch text {
	case "":
		return otherwise, true
	case "yes", "on", "true":
		return true, true
	case "no", "off", "false":
		return false, true
	}
	return false, false
}
