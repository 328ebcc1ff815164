-- +goose Up
-- The embedded registry: blobs are files, everything else about them is here.

CREATE TABLE registry_repositories (
    name       TEXT PRIMARY KEY,
    team_id    TEXT NOT NULL REFERENCES teams (id),
    push_id    TEXT NOT NULL DEFAULT '',
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX registry_repositories_list ON registry_repositories (push_id);
CREATE INDEX registry_repositories_team ON registry_repositories (team_id, push_id);

CREATE TABLE registry_blobs (
    digest      TEXT PRIMARY KEY,
    size        BIGINT NOT NULL,
    touched_at  TIMESTAMP NOT NULL,
    deleting_at TIMESTAMP
);
CREATE INDEX registry_blobs_touched ON registry_blobs (touched_at);

CREATE TABLE registry_links (
    repository TEXT NOT NULL REFERENCES registry_repositories (name),
    digest     TEXT NOT NULL REFERENCES registry_blobs (digest),
    touched_at TIMESTAMP NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX registry_links_digest ON registry_links (digest);
CREATE INDEX registry_links_touched ON registry_links (touched_at);

CREATE TABLE registry_manifests (
    repository     TEXT NOT NULL REFERENCES registry_repositories (name),
    digest         TEXT NOT NULL,
    push_id        TEXT NOT NULL,
    media_type     TEXT NOT NULL,
    artifact_type  TEXT NOT NULL DEFAULT '',
    subject        TEXT NOT NULL DEFAULT '',
    annotations    TEXT,
    content        BYTEA NOT NULL,
    config_digest  TEXT NOT NULL DEFAULT '',
    platforms      TEXT,
    image_size     BIGINT NOT NULL DEFAULT 0,
    pushed_by      TEXT NOT NULL DEFAULT '',
    pushed_by_name TEXT NOT NULL DEFAULT '',
    pushed_at      TIMESTAMP NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE UNIQUE INDEX registry_manifests_list ON registry_manifests (repository, push_id);
CREATE INDEX registry_manifests_digest ON registry_manifests (digest);
CREATE INDEX registry_manifests_config ON registry_manifests (repository, config_digest, push_id);
CREATE INDEX registry_manifests_subject ON registry_manifests (repository, subject);

CREATE TABLE registry_references (
    repository TEXT NOT NULL,
    manifest   TEXT NOT NULL,
    child      TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, child),
    FOREIGN KEY (repository, manifest) REFERENCES registry_manifests (repository, digest) ON DELETE CASCADE
);
CREATE INDEX registry_references_child ON registry_references (repository, child);

CREATE TABLE registry_tags (
    repository    TEXT NOT NULL,
    name          TEXT NOT NULL,
    digest        TEXT NOT NULL,
    moved_by      TEXT NOT NULL DEFAULT '',
    moved_by_name TEXT NOT NULL DEFAULT '',
    moved_at      TIMESTAMP NOT NULL,
    PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, digest) REFERENCES registry_manifests (repository, digest) ON DELETE CASCADE
);
CREATE INDEX registry_tags_digest ON registry_tags (repository, digest);

CREATE TABLE registry_tag_events (
    id         TEXT PRIMARY KEY,
    repository TEXT NOT NULL REFERENCES registry_repositories (name),
    tag        TEXT NOT NULL,
    digest     TEXT NOT NULL DEFAULT '',
    previous   TEXT NOT NULL DEFAULT '',
    actor_id   TEXT NOT NULL DEFAULT '',
    actor_name TEXT NOT NULL DEFAULT '',
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX registry_tag_events_tag ON registry_tag_events (repository, tag, id);
CREATE INDEX registry_tag_events_digest ON registry_tag_events (repository, digest, id);

CREATE TABLE registry_uploads (
    id         TEXT PRIMARY KEY,
    repository TEXT NOT NULL,
    size       BIGINT NOT NULL DEFAULT 0,
    state      BYTEA,
    touched_at TIMESTAMP NOT NULL
);
CREATE INDEX registry_uploads_touched ON registry_uploads (touched_at);

-- +goose Down
DROP TABLE registry_uploads;
DROP TABLE registry_tag_events;
DROP TABLE registry_tags;
DROP TABLE registry_references;
DROP TABLE registry_manifests;
DROP TABLE registry_links;
DROP TABLE registry_blobs;
DROP TABLE registry_repositories;
