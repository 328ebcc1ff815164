-- +goose Up
-- The registry's blobs may live in a bucket: as objects that an upload brought and a blob keeps.

ALTER TABLE registry_uploads ADD COLUMN holder TEXT NOT NULL DEFAULT '';
ALTER TABLE registry_uploads ADD COLUMN held_until TIMESTAMP;

CREATE TABLE registry_parts (
    name        TEXT PRIMARY KEY,
    owner       TEXT NOT NULL DEFAULT '',
    start       BIGINT NOT NULL DEFAULT 0,
    size        BIGINT NOT NULL DEFAULT 0,
    touched_at  TIMESTAMP NOT NULL,
    deleting_at TIMESTAMP
);
CREATE INDEX registry_parts_owner ON registry_parts (owner, start);
CREATE INDEX registry_parts_unowned ON registry_parts (touched_at) WHERE owner = '';

CREATE INDEX registry_blobs_deleting ON registry_blobs (digest) WHERE deleting_at IS NOT NULL;

CREATE TABLE registry_collections (
    id          TEXT PRIMARY KEY,
    running     BOOLEAN NOT NULL DEFAULT FALSE,
    started_at  TIMESTAMP NOT NULL,
    alive_at    TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    uploads     BIGINT NOT NULL DEFAULT 0,
    blobs       BIGINT NOT NULL DEFAULT 0,
    bytes       BIGINT NOT NULL DEFAULT 0,
    error       TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX registry_collections_running ON registry_collections (running) WHERE running;

-- +goose Down
DROP TABLE registry_collections;
DROP INDEX registry_blobs_deleting;
DROP TABLE registry_parts;
ALTER TABLE registry_uploads DROP COLUMN held_until;
ALTER TABLE registry_uploads DROP COLUMN holder;
