-- +goose Up
-- Environments of pull requests, what apps want of them, and what forges are told in comments.

ALTER TABLE environments ADD COLUMN kind TEXT NOT NULL DEFAULT '';
ALTER TABLE teams ADD COLUMN preview_limit BIGINT NOT NULL DEFAULT 0;

CREATE TABLE preview_settings (
    app_id       TEXT PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE,
    team_id      TEXT NOT NULL REFERENCES teams (id),
    enabled      BOOLEAN NOT NULL DEFAULT FALSE,
    target_id    TEXT NOT NULL DEFAULT '',
    template_id  TEXT NOT NULL DEFAULT '',
    secrets      BOOLEAN NOT NULL DEFAULT FALSE,
    hours        BIGINT NOT NULL,
    at_most      BIGINT NOT NULL DEFAULT 0,
    updated_by   TEXT NOT NULL DEFAULT '',
    updated_at   TIMESTAMP NOT NULL
);

CREATE TABLE previews (
    id               TEXT PRIMARY KEY,
    team_id          TEXT NOT NULL REFERENCES teams (id),
    app_id           TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    repository_id    TEXT NOT NULL REFERENCES repositories (id),
    environment_id   TEXT REFERENCES environments (id) ON DELETE SET NULL,
    number           BIGINT NOT NULL,
    title            TEXT NOT NULL DEFAULT '',
    branch           TEXT NOT NULL DEFAULT '',
    pull_url         TEXT NOT NULL DEFAULT '',
    author           TEXT NOT NULL DEFAULT '',
    fork             BOOLEAN NOT NULL DEFAULT FALSE,
    state            TEXT NOT NULL,
    head_id          TEXT NOT NULL DEFAULT '',
    head_number      BIGINT NOT NULL DEFAULT 0,
    head_commit      TEXT NOT NULL DEFAULT '',
    head_state       TEXT NOT NULL DEFAULT '',
    build_id         TEXT NOT NULL DEFAULT '',
    build_number     BIGINT NOT NULL DEFAULT 0,
    "commit"         TEXT NOT NULL DEFAULT '',
    wanted           BOOLEAN NOT NULL DEFAULT FALSE,
    wanted_by        TEXT NOT NULL DEFAULT '',
    wanted_by_name   TEXT NOT NULL DEFAULT '',
    waiting_since    TIMESTAMP,
    next_at          TIMESTAMP,
    note             TEXT NOT NULL DEFAULT '',
    deployment_id    TEXT NOT NULL DEFAULT '',
    deployment_state TEXT NOT NULL DEFAULT '',
    serving_id       TEXT NOT NULL DEFAULT '',
    stopped          BOOLEAN NOT NULL DEFAULT FALSE,
    url              TEXT NOT NULL DEFAULT '',
    expires_at       TIMESTAMP NOT NULL,
    started_at       TIMESTAMP,
    ended_at         TIMESTAMP,
    end_reason       TEXT NOT NULL DEFAULT '',
    closed           BOOLEAN NOT NULL DEFAULT FALSE,
    closed_by        TEXT NOT NULL DEFAULT '',
    created_at       TIMESTAMP NOT NULL,
    updated_at       TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX previews_pull ON previews (app_id, number);
CREATE UNIQUE INDEX previews_environment ON previews (environment_id);
CREATE INDEX previews_team ON previews (team_id, id);
CREATE INDEX previews_app ON previews (app_id, id);
CREATE INDEX previews_state ON previews (state, id);
CREATE INDEX previews_repository ON previews (repository_id, number);

CREATE TABLE forge_comments (
    id            TEXT PRIMARY KEY,
    team_id       TEXT NOT NULL REFERENCES teams (id),
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    connection_id TEXT NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    number        BIGINT NOT NULL,
    external_id   TEXT NOT NULL DEFAULT '',
    version       BIGINT NOT NULL DEFAULT 1,
    sent          TEXT NOT NULL DEFAULT '',
    sent_at       TIMESTAMP,
    tried_at      TIMESTAMP,
    attempts      BIGINT NOT NULL DEFAULT 0,
    since         TIMESTAMP NOT NULL,
    next_at       TIMESTAMP,
    leased_until  TIMESTAMP,
    held_until    TIMESTAMP,
    error         TEXT NOT NULL DEFAULT '',
    updated_at    TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX forge_comments_pull ON forge_comments (repository_id, number);
CREATE INDEX forge_comments_due ON forge_comments (next_at);
CREATE INDEX forge_comments_connection ON forge_comments (connection_id, held_until);

-- +goose Down
DROP TABLE forge_comments;
DELETE FROM routes WHERE environment_id IN (SELECT id FROM environments WHERE kind <> '');
DROP TABLE previews;
DROP TABLE preview_settings;
DELETE FROM environments WHERE kind <> '';
ALTER TABLE teams DROP COLUMN preview_limit;
ALTER TABLE environments DROP COLUMN kind;
