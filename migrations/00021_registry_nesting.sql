-- +goose Up
-- How deep an index of the registry goes, so that none has to be followed without end.

ALTER TABLE registry_manifests ADD COLUMN nesting BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE registry_manifests DROP COLUMN nesting;
