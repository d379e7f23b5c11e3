-- Who may do what: namespaces, the people who belong to them, and the keys that open them.
--
-- Times are milliseconds since 1970-01-01 UTC. `unixepoch` answers with the time of the log entry, the same on every
-- node. Secrets are kept as hashes only.

CREATE TABLE namespaces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    -- Who took the name; NULL when the operator made it.
    claimed_by TEXT,
    -- Set while its data are being removed: nothing opens it any more, and the name is not free yet.
    dropping_unix_ms INTEGER,
    created_unix_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
);

CREATE TABLE members (
    namespace_id INTEGER NOT NULL,
    -- The wallet with its chain: `eip155:0x…` or `solana:…`.
    subject TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'writer', 'reader')),
    invited_by TEXT,
    created_unix_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY (namespace_id, subject)
) WITHOUT ROWID;
CREATE UNIQUE INDEX members_one_owner ON members(namespace_id) WHERE role = 'owner';
CREATE INDEX members_by_subject ON members(subject);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    namespace_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    expires_unix_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX api_keys_by_namespace ON api_keys(namespace_id, created_unix_ms);

-- Whoever takes a free name owns it.
CREATE TRIGGER namespaces_claimed AFTER INSERT ON namespaces WHEN NEW.claimed_by IS NOT NULL
BEGIN
    INSERT INTO members(namespace_id, subject, role) VALUES (NEW.id, NEW.claimed_by, 'owner');
END;

-- The namespace that exists from the start belongs to the operator.
INSERT INTO namespaces(name) VALUES ('default');
