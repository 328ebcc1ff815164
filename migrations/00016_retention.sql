-- +goose Up
-- What is deleted from the embedded registry waits here until it is gone for good; rules that say what goes by itself;
-- how much each team may have and has.

ALTER TABLE registry_links ADD COLUMN released_at TIMESTAMP;
ALTER TABLE registry_repositories ADD COLUMN cleaned_at TIMESTAMP;

CREATE TABLE registry_deletions (
    id              TEXT PRIMARY KEY,
    team_id         TEXT NOT NULL REFERENCES teams (id),
    repository      TEXT NOT NULL,
    kind            TEXT NOT NULL,
    name            TEXT NOT NULL,
    digest          TEXT NOT NULL DEFAULT '',
    manifests       BIGINT NOT NULL DEFAULT 0,
    tags            BIGINT NOT NULL DEFAULT 0,
    size            BIGINT NOT NULL DEFAULT 0,
    run_id          TEXT NOT NULL DEFAULT '',
    deleted_by      TEXT NOT NULL DEFAULT '',
    deleted_by_name TEXT NOT NULL DEFAULT '',
    deleted_at      TIMESTAMP NOT NULL,
    expires_at      TIMESTAMP NOT NULL
);
CREATE INDEX registry_deletions_team ON registry_deletions (team_id, id);
CREATE INDEX registry_deletions_repository ON registry_deletions (repository, id);
CREATE INDEX registry_deletions_run ON registry_deletions (run_id, id);
CREATE INDEX registry_deletions_expires ON registry_deletions (expires_at);

CREATE TABLE registry_deleted_manifests (
    deletion_id    TEXT NOT NULL REFERENCES registry_deletions (id) ON DELETE CASCADE,
    repository     TEXT NOT NULL,
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
    PRIMARY KEY (deletion_id, digest)
);
CREATE INDEX registry_deleted_manifests_digest ON registry_deleted_manifests (repository, digest);

CREATE TABLE registry_deleted_references (
    deletion_id TEXT NOT NULL REFERENCES registry_deletions (id) ON DELETE CASCADE,
    manifest    TEXT NOT NULL,
    child       TEXT NOT NULL,
    repository  TEXT NOT NULL,
    PRIMARY KEY (deletion_id, manifest, child)
);
CREATE INDEX registry_deleted_references_child ON registry_deleted_references (child);

CREATE TABLE registry_deleted_tags (
    deletion_id   TEXT NOT NULL REFERENCES registry_deletions (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    repository    TEXT NOT NULL,
    digest        TEXT NOT NULL,
    moved_by      TEXT NOT NULL DEFAULT '',
    moved_by_name TEXT NOT NULL DEFAULT '',
    moved_at      TIMESTAMP NOT NULL,
    PRIMARY KEY (deletion_id, name)
);
CREATE INDEX registry_deleted_tags_name ON registry_deleted_tags (repository, name);

CREATE TABLE registry_quota (
    team_id         TEXT PRIMARY KEY,
    bytes           BIGINT NOT NULL,
    updated_by_name TEXT NOT NULL DEFAULT '',
    updated_at      TIMESTAMP NOT NULL
);

CREATE TABLE registry_usages (
    team_id       TEXT NOT NULL REFERENCES teams (id),
    repository    TEXT NOT NULL,
    bytes         BIGINT NOT NULL DEFAULT 0,
    tags          BIGINT NOT NULL DEFAULT 0,
    images        BIGINT NOT NULL DEFAULT 0,
    deleted_bytes BIGINT NOT NULL DEFAULT 0,
    frees_bytes   BIGINT NOT NULL DEFAULT 0,
    counted_at    TIMESTAMP NOT NULL,
    PRIMARY KEY (team_id, repository)
);
CREATE INDEX registry_usages_team ON registry_usages (team_id, bytes, repository);
CREATE INDEX registry_usages_site ON registry_usages (repository, bytes, team_id);

CREATE TABLE registry_usage_days (
    team_id    TEXT NOT NULL REFERENCES teams (id),
    repository TEXT NOT NULL,
    day        TEXT NOT NULL,
    bytes      BIGINT NOT NULL,
    PRIMARY KEY (team_id, repository, day)
);
CREATE INDEX registry_usage_days_day ON registry_usage_days (day);

CREATE TABLE retention_policies (
    team_id         TEXT NOT NULL REFERENCES teams (id),
    repository      TEXT NOT NULL,
    enabled         BOOLEAN NOT NULL DEFAULT FALSE,
    rules           TEXT NOT NULL,
    min_age_days    BIGINT NOT NULL,
    rollbacks       BIGINT NOT NULL,
    updated_by_name TEXT NOT NULL DEFAULT '',
    updated_at      TIMESTAMP NOT NULL,
    PRIMARY KEY (team_id, repository)
);

CREATE TABLE retention_runs (
    id              TEXT PRIMARY KEY,
    team_id         TEXT NOT NULL REFERENCES teams (id),
    repository      TEXT NOT NULL,
    state           TEXT NOT NULL,
    planned         BIGINT NOT NULL DEFAULT 0,
    deleted         BIGINT NOT NULL DEFAULT 0,
    tags            BIGINT NOT NULL DEFAULT 0,
    spared          BIGINT NOT NULL DEFAULT 0,
    bytes           BIGINT NOT NULL DEFAULT 0,
    error           TEXT NOT NULL DEFAULT '',
    started_by      TEXT NOT NULL DEFAULT '',
    started_by_name TEXT NOT NULL DEFAULT '',
    created_at      TIMESTAMP NOT NULL,
    finished_at     TIMESTAMP
);
CREATE INDEX retention_runs_repository ON retention_runs (repository, id);
CREATE INDEX retention_runs_created ON retention_runs (created_at);

CREATE TABLE retention_items (
    run_id  TEXT NOT NULL REFERENCES retention_runs (id) ON DELETE CASCADE,
    digest  TEXT NOT NULL,
    tags    TEXT,
    outcome TEXT NOT NULL,
    reason  TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, digest)
);
CREATE INDEX retention_items_outcome ON retention_items (run_id, outcome, digest);

-- +goose Down
DROP TABLE retention_items;
DROP TABLE retention_runs;
DROP TABLE retention_policies;
DROP TABLE registry_usage_days;
DROP TABLE registry_usages;
DROP TABLE registry_quota;
DROP TABLE registry_deleted_tags;
DROP TABLE registry_deleted_references;
DROP TABLE registry_deleted_manifests;
DROP TABLE registry_deletions;
ALTER TABLE registry_repositories DROP COLUMN cleaned_at;
ALTER TABLE registry_links DROP COLUMN released_at;
