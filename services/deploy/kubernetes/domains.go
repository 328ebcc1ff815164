package kubernetes

import (
	"context"
	"errors"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"slipway.dev/services/deploy"
)

// partDomain is the labelPart of what brings visitors of a team's own hosts.
const partDomain = "domain"

// KeepDomains sees to an Ingress for each of the sites' hosts, with the paths that lead to the app, and to the secret
// with the certificate that was given for it. All lead to the app's Service, whichever release that leads to.
func (t *target) KeepDomains(ctx context.Context, r deploy.Release, sites []deploy.Site) error {
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	all := t.domainObjects(r, sites)
	wanted := map[resource]map[string]bool{ingresses: {}, secrets: {}}
	var refused []error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		for _, o := range all[name] {
			wanted[o.resource][name] = true
		}
		if err := t.apply(ctx, deploy.StageTarget, all[name]...); err != nil {
			refused = append(refused, err)
		}
	}
	for resource, names := range wanted {
		if err := t.dropDomains(ctx, r, resource, names); err != nil {
			return err
		}
	}
	return first(refused)
}

// DomainDrift compares what there is of the sites' hosts with what KeepDomains applies for them.
func (t *target) DomainDrift(ctx context.Context, r deploy.Release, sites []deploy.Site) ([]deploy.Drift, error) {
	all := t.domainObjects(r, sites)
	var objects []object
	for _, name := range slices.Sorted(maps.Keys(all)) {
		objects = append(objects, all[name]...)
	}
	return t.driftOfAll(ctx, objects)
}

// domainObjects is what brings visitors of each of the sites' hosts, by the name of the host's objects: the secret with
// the certificate where one was given, and then the Ingress, which names it.
func (t *target) domainObjects(r deploy.Release, sites []deploy.Site) map[string][]object {
	hosts := map[string][]deploy.Site{}
	for _, s := range sites {
		hosts[s.Host] = append(hosts[s.Host], s)
	}
	out := map[string][]object{}
	for host, of := range hosts {
		name := domainName(r, host)
		if len(of[0].Chain) > 0 {
			out[name] = append(out[name], t.certificate(r, of[0]))
		}
		out[name] = append(out[name], t.domainGate(r, host, of))
	}
	return out
}

// first is the first of what was refused; where something is a fault of the connection, all of it.
func first(refused []error) error {
	for _, err := range refused {
		if !errors.As(err, new(*deploy.Failure)) {
			return errors.Join(refused...)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	return refused[0]
}

// dropDomains deletes what was made for hosts that lead to the app no longer.
func (t *target) dropDomains(ctx context.Context, r deploy.Release, of resource, wanted map[string]bool) error {
	labels := map[string]string{labelTarget: t.id, labelEnvironment: r.EnvironmentID, labelApp: r.App, labelPart: partDomain}
	have, err := list[metav1.PartialObjectMetadata](ctx, t, of, t.namespace(r), labels)
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, of.Resource)
	}
	for _, o := range have {
		if wanted[o.Name] {
			continue
		}
		if err := t.deleteOne(ctx, of, o, nil); err != nil {
			return err
		}
	}
	return nil
}

// domainName is the name of the Ingress of a host, with a dot, which no app's name has.
func domainName(r deploy.Release, host string) string {
	name := serviceOf(r) + "." + host
	if len(name) > validation.DNS1123SubdomainMaxLength-len(ofIssuer) {
		return serviceOf(r) + "." + mark(host)
	}
	return name
}

// ofIssuer ends the name of the secret that cert-manager keeps a host's certificate in.
const ofIssuer = "-tls"

// domainMeta names what belongs to a host. It carries the release's label, so that it goes with the last one that serves.
func (t *target) domainMeta(r deploy.Release, host string) metav1.ObjectMeta {
	m := meta(domainName(r, host), t.namespace(r), t.labels(r))
	m.Labels[labelPart] = partDomain
	return m
}

// certificate is the secret with the certificate that was given for a site's host.
func (t *target) certificate(r deploy.Release, s deploy.Site) object {
	return object{secrets, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: t.domainMeta(r, s.Host),
		Type: corev1.SecretTypeTLS, Data: map[string][]byte{corev1.TLSCertKey: s.Chain, corev1.TLSPrivateKeyKey: s.Key},
	}}
}

// domainGate is the Ingress of one host of a team's own. Without a certificate that was given the cluster issuer makes
// one; where there is none either, visitors come by http alone.
func (t *target) domainGate(r deploy.Release, host string, sites []deploy.Site) object {
	m := t.domainMeta(r, host)
	var paths []networkingv1.HTTPIngressPath
	for _, s := range sites {
		paths = append(paths, way(r, s.Path))
	}
	var tls []networkingv1.IngressTLS
	switch {
	case len(sites[0].Chain) > 0:
		tls = tlsOf(host, m.Name)
	case t.settings.issuer != "":
		m.Annotations = map[string]string{issuerAnnotation: t.settings.issuer}
		tls = tlsOf(host, m.Name+ofIssuer)
	}
	return t.ingress(m, host, paths, tls)
}
