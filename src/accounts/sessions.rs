//! Logins that go on: access tokens for minutes, refresh tokens that each work once, and their end.
//!
//! A session is one login and everything refreshed from it (RFC 9700, section 4.14.2: a refresh token that comes back
//! after its use means that somebody else has it, so the whole session ends).

use std::time::{Duration, Instant};

use super::namespaces::{expecting_one, stored};
use super::rows::{named, text};
use super::{AccountError, Accounts, Transacted, audit, milliseconds, random};
use crate::auth::{AccessClaims, RefreshToken};
use crate::cluster::Level;
use crate::types::{Namespace, Statement, Value, limits};

/// What a login or a refresh gives.
#[derive(Clone)]
pub struct Tokens {
    /// For requests.
    pub access: String,
    /// Seconds until it ends.
    pub expires_in: u64,
    /// For the next access token; absent where there is no session.
    pub refresh: Option<RefreshToken>,
    /// Whom they stand for.
    pub subject: String,
    /// Where they are good.
    pub namespace: Namespace,
}

/// Never shows the tokens.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("subject", &self.subject).field("namespace", &self.namespace).finish()
    }
}

/// A session that is about to be stored.
pub(super) struct NewSession {
    id: String,
    subject: String,
    refresh: RefreshToken,
}

/// Whom an access token is made for.
pub(super) struct TokenGrant {
    pub(super) subject: String,
    pub(super) session: String,
    pub(super) refresh: Option<RefreshToken>,
}

/// What tells the id of a session from that of an API key.
pub(super) const ID_PREFIX: &str = "ses_";

pub(super) const NOW: &str = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

impl NewSession {
    pub(super) fn for_wallet(subject: String) -> Result<NewSession, AccountError> {
        let id = format!("{ID_PREFIX}{}", bs58::encode(random::<16>()?).into_string());
        Ok(NewSession { id, subject, refresh: RefreshToken::from_random(random()?) })
    }

    /// Stores it, and forgets what has expired and the oldest of too many.
    pub(super) fn statements(&self, namespace: &Namespace, life: Duration) -> Vec<Statement> {
        let of_wallet = || [("namespace", text(namespace.as_str())), ("subject", text(&self.subject))];
        let life = milliseconds(life);
        vec![
            named(
                &format!(
                    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_unix_ms < {NOW} LIMIT 64)"
                ),
                [],
            ),
            named(
                "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE subject = :subject \
                 AND namespace_id = (SELECT id FROM namespaces WHERE name = :namespace) \
                 ORDER BY created_unix_ms DESC, id LIMIT -1 OFFSET :kept)",
                {
                    let [namespace, subject] = of_wallet();
                    [namespace, subject, ("kept", Value::Integer(limits::SESSIONS_PER_MEMBER_MAX - 1))]
                },
            ),
            expecting_one(named(
                &format!(
                    "INSERT INTO sessions (id, namespace_id, subject, expires_unix_ms) \
                     SELECT :id, id, :subject, {NOW} + {life} FROM namespaces WHERE name = :namespace"
                ),
                {
                    let [namespace, subject] = of_wallet();
                    [namespace, subject, ("id", text(&self.id))]
                },
            )),
            insert_refresh(&self.refresh, &self.id),
        ]
    }

    pub(super) fn grant(self) -> TokenGrant {
        TokenGrant { subject: self.subject, session: self.id, refresh: Some(self.refresh) }
    }
}

fn insert_refresh(refresh: &RefreshToken, session: &str) -> Statement {
    expecting_one(named(
        "INSERT INTO refresh_tokens (hash, session_id) VALUES (:hash, :session)",
        [("hash", Value::Blob(refresh.hash().to_vec())), ("session", text(session))],
    ))
}

impl Accounts {
    /// Exchanges a refresh token for new tokens. A token that was used before ends its session.
    ///
    /// # Errors
    /// [`AccountError::InvalidRefreshToken`], or the cluster's.
    pub async fn refresh(
        &self,
        presented: &RefreshToken,
        namespace: Option<&Namespace>,
        deadline: Instant,
    ) -> Result<Tokens, AccountError> {
        let hash = || ("hash", Value::Blob(presented.hash().to_vec()));
        let rows = self
            .query(
                named(
                    &format!(
                        "SELECT s.id, s.subject, n.name, r.used_unix_ms FROM refresh_tokens r \
                         JOIN sessions s ON s.id = r.session_id JOIN namespaces n ON n.id = s.namespace_id \
                         WHERE r.hash = :hash AND s.revoked_unix_ms IS NULL AND s.expires_unix_ms > {NOW}"
                    ),
                    [hash()],
                ),
                Level::Linearizable,
                deadline,
            )
            .await?;
        let row = rows.first().ok_or(AccountError::InvalidRefreshToken)?;
        let (session, subject) = (row.text("id").to_owned(), row.text("subject").to_owned());
        let home: Namespace = stored(row.text("name"))?;
        if namespace.is_some_and(|asked| *asked != home) {
            return Err(AccountError::InvalidRefreshToken);
        }
        if row.optional_integer("used_unix_ms").is_some() {
            return self.end_reused(&home, &session, deadline).await;
        }
        let refresh = RefreshToken::from_random(random()?);
        let life = milliseconds(self.options().lifetimes.refresh_token);
        let of_session = || ("session", text(&session));
        let statements = vec![
            expecting_one(named(
                &format!("UPDATE refresh_tokens SET used_unix_ms = {NOW} WHERE hash = :hash AND used_unix_ms IS NULL"),
                [hash()],
            )),
            expecting_one(named(
                &format!(
                    "UPDATE sessions SET expires_unix_ms = {NOW} + {life} \
                     WHERE id = :session AND revoked_unix_ms IS NULL AND expires_unix_ms > {NOW}"
                ),
                [of_session()],
            )),
            // Used ones are kept to notice that they come back; not for ever.
            named(
                "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens WHERE session_id = :session \
                 ORDER BY issued_unix_ms DESC, hash LIMIT -1 OFFSET :kept)",
                [of_session(), ("kept", Value::Integer(limits::USED_REFRESH_TOKENS_KEPT))],
            ),
            insert_refresh(&refresh, &session),
        ];
        match self.transact(statements, deadline).await? {
            Transacted::Done(_) => {
                let grant = TokenGrant { subject, session, refresh: Some(refresh) };
                self.tokens(&home, grant, deadline).await
            }
            // Somebody else was quicker with the same token.
            Transacted::Unmet(0, _) => self.end_reused(&home, &session, deadline).await,
            Transacted::Unmet(..) => Err(AccountError::InvalidRefreshToken),
        }
    }

    async fn end_reused(
        &self,
        namespace: &Namespace,
        session: &str,
        deadline: Instant,
    ) -> Result<Tokens, AccountError> {
        let statements = vec![revoke(session), audit(namespace, "", "session.reuse", session)];
        self.transact(statements, deadline).await?;
        tracing::warn!(%namespace, session, "a refresh token came back after its use; its session has ended");
        Err(AccountError::InvalidRefreshToken)
    }

    /// Ends the session that a refresh token belongs to; how many ended.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn log_out(&self, presented: &RefreshToken, deadline: Instant) -> Result<i64, AccountError> {
        let end = named(
            &format!(
                "UPDATE sessions SET revoked_unix_ms = {NOW} WHERE revoked_unix_ms IS NULL \
                 AND id = (SELECT session_id FROM refresh_tokens WHERE hash = :hash)"
            ),
            [("hash", Value::Blob(presented.hash().to_vec()))],
        );
        self.end_sessions(vec![end], deadline).await
    }

    /// Ends one session.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn log_out_session(&self, session: &str, deadline: Instant) -> Result<i64, AccountError> {
        self.end_sessions(vec![revoke(session)], deadline).await
    }

    /// Ends every session of somebody in a namespace; how many ended.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn log_out_everywhere(
        &self,
        namespace: &Namespace,
        subject: &str,
        deadline: Instant,
    ) -> Result<i64, AccountError> {
        let end = named(
            &format!(
                "UPDATE sessions SET revoked_unix_ms = {NOW} WHERE revoked_unix_ms IS NULL AND subject = :subject \
                 AND namespace_id = (SELECT id FROM namespaces WHERE name = :namespace)"
            ),
            [("subject", text(subject)), ("namespace", text(namespace.as_str()))],
        );
        self.end_sessions(vec![end, audit(namespace, subject, "logout.all", "")], deadline).await
    }

    async fn end_sessions(&self, statements: Vec<Statement>, deadline: Instant) -> Result<i64, AccountError> {
        match self.transact(statements, deadline).await? {
            Transacted::Done(results) => Ok(super::apps::changed(results.first())),
            Transacted::Unmet(_, error) => Err(AccountError::of_statement(&error)),
        }
    }

    /// Makes an access token for a session or a key.
    pub(super) async fn tokens(
        &self,
        namespace: &Namespace,
        grant: TokenGrant,
        deadline: Instant,
    ) -> Result<Tokens, AccountError> {
        let TokenGrant { subject, session, refresh } = grant;
        let key = self.signing_key(deadline).await?;
        let (now, life) = (jiff::Timestamp::now(), self.options().lifetimes.access_token);
        let access = key.sign(&AccessClaims::new(subject.clone(), namespace.clone(), session, random()?, now, life));
        let expires_in = life.as_secs();
        Ok(Tokens { access, expires_in, refresh, subject, namespace: namespace.clone() })
    }

    /// An access token for the bearer of an API key, so that the key itself need not travel with every request. It ends
    /// with the text of the key that it was made for.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn token_for_key(
        &self,
        namespace: &Namespace,
        key_id: &str,
        session: &str,
        deadline: Instant,
    ) -> Result<Tokens, AccountError> {
        let grant = TokenGrant { subject: key_id.to_owned(), session: session.to_owned(), refresh: None };
        self.tokens(namespace, grant, deadline).await
    }
}

fn revoke(session: &str) -> Statement {
    named(
        &format!("UPDATE sessions SET revoked_unix_ms = {NOW} WHERE id = :session AND revoked_unix_ms IS NULL"),
        [("session", text(session))],
    )
}
