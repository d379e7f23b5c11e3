-- Logging in, staying logged in, and what applications register.

CREATE TABLE nonces (
    hash BLOB PRIMARY KEY,
    namespace TEXT NOT NULL,
    subject TEXT NOT NULL,
    purpose TEXT NOT NULL,
    -- What the signed text said beside the nonce, so that any node can build it again.
    domain TEXT NOT NULL,
    uri TEXT NOT NULL,
    chain_id INTEGER NOT NULL,
    solana_cluster TEXT NOT NULL,
    issued_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL,
    used_unix_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX nonces_by_subject ON nonces(subject, issued_unix_ms);
CREATE INDEX nonces_by_expiry ON nonces(expires_unix_ms);

-- A login, and everything that was refreshed from it. Revoking one ends all of its tokens.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    namespace_id INTEGER NOT NULL,
    subject TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    expires_unix_ms INTEGER NOT NULL,
    revoked_unix_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX sessions_by_subject ON sessions(namespace_id, subject);
CREATE INDEX sessions_by_expiry ON sessions(expires_unix_ms);

CREATE TABLE refresh_tokens (
    hash BLOB PRIMARY KEY,
    session_id TEXT NOT NULL,
    issued_unix_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    used_unix_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens(session_id);

-- Keys that sign access tokens. The private half is sealed with the cluster's secret, which is never in the log.
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    sealed_seed BLOB NOT NULL,
    created_unix_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) WITHOUT ROWID;

CREATE TABLE apps (
    app_id TEXT PRIMARY KEY,
    namespace_id INTEGER NOT NULL,
    name TEXT NOT NULL DEFAULT '',
    public_key TEXT NOT NULL DEFAULT '',
    created_by TEXT NOT NULL,
    created_unix_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) WITHOUT ROWID;
CREATE INDEX apps_by_namespace ON apps(namespace_id, created_unix_ms);

-- What was done to accounts, and by whom. The newest events are kept.
CREATE TABLE audit_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_unix_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    namespace TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    resource TEXT NOT NULL DEFAULT ''
);

CREATE TRIGGER audit_events_bounded AFTER INSERT ON audit_events WHEN NEW.id % 64 = 0
BEGIN
    DELETE FROM audit_events WHERE id <= NEW.id - 20000;
END;

-- A namespace that is being dropped first loses everything that opens it.
CREATE TRIGGER namespaces_dropping AFTER UPDATE OF dropping_unix_ms ON namespaces
WHEN NEW.dropping_unix_ms IS NOT NULL
BEGIN
    DELETE FROM members WHERE namespace_id = NEW.id;
    DELETE FROM api_keys WHERE namespace_id = NEW.id;
    DELETE FROM apps WHERE namespace_id = NEW.id;
    DELETE FROM refresh_tokens WHERE session_id IN (SELECT id FROM sessions WHERE namespace_id = NEW.id);
    DELETE FROM sessions WHERE namespace_id = NEW.id;
    DELETE FROM nonces WHERE namespace = NEW.name;
END;

CREATE TRIGGER sessions_deleted AFTER DELETE ON sessions
BEGIN
    DELETE FROM refresh_tokens WHERE session_id = OLD.id;
END;

-- A member who is let go is logged out there.
CREATE TRIGGER members_removed AFTER DELETE ON members
BEGIN
    UPDATE sessions SET revoked_unix_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER)
        WHERE namespace_id = OLD.namespace_id AND subject = OLD.subject AND revoked_unix_ms IS NULL;
END;
