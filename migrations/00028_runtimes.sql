-- +goose Up
-- How an app runs in an environment: what it keeps, what it gets of the host, when it is started again, and whether two
-- versions may run at once. Without a row: nothing, nothing, always, and they may.

CREATE TABLE app_runtimes (
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    app_id         TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    runtime        TEXT NOT NULL,
    updated_by     TEXT NOT NULL DEFAULT '',
    updated_at     TIMESTAMP NOT NULL,
    PRIMARY KEY (environment_id, app_id)
);
CREATE INDEX app_runtimes_app ON app_runtimes (app_id);
ALTER TABLE deployments ADD COLUMN paused BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX deployments_paused ON deployments (environment_id, app_id) WHERE paused;

-- +goose Down
DROP INDEX deployments_paused;
ALTER TABLE deployments DROP COLUMN paused;
DROP TABLE app_runtimes;
