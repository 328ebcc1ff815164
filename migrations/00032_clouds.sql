-- +goose Up
-- Where a deployment's image was copied to, for targets that pull from a registry of their own.
ALTER TABLE deployments ADD COLUMN copied_registry TEXT NOT NULL DEFAULT '';
ALTER TABLE deployments ADD COLUMN copied_host TEXT NOT NULL DEFAULT '';
ALTER TABLE deployments ADD COLUMN copied_repository TEXT NOT NULL DEFAULT '';

-- Targets that were deleted and still have something at their provider.
CREATE TABLE target_removals (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    settings   TEXT NOT NULL,
    secrets    BYTEA,
    error      TEXT NOT NULL DEFAULT '',
    tries      BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL
);

-- +goose Down
DROP TABLE target_removals;
ALTER TABLE deployments DROP COLUMN copied_repository;
ALTER TABLE deployments DROP COLUMN copied_host;
ALTER TABLE deployments DROP COLUMN copied_registry;
