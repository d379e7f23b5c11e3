//! Tickets that open one socket: a browser can set no header there, and what stands in a URL is kept by proxies and
//! histories. A ticket is worth nothing after its use, nor half a minute after it was made.
//!
//! It is deleted in the log entry that accepts it, so of two nodes that are asked at once one finds it. It is no
//! credential by itself: what is stored leads back to the one that made it, and whoever comes with it is who that
//! credential says now, in the namespace that the ticket was made for, and no longer than it lasts.

use std::time::Instant;

use super::namespaces::{expecting_one, stored};
use super::rows::{named, text};
use super::{AccountError, Accounts, Transacted, milliseconds, random};
use crate::auth::WsTicket;
use crate::types::{Namespace, Value, hex, limits};

/// The credential that made a ticket, and where the ticket opens a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketMaker {
    /// The one namespace.
    pub namespace: Namespace,
    /// The credential.
    pub credential: Lasting,
}

/// What is left of a credential without its secret: enough to see whether it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// A login or a stored API key.
    Session {
        /// As access tokens name it.
        id: String,
        /// When it ends by itself, in milliseconds since 1970.
        expires_unix_ms: i64,
    },
    /// A key from the configuration, by its [`Accounts::fingerprint`].
    Configured(String),
}

/// What tells a key from the configuration from a session.
const CONFIGURED: &str = "conf_";

const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

impl Lasting {
    /// An API key in its present text; a new text is another credential.
    pub fn key(session: &str) -> Lasting {
        Lasting::Session { id: session.to_owned(), expires_unix_ms: i64::MAX }
    }

    /// A text for it, the same as long as it is the same credential.
    pub fn name(&self) -> String {
        match self {
            Lasting::Session { id, .. } => id.clone(),
            Lasting::Configured(fingerprint) => format!("{CONFIGURED}{fingerprint}"),
        }
    }

    fn expires_unix_ms(&self) -> i64 {
        match self {
            Lasting::Session { expires_unix_ms, .. } => *expires_unix_ms,
            Lasting::Configured(_) => i64::MAX,
        }
    }

    fn read(name: &str, expires_unix_ms: i64) -> Lasting {
        match name.strip_prefix(CONFIGURED) {
            Some(fingerprint) => Lasting::Configured(fingerprint.to_owned()),
            None => Lasting::Session { id: name.to_owned(), expires_unix_ms },
        }
    }
}

impl Accounts {
    /// What stands for the configured key with this hash. People choose such keys, so a copy of the replicated state must
    /// not be enough to guess them.
    pub fn fingerprint(&self, hash: &[u8; 32]) -> String {
        let key = blake3::derive_key("debros fingerprint of a configured key", self.inner.secret.as_bytes());
        hex::encode(&blake3::keyed_hash(&key, hash).as_bytes()[..16])
    }

    /// Makes a ticket, good for [`limits::WS_TICKET_TTL`] by the log's clock. Forgets what has expired and the oldest of
    /// too many.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn make_ticket(&self, maker: &TicketMaker, deadline: Instant) -> Result<WsTicket, AccountError> {
        let ticket = WsTicket::from_random(random()?);
        let name = || ("maker", text(maker.credential.name()));
        let life = milliseconds(limits::WS_TICKET_TTL);
        let statements = vec![
            named(
                &format!(
                    "DELETE FROM socket_tickets WHERE hash IN \
                     (SELECT hash FROM socket_tickets WHERE expires_unix_ms < {NOW} LIMIT 64)"
                ),
                [],
            ),
            named(
                "DELETE FROM socket_tickets WHERE hash IN (SELECT hash FROM socket_tickets WHERE maker = :maker \
                 ORDER BY expires_unix_ms DESC, hash LIMIT -1 OFFSET :kept)",
                [name(), ("kept", Value::Integer(limits::OPEN_TICKETS_PER_CREDENTIAL_MAX - 1))],
            ),
            expecting_one(named(
                &format!(
                    "INSERT INTO socket_tickets (hash, namespace, maker, maker_expires_unix_ms, expires_unix_ms) \
                     VALUES (:hash, :namespace, :maker, :until, {NOW} + {life})"
                ),
                [
                    ("hash", Value::Blob(ticket.hash().to_vec())),
                    ("namespace", text(maker.namespace.as_str())),
                    name(),
                    ("until", Value::Integer(maker.credential.expires_unix_ms())),
                ],
            )),
        ];
        match self.transact(statements, deadline).await? {
            Transacted::Done(_) => Ok(ticket),
            Transacted::Unmet(_, error) => Err(AccountError::of_statement(&error)),
        }
    }

    /// Uses a ticket up; what made it.
    ///
    /// # Errors
    /// [`AccountError::InvalidTicket`], or the cluster's.
    pub async fn take_ticket(&self, ticket: &WsTicket, deadline: Instant) -> Result<TicketMaker, AccountError> {
        let hash = || ("hash", Value::Blob(ticket.hash().to_vec()));
        let sql = "SELECT namespace, maker, maker_expires_unix_ms FROM socket_tickets WHERE hash = :hash";
        // Looked for before anything is written: whoever guesses must not fill the log. A ticket never changes, so what
        // is found still holds when it is deleted.
        let rows = self.find(sql, [hash()], deadline).await?;
        let row = rows.first().ok_or(AccountError::InvalidTicket)?;
        let credential = Lasting::read(row.text("maker"), row.integer("maker_expires_unix_ms"));
        let maker = TicketMaker { namespace: stored(row.text("namespace"))?, credential };
        let used = expecting_one(named(
            &format!("DELETE FROM socket_tickets WHERE hash = :hash AND expires_unix_ms > {NOW}"),
            [hash()],
        ));
        match self.transact(vec![used], deadline).await? {
            Transacted::Done(_) => Ok(maker),
            Transacted::Unmet(..) => Err(AccountError::InvalidTicket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_credential_is_read_as_it_was_written() {
        let session = Lasting::Session { id: "ses_abc".to_owned(), expires_unix_ms: 7 };
        for credential in [session, Lasting::key("0011223344556677.abababababababab"), Lasting::Configured("0f".into())]
        {
            assert_eq!(Lasting::read(&credential.name(), credential.expires_unix_ms()), credential);
        }
        let Lasting::Session { id, .. } = Lasting::key("0011223344556677.abababababababab") else {
            panic!("a session")
        };
        assert_eq!(id, "0011223344556677.abababababababab");
    }
}
