-- +goose Up
ALTER TABLE apps ADD COLUMN build_settings TEXT;

ALTER TABLE builds ADD COLUMN settings TEXT;
ALTER TABLE builds ADD COLUMN engine TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN engine_name TEXT NOT NULL DEFAULT '';

CREATE TABLE build_dockerfiles (
    build_id TEXT PRIMARY KEY REFERENCES builds (id) ON DELETE CASCADE,
    path     TEXT NOT NULL,
    text     TEXT NOT NULL,
    findings TEXT
);

CREATE TABLE build_secrets (
    id            TEXT PRIMARY KEY,
    app_id        TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    kind          TEXT NOT NULL,
    name          TEXT NOT NULL,
    sealed        BYTEA NOT NULL,
    public        TEXT NOT NULL DEFAULT '',
    fingerprint   TEXT NOT NULL,
    branches      TEXT,
    updated_by    TEXT NOT NULL DEFAULT '',
    created_at    TIMESTAMP NOT NULL,
    updated_at    TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX build_secrets_name ON build_secrets (app_id, name);
CREATE INDEX build_secrets_repository ON build_secrets (repository_id);

CREATE TABLE build_engines (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    address    TEXT NOT NULL,
    sealed     BYTEA,
    max_builds BIGINT NOT NULL,
    enabled    BOOLEAN NOT NULL,
    version    TEXT NOT NULL DEFAULT '',
    platforms  TEXT,
    labels     TEXT,
    error      TEXT NOT NULL DEFAULT '',
    checked_at TIMESTAMP,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX build_engines_name ON build_engines (name);

-- +goose Down
DROP TABLE build_engines;
DROP TABLE build_secrets;
DROP TABLE build_dockerfiles;
ALTER TABLE builds DROP COLUMN engine_name;
ALTER TABLE builds DROP COLUMN engine;
ALTER TABLE builds DROP COLUMN settings;
ALTER TABLE apps DROP COLUMN build_settings;
