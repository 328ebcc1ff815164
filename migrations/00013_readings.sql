-- +goose Up
ALTER TABLE build_steps ADD COLUMN inputs TEXT;

-- +goose Down
ALTER TABLE build_steps DROP COLUMN inputs;
