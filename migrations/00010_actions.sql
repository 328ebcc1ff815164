-- +goose Up
ALTER TABLE builds ADD COLUMN builder TEXT NOT NULL DEFAULT 'buildkit';

CREATE TABLE workflows (
    app_id      TEXT PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE,
    team_id     TEXT NOT NULL REFERENCES teams (id),
    issuer      TEXT NOT NULL,
    repository  TEXT NOT NULL,
    github_id   BIGINT NOT NULL,
    path        TEXT NOT NULL,
    refs        TEXT,
    environment TEXT NOT NULL DEFAULT '',
    destination TEXT NOT NULL,
    image       TEXT NOT NULL DEFAULT '',
    settings    TEXT,
    cache       TEXT NOT NULL,
    on_push     BOOLEAN NOT NULL DEFAULT FALSE,
    pull_url    TEXT NOT NULL DEFAULT '',
    created_at  TIMESTAMP NOT NULL,
    updated_at  TIMESTAMP NOT NULL
);
CREATE INDEX workflows_source ON workflows (github_id, issuer);

CREATE TABLE exchanges (
    id          TEXT PRIMARY KEY,
    team_id     TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    app_id      TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    granted     BOOLEAN NOT NULL,
    reason      TEXT NOT NULL DEFAULT '',
    issuer      TEXT NOT NULL,
    repository  TEXT NOT NULL,
    github_id   BIGINT NOT NULL,
    ref         TEXT NOT NULL DEFAULT '',
    "commit"    TEXT NOT NULL DEFAULT '',
    event       TEXT NOT NULL DEFAULT '',
    workflow    TEXT NOT NULL DEFAULT '',
    environment TEXT NOT NULL DEFAULT '',
    actor       TEXT NOT NULL DEFAULT '',
    run_id      BIGINT NOT NULL DEFAULT 0,
    run_attempt BIGINT NOT NULL DEFAULT 0,
    expires_at  TIMESTAMP,
    created_at  TIMESTAMP NOT NULL
);
CREATE INDEX exchanges_app ON exchanges (app_id, id);
CREATE INDEX exchanges_age ON exchanges (created_at);

CREATE TABLE spent_tokens (
    issuer     TEXT NOT NULL,
    token_id   TEXT NOT NULL,
    expires_at TIMESTAMP NOT NULL,
    PRIMARY KEY (issuer, token_id)
);
CREATE INDEX spent_tokens_age ON spent_tokens (expires_at);

CREATE TABLE workflow_runs (
    build_id         TEXT PRIMARY KEY REFERENCES builds (id) ON DELETE CASCADE,
    app_id           TEXT NOT NULL,
    repository       TEXT NOT NULL,
    github_id        BIGINT NOT NULL,
    path             TEXT NOT NULL,
    run_id           BIGINT NOT NULL DEFAULT 0,
    run_attempt      BIGINT NOT NULL DEFAULT 1,
    url              TEXT NOT NULL DEFAULT '',
    dispatched_at    TIMESTAMP,
    nudged_at        TIMESTAMP,
    reported_at      TIMESTAMP,
    logged           TEXT,
    image_repository TEXT NOT NULL DEFAULT '',
    image_digest     TEXT NOT NULL DEFAULT '',
    image_tags       TEXT,
    created_at       TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX workflow_runs_run ON workflow_runs (app_id, run_id, run_attempt) WHERE run_id > 0;
CREATE INDEX workflow_runs_source ON workflow_runs (github_id, run_id);

-- +goose Down
DROP TABLE workflow_runs;
DROP TABLE spent_tokens;
DROP TABLE exchanges;
DROP TABLE workflows;
ALTER TABLE builds DROP COLUMN builder;
