-- +goose Up
ALTER TABLE builds ADD COLUMN "trigger" TEXT NOT NULL DEFAULT 'manual';

-- +goose Down
ALTER TABLE builds DROP COLUMN "trigger";
