-- +goose Up
ALTER TABLE build_steps ADD COLUMN inputs TEXT;
ALTER TABLE builds ADD COLUMN canceled_by TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE builds DROP COLUMN canceled_by;
ALTER TABLE build_steps DROP COLUMN inputs;
