package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
)

// RegistryStorage is where the embedded registry keeps its blobs, and how much that is.
type RegistryStorage struct {
	Kind        string `json:"kind" enum:"folder,bucket"`
	Place       string `json:"place" doc:"The folder's path, or the bucket's URL." example:"s3://layers/registry"`
	Blobs       int64  `json:"blobs"`
	Bytes       int64  `json:"bytes" doc:"What the blobs take."`
	Uploads     int64  `json:"uploads" doc:"Blobs that are being pushed."`
	UploadBytes int64  `json:"upload_bytes" doc:"What has arrived of those."`
	Collecting  bool   `json:"collecting" doc:"Whether the collector runs."`
}

// RegistryCollection is a run of the collector that freed something, failed or was asked for.
type RegistryCollection struct {
	ID         string     `json:"id"`
	Running    bool       `json:"running"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	Uploads    int64      `json:"uploads" doc:"Abandoned uploads that it deleted."`
	Blobs      int64      `json:"blobs" doc:"Blobs that it deleted."`
	Bytes      int64      `json:"bytes" doc:"What it freed."`
	Error      string     `json:"error,omitempty" doc:"Why it ended early."`
}

func (a *API) registry() {
	get(a, "/registry/storage", "get-registry-storage", "Where the registry keeps its blobs, and how much that is", a.getRegistryStorage, admin)
	get(a, "/registry/collections", "list-registry-collections", "What collections freed, newest first", a.listRegistryCollections, admin)
	post(a, "/registry/collections", "collect-registry", "Delete what no image needs now", a.collectRegistry, admin, status(http.StatusAccepted),
		about("A worker does it; the newest of the collections says what came of it. Nothing is deleted that somebody wanted within the last six hours."))
}

func (a *API) getRegistryStorage(ctx context.Context, _ *struct{}) (*answer[RegistryStorage], error) {
	at, err := a.Registry.Storage(ctx)
	return replyWith(at, registryStorageOf, err)
}

func (a *API) listRegistryCollections(ctx context.Context, in *PageIn) (*answer[List[RegistryCollection]], error) {
	l, err := a.Registry.Collections(ctx, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, registryCollectionOf), nil
}

func (a *API) collectRegistry(ctx context.Context, _ *struct{}) (*answer[RegistryStorage], error) {
	if err := a.Registry.CollectNow(ctx); err != nil {
		return nil, err
	}
	return a.getRegistryStorage(ctx, nil)
}

func registryStorageOf(at *models.RegistryStorage) RegistryStorage {
	kind := "folder"
	if at.Bucket {
		kind = "bucket"
	}
	return RegistryStorage{Kind: kind, Place: at.Place, Blobs: at.Blobs, Bytes: at.Bytes, Uploads: at.Uploads, UploadBytes: at.UploadBytes, Collecting: at.Collecting}
}

func registryCollectionOf(c *models.RegistryCollection) RegistryCollection {
	return RegistryCollection{ID: c.ID, Running: c.Running, StartedAt: c.StartedAt.UTC(), FinishedAt: utc(c.FinishedAt), Uploads: c.Uploads, Blobs: c.Blobs, Bytes: c.Bytes, Error: c.Error}
}
