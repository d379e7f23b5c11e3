//! The admin socket: an operator's commands to the running daemon, one line of JSON each way.
//!
//! Whoever may open `<data-dir>/admin.sock` (mode 0600) is the operator; there is no other check.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::directory::Addresses;
use super::start_error::StartError;
use crate::accounts::{self, AccountError, Accounts, Actor, KeyRequest, MigrationError, MigrationFile, StoredKey};
use crate::cluster::{AnyCluster, Cluster, ClusterError, Member, Suffrage};
use crate::tasks::Tasks;
use crate::types::admin::{
    CreatedKey, Done, Failure, FailureCode, Health, Invitation, KeyReport, Keys, LINE_BYTES_MAX, Migrated,
    NamespaceReport, Namespaces, NodeReport, Nodes, Raft, ReplicaHash, Reply, Request, SOCKET_NAME, SqlFile, Status,
    Verification,
};
use crate::types::command::MemberRole;
use crate::types::role::InviteRole;
use crate::types::{AccessRole, Chain, ClusterId, Namespace, Role, Scopes, WalletAddress};

/// How long a command may take; the client waits longer.
const COMMAND_MAX: Duration = Duration::from_secs(20);

/// Hashing large databases takes its time.
const VERIFY_MAX: Duration = Duration::from_secs(600);

/// How long members get to answer a probe.
const PROBE_MAX: Duration = Duration::from_secs(2);

/// An operator sends one line at once.
const LINE_WAIT_MAX: Duration = Duration::from_secs(10);

/// What the operator's commands act on.
#[derive(Clone)]
pub(super) struct Operator {
    accounts: Accounts,
    cluster_id: ClusterId,
    role: Role,
    addresses: Addresses,
    started: Instant,
}

impl Operator {
    pub(super) fn new(accounts: Accounts, cluster_id: ClusterId, role: Role, addresses: Addresses) -> Operator {
        Operator { accounts, cluster_id, role, addresses, started: Instant::now() }
    }
}

/// Opens the socket and answers until `tasks` stops.
pub(super) fn serve(directory: &Path, operator: Operator, tasks: &Tasks) -> Result<(), StartError> {
    let listener = listen(directory).map_err(|source| StartError::System { what: "cannot open admin.sock", source })?;
    let children = tasks.clone();
    tasks.spawn_until_cancelled(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let operator = operator.clone();
                    children.spawn_until_cancelled(async move {
                        if let Err(error) = exchange(stream, &operator).await {
                            tracing::debug!(%error, "admin connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
    Ok(())
}

/// The directory is private to its owner, so between `bind` and `chmod` nobody else can reach the socket.
fn listen(directory: &Path) -> io::Result<UnixListener> {
    let path = directory.join(SOCKET_NAME);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A socket's path is limited to about 100 bytes; through the directory's descriptor it is always short enough.
    let handle = std::fs::File::open(directory)?;
    let short = format!("/proc/self/fd/{}/{SOCKET_NAME}", std::os::fd::AsRawFd::as_raw_fd(&handle));
    let listener = UnixListener::bind(&path).or_else(|_| UnixListener::bind(short))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn exchange(stream: UnixStream, operator: &Operator) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(LINE_BYTES_MAX));
    tokio::time::timeout(LINE_WAIT_MAX, reader.read_line(&mut line)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let reply = match Request::parse(&line) {
        Ok(request) => operator.answer(request).await.unwrap_or_else(Reply::Error),
        Err(error) => Reply::Error(Failure {
            code: FailureCode::Invalid,
            message: format!("the daemon does not understand this request: {error}"),
            hint: Some("use the debros command of the daemon's version".to_owned()),
        }),
    };
    writer.write_all(reply.to_line().as_bytes()).await?;
    writer.shutdown().await
}

type Answer = Result<Reply, Failure>;

fn ok(answer: &impl Serialize) -> Answer {
    Ok(Reply::ok(answer))
}

impl Operator {
    async fn answer(&self, request: Request) -> Answer {
        let deadline = Instant::now() + COMMAND_MAX;
        let cluster = match (self.accounts.cluster(), &request) {
            (_, Request::Health) => return ok(&self.health().await),
            (_, Request::Status) => return ok(&self.status().await),
            (cluster, Request::Nodes) => return ok(&nodes(cluster).await),
            (AnyCluster::Node(cluster), _) => cluster,
            (AnyCluster::Remote(_), _) => {
                return Err(Failure {
                    code: FailureCode::Invalid,
                    message: "a gateway stores nothing and cannot do this".to_owned(),
                    hint: Some("run the command on a node, with that node's --data-dir".to_owned()),
                });
            }
        };
        match request {
            Request::Health | Request::Status | Request::Nodes => unreachable!("answered above"),
            Request::Invite { role, ttl_seconds } => self.invite(cluster, role, ttl_seconds, deadline).await,
            Request::Remove { node } => done(self.remove(cluster, node, deadline).await),
            Request::TransferLeader { to } => done(cluster.transfer_leader(to, deadline).await.map_err(failure)),
            Request::Verify => verify(cluster).await,
            Request::NamespaceCreate { name, owner } => {
                done(self.create_namespace(&name, owner.as_deref(), deadline).await)
            }
            Request::NamespaceList => ok(&namespaces(cluster)),
            Request::NamespaceDrop { name } => {
                let dropped = self.accounts.drop_namespace(&name, &Actor::operator(), deadline).await;
                done(dropped.map_err(account_failure))
            }
            Request::NamespaceMigrate { name, files } => self.migrate(&name, files, deadline).await,
            Request::KeyCreate { namespace, scopes, label, expires_seconds } => {
                self.create_key(namespace, scopes.as_deref(), label, expires_seconds, deadline).await
            }
            Request::KeyList { namespace } => self.list_keys(&namespace, deadline).await,
            Request::KeyRevoke { key } => {
                let revoked = self.accounts.revoke_key_text(key.trim(), &Actor::operator(), deadline).await;
                done(revoked.map_err(account_failure))
            }
            Request::MemberSet { namespace, wallet, role } => {
                done(self.set_member(&namespace, &wallet, &role, deadline).await)
            }
            Request::SigningKeyRotate => {
                done(self.accounts.rotate_signing_key(&Actor::operator(), deadline).await.map_err(account_failure))
            }
        }
    }

    async fn health(&self) -> Health {
        let mut reasons = Vec::new();
        match self.accounts.cluster() {
            AnyCluster::Node(cluster) => {
                if let Err(error) = cluster.wait_synced(Instant::now() + PROBE_MAX).await {
                    reasons.push(error.to_string());
                }
            }
            AnyCluster::Remote(cluster) => {
                let reach = cluster.reach();
                if reach.refused {
                    reasons.push("the cluster does not admit this gateway: it was removed".to_owned());
                } else if reach.nodes_answering == 0 {
                    reasons.push("no node of the cluster answers".to_owned());
                } else if !reach.writable {
                    reasons.push("leader not found".to_owned());
                }
            }
        }
        Health { ready: reasons.is_empty(), reasons }
    }

    async fn status(&self) -> Status {
        let raft = match self.accounts.cluster() {
            AnyCluster::Node(cluster) => Some(raft_report(cluster)),
            AnyCluster::Remote(_) => None,
        };
        Status {
            node: self.addresses.node_id,
            role: self.role,
            cluster: self.cluster_id.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            ready: self.health().await.ready,
            addresses: self.addresses.peer.clone(),
            sql_address: self.addresses.sql.clone().unwrap_or_default(),
            gateway_address: self.addresses.gateway.clone().unwrap_or_default(),
            raft,
        }
    }

    async fn invite(&self, cluster: &Cluster, role: InviteRole, ttl_seconds: u64, deadline: Instant) -> Answer {
        let role = match role {
            InviteRole::Node => MemberRole::Node,
            InviteRole::Gateway => MemberRole::Gateway,
        };
        let ttl = Duration::from_secs(ttl_seconds);
        let token = cluster.invite(self.cluster_id, role, ttl, deadline).await.map_err(failure)?;
        ok(&Invitation { token: token.to_string(), expires_unix_ms: unix_ms_after(ttl) })
    }

    async fn create_namespace(&self, name: &Namespace, owner: Option<&str>, deadline: Instant) -> Result<(), Failure> {
        let owner = owner.map(wallet).transpose()?;
        self.accounts
            .create_namespace(name, owner.as_ref(), &Actor::operator(), deadline)
            .await
            .map_err(account_failure)
    }

    async fn set_member(
        &self,
        namespace: &Namespace,
        text: &str,
        role: &str,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let role: AccessRole = role.parse().map_err(|error| invalid(&error))?;
        let wallet = wallet(text)?;
        let done = match role {
            AccessRole::Owner => self.accounts.transfer(namespace, &wallet, &Actor::operator(), deadline).await,
            role => self.accounts.set_member(namespace, &wallet, role, &Actor::operator(), deadline).await,
        };
        done.map_err(account_failure)
    }

    async fn migrate(&self, namespace: &Namespace, files: Vec<SqlFile>, deadline: Instant) -> Answer {
        if namespace.is_reserved() {
            return Err(invalid(&format!("namespace `{namespace}` belongs to debros itself")));
        }
        let files: Vec<MigrationFile> =
            files.into_iter().map(|SqlFile { name, sql }| MigrationFile { name, sql }).collect();
        match accounts::migrate(self.accounts.cluster(), namespace, &files, deadline).await {
            Ok(applied) => ok(&Migrated { applied }),
            Err(MigrationError::Cluster(error)) => Err(failure(error)),
            Err(error) => Err(invalid(&error)),
        }
    }

    async fn create_key(
        &self,
        namespace: Namespace,
        scopes: Option<&str>,
        label: String,
        expires_seconds: Option<u64>,
        deadline: Instant,
    ) -> Answer {
        let scopes: Scopes = scopes.unwrap_or("*").parse().map_err(|error| invalid(&error))?;
        let expires_unix_ms = expires_seconds.map(|seconds| unix_ms_after(Duration::from_secs(seconds)));
        let request = KeyRequest { name: label, scopes, expires_unix_ms };
        let created = self.accounts.create_key(&namespace, &request, &Actor::operator(), deadline).await;
        let created = created.map_err(account_failure)?;
        ok(&CreatedKey { key: created.key.reveal().to_owned(), id: created.id, namespace, expires_unix_ms })
    }

    async fn list_keys(&self, namespace: &Namespace, deadline: Instant) -> Answer {
        let keys = self.accounts.list_keys(namespace, deadline).await.map_err(account_failure)?;
        let report = |key: StoredKey| KeyReport {
            id: key.id,
            label: key.name,
            scopes: key.scopes.to_string(),
            created_by: key.created_by,
            created_unix_ms: key.created_unix_ms,
            expires_unix_ms: key.expires_unix_ms,
        };
        ok(&Keys { keys: keys.into_iter().map(report).collect() })
    }

    async fn remove(&self, cluster: &Cluster, node: crate::types::NodeId, deadline: Instant) -> Result<(), Failure> {
        if !cluster.raft_status().members.iter().any(|member| member.node == node) {
            return Err(failure(ClusterError::NoSuchNode(node)));
        }
        cluster.remove(node, deadline).await.map_err(failure)
    }
}

fn done(outcome: Result<(), Failure>) -> Answer {
    outcome.and_then(|()| ok(&Done {}))
}

fn invalid(error: &dyn std::fmt::Display) -> Failure {
    Failure { code: FailureCode::Invalid, message: error.to_string(), hint: None }
}

/// A wallet as an operator types it: the chain is told by its form, an Ethereum address beginning with 0x.
fn wallet(text: &str) -> Result<WalletAddress, Failure> {
    let chain = if text.starts_with("0x") { Chain::Ethereum } else { Chain::Solana };
    WalletAddress::parse(chain, text).map_err(|error| invalid(&error))
}

fn unix_ms_after(duration: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_add(duration).as_millis()).unwrap_or(i64::MAX)
}

fn raft_report(cluster: &Cluster) -> Raft {
    let status = cluster.raft_status();
    let count = |suffrage| status.members.iter().filter(|member: &&Member| member.suffrage == suffrage).count();
    Raft {
        state: format!("{:?}", status.state).to_lowercase(),
        term: status.term,
        leader: status.leader,
        last_log_index: status.last_log_index,
        commit_index: status.commit_index,
        applied_index: status.applied_index,
        snapshot_index: status.snapshot_index,
        last_contact_ms: status.last_contact.map(|elapsed| elapsed.as_millis() as u64),
        log_bytes: status.log_bytes,
        voters: count(Suffrage::Voter),
        learners: count(Suffrage::Learner),
    }
}

async fn nodes(cluster: &AnyCluster) -> Nodes {
    let members = cluster.members(PROBE_MAX).await.into_iter();
    let nodes = members.map(|status| NodeReport {
        node: status.member.node,
        suffrage: format!("{:?}", status.member.suffrage).to_lowercase(),
        leader: status.leader,
        reachable: status.reachable.is_ok(),
        round_trip_us: status.reachable.as_ref().ok().map(|elapsed| elapsed.as_micros() as u64),
        error: status.reachable.err(),
        addresses: status.member.addresses,
        sql_address: status.member.sql_address,
        version: status.member.version,
    });
    Nodes { nodes: nodes.collect() }
}

fn namespaces(cluster: &Cluster) -> Namespaces {
    let report = |name: Namespace| {
        let database_bytes = cluster.database_file(&name).map_or(0, |(_, main, wal)| main + wal);
        NamespaceReport { name, database_bytes }
    };
    Namespaces { namespaces: cluster.namespaces().into_iter().map(report).collect() }
}

async fn verify(cluster: &Cluster) -> Answer {
    let (index, answers) = cluster.verify(Instant::now() + VERIFY_MAX).await.map_err(failure)?;
    let mut verification = Verification { index, hashes: Vec::new(), unverified: BTreeMap::new() };
    for (node, answer) in answers {
        let checksum = match answer {
            Ok(checksum) => checksum,
            Err(reason) => {
                verification.unverified.insert(node, reason);
                continue;
            }
        };
        let mut push = |database: String, hash: &[u8; 32]| {
            let hash = blake3::Hash::from_bytes(*hash).to_hex().to_string();
            verification.hashes.push(ReplicaHash { database, node, hash });
        };
        push("_system".to_owned(), &checksum.system);
        let mut unreadable = Vec::new();
        for (namespace, hash) in &checksum.namespaces {
            match hash {
                Ok(hash) => push(namespace.to_string(), hash),
                Err(reason) => unreadable.push(format!("{namespace}: {reason}")),
            }
        }
        if !unreadable.is_empty() {
            verification.unverified.insert(node, unreadable.join("; "));
        }
    }
    ok(&verification)
}

fn account_failure(error: AccountError) -> Failure {
    let (code, hint) = match &error {
        AccountError::Cluster(_) => {
            let AccountError::Cluster(error) = error else { unreachable!("just matched") };
            return failure(error);
        }
        AccountError::NoSuchNamespace(_) => {
            (FailureCode::NotFound, Some("make it with `debros namespace create NAME`"))
        }
        AccountError::NoSuchKey | AccountError::NoSuchMember(_) | AccountError::NoSuchApp => {
            (FailureCode::NotFound, None)
        }
        AccountError::NotReady(_) => (FailureCode::Unavailable, Some("try again in a second")),
        AccountError::TooMany { .. } => (FailureCode::Conflict, Some("remove one first")),
        _ => (FailureCode::Conflict, None),
    };
    Failure { code, message: error.to_string(), hint: hint.map(str::to_owned) }
}

fn failure(error: ClusterError) -> Failure {
    let (code, hint) = match &error {
        ClusterError::NoSuchNode(_) => (FailureCode::NotFound, Some("see `debros cluster nodes`")),
        ClusterError::NoSuchNamespace(_) => (FailureCode::NotFound, Some("see `debros namespace list`")),
        ClusterError::Refused(refusal) => {
            use crate::types::command::Refusal;
            match refusal {
                Refusal::NoSuchNamespace(_) => {
                    (FailureCode::NotFound, Some("make it with `debros namespace create NAME`"))
                }
                _ => (FailureCode::Conflict, None),
            }
        }
        ClusterError::NoLeader | ClusterError::LeaderUnreachable { .. } | ClusterError::NoNode => (
            FailureCode::Unavailable,
            Some("a majority of the voters must run and reach each other; see `debros cluster nodes`"),
        ),
        ClusterError::Overloaded | ClusterError::Stopping => (FailureCode::Unavailable, Some("try again")),
        ClusterError::Timeout | ClusterError::LeadershipLost | ClusterError::ReadTimeout { .. } => {
            (FailureCode::Timeout, Some("it may still have happened: look before you repeat it"))
        }
        ClusterError::Membership(_) => (FailureCode::Conflict, None),
        _ => (FailureCode::Failed, None),
    };
    Failure { code, message: error.to_string(), hint: hint.map(str::to_owned) }
}
