-- +goose Up
-- Who may pull without a login and which tags stay where they are: said by the
-- team, and by each repository for itself where it says anything.
ALTER TABLE teams ADD COLUMN anonymous_pull BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE teams ADD COLUMN immutable_tags TEXT;
ALTER TABLE registry_repositories ADD COLUMN anonymous_pull TEXT NOT NULL DEFAULT '';
ALTER TABLE registry_repositories ADD COLUMN immutable_tags TEXT;

-- How often each image was pulled; who did is in the audit log.
CREATE TABLE registry_pulls (
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    pulls      BIGINT NOT NULL,
    last_at    TIMESTAMP NOT NULL,
    last_by    TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (repository, digest)
);
CREATE INDEX registry_pulls_last ON registry_pulls (repository, last_at);

-- What the same one does again and again within an hour is one entry with a count.
ALTER TABLE audit_entries ADD COLUMN times BIGINT NOT NULL DEFAULT 1;
ALTER TABLE audit_entries ADD COLUMN last_at TIMESTAMP;
ALTER TABLE audit_entries ADD COLUMN merge_key TEXT;
CREATE UNIQUE INDEX audit_entries_merge ON audit_entries (merge_key);
CREATE INDEX audit_entries_action ON audit_entries (action, id);
CREATE INDEX audit_entries_team_action ON audit_entries (team_id, action, id);

-- +goose Down
DROP INDEX audit_entries_team_action;
DROP INDEX audit_entries_action;
DROP INDEX audit_entries_merge;
ALTER TABLE audit_entries DROP COLUMN merge_key;
ALTER TABLE audit_entries DROP COLUMN last_at;
ALTER TABLE audit_entries DROP COLUMN times;
DROP TABLE registry_pulls;
ALTER TABLE registry_repositories DROP COLUMN immutable_tags;
ALTER TABLE registry_repositories DROP COLUMN anonymous_pull;
ALTER TABLE teams DROP COLUMN immutable_tags;
ALTER TABLE teams DROP COLUMN anonymous_pull;
