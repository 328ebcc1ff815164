-- +goose Up
CREATE TABLE connections (
    id             TEXT PRIMARY KEY,
    team_id        TEXT NOT NULL REFERENCES teams (id),
    kind           TEXT NOT NULL,
    name           TEXT NOT NULL,
    base_url       TEXT NOT NULL DEFAULT '',
    credential     TEXT NOT NULL,
    settings       TEXT,
    secrets        BYTEA,
    webhook_secret BYTEA NOT NULL,
    created_by     TEXT NOT NULL DEFAULT '',
    created_at     TIMESTAMP NOT NULL,
    updated_at     TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX connections_name ON connections (team_id, name);
CREATE INDEX connections_list ON connections (team_id, id);
ALTER TABLE repositories ADD COLUMN connection_id TEXT;
ALTER TABLE repositories ADD COLUMN external_id TEXT NOT NULL DEFAULT '';
CREATE INDEX repositories_connection ON repositories (connection_id, external_id);

-- +goose Down
DROP INDEX repositories_connection;
ALTER TABLE repositories DROP COLUMN external_id;
ALTER TABLE repositories DROP COLUMN connection_id;
DROP TABLE connections;
