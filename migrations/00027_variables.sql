-- +goose Up
-- Variables of teams, and the history of all variables.

CREATE TABLE variables_new (
    id             TEXT PRIMARY KEY,
    team_id        TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    environment_id TEXT REFERENCES environments (id) ON DELETE CASCADE,
    app_id         TEXT NOT NULL DEFAULT '',
    name           TEXT NOT NULL,
    value          TEXT NOT NULL DEFAULT '',
    secret         BOOLEAN NOT NULL DEFAULT FALSE,
    sealed         BYTEA,
    fingerprint    TEXT NOT NULL DEFAULT '',
    size           BIGINT NOT NULL DEFAULT 0,
    revision       TEXT NOT NULL DEFAULT '',
    updated_by     TEXT NOT NULL DEFAULT '',
    created_at     TIMESTAMP NOT NULL,
    updated_at     TIMESTAMP NOT NULL
);
INSERT INTO variables_new
SELECT v.id, e.team_id, v.environment_id, v.app_id, v.name, v.value, v.secret, v.sealed, v.fingerprint,
       LENGTH(v.value) + COALESCE(LENGTH(v.sealed), 0), v.id, v.updated_by, v.created_at, v.updated_at
FROM variables v JOIN environments e ON e.id = v.environment_id;
DROP TABLE variables;
ALTER TABLE variables_new RENAME TO variables;
CREATE UNIQUE INDEX variables_name ON variables (environment_id, app_id, name) WHERE environment_id IS NOT NULL;
CREATE UNIQUE INDEX variables_team_name ON variables (team_id, name) WHERE environment_id IS NULL;
CREATE INDEX variables_team ON variables (team_id);
CREATE INDEX variables_app ON variables (app_id) WHERE app_id <> '';

CREATE TABLE variable_changes (
    id                 TEXT PRIMARY KEY,
    team_id            TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    environment_id     TEXT REFERENCES environments (id) ON DELETE CASCADE,
    app_id             TEXT NOT NULL DEFAULT '',
    name               TEXT NOT NULL,
    before_set         BOOLEAN NOT NULL DEFAULT FALSE,
    before_secret      BOOLEAN NOT NULL DEFAULT FALSE,
    before_value       TEXT NOT NULL DEFAULT '',
    before_fingerprint TEXT NOT NULL DEFAULT '',
    after_set          BOOLEAN NOT NULL DEFAULT FALSE,
    after_secret       BOOLEAN NOT NULL DEFAULT FALSE,
    after_value        TEXT NOT NULL DEFAULT '',
    after_fingerprint  TEXT NOT NULL DEFAULT '',
    sealed             BYTEA,
    undo_of            TEXT,
    forgotten_at       TIMESTAMP,
    changed_by         TEXT NOT NULL DEFAULT '',
    changed_by_name    TEXT NOT NULL DEFAULT '',
    created_at         TIMESTAMP NOT NULL
);
CREATE INDEX variable_changes_environment ON variable_changes (environment_id, id) WHERE environment_id IS NOT NULL;
CREATE INDEX variable_changes_team ON variable_changes (team_id, id) WHERE environment_id IS NULL;
CREATE INDEX variable_changes_name ON variable_changes (team_id, name, id);
CREATE INDEX variable_changes_app ON variable_changes (app_id) WHERE app_id <> '';
CREATE INDEX variable_changes_created ON variable_changes (created_at);

-- +goose Down
DROP TABLE variable_changes;
CREATE TABLE variables_old (
    id             TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    app_id         TEXT NOT NULL DEFAULT '',
    name           TEXT NOT NULL,
    value          TEXT NOT NULL DEFAULT '',
    secret         BOOLEAN NOT NULL DEFAULT FALSE,
    sealed         BYTEA,
    fingerprint    TEXT NOT NULL DEFAULT '',
    updated_by     TEXT NOT NULL DEFAULT '',
    created_at     TIMESTAMP NOT NULL,
    updated_at     TIMESTAMP NOT NULL
);
INSERT INTO variables_old
SELECT id, environment_id, app_id, name, value, secret, sealed, fingerprint, updated_by, created_at, updated_at
FROM variables WHERE environment_id IS NOT NULL;
DROP TABLE variables;
ALTER TABLE variables_old RENAME TO variables;
CREATE UNIQUE INDEX variables_name ON variables (environment_id, app_id, name);
