-- +goose Up
-- What was read from external registries, and how images are found: as in the
-- folder sqlite, with names in the order of their bytes, by which prefixes are
-- found, whatever order the database has for people.

CREATE TABLE registry_documents (
    registry_id TEXT NOT NULL REFERENCES registries (id) ON DELETE CASCADE,
    repository  TEXT NOT NULL,
    digest      TEXT NOT NULL,
    media_type  TEXT NOT NULL,
    content     BYTEA NOT NULL,
    size        BIGINT NOT NULL,
    read_at     TIMESTAMP NOT NULL,
    PRIMARY KEY (registry_id, repository, digest)
);
CREATE INDEX registry_documents_read ON registry_documents (read_at, size);

CREATE TABLE registry_names (
    registry_id   TEXT NOT NULL REFERENCES registries (id) ON DELETE CASCADE,
    repository    TEXT NOT NULL,
    named_by      TEXT NOT NULL DEFAULT '',
    named_by_name TEXT NOT NULL DEFAULT '',
    named_at      TIMESTAMP NOT NULL,
    PRIMARY KEY (registry_id, repository)
);

CREATE INDEX registry_tags_newest ON registry_tags (repository, moved_at, name);
CREATE INDEX registry_tags_prefix ON registry_tags (name COLLATE "C", repository COLLATE "C");
CREATE INDEX registry_tags_name ON registry_tags (repository, name COLLATE "C");
CREATE INDEX registry_manifests_size ON registry_manifests (repository, image_size, digest);
CREATE INDEX builds_commit ON builds ("commit");

-- +goose Down
DROP INDEX builds_commit;
DROP INDEX registry_manifests_size;
DROP INDEX registry_tags_name;
DROP INDEX registry_tags_prefix;
DROP INDEX registry_tags_newest;
DROP TABLE registry_names;
DROP TABLE registry_documents;
