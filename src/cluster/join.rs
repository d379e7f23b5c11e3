//! Joining: a token from a member, a stream to it, one question and one answer.
//!
//! The token names the cluster, carries a secret, and says where members listen and who they are. The mesh proves to
//! the newcomer that it talks to one of those; the secret proves to the cluster that the newcomer was invited. The log
//! decides about the secret, once ([`Command::RedeemInvite`]); a newcomer that repeats the question because the answer
//! was lost gets the same answer. The answer carries the cluster's own secret, over a stream that only the newcomer can
//! read.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Cluster;
use super::error::ClusterError;
use super::view::Suffrage;
use crate::mesh::{InboundStream, Mesh, MeshError, Protocol};
use crate::raft::{FrameReader, Peer, send_frame};
use crate::types::command::{MemberRole, Refusal};
use crate::types::{ClusterId, ClusterSecret, Command, NodeId};

/// What a join token's text begins with: says what it is, and which format.
const TOKEN_PREFIX: &str = "debros1";

/// How long the exchange may take; the leader may just be being elected.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// A question names a handful of addresses.
const QUESTION_BYTES_MAX: usize = 64 * 1024;

/// A stranger that opened a join stream must ask within this.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// An invitation: single-use, and only until it expires.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Which cluster.
    pub cluster: ClusterId,
    /// What proves that the bearer was invited.
    secret: [u8; 32],
    /// Multiaddrs with `/p2p` of members that can let the bearer in.
    pub addresses: Vec<String>,
}

/// A text that is no join token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("this is not a join token; make one on a member with `debros cluster invite`")]
pub struct InvalidToken;

impl JoinToken {
    /// The BLAKE3 hash under which the log knows the secret.
    fn secret_hash(&self) -> [u8; 32] {
        *blake3::hash(&self.secret).as_bytes()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = postcard::to_stdvec(self).expect("a token has no unserialisable part");
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        write!(f, "{TOKEN_PREFIX}{}", bs58::encode(bytes).into_string())
    }
}

/// Never shows the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("cluster", &self.cluster).field("addresses", &self.addresses).finish()
    }
}

impl FromStr for JoinToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<JoinToken, InvalidToken> {
        let text = text.trim().strip_prefix(TOKEN_PREFIX).ok_or(InvalidToken)?;
        let bytes = bs58::decode(text).into_vec().map_err(|_| InvalidToken)?;
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(InvalidToken)?;
        if crc32fast::hash(body).to_le_bytes() != *checksum {
            return Err(InvalidToken);
        }
        postcard::from_bytes(body).map_err(|_| InvalidToken)
    }
}

/// What a newcomer says.
#[derive(Serialize, Deserialize)]
struct Question {
    cluster: ClusterId,
    secret: [u8; 32],
    role: MemberRole,
    peer: Peer,
}

/// What it is told.
#[derive(Serialize, Deserialize)]
enum Answer {
    Admitted(Admission),
    Refused(String),
    /// Not now: try again, or ask another member.
    Later(String),
}

/// A newcomer is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The cluster.
    pub cluster: ClusterId,
    /// What only members and gateways know.
    pub secret: ClusterSecret,
    /// Who is there, and where.
    pub members: HashMap<NodeId, Vec<String>>,
}

/// Why a newcomer did not get in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// No member named in the token could be reached.
    #[error("no member in the join token can be reached: {}", .0.join("; "))]
    Unreachable(Vec<String>),
    /// The cluster said no.
    #[error("the cluster refused: {0}")]
    Refused(String),
}

/// Asks the members in the token, one after the other, until one lets this node in.
///
/// # Errors
/// [`JoinError`]; the token is still good unless the cluster refused it.
pub async fn join(mesh: &Mesh, token: &JoinToken, peer: &Peer, role: MemberRole) -> Result<Admission, JoinError> {
    let deadline = Instant::now() + JOIN_TIMEOUT;
    let mut failures = Vec::new();
    loop {
        for address in &token.addresses {
            match ask(mesh, token, peer, role, address).await {
                Ok(Answer::Admitted(admission)) => return Ok(admission),
                Ok(Answer::Refused(reason)) => return Err(JoinError::Refused(reason)),
                Ok(Answer::Later(reason)) => failures.push(format!("{address}: {reason}")),
                Err(error) => failures.push(format!("{address}: {error}")),
            }
        }
        if Instant::now() >= deadline {
            failures.dedup();
            return Err(JoinError::Unreachable(failures));
        }
        failures.truncate(token.addresses.len() * 2);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

async fn ask(mesh: &Mesh, token: &JoinToken, peer: &Peer, role: MemberRole, address: &str) -> io::Result<Answer> {
    let exchange = async {
        let member = mesh.dial(address, Duration::from_secs(5)).await.map_err(io::Error::other)?;
        let stream = mesh.open(member, Protocol::Join, Duration::from_secs(5)).await;
        let mut stream = stream.map_err(|error: MeshError| io::Error::other(error))?;
        let question = Question { cluster: token.cluster, secret: token.secret, role, peer: peer.clone() };
        send_frame(&mut stream, |out| put(out, &question)).await?;
        take(&FrameReader::default().expect(&mut stream).await?)
    };
    tokio::time::timeout(JOIN_TIMEOUT, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn put(out: &mut Vec<u8>, message: &impl Serialize) {
    out.extend_from_slice(&postcard::to_stdvec(message).expect("a message has no unserialisable part"));
}

fn take<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> io::Result<T> {
    postcard::from_bytes(frame).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

impl Cluster {
    /// Makes an invitation.
    ///
    /// # Errors
    /// [`ClusterError`] when the log did not take it.
    pub async fn invite(
        &self,
        cluster: ClusterId,
        role: MemberRole,
        ttl: Duration,
        deadline: Instant,
    ) -> Result<JoinToken, ClusterError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| ClusterError::Storage(e.to_string()))?;
        let token = JoinToken { cluster, secret, addresses: self.entrances() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires_unix_ms = i64::try_from((now + ttl).as_millis()).unwrap_or(i64::MAX);
        let command = Command::CreateInvite { secret_hash: token.secret_hash(), role, expires_unix_ms };
        self.submit(command, deadline).await?;
        Ok(token)
    }

    /// Where members listen, with their ids; this node's first.
    fn entrances(&self) -> Vec<String> {
        let with_id = |node: NodeId, address: &String| format!("{address}/p2p/{node}");
        let here = self.node_id();
        let own = self.inner.mesh.advertised_addresses();
        let others = self.raft_status().members.into_iter().filter(|member| member.node != here);
        let others = others.filter(|member| member.suffrage != Suffrage::Gateway);
        own.iter()
            .map(|address| with_id(here, address))
            .chain(others.flat_map(|member| {
                member.addresses.iter().map(|address| with_id(member.node, address)).collect::<Vec<_>>()
            }))
            .collect()
    }

    /// Answers a newcomer.
    ///
    /// # Errors
    /// What broke.
    pub async fn serve_join(
        &self,
        cluster: ClusterId,
        secret: &ClusterSecret,
        inbound: InboundStream,
    ) -> io::Result<()> {
        let InboundStream { peer: newcomer, mut stream, .. } = inbound;
        let mut frames = FrameReader::with_limit(QUESTION_BYTES_MAX);
        let frame = tokio::time::timeout(QUESTION_TIMEOUT, frames.expect(&mut stream)).await;
        let question: Question = take(&frame.map_err(|_| io::ErrorKind::TimedOut)??)?;
        let answer = self.admit(cluster, secret, newcomer, question).await;
        send_frame(&mut stream, |out| put(out, &answer)).await?;
        // Let the newcomer end the stream: dropping it now could overtake the answer.
        let _ = tokio::time::timeout(QUESTION_TIMEOUT, frames.next(&mut stream)).await;
        Ok(())
    }

    fn knows_invite(&self, secret_hash: &[u8; 32]) -> bool {
        self.raft().state().system().invites.contains(secret_hash)
    }

    async fn admit(&self, cluster: ClusterId, secret: &ClusterSecret, newcomer: NodeId, question: Question) -> Answer {
        if question.cluster != cluster {
            return Answer::Refused("the join token is for another cluster".to_owned());
        }
        let deadline = Instant::now() + JOIN_TIMEOUT / 2;
        // Guessed secrets cost the log nothing: only those that exist are looked up there.
        let secret_hash = *blake3::hash(&question.secret).as_bytes();
        if !self.knows_invite(&secret_hash) {
            let synced = self.wait_synced(Instant::now() + JOIN_TIMEOUT / 2).await;
            match synced {
                Err(error) => return Answer::Later(error.to_string()),
                Ok(_) if !self.knows_invite(&secret_hash) => {
                    return Answer::Refused(Refusal::InvalidInvite.to_string());
                }
                Ok(_) => {}
            }
        }
        let role = question.role;
        let redeem =
            Command::RedeemInvite { secret_hash, node: newcomer, role, addresses: question.peer.addresses.clone() };
        match self.submit(redeem, deadline).await {
            Ok(_) => {}
            Err(ClusterError::Refused(refusal)) => return Answer::Refused(refusal.to_string()),
            Err(error) => return Answer::Later(error.to_string()),
        }
        if role == MemberRole::Node
            && let Err(error) = self.set_member(newcomer, question.peer, deadline).await
        {
            return Answer::Later(error.to_string());
        }
        tracing::info!(node = %newcomer, ?role, "admitted");
        let members = self.raft_status().members.into_iter();
        let members = members.filter(|member| member.suffrage != Suffrage::Gateway);
        Answer::Admitted(Admission {
            cluster,
            secret: secret.clone(),
            members: members.map(|member| (member.node, member.addresses)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_copy_and_paste_and_notices_a_typo() {
        let token = JoinToken {
            cluster: ClusterId::from_bytes([7; 16]),
            secret: [9; 32],
            addresses: vec!["/ip4/127.0.0.1/tcp/4001/p2p/x".to_owned()],
        };
        let text = token.to_string();
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        let mut typo = text.clone().into_bytes();
        let last = typo.len() - 5;
        typo[last] = if typo[last] == b'a' { b'b' } else { b'a' };
        assert_eq!(String::from_utf8(typo).expect("ascii").parse::<JoinToken>(), Err(InvalidToken));
        assert!(!format!("{token:?}").contains('9'), "the secret is shown");
    }
}
