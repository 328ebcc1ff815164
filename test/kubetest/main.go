// Kubetest is a Kubernetes cluster for tests, in one process and beside a
// running Docker Engine: the real kube-apiserver on etcd, the real controllers
// that a rollout needs, and a small kubelet whose pods are Docker containers.
//
//	kubetest DIR
//
// It writes DIR/kubeconfig, which signs an administrator in, prints "ready" and
// runs until its standard input ends. Containers carry the label slipway.kubetest.
// What it is not: a network (pods are on a bridge of the engine, Services are only
// their EndpointSlices), an ingress controller, a scheduler that compares nodes, storage (volumes are directories below DIR).
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// patience bounds the start and the end of each part.
const patience = 2 * time.Minute

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kubetest DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "kubetest:", err)
		os.Exit(1)
	}
}

// run starts etcd, the API server, the controllers and the kubelet, and ends
// them in the opposite order: an API server whose etcd went first hangs.
func run(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	store, err := startEtcd(dir)
	if err != nil {
		return err
	}
	defer store.stop()
	api, err := startAPI(dir, store.address)
	if err != nil {
		return err
	}
	config, err := api.ready()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), klog.Background()))
	defer cancel()
	if err := startControllers(ctx, rest.CopyConfig(config)); err != nil {
		return err
	}
	node, err := startKubelet(ctx, rest.CopyConfig(config), dir)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, bufio.NewReader(os.Stdin)) // whoever started it holds the other end
	cancel()
	return errors.Join(err, node.stop(), api.stop())
}

// stop ends the API server the way in which an operator does.
func (a *api) stop() error {
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-a.ended:
		return err
	case <-time.After(patience):
		return errors.New("the API server does not end")
	}
}

// ready waits until the API server answers, writes the kubeconfig and returns it.
func (a *api) ready() (*rest.Config, error) {
	for end := time.Now().Add(patience); ; {
		err := a.healthy()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("the API server is not ready: %w", err)
		}
		select {
		case err := <-a.ended:
			return nil, fmt.Errorf("the API server ended: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	ca, err := os.ReadFile(a.certificate())
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf(kubeconfig, base64.StdEncoding.EncodeToString(ca), a.port, adminToken)
	if err := os.WriteFile(filepath.Join(a.dir, "kubeconfig"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(text))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	return config, nil
}

const kubeconfig = `apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: admin}}]
clusters: [{name: test, cluster: {certificate-authority-data: %s, server: "https://127.0.0.1:%d"}}]
users: [{name: admin, user: {token: %s}}]
`

// freePort returns a port of the loopback that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
