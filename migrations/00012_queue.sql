-- +goose Up
ALTER TABLE builds ADD COLUMN front_at TIMESTAMP;
CREATE INDEX builds_team_state ON builds (team_id, state, id);
CREATE INDEX builds_app_state ON builds (app_id, state, id);
CREATE INDEX log_streams_unpacked ON log_streams (updated_at) WHERE closed AND blob = '';
CREATE INDEX log_streams_open ON log_streams (kind, id) WHERE NOT closed;

ALTER TABLE apps ADD COLUMN worker_labels TEXT NOT NULL DEFAULT '';

ALTER TABLE teams ADD COLUMN build_limit BIGINT NOT NULL DEFAULT 0;

ALTER TABLE workers ADD COLUMN builds BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN draining BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE workers ADD COLUMN labels TEXT NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN disk_free BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN disk_total BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN disk_floor BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN engine_free BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN engine_total BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN cache_size BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN cache_prunable BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN prune_asked_at TIMESTAMP;
ALTER TABLE workers ADD COLUMN pruned_at TIMESTAMP;
ALTER TABLE workers ADD COLUMN pruned_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN prune_error TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE workers DROP COLUMN prune_error;
ALTER TABLE workers DROP COLUMN pruned_bytes;
ALTER TABLE workers DROP COLUMN pruned_at;
ALTER TABLE workers DROP COLUMN prune_asked_at;
ALTER TABLE workers DROP COLUMN cache_prunable;
ALTER TABLE workers DROP COLUMN cache_size;
ALTER TABLE workers DROP COLUMN engine_total;
ALTER TABLE workers DROP COLUMN engine_free;
ALTER TABLE workers DROP COLUMN disk_floor;
ALTER TABLE workers DROP COLUMN disk_total;
ALTER TABLE workers DROP COLUMN disk_free;
ALTER TABLE workers DROP COLUMN labels;
ALTER TABLE workers DROP COLUMN draining;
ALTER TABLE workers DROP COLUMN builds;
ALTER TABLE teams DROP COLUMN build_limit;
ALTER TABLE apps DROP COLUMN worker_labels;
DROP INDEX log_streams_open;
DROP INDEX log_streams_unpacked;
DROP INDEX builds_app_state;
DROP INDEX builds_team_state;
ALTER TABLE builds DROP COLUMN front_at;
