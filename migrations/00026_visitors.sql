-- +goose Up
-- How visitors reach apps: more hosts and paths, certificates, limits, maintenance.

ALTER TABLE apps ADD COLUMN protocol TEXT NOT NULL DEFAULT '';
ALTER TABLE routes ADD COLUMN protocol TEXT NOT NULL DEFAULT '';

CREATE TABLE domains (
    id              TEXT PRIMARY KEY,
    team_id         TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    host            TEXT NOT NULL,
    token           TEXT NOT NULL,
    proven_at       TIMESTAMP,
    proven_by       TEXT NOT NULL DEFAULT '',
    checked_at      TIMESTAMP,
    note            TEXT NOT NULL DEFAULT '',
    redirect        BOOLEAN NOT NULL DEFAULT TRUE,
    hsts            BIGINT NOT NULL DEFAULT 0,
    created_by_name TEXT NOT NULL DEFAULT '',
    created_at      TIMESTAMP NOT NULL,
    updated_at      TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX domains_team_host ON domains (team_id, host);
CREATE UNIQUE INDEX domains_host ON domains (host) WHERE proven_at IS NOT NULL;

CREATE TABLE addresses (
    id              TEXT PRIMARY KEY,
    team_id         TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    environment_id  TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    app_id          TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    host            TEXT NOT NULL,
    path            TEXT NOT NULL,
    strip           BOOLEAN NOT NULL DEFAULT FALSE,
    created_by_name TEXT NOT NULL DEFAULT '',
    created_at      TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX addresses_team_host_path ON addresses (team_id, host, path);
CREATE INDEX addresses_environment ON addresses (environment_id, app_id);
CREATE INDEX addresses_app ON addresses (app_id);

CREATE TABLE place_limits (
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    app_id         TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    connect        BIGINT NOT NULL DEFAULT 0,
    first_byte     BIGINT NOT NULL DEFAULT 0,
    idle           BIGINT NOT NULL DEFAULT 0,
    body           BIGINT NOT NULL DEFAULT 0,
    updated_by     TEXT NOT NULL DEFAULT '',
    updated_at     TIMESTAMP NOT NULL,
    PRIMARY KEY (environment_id, app_id)
);
CREATE INDEX place_limits_app ON place_limits (app_id);

CREATE TABLE maintenances (
    environment_id  TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    app_id          TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    message         TEXT NOT NULL DEFAULT '',
    ends_at         TIMESTAMP,
    allow           TEXT,
    code_hash       TEXT NOT NULL DEFAULT '',
    started_by_name TEXT NOT NULL DEFAULT '',
    started_at      TIMESTAMP NOT NULL,
    PRIMARY KEY (environment_id, app_id)
);
CREATE INDEX maintenances_app ON maintenances (app_id);

CREATE TABLE certificates (
    id              TEXT PRIMARY KEY,
    team_id         TEXT NOT NULL DEFAULT '',
    ordered_for     TEXT NOT NULL DEFAULT '',
    hosts           TEXT NOT NULL,
    chain           TEXT NOT NULL,
    sealed          BYTEA NOT NULL,
    issuer          TEXT NOT NULL DEFAULT '',
    not_before      TIMESTAMP NOT NULL,
    not_after       TIMESTAMP NOT NULL,
    created_by_name TEXT NOT NULL DEFAULT '',
    created_at      TIMESTAMP NOT NULL,
    updated_at      TIMESTAMP NOT NULL
);
CREATE INDEX certificates_team ON certificates (team_id);
CREATE UNIQUE INDEX certificates_ordered ON certificates (ordered_for) WHERE ordered_for <> '';

CREATE TABLE certificate_accounts (
    directory  TEXT PRIMARY KEY,
    sealed     BYTEA NOT NULL,
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE certificate_orders (
    host        TEXT PRIMARY KEY,
    tries       BIGINT NOT NULL DEFAULT 0,
    note        TEXT NOT NULL DEFAULT '',
    next_at     TIMESTAMP NOT NULL,
    taken_until TIMESTAMP,
    updated_at  TIMESTAMP NOT NULL
);
CREATE INDEX certificate_orders_next ON certificate_orders (next_at);

CREATE TABLE certificate_challenges (
    host       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    token      TEXT NOT NULL,
    answer     TEXT NOT NULL,
    sealed     BYTEA,
    expires_at TIMESTAMP NOT NULL,
    PRIMARY KEY (host, kind)
);
CREATE INDEX certificate_challenges_token ON certificate_challenges (token);

-- +goose Down
DROP TABLE certificate_challenges;
DROP TABLE certificate_orders;
DROP TABLE certificate_accounts;
DROP TABLE certificates;
DROP TABLE maintenances;
DROP TABLE place_limits;
DROP TABLE addresses;
DROP TABLE domains;
ALTER TABLE routes DROP COLUMN protocol;
ALTER TABLE apps DROP COLUMN protocol;
