-- +goose Up
-- How many instances an app may have where its target adds some by the load; 0: it does not.
ALTER TABLE app_scales ADD COLUMN max_replicas BIGINT NOT NULL DEFAULT 0;
ALTER TABLE app_scales ADD COLUMN cpu_target BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE app_scales DROP COLUMN cpu_target;
ALTER TABLE app_scales DROP COLUMN max_replicas;
