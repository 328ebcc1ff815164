package limits_test

import (
	"strconv"
	"testing"
	"time"

	"slipway.dev/services/limits"
)

func TestAKeyMayTryAsOftenAsItsBurstAndOthersAreNotHeldUp(t *testing.T) {
	t.Parallel()
	l := &limits.Limiter{Every: time.Hour, Burst: 3}
	for range 3 {
		if !l.Allow("a") {
			t.Fatal("refused within the burst")
		}
	}
	if l.Allow("a") {
		t.Error("allowed beyond the burst")
	}
	if !l.Allow("b") {
		t.Error("another key was held up")
	}
	l.Forget("a")
	if !l.Allow("a") {
		t.Error("refused after the count began anew")
	}
}

func TestAKeyThatStaysBusyIsRememberedWhileOthersCrowdIn(t *testing.T) {
	t.Parallel()
	l := &limits.Limiter{Every: time.Hour, Burst: 1}
	l.Allow("guesser")
	for i := range 50_000 {
		l.Allow(strconv.Itoa(i))
		if i%5_000 == 0 && l.Allow("guesser") {
			t.Fatalf("forgotten after %d other keys", i)
		}
	}
}

func TestOneIPv6NetworkIsOnePeer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b string }{
		{"2001:db8::1", "2001:db8::ffff:1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
	} {
		if limits.Peer(c.a) != limits.Peer(c.b) {
			t.Errorf("%s and %s are two peers", c.a, c.b)
		}
	}
	if limits.Peer("192.0.2.1") == limits.Peer("192.0.2.2") {
		t.Error("two IPv4 addresses are one peer")
	}
}
