-- +goose Up
-- How many requests a version has answered through a proxy since visitors began to move, and how many of those were errors.
ALTER TABLE proxy_holds ADD COLUMN answers BIGINT NOT NULL DEFAULT 0;
ALTER TABLE proxy_holds ADD COLUMN errors BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE proxy_holds DROP COLUMN errors;
ALTER TABLE proxy_holds DROP COLUMN answers;
