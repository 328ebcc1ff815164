-- +goose Up
-- How far a deployment has moved visitors to its release, step by step.
ALTER TABLE deployments ADD COLUMN shift_step BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN shift_percent BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN shift_until TIMESTAMP;
ALTER TABLE deployments ADD COLUMN shift_hurried_at TIMESTAMP;

-- The version to which a part of a route's visitors go already.
ALTER TABLE routes ADD COLUMN next_deployment_id TEXT NOT NULL DEFAULT '';
ALTER TABLE routes ADD COLUMN next_addresses TEXT;
ALTER TABLE routes ADD COLUMN next_protocol TEXT NOT NULL DEFAULT '';
ALTER TABLE routes ADD COLUMN next_percent BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE routes DROP COLUMN next_percent;
ALTER TABLE routes DROP COLUMN next_protocol;
ALTER TABLE routes DROP COLUMN next_addresses;
ALTER TABLE routes DROP COLUMN next_deployment_id;
ALTER TABLE deployments DROP COLUMN shift_hurried_at;
ALTER TABLE deployments DROP COLUMN shift_until;
ALTER TABLE deployments DROP COLUMN shift_percent;
ALTER TABLE deployments DROP COLUMN shift_step;
