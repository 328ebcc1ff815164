package hooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"slipway.dev/models"
)

// skew is how far the clock of a sender that signs the time may be off.
const skew = 5 * time.Minute

// signatures are the headers of which a webhook must carry one before anything of it is read.
var signatures = []string{"X-Hub-Signature-256", "Webhook-Signature", "X-Gitlab-Token", "X-Forgejo-Signature", "X-Gitea-Signature", "X-Slipway-Signature-256"}

// Signed tells whether the request carries a signature at all, right or wrong.
func Signed(h http.Header) bool {
	for _, name := range signatures {
		if h.Get(name) != "" {
			return true
		}
	}
	return false
}

// claim is what a webhook whose signature is right says of itself.
type claim struct {
	id          string // of the delivery, at the forge
	event       string
	fingerprint string // SHA-256 of what was signed
}

// verify checks the webhook's signature in the way of the kind of forge, in constant time, before anything of the body
// is looked at.
func verify(kind models.ForgeKind, secret string, h http.Header, body []byte, now time.Time) (claim, bool) {
	switch kind {
	case models.ForgeGitHub:
		return verifyGitHub(secret, h, body)
	case models.ForgeGitLab:
		return verifyGitLab(secret, h, body, now)
	case models.ForgeGitea:
		return verifyGitea(secret, h, body)
	case models.ForgeGeneric:
		return verifyGeneric(secret, h, body, now)
	}
	return claim{}, false
}

// verifyGitHub follows https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries.
func verifyGitHub(secret string, h http.Header, body []byte) (claim, bool) {
	hexed, ok := strings.CutPrefix(h.Get("X-Hub-Signature-256"), "sha256=")
	c := claim{h.Get("X-GitHub-Delivery"), h.Get("X-GitHub-Event"), fingerprint(body)}
	return c, equalHex(sign([]byte(secret), body), hexed) && ok
}

// verifyGitLab takes a signature after https://www.standardwebhooks.com where GitLab sends one, and else the secret
// token (https://docs.gitlab.com/user/project/integrations/webhooks/). A wrong signature is not made good by the token.
func verifyGitLab(secret string, h http.Header, body []byte, now time.Time) (claim, bool) {
	event := h.Get("X-Gitlab-Event")
	if given := h.Get("Webhook-Signature"); given != "" {
		id, at := h.Get("Webhook-Id"), h.Get("Webhook-Timestamp")
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		content := join(id, at, body)
		c := claim{id, event, fingerprint(content)}
		return c, equalAny(sign(key, content), given) && err == nil && recent(at, now)
	}
	c := claim{firstOf(h, "Idempotency-Key", "X-Gitlab-Event-UUID"), event, fingerprint(body)}
	if c.id == "" { // an older GitLab
		c.id = c.fingerprint
	}
	given, want := sha256.Sum256([]byte(h.Get("X-Gitlab-Token"))), sha256.Sum256([]byte(secret))
	return c, subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

// verifyGitea follows https://docs.gitea.com/usage/webhooks and https://forgejo.org/docs/latest/user/webhooks/. Forgejo
// sends both its own and Gitea's headers; its own count.
func verifyGitea(secret string, h http.Header, body []byte) (claim, bool) {
	c := claim{firstOf(h, "X-Forgejo-Delivery", "X-Gitea-Delivery"), firstOf(h, "X-Forgejo-Event", "X-Gitea-Event"), fingerprint(body)}
	return c, equalHex(sign([]byte(secret), body), firstOf(h, "X-Forgejo-Signature", "X-Gitea-Signature"))
}

// verifyGeneric takes Slipway's own form: HMAC-SHA-256 over the time, a dot and the body.
func verifyGeneric(secret string, h http.Header, body []byte, now time.Time) (claim, bool) {
	hexed, ok := strings.CutPrefix(h.Get("X-Slipway-Signature-256"), "sha256=")
	at := h.Get("X-Slipway-Timestamp")
	content := append([]byte(at+"."), body...)
	c := claim{h.Get("X-Slipway-Delivery"), h.Get("X-Slipway-Event"), fingerprint(content)}
	if c.event == "" {
		c.event = "push"
	}
	return c, equalHex(sign([]byte(secret), content), hexed) && ok && recent(at, now)
}

func sign(key, content []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(content)
	return mac.Sum(nil)
}

func equalHex(want []byte, given string) bool {
	raw, err := hex.DecodeString(given)
	return hmac.Equal(want, raw) && err == nil
}

// equalAny compares with each signature of a header of Standard Webhooks, such as "v1,BASE64 v1,BASE64".
func equalAny(want []byte, given string) bool {
	found := false
	for one := range strings.FieldsSeq(given) {
		encoded, ok := strings.CutPrefix(one, "v1,")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		found = hmac.Equal(want, raw) && ok && err == nil || found
	}
	return found
}

func join(id, at string, body []byte) []byte { return append([]byte(id+"."+at+"."), body...) }

// recent tells whether the time, in seconds since 1970, is not long ago and not far ahead.
func recent(at string, now time.Time) bool {
	seconds, err := strconv.ParseInt(at, 10, 64)
	return err == nil && now.Sub(time.Unix(seconds, 0)).Abs() <= skew
}

func fingerprint(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func firstOf(h http.Header, names ...string) string {
	for _, name := range names {
		if value := h.Get(name); value != "" {
			return value
		}
	}
	return ""
}
