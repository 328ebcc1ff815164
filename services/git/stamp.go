package git

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"slipway.dev/models"
)

// stampFile is where a mirror keeps what its last fetch has found.
const stampFile = "slipway-fetched"

// stamp is what the last fetch of a mirror wrote down, so that others who waited for it can share it.
type stamp struct {
	ID      string    `json:"id"` // of the fetch
	Begun   time.Time `json:"begun"`
	URL     string    `json:"url"`
	Wanted  string    `json:"wanted"` // the default branch that was asked for
	Fetched Fetched   `json:"fetched"`
}

// lastFetch reads the mirror's stamp; an absent or damaged one is that of no fetch.
func lastFetch(dir string) (s stamp) {
	text, err := os.ReadFile(filepath.Join(dir, stampFile))
	if err != nil || json.Unmarshal(text, &s) != nil {
		return stamp{}
	}
	return s
}

// serves tells whether the fetch stands for one that was asked for at a time,
// when before was the last one: it began later, so that it has seen all that
// was there, and it went to the same place.
func (s stamp) serves(remote Remote, asked time.Time, before stamp) bool {
	return s.ID != before.ID && s.Begun.After(asked) && !s.Begun.After(time.Now()) && s.URL == remote.URL && s.Wanted == remote.DefaultBranch &&
		(remote.HostKey == "" || remote.HostKey == s.Fetched.HostKey)
}

// writeStamp says what a fetch has found. Only the holder of the lock may call it.
func writeStamp(dir string, remote Remote, begun time.Time, fetched Fetched) error {
	text, err := json.Marshal(stamp{models.NewID(), begun, remote.URL, remote.DefaultBranch, fetched})
	if err != nil {
		return err
	}
	fresh := filepath.Join(dir, "tmp_"+stampFile)
	if err := os.WriteFile(fresh, text, 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, filepath.Join(dir, stampFile))
}
