package slipwaytest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"
)

// Connection is what the API answers about a new connection, and what a forge needs to send its webhooks.
type Connection struct {
	ID      string `json:"id"`
	HookURL string `json:"hook_url"`
	Secret  string `json:"webhook_secret"`
}

// Hook sends a webhook as GitHub does, and returns the status and what was said.
func (c Connection) Hook(t testing.TB, id, event string, payload any) (int, []byte) {
	t.Helper()
	body, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.HookURL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(c.Secret))
	mac.Write(body)
	for name, value := range map[string]string{"Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/044aadd", "X-GitHub-Event": event, "X-GitHub-Delivery": id,
		"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil))} {
		request.Header.Set(name, value)
	}
	client := &http.Client{Timeout: time.Minute}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, said
}

// HubRepository is a repository as GitHub's webhooks name it.
func HubRepository(cloneURL string) map[string]any {
	return map[string]any{"id": 77, "full_name": "acme/shop", "clone_url": cloneURL, "default_branch": "main"}
}

// HubFork is the webhook about the first pull request, number 7, of a fork.
func HubFork(cloneURL, head, base string) map[string]any {
	return map[string]any{"action": "opened", "number": 7, "repository": HubRepository(cloneURL), "sender": map[string]any{"login": "stranger"},
		"pull_request": map[string]any{"title": "Mine is better", "head": map[string]any{"ref": "main", "sha": head, "repo": map[string]any{"id": 99}}, "base": map[string]any{"ref": "main", "sha": base}}}
}
