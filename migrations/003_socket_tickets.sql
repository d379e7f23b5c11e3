-- Tickets that open one socket each.

CREATE TABLE socket_tickets (
    hash BLOB PRIMARY KEY,
    namespace TEXT NOT NULL,
    -- What leads back to the credential that made it: a session, an API key with the beginning of its hash, or the
    -- fingerprint of a key from the configuration.
    maker TEXT NOT NULL,
    -- When that credential ends by itself.
    maker_expires_unix_ms INTEGER NOT NULL,
    expires_unix_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX socket_tickets_by_maker ON socket_tickets(maker, expires_unix_ms);
CREATE INDEX socket_tickets_by_expiry ON socket_tickets(expires_unix_ms);

-- A namespace that is being dropped loses what opens it.
CREATE TRIGGER namespaces_dropping_tickets AFTER UPDATE OF dropping_unix_ms ON namespaces
WHEN NEW.dropping_unix_ms IS NOT NULL
BEGIN
    DELETE FROM socket_tickets WHERE namespace = NEW.name;
END;
