-- +goose Up
CREATE TABLE registries (
    id               TEXT PRIMARY KEY,
    slug             TEXT NOT NULL,
    name             TEXT NOT NULL,
    kind             TEXT NOT NULL,
    host             TEXT NOT NULL,
    plain_http       BOOLEAN NOT NULL DEFAULT FALSE,
    realm            TEXT NOT NULL DEFAULT '',
    settings         TEXT,
    secrets          BYTEA,
    all_teams        TEXT NOT NULL DEFAULT '',
    check_repository TEXT NOT NULL DEFAULT '',
    checks           TEXT,
    checked_at       TIMESTAMP,
    created_at       TIMESTAMP NOT NULL,
    updated_at       TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX registries_slug ON registries (slug);
CREATE UNIQUE INDEX registries_name ON registries (name);
CREATE INDEX registries_host ON registries (host);

CREATE TABLE registry_grants (
    registry_id TEXT NOT NULL REFERENCES registries (id) ON DELETE CASCADE,
    team_id     TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    prefix      TEXT NOT NULL DEFAULT '',
    access      TEXT NOT NULL,
    created_at  TIMESTAMP NOT NULL,
    PRIMARY KEY (registry_id, team_id, prefix)
);
CREATE INDEX registry_grants_team ON registry_grants (team_id);

ALTER TABLE apps ADD COLUMN registry_id TEXT NOT NULL DEFAULT '';
ALTER TABLE apps ADD COLUMN image_repository TEXT NOT NULL DEFAULT '';
CREATE INDEX apps_registry ON apps (registry_id, id);

ALTER TABLE workflow_runs ADD COLUMN verified_at TIMESTAMP;
ALTER TABLE workflow_runs ADD COLUMN verification TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE workflow_runs DROP COLUMN verification;
ALTER TABLE workflow_runs DROP COLUMN verified_at;
DROP INDEX apps_registry;
ALTER TABLE apps DROP COLUMN image_repository;
ALTER TABLE apps DROP COLUMN registry_id;
DROP TABLE registry_grants;
DROP TABLE registries;
