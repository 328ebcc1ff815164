-- +goose Up
CREATE TABLE schedules (
    id              TEXT PRIMARY KEY,
    team_id         TEXT NOT NULL REFERENCES teams (id),
    app_id          TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    cron            TEXT NOT NULL,
    time_zone       TEXT NOT NULL,
    ref             TEXT NOT NULL DEFAULT '',
    no_cache        BOOLEAN NOT NULL DEFAULT FALSE,
    only_new        BOOLEAN NOT NULL DEFAULT FALSE,
    enabled         BOOLEAN NOT NULL DEFAULT TRUE,
    next_at         TIMESTAMP,
    turn            BIGINT NOT NULL DEFAULT 0,
    leased_until    TIMESTAMP,
    last_at         TIMESTAMP,
    last_outcome    TEXT NOT NULL DEFAULT '',
    last_build_id   TEXT NOT NULL DEFAULT '',
    error           TEXT NOT NULL DEFAULT '',
    created_by      TEXT NOT NULL DEFAULT '',
    created_by_name TEXT NOT NULL DEFAULT '',
    created_at      TIMESTAMP NOT NULL,
    updated_at      TIMESTAMP NOT NULL
);
CREATE INDEX schedules_app ON schedules (app_id, id);
CREATE INDEX schedules_due ON schedules (next_at);
CREATE INDEX builds_app_ref ON builds (app_id, ref, id);

-- +goose Down
DROP INDEX builds_app_ref;
DROP TABLE schedules;
