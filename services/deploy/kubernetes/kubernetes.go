// Package kubernetes runs deployments in a Kubernetes cluster. Each environment
// is a namespace; each release is a Deployment of its own beside the one that
// serves, and the app's Service and Ingress move from one to the other.
//
// All objects are written by server-side apply with the field manager
// "slipway", so that fields that others own stay theirs
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/).
package kubernetes

import (
	"context"
	"net"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// KindName is how targets of the kind are stored.
const KindName = "kubernetes"

// callTime bounds a call that reads or writes one object or list.
const callTime = 20 * time.Second

// Kind is the kind of target for a Kubernetes cluster.
func Kind() deploy.Kind {
	return deploy.Kind{
		Name:    KindName,
		Title:   "Kubernetes",
		Help:    "Any cluster of Kubernetes 1.30 or newer with an ingress controller. Each environment gets a namespace; visitors come through the cluster's own ingress.",
		Routes:  true,
		Domains: true,
		Volumes: true,
		Heals:   true,
		Pulls:   true,
		Fields: []deploy.Field{
			{Group: "Cluster", Name: "kubeconfig", Label: "Kubeconfig", Secret: true, Lines: 8,
				Help: "With a token or a client certificate inside; its current context counts. Plugins and files of other machines are refused. Empty: the service account of the pod that Slipway itself runs in."},
			{Group: "Visitors", Name: "domain", Label: "Domain of the apps", Example: "apps.example.com", Required: true,
				Help: "Each app gets a name below it. Its DNS, *.apps.example.com, leads to the ingress controller."},
			{Name: "ingress_class", Label: "Ingress class", Example: "nginx",
				Help: "Which ingress controller takes the visitors. Empty: the cluster's default."},
			{Name: "https", Label: "HTTPS", Example: "no",
				Help: "yes: the ingress controller serves HTTPS by a certificate of its own. It is yes by itself with one of the next two."},
			{Name: "cluster_issuer", Label: "Cluster issuer", Example: "letsencrypt",
				Help: "cert-manager's ClusterIssuer that makes a certificate for each app, and for each of the teams' own hosts that has none."},
			{Name: "tls_secret", Label: "TLS secret", Example: "apps-tls",
				Help: "The secret with the certificate, which is in each environment's namespace. With a cluster issuer: the name that its secrets get."},
			{Group: "Namespaces", Name: "namespace_prefix", Label: "Namespace prefix", Example: defaultPrefix,
				Help: "What the names of the environments' namespaces begin with."},
			{Name: "network_policy", Label: "Network policy", Example: "on",
				Help: "off: pods of other environments can reach an environment's pods. Needed where the ingress controller is outside of the cluster's pods."},
			{Group: "Volumes", Name: "storage_class", Label: "Storage class", Example: "standard",
				Help: "What makes the volumes of apps. Empty: the cluster's default."},
			{Name: "volume_size", Label: "Size of a volume", Example: defaultVolume,
				Help: "Of those that are made from now on."},
			{Name: "volumes_shared", Label: "Volumes on several nodes", Example: "no",
				Help: "yes: the storage class lets pods on several nodes have a volume at once (ReadWriteMany). Otherwise an app with a volume runs as one instance and one version at a time."},
		},
		Prepare: prepare,
		Open:    open,
	}
}

type target struct {
	id       string
	settings settings
	objects  dynamic.Interface
	raw      rest.Interface // for what is no object: logs, the version
	host     string         // of the API server, for people

	mu      sync.Mutex
	allowed time.Time // when the account last had all rights
}

func open(c deploy.Config) (deploy.Target, error) {
	s, err := readSettings(c.Settings)
	if err != nil {
		return nil, err
	}
	config, err := connection(c.Secrets["kubeconfig"])
	if err != nil {
		return nil, err
	}
	config.UserAgent, config.QPS = "slipway", -1 // the server itself keeps its clients within bounds; a wait in here would end as a time-out that is none
	config.WarningHandler = rest.NoWarnings{}    // nobody here could act on them
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, models.InvalidField("kubeconfig", "No connection can be made with this kubeconfig: %v.", err)
	}
	raw, err := rawClient(config)
	if err != nil {
		return nil, models.InvalidField("kubeconfig", "No connection can be made with this kubeconfig: %v.", err)
	}
	return &target{id: c.ID, settings: s, objects: objects, raw: raw, host: config.Host}, nil
}

// Dial connects to a pod's address. It works from inside of the cluster, and
// from wherever its pods' network is routed to. No rollout needs it: the nodes
// ask whether a pod is healthy, and visitors come through the ingress.
func (t *target) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}
	return d.DialContext(ctx, network, address)
}

// Close frees nothing: idle connections end by themselves, and client-go shares
// them between targets of the same cluster.
func (t *target) Close() error { return nil }
