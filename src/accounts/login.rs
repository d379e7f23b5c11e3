//! Proving a wallet: a challenge, a signature, and in one log entry the nonce's end and what it was for.

use std::time::Instant;

use super::apps::{self, changed};
use super::namespaces::{expecting_one, stored};
use super::rows::{named, text};
use super::sessions::{NewSession, Tokens};
use super::{AccountError, Accounts, Party, SignUp, Transacted, audit, milliseconds, random, unix_ms};
use crate::auth::challenge_fields::InvalidField;
use crate::auth::{self, Nonce};
use crate::cluster::Level;
use crate::types::statement::StatementResult;
use crate::types::{AccessRole, Namespace, Statement, Value, WalletAddress, limits};

/// What a challenge is for. The text that the wallet signs says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Log in: `verify`.
    Login,
    /// Make an API key: `api-key`.
    ApiKey,
    /// Register an application: `register`.
    Register,
}

impl Purpose {
    /// The word for it on the wire and in the signed text.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Login => "login",
            Purpose::ApiKey => "api_key_generation",
            Purpose::Register => "register",
        }
    }

    /// Reads the wire's word; nothing is a login. Older clients have several words for one thing.
    pub fn parse(text: &str) -> Option<Purpose> {
        match text {
            "" | "login" | "auth" | "authentication" => Some(Purpose::Login),
            "api_key_generation" | "api_key" | "api-key" => Some(Purpose::ApiKey),
            "register" | "registration" => Some(Purpose::Register),
            _ => None,
        }
    }
}

/// What a wallet is asked to sign.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// The nonce: 43 characters of base64url.
    pub nonce: String,
    /// The full text, which contains it.
    pub message: String,
    /// Until when it can be used, in milliseconds since 1970.
    pub expires_unix_ms: i64,
}

/// A wallet's answer to a challenge.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Who says that they hold the wallet.
    pub wallet: WalletAddress,
    /// The nonce of the challenge.
    pub nonce: String,
    /// The signature of its text.
    pub signature: String,
    /// Where the wallet wants in.
    pub namespace: Namespace,
}

/// What `register` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The application's id.
    pub app_id: String,
    /// The wallet's public key: on Ethereum `0x04…`, recovered from the signature; on Solana the address.
    pub public_key: String,
}

/// A signature that was checked against its challenge; the nonce is not used yet.
struct Checked {
    nonce_hash: Vec<u8>,
    public_key: String,
}

impl Accounts {
    /// Makes a challenge. The newest few of a wallet are good.
    ///
    /// # Errors
    /// [`AccountError::Challenge`], or the cluster's.
    pub async fn challenge(
        &self,
        wallet: &WalletAddress,
        namespace: &Namespace,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<Challenge, AccountError> {
        let party = &self.options().party;
        let issued_unix_ms = unix_ms();
        let expires_unix_ms = issued_unix_ms + milliseconds(self.options().lifetimes.challenge);
        let nonce = Nonce::from_random(random()?);
        let terms = Terms { party: party.clone(), issued_unix_ms, expires_unix_ms };
        let message = terms.challenge(wallet, namespace, purpose, nonce.clone())?.message();
        let subject = || ("subject", text(wallet.subject()));
        let statements = vec![
            named(
                "DELETE FROM nonces WHERE hash IN (SELECT hash FROM nonces \
                 WHERE expires_unix_ms < CAST(unixepoch('subsec') * 1000 AS INTEGER) LIMIT 64)",
                [],
            ),
            named(
                "DELETE FROM nonces WHERE hash IN (SELECT hash FROM nonces WHERE subject = :subject \
                 ORDER BY issued_unix_ms DESC, hash LIMIT -1 OFFSET :kept)",
                [subject(), ("kept", Value::Integer(limits::OPEN_NONCES_PER_WALLET_MAX - 1))],
            ),
            expecting_one(named(
                "INSERT INTO nonces (hash, namespace, subject, purpose, domain, uri, chain_id, solana_cluster, \
                 issued_unix_ms, expires_unix_ms) \
                 VALUES (:hash, :namespace, :subject, :purpose, :domain, :uri, :chain_id, :solana_cluster, :issued, :expires)",
                [
                    ("hash", Value::Blob(nonce.hash().to_vec())),
                    ("namespace", text(namespace.as_str())),
                    subject(),
                    ("purpose", text(purpose.as_str())),
                    ("domain", text(&party.domain)),
                    ("uri", text(&party.uri)),
                    ("chain_id", Value::Integer(i64::try_from(party.chain_id).unwrap_or(i64::MAX))),
                    ("solana_cluster", text(party.solana_cluster.as_str())),
                    ("issued", Value::Integer(issued_unix_ms)),
                    ("expires", Value::Integer(expires_unix_ms)),
                ],
            )),
        ];
        match self.transact(statements, deadline).await? {
            Transacted::Done(_) => Ok(Challenge { nonce: nonce.as_str().to_owned(), message, expires_unix_ms }),
            Transacted::Unmet(_, error) => Err(AccountError::of_statement(&error)),
        }
    }

    /// Logs a wallet in. A free name becomes the wallet's if sign-up is open.
    ///
    /// # Errors
    /// [`AccountError::InvalidNonce`], [`AccountError::Signature`], [`AccountError::NotMember`],
    /// [`AccountError::TooMany`] for a wallet that owns as many namespaces as it may, or the cluster's. The nonce stays
    /// good unless it was accepted.
    pub async fn log_in(&self, proof: &Proof, deadline: Instant) -> Result<Tokens, AccountError> {
        let checked = self.check(proof, Purpose::Login, deadline).await?;
        let session = NewSession::for_wallet(proof.wallet.subject())?;
        let mut statements = session.statements(&proof.namespace, self.options().lifetimes.refresh_token);
        statements.push(audit(&proof.namespace, &proof.wallet.subject(), "login", ""));
        self.accept(proof, &checked, statements, deadline).await?;
        self.tokens(&proof.namespace, session.grant(), deadline).await
    }

    /// Registers an application in the name of a wallet.
    ///
    /// # Errors
    /// As [`Accounts::log_in`]; also [`AccountError::TooMany`].
    pub async fn register(&self, proof: &Proof, name: &str, deadline: Instant) -> Result<Registered, AccountError> {
        let checked = self.check(proof, Purpose::Register, deadline).await?;
        let app_id = apps::new_app_id()?;
        let subject = proof.wallet.subject();
        let statements = vec![
            apps::insert(&proof.namespace, &app_id, name, &checked.public_key, &subject),
            audit(&proof.namespace, &subject, "app.register", &app_id),
        ];
        self.accept(proof, &checked, statements, deadline).await?;
        Ok(Registered { app_id, public_key: checked.public_key })
    }

    /// Accepts a proof for making an API key; what the wallet is in the namespace.
    ///
    /// # Errors
    /// As [`Accounts::log_in`].
    pub async fn prove_for_key(&self, proof: &Proof, deadline: Instant) -> Result<AccessRole, AccountError> {
        let checked = self.check(proof, Purpose::ApiKey, deadline).await?;
        self.accept(proof, &checked, Vec::new(), deadline).await
    }

    /// Checks a signature against the challenge that the nonce belongs to.
    async fn check(&self, proof: &Proof, purpose: Purpose, deadline: Instant) -> Result<Checked, AccountError> {
        let nonce: Nonce = proof.nonce.parse().map_err(|_| AccountError::InvalidNonce)?;
        let nonce_hash = nonce.hash().to_vec();
        let rows = self
            .query(
                named(
                    "SELECT domain, uri, chain_id, solana_cluster, issued_unix_ms, expires_unix_ms FROM nonces \
                     WHERE hash = :hash AND subject = :subject AND namespace = :namespace AND purpose = :purpose \
                     AND used_unix_ms IS NULL",
                    [
                        ("hash", Value::Blob(nonce_hash.clone())),
                        ("subject", text(proof.wallet.subject())),
                        ("namespace", text(proof.namespace.as_str())),
                        ("purpose", text(purpose.as_str())),
                    ],
                ),
                Level::Linearizable,
                deadline,
            )
            .await?;
        let row = rows.first().ok_or(AccountError::InvalidNonce)?;
        let terms = Terms {
            party: Party {
                domain: row.text("domain").to_owned(),
                uri: row.text("uri").to_owned(),
                chain_id: row.integer("chain_id").unsigned_abs(),
                solana_cluster: stored(row.text("solana_cluster"))?,
            },
            issued_unix_ms: row.integer("issued_unix_ms"),
            expires_unix_ms: row.integer("expires_unix_ms"),
        };
        let challenge = terms.challenge(&proof.wallet, &proof.namespace, purpose, nonce)?;
        let key = challenge.answered_by(&proof.signature, self.options().bare_nonce)?;
        Ok(Checked { nonce_hash, public_key: key.as_str().to_owned() })
    }

    /// Uses the nonce, takes a free name, checks that the wallet belongs, and does `then`: all in one entry.
    async fn accept(
        &self,
        proof: &Proof,
        checked: &Checked,
        then: Vec<Statement>,
        deadline: Instant,
    ) -> Result<AccessRole, AccountError> {
        /// Which of our statements uses the nonce, takes the name, and tells the role.
        const NONCE: usize = 0;
        const CLAIM: usize = 1;
        const ROLE: usize = 2;
        let open = self.options().sign_up == SignUp::Open;
        if open {
            self.make_claimable(proof, deadline).await?;
        }
        let subject = || ("subject", text(proof.wallet.subject()));
        let namespace = || ("namespace", text(proof.namespace.as_str()));
        let mut statements = vec![
            expecting_one(named(
                "UPDATE nonces SET used_unix_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE hash = :hash \
                 AND used_unix_ms IS NULL AND expires_unix_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER)",
                [("hash", Value::Blob(checked.nonce_hash.clone()))],
            )),
            named(
                "INSERT INTO namespaces (name, claimed_by) SELECT :namespace, :subject WHERE :open \
                 AND NOT EXISTS (SELECT 1 FROM namespaces WHERE name = :namespace) \
                 AND (SELECT count(*) FROM members WHERE subject = :subject AND role = 'owner') < :max",
                [
                    namespace(),
                    subject(),
                    ("open", Value::Integer(i64::from(open))),
                    ("max", Value::Integer(limits::NAMESPACES_PER_WALLET_MAX)),
                ],
            ),
            expecting_one(named(
                "SELECT m.role FROM members m JOIN namespaces n ON n.id = m.namespace_id \
                 WHERE n.name = :namespace AND m.subject = :subject",
                [namespace(), subject()],
            )),
        ];
        statements.extend(then);
        match self.transact(statements, deadline).await? {
            Transacted::Done(results) => {
                if changed(results.get(CLAIM)) == 1 {
                    tracing::info!(namespace = %proof.namespace, owner = %proof.wallet, "namespace taken");
                }
                match results.get(ROLE) {
                    Some(StatementResult::Rows(rows)) => match rows.values.first().map(Vec::as_slice) {
                        Some([Value::Text(role)]) => stored(role),
                        _ => Err(AccountError::NotMember(proof.namespace.clone())),
                    },
                    _ => Err(AccountError::NotMember(proof.namespace.clone())),
                }
            }
            Transacted::Unmet(NONCE, _) => Err(AccountError::InvalidNonce),
            Transacted::Unmet(ROLE, _) if open => Err(self.why_not_member(proof, deadline).await?),
            Transacted::Unmet(ROLE, _) => Err(AccountError::NotMember(proof.namespace.clone())),
            Transacted::Unmet(_, error) if error.message.contains("expected") => {
                Err(AccountError::TooMany { what: "apps", max: limits::APPS_PER_NAMESPACE_MAX })
            }
            Transacted::Unmet(_, error) => Err(AccountError::of_statement(&error)),
        }
    }

    /// Why a wallet that could have taken a free name is no member: the name is taken, or the wallet has enough.
    async fn why_not_member(&self, proof: &Proof, deadline: Instant) -> Result<AccountError, AccountError> {
        let taken =
            named("SELECT 1 FROM namespaces WHERE name = :namespace", [("namespace", text(proof.namespace.as_str()))]);
        Ok(if self.query(taken, Level::Linearizable, deadline).await?.is_empty() {
            AccountError::TooMany { what: "namespaces of this wallet", max: limits::NAMESPACES_PER_WALLET_MAX }
        } else {
            AccountError::NotMember(proof.namespace.clone())
        })
    }

    /// A free name gets its database before it can be taken, so that its owner's first request finds it. Not for a
    /// wallet that may not take it: that would let anybody fill the disks with databases that nobody owns.
    async fn make_claimable(&self, proof: &Proof, deadline: Instant) -> Result<(), AccountError> {
        let statement = named(
            "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM namespaces WHERE name = :namespace) \
             AND (SELECT count(*) FROM members WHERE subject = :subject AND role = 'owner') < :max",
            [
                ("namespace", text(proof.namespace.as_str())),
                ("subject", text(proof.wallet.subject())),
                ("max", Value::Integer(limits::NAMESPACES_PER_WALLET_MAX)),
            ],
        );
        if !self.query(statement, Level::Linearizable, deadline).await?.is_empty() {
            self.make_database(&proof.namespace, deadline).await?;
        }
        Ok(())
    }
}

/// What is stored of a challenge beside its nonce, so that any node can build its text again.
struct Terms {
    party: Party,
    issued_unix_ms: i64,
    expires_unix_ms: i64,
}

impl Terms {
    fn challenge(
        &self,
        wallet: &WalletAddress,
        namespace: &Namespace,
        purpose: Purpose,
        nonce: Nonce,
    ) -> Result<auth::Challenge, AccountError> {
        let refused = |error: &dyn std::fmt::Display| AccountError::Challenge(error.to_string());
        let time = |unix_ms| jiff::Timestamp::from_millisecond(unix_ms).map_err(|error| refused(&error));
        Ok(auth::Challenge {
            party: self.party.relying_party().map_err(|error| refused(&error))?,
            wallet: *wallet,
            namespace: namespace.clone(),
            purpose: purpose.as_str().parse().map_err(|error: InvalidField| refused(&error))?,
            nonce,
            issued_at: time(self.issued_unix_ms)?,
            expires_at: time(self.expires_unix_ms)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_is_read_in_every_spelling_and_written_in_one() {
        for purpose in [Purpose::Login, Purpose::ApiKey, Purpose::Register] {
            assert_eq!(Purpose::parse(purpose.as_str()), Some(purpose));
        }
        assert_eq!(Purpose::parse(""), Some(Purpose::Login));
        assert_eq!(Purpose::parse("LOGIN"), None);
    }
}
