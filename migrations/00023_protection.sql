-- +goose Up
-- What has to hold before something is deployed: approvals, branches, an order, times; bad images; automatic deployments.

ALTER TABLE environments ADD COLUMN protection TEXT;
ALTER TABLE deployments ADD COLUMN reason TEXT NOT NULL DEFAULT '';
CREATE INDEX deployments_waiting ON deployments (team_id, id) WHERE state = 'waiting';
CREATE INDEX builds_app_finished ON builds (app_id, finished_at);

CREATE TABLE approvals (
    deployment_id TEXT NOT NULL REFERENCES deployments (id) ON DELETE CASCADE,
    user_id       TEXT NOT NULL,
    user_name     TEXT NOT NULL,
    comment       TEXT NOT NULL DEFAULT '',
    digest        TEXT NOT NULL,
    config_hash   TEXT NOT NULL,
    created_at    TIMESTAMP NOT NULL,
    PRIMARY KEY (deployment_id, user_id)
);

CREATE TABLE bad_images (
    team_id        TEXT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    digest         TEXT NOT NULL,
    reason         TEXT NOT NULL DEFAULT '',
    marked_by_name TEXT NOT NULL DEFAULT '',
    created_at     TIMESTAMP NOT NULL,
    PRIMARY KEY (team_id, digest)
);

CREATE TABLE auto_deploys (
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    app_id         TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    branch         TEXT NOT NULL,
    build_number   BIGINT NOT NULL DEFAULT 0,
    seen_at        TIMESTAMP NOT NULL,
    note           TEXT NOT NULL DEFAULT '',
    held_at        TIMESTAMP,
    held_by_name   TEXT NOT NULL DEFAULT '',
    held_why       TEXT NOT NULL DEFAULT '',
    updated_by     TEXT NOT NULL DEFAULT '',
    updated_at     TIMESTAMP NOT NULL,
    PRIMARY KEY (environment_id, app_id)
);
CREATE INDEX auto_deploys_app ON auto_deploys (app_id);

-- +goose Down
DROP TABLE auto_deploys;
DROP TABLE bad_images;
DROP TABLE approvals;
DROP INDEX builds_app_finished;
DROP INDEX deployments_waiting;
ALTER TABLE deployments DROP COLUMN reason;
ALTER TABLE environments DROP COLUMN protection;
