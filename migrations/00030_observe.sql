-- +goose Up
-- What instances took over the last hour, and what they printed, kept after they have gone.

-- A worker that wants to measure a target takes its row.
CREATE TABLE target_readings (
    target_id TEXT PRIMARY KEY REFERENCES targets (id) ON DELETE CASCADE,
    taken_at  TIMESTAMP NOT NULL
);

-- Five minutes of samples of an instance, packed.
CREATE TABLE usage_buckets (
    instance_id TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    starts_at   BIGINT NOT NULL,
    samples     BYTEA NOT NULL,
    PRIMARY KEY (instance_id, starts_at)
);
CREATE INDEX usage_buckets_starts ON usage_buckets (starts_at);

-- The log of an app in an environment: a row of segments, each a log stream of its own.
CREATE TABLE place_logs (
    id             TEXT PRIMARY KEY,
    team_id        TEXT NOT NULL,
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    app_id         TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    segment_id     TEXT NOT NULL DEFAULT '',
    next_line      BIGINT NOT NULL DEFAULT 1,
    cursors        TEXT,
    worker         TEXT NOT NULL DEFAULT '',
    attempt        BIGINT NOT NULL DEFAULT 0,
    created_at     TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX place_logs_place ON place_logs (environment_id, app_id);
CREATE INDEX place_logs_app ON place_logs (app_id);

CREATE TABLE log_segments (
    id           TEXT PRIMARY KEY,
    place_log_id TEXT NOT NULL REFERENCES place_logs (id) ON DELETE CASCADE,
    first        BIGINT NOT NULL,
    first_at     TIMESTAMP NOT NULL,
    last_at      TIMESTAMP NOT NULL,
    created_at   TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX log_segments_first ON log_segments (place_log_id, first);
CREATE INDEX log_segments_last ON log_segments (last_at);

CREATE INDEX log_streams_deployment ON log_streams (created_at) WHERE kind = 'deployment';
CREATE INDEX deployments_unretired ON deployments (environment_id, app_id) WHERE retired_at IS NULL AND started_at IS NOT NULL;

-- +goose Down
DROP INDEX deployments_unretired;
DROP INDEX log_streams_deployment;
DROP TABLE log_segments;
DROP TABLE place_logs;
DROP TABLE usage_buckets;
DROP TABLE target_readings;
