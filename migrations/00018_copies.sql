-- +goose Up
-- Images that are copied between registries, and the cache of base images.

CREATE TABLE copies (
    id                  TEXT PRIMARY KEY,
    team_id             TEXT NOT NULL REFERENCES teams (id),
    state               TEXT NOT NULL,
    source_registry     TEXT NOT NULL DEFAULT '',
    source_host         TEXT NOT NULL,
    source_repository   TEXT NOT NULL,
    source_tag          TEXT NOT NULL DEFAULT '',
    digest              TEXT NOT NULL,
    target_registry     TEXT NOT NULL DEFAULT '',
    target_host         TEXT NOT NULL,
    target_repository   TEXT NOT NULL,
    target_tag          TEXT NOT NULL DEFAULT '',
    referrers           BOOLEAN NOT NULL DEFAULT FALSE,
    manifests           BIGINT NOT NULL DEFAULT 0,
    blobs               BIGINT NOT NULL DEFAULT 0,
    blobs_done          BIGINT NOT NULL DEFAULT 0,
    blobs_there         BIGINT NOT NULL DEFAULT 0,
    bytes               BIGINT NOT NULL DEFAULT 0,
    bytes_done          BIGINT NOT NULL DEFAULT 0,
    bytes_there         BIGINT NOT NULL DEFAULT 0,
    uploads             TEXT,
    tries               BIGINT NOT NULL DEFAULT 0,
    next_try_at         TIMESTAMP,
    note                TEXT NOT NULL DEFAULT '',
    error               TEXT NOT NULL DEFAULT '',
    worker              TEXT NOT NULL DEFAULT '',
    attempt             BIGINT NOT NULL DEFAULT 0,
    cancel_requested_at TIMESTAMP,
    canceled_by         TEXT NOT NULL DEFAULT '',
    asked_kind          TEXT NOT NULL,
    asked_id            TEXT NOT NULL,
    created_by          TEXT NOT NULL DEFAULT '',
    created_by_name     TEXT NOT NULL DEFAULT '',
    created_at          TIMESTAMP NOT NULL,
    started_at          TIMESTAMP,
    finished_at         TIMESTAMP
);
CREATE INDEX copies_team ON copies (team_id, id);
CREATE INDEX copies_state ON copies (state, id);

CREATE TABLE cache_upstreams (
    id            TEXT PRIMARY KEY,
    host          TEXT NOT NULL,
    prefix        TEXT NOT NULL,
    registry_id   TEXT NOT NULL DEFAULT '',
    enabled       BOOLEAN NOT NULL DEFAULT FALSE,
    fresh_seconds BIGINT NOT NULL DEFAULT 0,
    error         TEXT NOT NULL DEFAULT '',
    error_at      TIMESTAMP,
    quiet_until   TIMESTAMP,
    created_at    TIMESTAMP NOT NULL,
    updated_at    TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX cache_upstreams_host ON cache_upstreams (host);
CREATE UNIQUE INDEX cache_upstreams_prefix ON cache_upstreams (prefix);

CREATE TABLE cache_repositories (
    name        TEXT PRIMARY KEY,
    upstream_id TEXT NOT NULL REFERENCES cache_upstreams (id) ON DELETE CASCADE,
    hits        BIGINT NOT NULL DEFAULT 0,
    misses      BIGINT NOT NULL DEFAULT 0,
    fetched     BIGINT NOT NULL DEFAULT 0,
    error       TEXT NOT NULL DEFAULT '',
    error_at    TIMESTAMP,
    pulled_at   TIMESTAMP NOT NULL,
    created_at  TIMESTAMP NOT NULL
);
CREATE INDEX cache_repositories_upstream ON cache_repositories (upstream_id);

CREATE TABLE cache_tags (
    repository TEXT NOT NULL REFERENCES cache_repositories (name) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    checked_at TIMESTAMP NOT NULL,
    PRIMARY KEY (repository, name)
);

CREATE TABLE cache_images (
    repository TEXT NOT NULL REFERENCES cache_repositories (name) ON DELETE CASCADE,
    digest     TEXT NOT NULL,
    pulled_at  TIMESTAMP NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX cache_images_pulled ON cache_images (pulled_at);

-- +goose Down
DROP TABLE cache_images;
DROP TABLE cache_tags;
DROP TABLE cache_repositories;
DROP TABLE cache_upstreams;
DROP TABLE copies;
