package deploy_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

func TestAWebSocketAndAStreamLiveThroughASwitchUntilTheDrainEnds(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.service.Drain = 20 * time.Second
	s.worker()
	front := s.proxy()
	s.built(2, "VERSION=2")
	first := s.succeeded(s.deploy(deploy.Input{}).ID)
	socket, stream := s.webSocket(front), s.stream(front)
	echo := func() error {
		if _, err := io.WriteString(socket, "still"); err != nil {
			return err
		}
		_, err := io.ReadFull(socket, make([]byte, len("still")))
		return err
	}
	if err := echo(); err != nil {
		t.Fatal(err)
	}
	s.built(3, "VERSION=3")
	second := s.succeeded(s.deploy(deploy.Input{}).ID)
	if err := echo(); err != nil {
		t.Errorf("after the switch the WebSocket is cut: %v", err)
	}
	if _, err := stream.ReadString('\n'); err != nil {
		t.Errorf("after the switch the stream is cut: %v", err)
	}
	deadline := *s.get(first.ID).DrainUntil
	for _, open := range []io.Reader{socket, stream} {
		io.Copy(io.Discard, open)
		if left := time.Until(deadline); left > 0 {
			t.Errorf("it was cut %s before the drain ends", left)
		}
	}
	s.until(first.ID, "retired", func(d *models.Deployment) bool { return d.RetiredAt != nil })
	s.until(second.ID, "done", func(d *models.Deployment) bool {
		return slices.ContainsFunc(d.Phases, func(p models.DeploymentPhase) bool { return p.Name == "stop" && p.State == models.StepSucceeded })
	})
	s.untilLive(1)
}

// webSocket opens one at the app.
func (s *stage) webSocket(front string) net.Conn {
	s.t.Helper()
	config, err := websocket.NewConfig("ws://checkout-dev.localhost/ws", "http://checkout-dev.localhost")
	if err != nil {
		s.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(front, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	socket, err := websocket.NewClient(config, conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return socket
}

// stream opens the app's stream of events and reads the first of it.
func (s *stage) stream(front string) *bufio.Reader {
	s.t.Helper()
	req, err := http.NewRequest("GET", front+"/sse", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = "checkout-dev.localhost"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { res.Body.Close() })
	stream := bufio.NewReader(res.Body)
	if _, err := stream.ReadString('\n'); err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatal(res.Status, err)
	}
	return stream
}
