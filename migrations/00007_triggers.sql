-- +goose Up
ALTER TABLE apps ADD COLUMN trigger_push BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE apps ADD COLUMN trigger_branches TEXT;
ALTER TABLE apps ADD COLUMN trigger_tags TEXT;
ALTER TABLE apps ADD COLUMN trigger_paths TEXT;
ALTER TABLE apps ADD COLUMN trigger_skip_markers BOOLEAN NOT NULL DEFAULT TRUE;
ALTER TABLE apps ADD COLUMN trigger_pull_requests TEXT NOT NULL DEFAULT 'off';

ALTER TABLE builds ADD COLUMN delivery_id TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN untrusted BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE builds ADD COLUMN approved_by TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN approved_by_name TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN approved_at TIMESTAMP;
ALTER TABLE builds ADD COLUMN pull_request_number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE builds ADD COLUMN pull_request_title TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN pull_request_url TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN pull_request_source TEXT NOT NULL DEFAULT '';
ALTER TABLE builds ADD COLUMN pull_request_fork BOOLEAN NOT NULL DEFAULT FALSE;

CREATE TABLE deliveries (
    id             TEXT PRIMARY KEY,
    team_id        TEXT NOT NULL REFERENCES teams (id),
    connection_id  TEXT NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    external_id    TEXT NOT NULL,
    fingerprint    TEXT NOT NULL,
    redelivery_of  TEXT NOT NULL DEFAULT '',
    redelivered_by TEXT NOT NULL DEFAULT '',
    event          TEXT NOT NULL,
    headers        TEXT,
    body           BYTEA NOT NULL,
    size           BIGINT NOT NULL,
    sha256         TEXT NOT NULL,
    state          TEXT NOT NULL,
    summary        TEXT NOT NULL DEFAULT '',
    message        TEXT NOT NULL DEFAULT '',
    handled_at     TIMESTAMP,
    created_at     TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX deliveries_external ON deliveries (connection_id, external_id);
CREATE UNIQUE INDEX deliveries_fingerprint ON deliveries (connection_id, fingerprint) WHERE redelivery_of = '';
CREATE INDEX deliveries_team ON deliveries (team_id, id);
CREATE INDEX deliveries_connection ON deliveries (connection_id, id);
CREATE INDEX deliveries_state ON deliveries (team_id, state, id);
CREATE INDEX deliveries_created ON deliveries (created_at);

CREATE TABLE delivery_outcomes (
    delivery_id   TEXT NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    seq           BIGINT NOT NULL,
    kind          TEXT NOT NULL,
    repository_id TEXT NOT NULL DEFAULT '',
    repository    TEXT NOT NULL DEFAULT '',
    app_id        TEXT NOT NULL DEFAULT '',
    app           TEXT NOT NULL DEFAULT '',
    build_id      TEXT NOT NULL DEFAULT '',
    message       TEXT NOT NULL,
    PRIMARY KEY (delivery_id, seq)
);
CREATE INDEX delivery_outcomes_repository ON delivery_outcomes (repository_id, delivery_id);

-- +goose Down
DROP TABLE delivery_outcomes;
DROP TABLE deliveries;
ALTER TABLE builds DROP COLUMN pull_request_fork;
ALTER TABLE builds DROP COLUMN pull_request_source;
ALTER TABLE builds DROP COLUMN pull_request_url;
ALTER TABLE builds DROP COLUMN pull_request_title;
ALTER TABLE builds DROP COLUMN pull_request_number;
ALTER TABLE builds DROP COLUMN approved_at;
ALTER TABLE builds DROP COLUMN approved_by_name;
ALTER TABLE builds DROP COLUMN approved_by;
ALTER TABLE builds DROP COLUMN untrusted;
ALTER TABLE builds DROP COLUMN delivery_id;
ALTER TABLE apps DROP COLUMN trigger_pull_requests;
ALTER TABLE apps DROP COLUMN trigger_skip_markers;
ALTER TABLE apps DROP COLUMN trigger_paths;
ALTER TABLE apps DROP COLUMN trigger_tags;
ALTER TABLE apps DROP COLUMN trigger_branches;
ALTER TABLE apps DROP COLUMN trigger_push;
