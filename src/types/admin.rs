//! The words between an operator's command and the running daemon.
//!
//! They travel over `<data-dir>/admin.sock` (mode 0600: whoever may open it is the operator). One connection carries
//! one exchange: a line of JSON with a [`Request`], then a line of JSON with a [`Reply`]. Fields are only ever added,
//! so a command and a daemon of neighbouring versions understand each other. Times are numbers with their unit in the
//! name, because shell scripts read the same JSON through `--format json`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::names::Namespace;
use super::node_id::NodeId;
use super::role::{InviteRole, Role};

/// The socket's name inside the data directory.
pub const SOCKET_NAME: &str = "admin.sock";

/// Longest line either way: a status of a large cluster is some kilobytes, so this only stops a stream without an end.
pub const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What an operator asks of the daemon. The comment names the type of a successful answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Request {
    /// Can this daemon serve? → [`Health`]
    Health,
    /// What does this daemon see of the cluster? → [`Status`]
    Status,
    /// Who belongs to the cluster, and who answers? → [`Nodes`]
    Nodes,
    /// Make a join token. → [`Invitation`]
    Invite {
        /// What the holder may become.
        role: InviteRole,
        /// How long it may be used.
        ttl_seconds: u64,
    },
    /// Take a node out for good. → [`Done`]
    Remove {
        /// Which.
        node: NodeId,
    },
    /// Hand leadership over. → [`Done`]
    TransferLeader {
        /// To whom; the most up-to-date voter when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<NodeId>,
    },
    /// Compare the content of every replica. → [`Verification`]
    Verify,
    /// Make a namespace. → [`Done`]
    NamespaceCreate {
        /// Its name.
        name: Namespace,
        /// The wallet that owns it; nobody's but the operator's when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
    },
    /// Which namespaces are there? → [`Namespaces`]
    NamespaceList,
    /// Drop a namespace with all its data. → [`Done`]
    NamespaceDrop {
        /// Its name.
        name: Namespace,
    },
    /// Apply the migrations that are not applied yet. → [`Migrated`]
    NamespaceMigrate {
        /// Whose database.
        name: Namespace,
        /// All of them, also those applied.
        files: Vec<SqlFile>,
    },
    /// Take somebody into a namespace, or change their role. → [`Done`]
    MemberSet {
        /// Where.
        namespace: Namespace,
        /// Who.
        wallet: String,
        /// `owner`, `admin`, `writer` or `reader`.
        role: String,
    },
    /// Make a new key for signing access tokens; the one before it goes on verifying. → [`Done`]
    SigningKeyRotate,
    /// The keys of a namespace. → [`Keys`]
    KeyList {
        /// Which.
        namespace: Namespace,
    },
    /// Make an API key. → [`CreatedKey`]
    KeyCreate {
        /// What it opens.
        namespace: Namespace,
        /// What it may do, as a comma list; everything when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scopes: Option<String>,
        /// What its maker calls it.
        #[serde(default)]
        label: String,
        /// When it ends, from now; never when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_seconds: Option<u64>,
    },
    /// End an API key. → [`Done`]
    KeyRevoke {
        /// The key.
        key: String,
    },
}

impl Request {
    /// Parses one line from the socket.
    ///
    /// # Errors
    /// When the line is no request of this version.
    pub fn parse(line: &str) -> Result<Request, serde_json::Error> {
        serde_json::from_str(line.trim_end())
    }
}

/// The daemon's answer: `{"ok":…}` or `{"error":{…}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done; the value is the answer that [`Request`] names.
    Ok(Value),
    /// Not done.
    Error(Failure),
}

impl Reply {
    /// A successful reply.
    pub fn ok(answer: &impl Serialize) -> Reply {
        match serde_json::to_value(answer) {
            Ok(value) => Reply::Ok(value),
            Err(error) => Reply::Error(Failure {
                code: FailureCode::Failed,
                message: format!("the answer could not be encoded: {error}"),
                hint: None,
            }),
        }
    }

    /// The line for the socket, with its newline.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("a reply holds only JSON values and text");
        line.push('\n');
        line
    }
}

/// Why the daemon did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure; decides the command's exit code.
    pub code: FailureCode,
    /// What happened.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// The request itself is wrong.
    Invalid,
    /// What it names does not exist.
    NotFound,
    /// No leader, no quorum, overloaded: try again.
    Unavailable,
    /// It exists already, or a quorum would be lost.
    Conflict,
    /// Not finished in time; it may still happen.
    Timeout,
    /// Anything else, also codes of a newer daemon.
    #[serde(other)]
    Failed,
}

/// An answer with nothing to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// Whether the daemon can serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// It can.
    pub ready: bool,
    /// Why not; empty when ready.
    #[serde(default)]
    pub reasons: Vec<String>,
}

/// The cluster as one daemon sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// This daemon's node id.
    pub node: NodeId,
    /// Its part.
    pub role: Role,
    /// The cluster's id; empty until it has joined one.
    pub cluster: String,
    /// The build it runs.
    pub version: String,
    /// Since when it runs.
    pub uptime_seconds: u64,
    /// Whether it can serve.
    pub ready: bool,
    /// Its peer multiaddrs.
    pub addresses: Vec<String>,
    /// Where its SQL listener is; empty when it has none.
    pub sql_address: String,
    /// Where its gateway is; empty when it has none.
    pub gateway_address: String,
    /// Its view of the log; absent on a gateway.
    pub raft: Option<Raft>,
}

/// One node's view of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raft {
    /// `leader`, `follower`, `candidate`, `learner` or `shutdown`.
    pub state: String,
    /// Current term.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Index of the last entry in the log.
    pub last_log_index: u64,
    /// Index of the last committed entry.
    pub commit_index: u64,
    /// Index of the last applied entry.
    pub applied_index: u64,
    /// Index that the newest snapshot covers.
    pub snapshot_index: u64,
    /// Time since this node heard from the leader; absent when never.
    pub last_contact_ms: Option<u64>,
    /// Size of the log on disk.
    pub log_bytes: u64,
    /// How many nodes have a vote.
    pub voters: usize,
    /// How many nodes follow without one.
    pub learners: usize,
}

/// Every member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// The members.
    pub nodes: Vec<NodeReport>,
}

/// One member and whether it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Who.
    pub node: NodeId,
    /// `voter`, `learner` or `gateway`.
    pub suffrage: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it answered just now.
    pub reachable: bool,
    /// How long that took.
    pub round_trip_us: Option<u64>,
    /// Why it did not answer.
    pub error: Option<String>,
    /// Its peer multiaddrs.
    pub addresses: Vec<String>,
    /// Where its SQL listener is; empty when it has none.
    pub sql_address: String,
    /// The build it runs; empty when unknown.
    pub version: String,
}

/// A fresh join token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The token: a secret.
    pub token: String,
    /// When it ends, in milliseconds since 1970-01-01 UTC.
    pub expires_unix_ms: i64,
}

/// The namespaces of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    /// In the order of their names.
    pub namespaces: Vec<NamespaceReport>,
}

/// One namespace, as the asked node holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceReport {
    /// Its name.
    pub name: Namespace,
    /// Size of its database on that node.
    pub database_bytes: u64,
}

/// A fresh API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedKey {
    /// The key: a secret, shown only now.
    pub key: String,
    /// What it is called in lists.
    #[serde(default)]
    pub id: String,
    /// What it opens.
    pub namespace: Namespace,
    /// When it ends, in milliseconds since 1970-01-01 UTC; never when absent.
    pub expires_unix_ms: Option<i64>,
}

/// The keys of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Oldest first.
    pub keys: Vec<KeyReport>,
}

/// A key without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    /// What it is called.
    pub id: String,
    /// What its maker calls it.
    pub label: String,
    /// What it may do.
    pub scopes: String,
    /// Who made it.
    pub created_by: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub created_unix_ms: i64,
    /// When it ends; never when absent.
    pub expires_unix_ms: Option<i64>,
}

/// A file of SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlFile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub sql: String,
}

/// Migrations that a request applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrated {
    /// Their files, in order; empty when all were applied before.
    pub applied: Vec<String>,
}

/// The content of every replica, hashed at one log index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The index at which all hashed.
    pub index: u64,
    /// Every hash that came back.
    pub hashes: Vec<ReplicaHash>,
    /// Nodes that did not answer, and why: they are not verified.
    pub unverified: BTreeMap<NodeId, String>,
}

/// The hash of one database on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaHash {
    /// Which database: a namespace, or `_system`.
    pub database: String,
    /// On which node.
    pub node: NodeId,
    /// Its hash, in hex.
    pub hash: String,
}

impl Verification {
    /// The databases whose hashes differ between nodes, or that some answering node does not have.
    pub fn differing(&self) -> BTreeSet<&str> {
        let answering: BTreeSet<NodeId> = self.hashes.iter().map(|h| h.node).collect();
        let mut by_database: BTreeMap<&str, (BTreeSet<&str>, BTreeSet<NodeId>)> = BTreeMap::new();
        for replica in &self.hashes {
            let (hashes, nodes) = by_database.entry(&replica.database).or_default();
            hashes.insert(&replica.hash);
            nodes.insert(replica.node);
        }
        by_database
            .into_iter()
            .filter(|(_, (hashes, nodes))| hashes.len() > 1 || *nodes != answering)
            .map(|(database, _)| database)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_public_key([number; 32])
    }

    #[test]
    fn requests_keep_their_shape_on_the_wire() {
        let invite = Request::Invite { role: InviteRole::Node, ttl_seconds: 3600 };
        let text = serde_json::to_string(&invite).expect("json");
        assert_eq!(text, r#"{"verb":"invite","role":"node","ttl_seconds":3600}"#);
        assert_eq!(Request::parse(&format!("{text}\n")).expect("parses"), invite);
        assert_eq!(
            Request::parse(r#"{"verb":"transfer_leader"}"#).expect("parses"),
            Request::TransferLeader { to: None }
        );
    }

    #[test]
    fn replies_keep_their_shape_on_the_wire() {
        assert_eq!(Reply::ok(&Done {}).to_line(), "{\"ok\":{}}\n");
        let failure = Failure { code: FailureCode::NotFound, message: "no".to_owned(), hint: None };
        assert_eq!(Reply::Error(failure).to_line(), "{\"error\":{\"code\":\"not_found\",\"message\":\"no\"}}\n");
        let newer: Failure = serde_json::from_str(r#"{"code":"moonphase","message":"no"}"#).expect("parses");
        assert_eq!(newer.code, FailureCode::Failed);
    }

    #[test]
    fn replicas_differ_by_hash_or_by_absence() {
        let hash = |database: &str, n: u8, hash: &str| ReplicaHash {
            database: database.to_owned(),
            node: node(n),
            hash: hash.to_owned(),
        };
        let verification = Verification {
            index: 7,
            hashes: vec![
                hash("default", 1, "aa"),
                hash("default", 2, "aa"),
                hash("changed", 1, "aa"),
                hash("changed", 2, "bb"),
                hash("missing", 1, "aa"),
            ],
            unverified: BTreeMap::new(),
        };
        assert_eq!(verification.differing().into_iter().collect::<Vec<_>>(), ["changed", "missing"]);
    }
}
