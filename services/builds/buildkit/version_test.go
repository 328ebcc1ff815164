package buildkit

import "testing"

func TestOldEnginesAreNotTrusted(t *testing.T) {
	t.Parallel()
	for version, old := range map[string]bool{
		"v0.12.5": true, "0.28.0": true, "v0.28.0-rc1": true, "v0.28.1": false, "v0.34.2": false, "v1.0.0": false, "v0.28.10": false,
		"v0.0.0+unknown": false, "": false, "master": false, // built without a version: nobody can tell
	} {
		if outdated(version) != old {
			t.Errorf("%q counts as outdated: %v", version, !old)
		}
	}
}
