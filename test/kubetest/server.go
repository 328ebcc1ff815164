package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

const adminToken = "administrator"

// etcd is a store of the cluster's own, which nothing outlives.
type etcd struct {
	cmd     *exec.Cmd
	address string
}

func startEtcd(dir string) (*etcd, error) {
	client, err := freePort()
	if err != nil {
		return nil, err
	}
	peer, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "etcd.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	e := &etcd{address: fmt.Sprintf("http://127.0.0.1:%d", client)}
	near := fmt.Sprintf("http://127.0.0.1:%d", peer)
	e.cmd = exec.Command("etcd", "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", e.address, "--advertise-client-urls", e.address,
		"--listen-peer-urls", near, "--initial-advertise-peer-urls", near, "--initial-cluster", "default="+near)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return e, e.cmd.Start()
}

func (e *etcd) stop() {
	e.cmd.Process.Kill()
	e.cmd.Wait()
}

// api is the API server, which runs in this process.
type api struct {
	dir   string
	port  int
	ended chan error
}

func startAPI(dir, store string) (*api, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	key := filepath.Join(dir, "accounts.key")
	if err := writeKey(key); err != nil {
		return nil, err
	}
	tokens := filepath.Join(dir, "tokens.csv")
	if err := os.WriteFile(tokens, []byte(adminToken+`,admin,admin,"system:masters"`+"\n"), 0o600); err != nil {
		return nil, err
	}
	cmd := apiserver.NewAPIServerCommand()
	cmd.SetArgs([]string{
		"--etcd-servers=" + store, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port), "--cert-dir=" + filepath.Join(dir, "certificates"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + key, "--service-account-signing-key-file=" + key,
		"--service-cluster-ip-range=10.97.0.0/16", "--token-auth-file=" + tokens, "--authorization-mode=RBAC",
		"--disable-admission-plugins=ServiceAccount,StorageObjectInUseProtection", // no controller here makes the accounts, nor lets go of claims
	})
	a := &api{dir: dir, port: port, ended: make(chan error, 1)}
	go func() {
		if code := cli.Run(cmd); code != 0 {
			a.ended <- fmt.Errorf("exit code %d", code)
		}
		close(a.ended)
	}()
	return a, nil
}

func (a *api) certificate() string { return filepath.Join(a.dir, "certificates", "apiserver.crt") }

// healthy asks the API server whether it is ready.
func (a *api) healthy() error {
	ca, err := os.ReadFile(a.certificate())
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://127.0.0.1:%d/readyz", a.port), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("readyz answers %s", res.Status)
	}
	return nil
}

// writeKey writes the key that signs tokens of service accounts.
func writeKey(path string) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return os.WriteFile(path, text, 0o600)
}
