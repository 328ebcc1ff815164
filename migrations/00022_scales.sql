-- +goose Up
-- How much of an app runs in an environment; without a row, one instance without limits.

CREATE TABLE app_scales (
    environment_id TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    app_id         TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    replicas       BIGINT NOT NULL,
    cpu            BIGINT NOT NULL DEFAULT 0,
    memory         BIGINT NOT NULL DEFAULT 0,
    updated_by     TEXT NOT NULL DEFAULT '',
    updated_at     TIMESTAMP NOT NULL,
    PRIMARY KEY (environment_id, app_id)
);
CREATE INDEX app_scales_app ON app_scales (app_id);

-- +goose Down
DROP TABLE app_scales;
