-- +goose Up
CREATE TABLE accounts (
    id            TEXT PRIMARY KEY,
    user_name     TEXT NOT NULL,
    name          TEXT NOT NULL,
    email         TEXT NOT NULL DEFAULT '',
    password_hash TEXT NOT NULL DEFAULT '',
    disabled_at   TIMESTAMP,
    created_at    TIMESTAMP NOT NULL,
    updated_at    TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX accounts_user_name ON accounts (user_name);

CREATE TABLE invites (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    hash       TEXT NOT NULL,
    created_by TEXT NOT NULL DEFAULT '',
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP NOT NULL,
    used_at    TIMESTAMP
);
CREATE UNIQUE INDEX invites_hash ON invites (hash);
CREATE INDEX invites_account ON invites (account_id);

CREATE TABLE authorizations (
    id           TEXT PRIMARY KEY,
    code_hash    TEXT NOT NULL,
    client_id    TEXT NOT NULL,
    account_id   TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    redirect_uri TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    nonce        TEXT NOT NULL DEFAULT '',
    challenge    TEXT NOT NULL,
    created_at   TIMESTAMP NOT NULL,
    expires_at   TIMESTAMP NOT NULL,
    used_at      TIMESTAMP
);
CREATE UNIQUE INDEX authorizations_code ON authorizations (code_hash);
CREATE INDEX authorizations_account ON authorizations (account_id);
CREATE INDEX authorizations_expiry ON authorizations (expires_at);

-- +goose Down
DROP TABLE authorizations;
DROP TABLE invites;
DROP TABLE accounts;
