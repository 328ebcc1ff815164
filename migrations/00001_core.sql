-- +goose Up
-- The same statements run on SQLite and PostgreSQL: TEXT, BIGINT, BOOLEAN,
-- BYTEA and TIMESTAMP (always UTC) mean the same to both.

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    issuer        TEXT NOT NULL,
    subject       TEXT NOT NULL,
    email         TEXT NOT NULL DEFAULT '',
    name          TEXT NOT NULL DEFAULT '',
    admin         BOOLEAN NOT NULL DEFAULT FALSE,
    disabled_at   TIMESTAMP,
    last_login_at TIMESTAMP,
    created_at    TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX users_identity ON users (issuer, subject);

CREATE TABLE sessions (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    issuer       TEXT NOT NULL,
    user_agent   TEXT NOT NULL DEFAULT '',
    ip           TEXT NOT NULL DEFAULT '',
    created_at   TIMESTAMP NOT NULL,
    last_seen_at TIMESTAMP NOT NULL,
    expires_at   TIMESTAMP NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE teams (
    id         TEXT PRIMARY KEY,
    slug       TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX teams_slug ON teams (slug);

CREATE TABLE members (
    team_id    TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (team_id, user_id)
);
CREATE INDEX members_user ON members (user_id);

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL,
    user_id      TEXT REFERENCES users (id) ON DELETE CASCADE,
    team_id      TEXT REFERENCES teams (id) ON DELETE CASCADE,
    role         TEXT NOT NULL DEFAULT '',
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL,
    hint         TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    created_by   TEXT NOT NULL DEFAULT '',
    created_at   TIMESTAMP NOT NULL,
    expires_at   TIMESTAMP,
    last_used_at TIMESTAMP,
    revoked_at   TIMESTAMP
);
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_user ON tokens (user_id, id);
CREATE INDEX tokens_team ON tokens (team_id, id);

CREATE TABLE settings (
    key        TEXT PRIMARY KEY,
    value      TEXT NOT NULL,
    updated_at TIMESTAMP NOT NULL
);

CREATE TABLE signing_keys (
    id         TEXT PRIMARY KEY,
    use        TEXT NOT NULL,
    algorithm  TEXT NOT NULL,
    private    BYTEA NOT NULL,
    created_at TIMESTAMP NOT NULL,
    retired_at TIMESTAMP
);
CREATE INDEX signing_keys_use ON signing_keys (use, created_at);

CREATE TABLE repositories (
    id                TEXT PRIMARY KEY,
    team_id           TEXT NOT NULL REFERENCES teams (id),
    name              TEXT NOT NULL,
    clone_url         TEXT NOT NULL,
    default_branch    TEXT NOT NULL DEFAULT '',
    credential_kind   TEXT NOT NULL,
    credential_user   TEXT NOT NULL DEFAULT '',
    credential_secret BYTEA,
    credential_public TEXT NOT NULL DEFAULT '',
    host_key          TEXT NOT NULL DEFAULT '',
    state             TEXT NOT NULL,
    error             TEXT NOT NULL DEFAULT '',
    fetched_at        TIMESTAMP,
    created_by        TEXT NOT NULL DEFAULT '',
    created_at        TIMESTAMP NOT NULL,
    updated_at        TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX repositories_name ON repositories (team_id, name);
CREATE INDEX repositories_list ON repositories (team_id, id);

CREATE TABLE refs (
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    kind          TEXT NOT NULL,
    name          TEXT NOT NULL,
    "commit"      TEXT NOT NULL,
    subject       TEXT NOT NULL DEFAULT '',
    author        TEXT NOT NULL DEFAULT '',
    committed_at  TIMESTAMP NOT NULL,
    PRIMARY KEY (repository_id, kind, name)
);

CREATE TABLE detected_dockerfiles (
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    path          TEXT NOT NULL,
    name          TEXT NOT NULL,
    context       TEXT NOT NULL,
    port          BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (repository_id, path)
);

CREATE TABLE apps (
    id               TEXT PRIMARY KEY,
    team_id          TEXT NOT NULL REFERENCES teams (id),
    repository_id    TEXT NOT NULL REFERENCES repositories (id),
    name             TEXT NOT NULL,
    dockerfile       TEXT NOT NULL,
    context          TEXT NOT NULL,
    builder          TEXT NOT NULL,
    port             BIGINT NOT NULL DEFAULT 0,
    health           TEXT NOT NULL,
    health_path      TEXT NOT NULL DEFAULT '',
    build_timeout    BIGINT NOT NULL,
    build_count      BIGINT NOT NULL DEFAULT 0,
    deployment_count BIGINT NOT NULL DEFAULT 0,
    created_by       TEXT NOT NULL DEFAULT '',
    created_at       TIMESTAMP NOT NULL,
    updated_at       TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX apps_name ON apps (team_id, name);
CREATE INDEX apps_list ON apps (team_id, id);
CREATE INDEX apps_repository ON apps (repository_id, id);

CREATE TABLE builds (
    id                  TEXT PRIMARY KEY,
    team_id             TEXT NOT NULL REFERENCES teams (id),
    app_id              TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    number              BIGINT NOT NULL,
    state               TEXT NOT NULL,
    ref                 TEXT NOT NULL,
    ref_kind            TEXT NOT NULL,
    "commit"            TEXT NOT NULL,
    commit_subject      TEXT NOT NULL DEFAULT '',
    commit_author       TEXT NOT NULL DEFAULT '',
    no_cache            BOOLEAN NOT NULL DEFAULT FALSE,
    dockerfile          TEXT NOT NULL,
    context             TEXT NOT NULL,
    timeout_seconds     BIGINT NOT NULL,
    retry_of            TEXT,
    created_by          TEXT NOT NULL DEFAULT '',
    created_by_name     TEXT NOT NULL DEFAULT '',
    queued_at           TIMESTAMP NOT NULL,
    started_at          TIMESTAMP,
    finished_at         TIMESTAMP,
    cancel_requested_at TIMESTAMP,
    worker              TEXT NOT NULL DEFAULT '',
    attempt             BIGINT NOT NULL DEFAULT 0,
    image_repository    TEXT NOT NULL DEFAULT '',
    image_digest        TEXT NOT NULL DEFAULT '',
    image_tags          TEXT,
    image_size          BIGINT NOT NULL DEFAULT 0,
    error               TEXT,
    warnings            TEXT,
    created_at          TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX builds_number ON builds (app_id, number);
CREATE INDEX builds_app ON builds (app_id, id);
CREATE INDEX builds_team ON builds (team_id, id);
CREATE INDEX builds_state ON builds (state, id);
CREATE INDEX builds_digest ON builds (image_digest);

CREATE TABLE build_steps (
    build_id    TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    id          TEXT NOT NULL,
    seq         BIGINT NOT NULL,
    name        TEXT NOT NULL,
    stage       TEXT NOT NULL DEFAULT '',
    state       TEXT NOT NULL,
    cached      BOOLEAN NOT NULL DEFAULT FALSE,
    line        BIGINT NOT NULL DEFAULT 0,
    started_at  TIMESTAMP,
    finished_at TIMESTAMP,
    duration_ms BIGINT NOT NULL DEFAULT 0,
    error       TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (build_id, id)
);

CREATE TABLE targets (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    settings   TEXT,
    secrets    BYTEA,
    all_teams  BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX targets_name ON targets (name);

CREATE TABLE target_grants (
    target_id  TEXT NOT NULL REFERENCES targets (id) ON DELETE CASCADE,
    team_id    TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (target_id, team_id)
);

CREATE TABLE environments (
    id         TEXT PRIMARY KEY,
    team_id    TEXT NOT NULL REFERENCES teams (id),
    target_id  TEXT NOT NULL REFERENCES targets (id),
    name       TEXT NOT NULL,
    position   BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX environments_name ON environments (team_id, name);
CREATE INDEX environments_list ON environments (team_id, id);
CREATE INDEX environments_target ON environments (target_id);

CREATE TABLE variables (
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
CREATE UNIQUE INDEX variables_name ON variables (environment_id, app_id, name);

CREATE TABLE deployments (
    id                  TEXT PRIMARY KEY,
    team_id             TEXT NOT NULL REFERENCES teams (id),
    app_id              TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    environment_id      TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    number              BIGINT NOT NULL,
    state               TEXT NOT NULL,
    active              BOOLEAN NOT NULL DEFAULT FALSE,
    image_repository    TEXT NOT NULL,
    image_digest        TEXT NOT NULL,
    image_tag           TEXT NOT NULL DEFAULT '',
    build_id            TEXT,
    config              TEXT NOT NULL,
    config_hash         TEXT NOT NULL,
    sealed_secrets      BYTEA,
    action              TEXT NOT NULL,
    rollback_of         TEXT,
    previous_id         TEXT,
    url                 TEXT NOT NULL DEFAULT '',
    stopped             BOOLEAN NOT NULL DEFAULT FALSE,
    created_by          TEXT NOT NULL DEFAULT '',
    created_by_name     TEXT NOT NULL DEFAULT '',
    started_at          TIMESTAMP,
    finished_at         TIMESTAMP,
    cancel_requested_at TIMESTAMP,
    drain_until         TIMESTAMP,
    retired_at          TIMESTAMP,
    worker              TEXT NOT NULL DEFAULT '',
    attempt             BIGINT NOT NULL DEFAULT 0,
    error               TEXT,
    created_at          TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX deployments_number ON deployments (app_id, number);
CREATE INDEX deployments_app ON deployments (app_id, id);
CREATE INDEX deployments_place ON deployments (environment_id, app_id, id);
CREATE UNIQUE INDEX deployments_active ON deployments (environment_id, app_id) WHERE active;
CREATE INDEX deployments_state ON deployments (state, id);
CREATE INDEX deployments_digest ON deployments (image_digest);
CREATE INDEX deployments_team ON deployments (team_id, id);

CREATE TABLE deployment_phases (
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    seq           BIGINT NOT NULL,
    name          TEXT NOT NULL,
    state         TEXT NOT NULL,
    message       TEXT NOT NULL DEFAULT '',
    detail        TEXT,
    started_at    TIMESTAMP,
    finished_at   TIMESTAMP,
    PRIMARY KEY (deployment_id, seq)
);

CREATE TABLE instances (
    id            TEXT PRIMARY KEY,
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    runtime_id    TEXT NOT NULL,
    name          TEXT NOT NULL,
    address       TEXT NOT NULL DEFAULT '',
    state         TEXT NOT NULL,
    message       TEXT NOT NULL DEFAULT '',
    restarts      BIGINT NOT NULL DEFAULT 0,
    exit_code     BIGINT,
    last_logs     TEXT,
    started_at    TIMESTAMP,
    updated_at    TIMESTAMP NOT NULL,
    created_at    TIMESTAMP NOT NULL
);
CREATE INDEX instances_deployment ON instances (deployment_id);

CREATE TABLE routes (
    host           TEXT PRIMARY KEY,
    team_id        TEXT NOT NULL,
    app_id         TEXT NOT NULL,
    environment_id TEXT NOT NULL,
    deployment_id  TEXT NOT NULL,
    addresses      TEXT NOT NULL,
    updated_at     TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX routes_place ON routes (app_id, environment_id);

CREATE TABLE log_streams (
    id         TEXT PRIMARY KEY,
    kind       TEXT NOT NULL,
    lines      BIGINT NOT NULL DEFAULT 0,
    bytes      BIGINT NOT NULL DEFAULT 0,
    closed     BOOLEAN NOT NULL DEFAULT FALSE,
    truncated  BOOLEAN NOT NULL DEFAULT FALSE,
    blob       TEXT NOT NULL DEFAULT '',
    error      TEXT NOT NULL DEFAULT '',
    writer     TEXT NOT NULL DEFAULT '',
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL
);

CREATE TABLE log_chunks (
    stream_id TEXT NOT NULL REFERENCES log_streams (id) ON DELETE CASCADE,
    first     BIGINT NOT NULL,
    lines     BIGINT NOT NULL,
    data      BYTEA NOT NULL,
    PRIMARY KEY (stream_id, first)
);

CREATE TABLE events (
    id         TEXT PRIMARY KEY,
    team_id    TEXT NOT NULL DEFAULT '',
    kind       TEXT NOT NULL,
    topic      TEXT NOT NULL,
    parent     TEXT NOT NULL DEFAULT '',
    data       TEXT,
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX events_created ON events (created_at);

CREATE TABLE audit_entries (
    id         TEXT PRIMARY KEY,
    team_id    TEXT NOT NULL DEFAULT '',
    actor_kind TEXT NOT NULL,
    actor_id   TEXT NOT NULL DEFAULT '',
    actor_name TEXT NOT NULL DEFAULT '',
    action     TEXT NOT NULL,
    subject    TEXT NOT NULL,
    name       TEXT NOT NULL DEFAULT '',
    ip         TEXT NOT NULL DEFAULT '',
    request_id TEXT NOT NULL DEFAULT '',
    detail     TEXT,
    created_at TIMESTAMP NOT NULL
);
CREATE INDEX audit_entries_team ON audit_entries (team_id, id);
CREATE INDEX audit_entries_subject ON audit_entries (subject, id);

CREATE TABLE idempotency_keys (
    principal  TEXT NOT NULL,
    key        TEXT NOT NULL,
    request    TEXT NOT NULL,
    status     BIGINT NOT NULL DEFAULT 0,
    body       BYTEA,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (principal, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

CREATE TABLE workers (
    id         TEXT PRIMARY KEY,
    host       TEXT NOT NULL,
    version    TEXT NOT NULL DEFAULT '',
    started_at TIMESTAMP NOT NULL,
    seen_at    TIMESTAMP NOT NULL
);

-- +goose Down
DROP TABLE workers;
DROP TABLE idempotency_keys;
DROP TABLE audit_entries;
DROP TABLE events;
DROP TABLE log_chunks;
DROP TABLE log_streams;
DROP TABLE routes;
DROP TABLE instances;
DROP TABLE deployment_phases;
DROP TABLE deployments;
DROP TABLE variables;
DROP TABLE environments;
DROP TABLE target_grants;
DROP TABLE targets;
DROP TABLE build_steps;
DROP TABLE builds;
DROP TABLE apps;
DROP TABLE detected_dockerfiles;
DROP TABLE refs;
DROP TABLE repositories;
DROP TABLE signing_keys;
DROP TABLE settings;
DROP TABLE tokens;
DROP TABLE members;
DROP TABLE teams;
DROP TABLE sessions;
DROP TABLE users;
