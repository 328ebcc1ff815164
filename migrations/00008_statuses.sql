-- +goose Up
CREATE TABLE forge_reports (
    id            TEXT PRIMARY KEY,
    team_id       TEXT NOT NULL REFERENCES teams (id),
    app_id        TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    "commit"      TEXT NOT NULL,
    connection_id TEXT NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    build_id      TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    number        BIGINT NOT NULL,
    state         TEXT NOT NULL,
    description   TEXT NOT NULL DEFAULT '',
    ref           TEXT NOT NULL DEFAULT '',
    version       BIGINT NOT NULL DEFAULT 1,
    sent          TEXT NOT NULL DEFAULT '',
    sent_at       TIMESTAMP,
    attempts      BIGINT NOT NULL DEFAULT 0,
    since         TIMESTAMP NOT NULL,
    next_at       TIMESTAMP,
    leased_until  TIMESTAMP,
    held_until    TIMESTAMP,
    error         TEXT NOT NULL DEFAULT '',
    updated_at    TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX forge_reports_commit ON forge_reports (app_id, "commit");
CREATE INDEX forge_reports_due ON forge_reports (next_at);
CREATE INDEX forge_reports_held ON forge_reports (held_until);
CREATE INDEX forge_reports_build ON forge_reports (build_id);
CREATE INDEX forge_reports_connection ON forge_reports (connection_id, updated_at);

-- +goose Down
DROP TABLE forge_reports;
