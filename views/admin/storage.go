package admin

import (
	"slipway.dev/models"
	"slipway.dev/views/components"
)

// StorageView is where the registry keeps its blobs, and what its collector freed.
type StorageView struct {
	Storage models.RegistryStorage
	Runs    []models.RegistryCollection // newest first
	First   string
	Next    string
	Curl    components.CurlExample
}

func (v StorageView) kind() string {
	if v.Storage.Bucket {
		return "Bucket"
	}
	return "Folder"
}

// underWay says what is being pushed.
func (v StorageView) underWay() string {
	if v.Storage.Uploads == 0 {
		return "none"
	}
	return components.Count(v.Storage.Uploads, "upload", "uploads") + " with " + components.Bytes(v.Storage.UploadBytes)
}

func runState(c models.RegistryCollection) string {
	switch {
	case c.Running:
		return "running"
	case c.Error != "":
		return "failed"
	}
	return "succeeded"
}

// runFreed says what the run deleted.
func runFreed(c models.RegistryCollection) string {
	switch {
	case c.Blobs+c.Uploads+c.Bytes > 0:
	case c.Running, c.Error != "":
		return "nothing deleted"
	default:
		return "nothing to delete"
	}
	text := components.Count(c.Blobs, "blob", "blobs")
	if c.Uploads > 0 {
		text += ", " + components.Count(c.Uploads, "abandoned upload", "abandoned uploads")
	}
	return text
}
