-- +goose Up
ALTER TABLE apps ADD COLUMN release_command TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE apps DROP COLUMN release_command;
