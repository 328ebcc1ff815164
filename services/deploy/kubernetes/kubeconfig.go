package kubernetes

import (
	"errors"
	"net/url"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"slipway.dev/models"
)

// prepare keeps of the kubeconfig only what its current context needs: the
// credentials of other clusters are none of Slipway's business.
func prepare(_, secrets map[string]string) error {
	text := secrets["kubeconfig"]
	if text == "" {
		return nil
	}
	config, err := parse(text)
	if err != nil {
		return err
	}
	small, err := clientcmd.Write(*config)
	if err != nil {
		return refuse("It can't be read: %v.", err)
	}
	secrets["kubeconfig"] = string(small)
	return nil
}

// connection is how the cluster is reached: by the kubeconfig, or where there is
// none by the account of the pod that Slipway runs in.
func connection(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, refuse("Slipway does not run in a cluster itself, so it needs a kubeconfig.")
		}
		if err != nil {
			return nil, refuse("The service account of Slipway's own pod can't be used: %v.", err)
		}
		return config, nil
	}
	config, err := parse(kubeconfig)
	if err != nil {
		return nil, err
	}
	out, err := clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, refuse("It can't be used: %v.", err)
	}
	return out, nil
}

// parse reads the current context of a kubeconfig, and refuses what would run
// a program, read a file of this machine, or send the credential to anybody.
func parse(text string) (*api.Config, error) {
	config, err := clientcmd.Load([]byte(text))
	if err != nil {
		return nil, refuse("This is not a kubeconfig.") // the parser's own words may quote a credential
	}
	if config.CurrentContext == "" {
		return nil, refuse("It has no current-context. Print one with kubectl config view --minify --flatten.")
	}
	if err := api.MinifyConfig(config); err != nil {
		return nil, refuse("Its current-context %q leads to nothing: %v.", config.CurrentContext, err)
	}
	in := config.Contexts[config.CurrentContext]
	user, cluster := config.AuthInfos[in.AuthInfo], config.Clusters[in.Cluster]
	if user == nil || cluster == nil {
		return nil, refuse("Its current-context %q names no user, or no cluster, of it.", config.CurrentContext)
	}
	return config, errors.Join(checkUser(user), checkCluster(cluster))
}

func checkUser(u *api.AuthInfo) error {
	switch {
	case u.Exec != nil:
		return refuse("It signs in by running the program %q, and Slipway runs none. Use the token of a service account: docs/kubernetes.md shows how to make one.", u.Exec.Command)
	case u.AuthProvider != nil:
		return refuse("It signs in by the plugin %q, and Slipway has none. Use the token of a service account: docs/kubernetes.md shows how to make one.", u.AuthProvider.Name)
	case u.ClientCertificate != "", u.ClientKey != "", u.TokenFile != "":
		return refuse("It names files of another machine. Print it with kubectl config view --minify --flatten, which puts them inside.")
	}
	return nil
}

func checkCluster(c *api.Cluster) error {
	u, err := url.Parse(c.Server)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "":
		return refuse("The cluster's server has to be an https address.")
	case c.InsecureSkipTLSVerify:
		return refuse("It trusts whoever answers (insecure-skip-tls-verify). Give certificate-authority-data instead.")
	case c.CertificateAuthority != "":
		return refuse("It names files of another machine. Print it with kubectl config view --minify --flatten, which puts them inside.")
	}
	return nil
}

func refuse(format string, args ...any) error {
	return models.InvalidField("kubeconfig", format, args...)
}

// rawClient returns a client for paths of the API that are no objects.
func rawClient(config *rest.Config) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &schema.GroupVersion{Version: "v1"}, "/api"
	config.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	return rest.RESTClientFor(config)
}
