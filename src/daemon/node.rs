//! A node: it stores data, takes part in the Raft group and serves both HTTP faces.
//!
//! Started in the order directory, identity, listeners, mesh, membership, log and state, cluster, admin socket, HTTP;
//! stopped in the reverse order, with leadership handed over in between.

use std::time::{Duration, Instant};

use super::admin::{self, Operator};
use super::cluster_key;
use super::directory::{Addresses, DataDirectory, Record};
use super::listeners::{Bound, bind};
use super::start_error::StartError;
use crate::accounts::{self, AccountOptions, Accounts, Lifetimes, Party, SignUp};
use crate::auth::BareNonce;
use crate::cluster::{AnyCluster, Cluster, JoinToken, KeeperOptions, Limits, join, keep};
use crate::config::{Anonymous, Config, ConfiguredKey, KeyOpens, QueuedWrites, SocketFormat};
use crate::gateway;
use crate::http::HttpLimits;
use crate::mesh::{GossipSources, Identity, Inbound, Mesh, MeshConfig, PeerExchange};
use crate::pubsub::PubSub;
use crate::raft::{Peer, Raft, RaftOptions, RaftOwner};
use crate::rqlite_api::{self, AnonymousAccess, QueueOptions, RqliteApiConfig};
use crate::tasks::Tasks;
use crate::types::command::{Atomicity, MemberRole};
use crate::types::kv::KvQuota;
use crate::types::{ClusterId, ClusterSecret, Command, Namespace, NodeId, Role};

/// How long a stopping part may take beyond the grace period for requests.
const PART_STOP_MAX: Duration = Duration::from_secs(5);

/// How long a fresh cluster's first entry may take.
const FIRST_WRITE_MAX: Duration = Duration::from_secs(30);

/// What a stopping leader does about its office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leadership {
    /// Another voter takes over at once.
    HandOver,
    /// Nobody needs it: the whole cluster stops.
    LetGo,
}

/// A running node.
pub(super) struct Node {
    pub(super) addresses: Addresses,
    directory: DataDirectory,
    cluster_id: ClusterId,
    raft: Raft,
    owner: RaftOwner,
    cluster: Cluster,
    /// HTTP faces and the admin socket: stopped first, so that nothing new begins.
    front: Tasks,
    /// Everything between the faces and the log.
    middle: Tasks,
    /// The mesh, stopped last.
    mesh_tasks: Tasks,
    grace: Duration,
}

impl Node {
    pub(super) async fn start(role: Role, config: &Config, token: Option<&str>) -> Result<Node, StartError> {
        let directory = DataDirectory::open(config.data_dir())?;
        let known = directory.record()?;
        let identity = match &known {
            // A node that has a place in a cluster never gets a new key silently.
            Some(_) => Identity::load(&config.key_file())?,
            None => Identity::load_or_create(&config.key_file())?,
        };
        let node = identity.node_id();
        let known = known.map(|record| Membership::known(&directory, record, node, role)).transpose()?;
        if let Some(membership) = &known {
            directory.check_log(&membership.record)?;
        } else if role == Role::Node && token.is_none() {
            return Err(StartError::NoToken(directory.path().to_owned()));
        }
        let sql = bind(&config.database.sql_addr, "--sql-addr").await?;
        let gateway = bind(&config.gateway.listen_addr, "--gateway-addr").await?;
        let mesh_tasks = Tasks::new();
        let (mesh, inbound) = Mesh::bind(mesh_config(role, config, identity), &mesh_tasks).await?;
        let own = Peer {
            addresses: mesh.advertised_addresses(),
            sql_address: sql.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut membership = match known {
            Some(membership) => membership,
            None => begin(role, &directory, &mesh, &own, token).await?,
        };
        let record = &mut membership.record;
        mesh.set_members(record.members.clone(), Default::default());
        let (raft, owner) =
            Raft::start(node, record.cluster, directory.path(), mesh.clone(), &raft_options(config)).await?;
        if record.role == Role::Bootstrap && !raft.is_initialized().await? {
            raft.initialize(own.clone()).await?;
        } else {
            raft.lead_if_alone().await?;
        }
        if !record.has_log {
            record.has_log = true;
            directory.write_record(record)?;
        }
        let parts = Parts { directory, membership, mesh, inbound, mesh_tasks, raft, owner, sql, gateway, own };
        parts.run(config).await
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    pub(super) fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Says why the node cannot go on, once it cannot.
    pub(super) async fn failed(&self) -> String {
        self.raft.failed().await
    }

    /// Stops serving, hands leadership over, closes everything. `false` when a part did not end in time.
    pub(super) async fn stop(self, leadership: Leadership) -> bool {
        self.directory.remove_addresses();
        let mut clean = named("requests in flight", self.front.stop(self.grace).await);
        let hand_over = leadership == Leadership::HandOver && self.cluster.is_leader();
        if hand_over && self.raft.most_up_to_date_follower().is_some() {
            let handed_over = self.cluster.transfer_leader(None, Instant::now() + PART_STOP_MAX).await;
            if let Err(error) = handed_over {
                tracing::warn!(%error, "leadership was not handed over; the others elect a leader by themselves");
            }
        }
        clean &= named("cluster tasks", self.middle.stop(PART_STOP_MAX).await);
        drop((self.cluster, self.raft));
        let stopped = tokio::time::timeout(PART_STOP_MAX, self.owner.stop()).await;
        clean &= named("log and state", stopped.unwrap_or(false));
        clean &= named("mesh", self.mesh_tasks.stop(PART_STOP_MAX).await);
        clean
    }
}

fn named(part: &'static str, stopped: bool) -> bool {
    if !stopped {
        tracing::error!(part, "did not stop in time");
    }
    stopped
}

/// A new directory's first start: founds a cluster, or asks to be let into one.
async fn begin(
    role: Role,
    directory: &DataDirectory,
    mesh: &Mesh,
    own: &Peer,
    token: Option<&str>,
) -> Result<Membership, StartError> {
    let node = mesh.node_id();
    let (record, secret) = if role == Role::Bootstrap {
        let record = Record::new(ClusterId::from_bytes(random()?), node, role, Default::default());
        (record, ClusterSecret::from_bytes(random()?))
    } else {
        let token: JoinToken = token.ok_or_else(|| StartError::NoToken(directory.path().to_owned()))?.parse()?;
        let member_role = if role == Role::Gateway { MemberRole::Gateway } else { MemberRole::Node };
        let admission = join(mesh, &token, own, member_role).await?;
        (Record::new(admission.cluster, node, role, admission.members), admission.secret)
    };
    // A directory with a record has the secret, whenever it was cut off.
    cluster_key::store(directory.path(), &secret)?;
    directory.write_record(&record)?;
    Ok(Membership { record, secret })
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], StartError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| StartError::System { what: "no random numbers", source: error.into() })?;
    Ok(bytes)
}

/// A directory's place in a cluster.
pub(super) struct Membership {
    pub(super) record: Record,
    pub(super) secret: ClusterSecret,
}

impl Membership {
    /// The place that a directory has already, if it is this node's and fits the role.
    pub(super) fn known(
        directory: &DataDirectory,
        record: Record,
        node: NodeId,
        role: Role,
    ) -> Result<Membership, StartError> {
        directory.check(&record, node, role)?;
        Ok(Membership { secret: cluster_key::load(directory.path())?, record })
    }
}

/// Asks to be let in as a gateway.
pub(super) async fn begin_gateway(
    directory: &DataDirectory,
    mesh: &Mesh,
    token: Option<&str>,
) -> Result<Membership, StartError> {
    let own = Peer { addresses: mesh.advertised_addresses(), ..Peer::default() };
    begin(Role::Gateway, directory, mesh, &own, token).await
}

/// Everything that exists before anything is served.
struct Parts {
    directory: DataDirectory,
    membership: Membership,
    mesh: Mesh,
    inbound: Inbound,
    mesh_tasks: Tasks,
    raft: Raft,
    owner: RaftOwner,
    sql: Bound,
    gateway: Bound,
    own: Peer,
}

impl Parts {
    async fn run(self, config: &Config) -> Result<Node, StartError> {
        let Parts { directory, membership, mesh, mut inbound, mesh_tasks, raft, owner, sql, gateway, own } = self;
        let (front, middle) = (Tasks::new(), Tasks::new());
        let cluster = Cluster::new(raft.clone(), mesh.clone(), limits(config), middle.clone());
        let pubsub = start_pubsub(&mesh, &mut inbound, &middle);
        let (record, secret) = (membership.record.clone(), membership.secret.clone());
        let streams = super::inbound::dispatch(inbound, raft.clone(), cluster.clone(), membership, middle.clone());
        middle.spawn_until_cancelled(streams);
        middle.spawn_until_cancelled(keep(cluster.clone(), keeper_options(config, own)));
        let accounts = Accounts::new(AnyCluster::Node(cluster.clone()), secret, account_options(config)?);
        if record.role == Role::Bootstrap {
            let default = Namespace::default_namespace();
            if !cluster.namespaces().contains(&default) {
                let deadline = Instant::now() + FIRST_WRITE_MAX;
                cluster.submit(Command::CreateNamespace { namespace: default }, deadline).await?;
                accounts.prepare().await?;
            }
        }
        let addresses = Addresses {
            node_id: raft.node_id(),
            peer: mesh.listen_addresses().iter().map(|address| format!("{address}/p2p/{}", raft.node_id())).collect(),
            sql: Some(sql.address.clone()),
            gateway: Some(gateway.address.clone()),
        };
        let leads = cluster.clone();
        middle.spawn_until_cancelled(accounts::keep(accounts.clone(), move || leads.is_leader()));
        let operator = Operator::new(accounts.clone(), record.cluster, record.role, addresses.clone());
        admin::serve(directory.path(), operator, &front)?;
        let rqlite = RqliteApiConfig {
            advertised: sql.address.clone(),
            anonymous: match config.database.anonymous {
                Anonymous::Loopback => AnonymousAccess::Loopback,
                Anonymous::Never => AnonymousAccess::Never,
            },
            limits: http_limits(config),
            queue: queue_options(config),
        };
        let (face, keys, tasks) = (cluster.clone(), accounts.clone(), front.clone());
        front.spawn(async move {
            if let Err(error) = rqlite_api::serve(sql.listener, face, keys, rqlite, &tasks).await {
                tracing::error!(%error, "the SQL listener ended");
            }
        });
        let (tasks, gateway_config) = (front.clone(), gateway_config(config));
        front.spawn(async move {
            gateway::serve(gateway.listener, accounts, pubsub, gateway_config, &tasks).await;
        });
        directory.write_addresses(&addresses)?;
        tracing::info!(node = %addresses.node_id, cluster = %record.cluster, sql = addresses.sql, gateway = addresses.gateway,
            peer = ?addresses.peer, "ready");
        let grace = config.node.shutdown_grace;
        Ok(Node {
            addresses,
            directory,
            cluster_id: record.cluster,
            raft,
            owner,
            cluster,
            front,
            middle,
            mesh_tasks,
            grace,
        })
    }
}

/// Pub/sub over the mesh's gossip.
pub(super) fn start_pubsub(mesh: &Mesh, inbound: &mut Inbound, tasks: &Tasks) -> PubSub {
    PubSub::start(mesh.clone(), inbound.take_gossip().expect("nobody else takes it"), tasks)
}

pub(super) fn mesh_config(role: Role, config: &Config, identity: Identity) -> MeshConfig {
    let text = |addresses: &[crate::config::PeerAddress]| addresses.iter().map(ToString::to_string).collect();
    MeshConfig {
        identity,
        listen: text(&config.node.listen_addresses),
        advertise: text(&config.node.advertise_addresses),
        bootstrap_peers: text(config.bootstrap_peers(role)),
        connections_max: config.node.max_connections,
        agent_version: concat!("debros/", env!("CARGO_PKG_VERSION")).to_owned(),
        peer_exchange: PeerExchange::Every(config.discovery.discovery_interval),
        gossip_sources: match role {
            Role::Bootstrap | Role::Node => GossipSources::Roster,
            Role::Gateway => GossipSources::PassedOn,
        },
    }
}

pub(super) fn http_limits(config: &Config) -> HttpLimits {
    HttpLimits { drain: config.node.shutdown_grace, ..HttpLimits::default() }
}

pub(super) fn gateway_config(config: &Config) -> gateway::GatewayConfig {
    let settings = &config.gateway;
    let opens = |key: &ConfiguredKey| match key.opens() {
        KeyOpens::Default => gateway::Opens::Namespace(settings.namespace.clone()),
        KeyOpens::Namespace(namespace) => gateway::Opens::Namespace(namespace.clone()),
        KeyOpens::Cluster => gateway::Opens::Cluster,
    };
    gateway::GatewayConfig {
        limits: HttpLimits {
            connections_max: settings.connections_max,
            connections_per_address_max: settings.connections_per_address_max,
            proxies: settings.trusted_proxies.clone(),
            idle_timeout: settings.idle_timeout,
            ..http_limits(config)
        },
        build: gateway::BuildInfo::default(),
        origins: gateway::AllowedOrigins::from_list(&settings.allowed_origins),
        login_callbacks: settings.login_callbacks.clone(),
        rates: gateway::Rates {
            per_address: settings.rate_per_address,
            per_credential: settings.rate_per_key,
            per_namespace: settings.rate_per_namespace,
            logins_per_minute: settings.logins_per_minute,
        },
        keyring: gateway::Keyring {
            keys: settings.api_keys.iter().map(|key| (key.key().to_owned(), opens(key))).collect(),
            namespace: settings.namespace.clone(),
            anonymous: if settings.require_auth { gateway::Anonymous::Refused } else { gateway::Anonymous::LetIn },
        },
        quotas: gateway::Quotas {
            kv: KvQuota { keys_max: unless_zero(settings.kv_keys_max), bytes_max: unless_zero(settings.kv_bytes_max) },
            database_bytes_max: unless_zero(settings.database_bytes_max),
        },
        socket_format: match settings.socket_format {
            SocketFormat::Raw => gateway::SocketFormat::Raw,
            SocketFormat::Envelope => gateway::SocketFormat::Envelope,
        },
        socket_rate: settings.socket_rate,
        query_credentials: if settings.query_credentials {
            gateway::QueryCredentials::Taken
        } else {
            gateway::QueryCredentials::Refused
        },
        data_dir: config.data_dir().to_owned(),
    }
}

/// 0 stands for no limit.
fn unless_zero(limit: u64) -> Option<u64> {
    (limit > 0).then_some(limit)
}

pub(super) fn account_options(config: &Config) -> Result<AccountOptions, StartError> {
    let settings = &config.gateway;
    let host = settings.public_url.split_once("://").map_or("", |(_, rest)| rest);
    let host = host.split(['/', '?', '#']).next().unwrap_or_default();
    let party = Party {
        domain: if settings.domain.is_empty() { host } else { &settings.domain }.to_owned(),
        uri: settings.public_url.clone(),
        chain_id: settings.chain_id,
        solana_cluster: settings.solana_cluster.parse()?,
    };
    party.relying_party()?;
    Ok(AccountOptions {
        sign_up: if settings.sign_up { SignUp::Open } else { SignUp::Closed },
        bare_nonce: if settings.bare_nonce { BareNonce::Accepted } else { BareNonce::Refused },
        party,
        lifetimes: Lifetimes {
            challenge: config.security.challenge_ttl,
            access_token: config.security.access_token_ttl,
            refresh_token: config.security.refresh_token_ttl,
        },
    })
}

fn raft_options(config: &Config) -> RaftOptions {
    RaftOptions {
        heartbeat_interval: config.database.heartbeat_interval,
        election_timeout_min: config.database.election_timeout_min,
        election_timeout_max: config.database.election_timeout_max,
        entries_kept: config.database.snapshot_trailing_entries,
    }
}

pub(super) fn limits(config: &Config) -> Limits {
    Limits {
        statement_timeout: config.database.statement_timeout,
        result_rows_max: config.database.result_rows_max,
        result_bytes_max: usize::try_from(config.database.result_bytes_max).unwrap_or(usize::MAX),
    }
}

fn queue_options(config: &Config) -> QueueOptions {
    QueueOptions {
        requests_max: config.database.write_queue_capacity,
        batch_requests_max: config.database.write_queue_batch,
        batch_wait: config.database.write_queue_timeout,
        atomicity: match config.database.write_queue_mode {
            QueuedWrites::Separate => Atomicity::EachStatement,
            QueuedWrites::Transaction => Atomicity::Transaction,
        },
    }
}

fn keeper_options(config: &Config, own: Peer) -> KeeperOptions {
    KeeperOptions {
        voters_max: config.database.voters_max,
        voter_lost_after: config.database.voter_lost_after,
        snapshot_log_bytes: config.database.snapshot_log_bytes,
        snapshot_interval: config.database.snapshot_interval,
        own,
    }
}
