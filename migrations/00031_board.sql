-- +goose Up
-- What lies between two commits of a repository: commits never change, so each pair is read from git once.

CREATE TABLE commit_ranges (
    repository_id TEXT NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    base          TEXT NOT NULL,
    head          TEXT NOT NULL,
    ahead         BIGINT NOT NULL DEFAULT 0,
    behind        BIGINT NOT NULL DEFAULT 0,
    commits       TEXT,
    note          TEXT NOT NULL DEFAULT '',
    counted_at    TIMESTAMP NOT NULL,
    PRIMARY KEY (repository_id, base, head)
);
CREATE INDEX deployments_serving ON deployments (app_id) WHERE active;

-- +goose Down
DROP INDEX deployments_serving;
DROP TABLE commit_ranges;
