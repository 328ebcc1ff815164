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
	hosts := map[string][]deploy.Site{}
	for _, s := range sites {
		hosts[s.Host] = append(hosts[s.Host], s)
	}
	gates, certificates := map[string]bool{}, map[string]bool{}
	var refused []error
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		name := domainName(r, host)
		gates[name] = true
		if len(hosts[host][0].Chain) > 0 {
			certificates[name] = true
			if err := t.apply(ctx, deploy.StageTarget, t.certificate(r, hosts[host][0])); err != nil {
				refused = append(refused, err)
				continue
			}
		}
		if err := t.apply(ctx, deploy.StageTarget, t.domainGate(r, host, hosts[host])); err != nil {
			refused = append(refused, err)
		}
	}
	for resource, wanted := range map[resource]map[string]bool{ingresses: gates, secrets: certificates} {
		if err := t.dropDomains(ctx, r, resource, wanted); err != nil {
			return err
		}
	}
	return first(refused)
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
