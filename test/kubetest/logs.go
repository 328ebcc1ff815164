package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"os/exec"
	"time"

	"k8s.io/client-go/util/cert"
)

// serveLogs answers what the API server asks a kubelet for kubectl logs, and returns its port.
func (k *kubelet) serveLogs() (int32, error) {
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return 0, err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return 0, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		return 0, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.logs)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	return int32(l.Addr().(*net.TCPAddr).Port), nil
}

func (k *kubelet) logs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	name := k.container(r.PathValue("namespace"), r.PathValue("pod"), q.Get("previous") == "true")
	if name == "" {
		http.Error(w, "container not found in pod", http.StatusNotFound)
		return
	}
	args := []string{"logs"}
	if q.Get("timestamps") == "true" {
		args = append(args, "--timestamps")
	}
	if q.Get("follow") == "true" {
		args = append(args, "--follow")
	}
	if n := q.Get("tailLines"); n != "" {
		args = append(args, "--tail", n)
	}
	if at := q.Get("sinceTime"); at != "" {
		args = append(args, "--since", at)
	}
	cmd := exec.CommandContext(r.Context(), "docker", append(args, name)...)
	to := flushing{w}
	to.Flush()
	cmd.Stdout, cmd.Stderr = to, to // one pipe for both, so that lines keep their order
	_ = cmd.Run()                   // it ends with the container or the request
}

// container returns the name of the pod's newest container, or of the one before.
func (k *kubelet) container(namespace, name string, previous bool) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.pods {
		if r.namespace != namespace || r.name != name {
			continue
		}
		at := len(r.names) - 1
		if previous {
			at--
		}
		if at >= 0 {
			return r.names[at]
		}
	}
	return ""
}

type flushing struct{ http.ResponseWriter }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	f.Flush()
	return n, err
}

func (f flushing) Flush() { _ = http.NewResponseController(f.ResponseWriter).Flush() }
