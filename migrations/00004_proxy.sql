-- +goose Up
CREATE TABLE proxies (
    id      TEXT PRIMARY KEY,
    seen_at TIMESTAMP NOT NULL
);

CREATE TABLE proxy_holds (
    proxy_id      TEXT NOT NULL REFERENCES proxies (id) ON DELETE CASCADE,
    deployment_id TEXT NOT NULL,
    serving       BOOLEAN NOT NULL DEFAULT FALSE,
    in_flight     BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (proxy_id, deployment_id)
);
CREATE INDEX proxy_holds_deployment ON proxy_holds (deployment_id);

-- +goose Down
DROP TABLE proxy_holds;
DROP TABLE proxies;
