-- +goose Up
CREATE TABLE file_indices (
    id           TEXT NOT NULL PRIMARY KEY,
    kind         TEXT NOT NULL,
    registry     TEXT NOT NULL DEFAULT '',
    top          TEXT NOT NULL DEFAULT '',
    state        TEXT NOT NULL,
    blob         TEXT NOT NULL DEFAULT '',
    size         BIGINT NOT NULL DEFAULT 0,
    entries      BIGINT NOT NULL DEFAULT 0,
    bytes        BIGINT NOT NULL DEFAULT 0,
    done         BIGINT NOT NULL DEFAULT 0,
    total        BIGINT NOT NULL DEFAULT 0,
    error        TEXT NOT NULL DEFAULT '',
    teams        TEXT NOT NULL DEFAULT '[]',
    worker       TEXT NOT NULL DEFAULT '',
    attempt      BIGINT NOT NULL DEFAULT 0,
    created_at   TIMESTAMP NOT NULL,
    updated_at   TIMESTAMP NOT NULL,
    last_used_at TIMESTAMP NOT NULL
);
CREATE INDEX file_indices_top ON file_indices (registry, top);
CREATE INDEX file_indices_last_used ON file_indices (last_used_at);

-- +goose Down
DROP TABLE file_indices;
