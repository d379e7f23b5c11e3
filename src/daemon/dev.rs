//! `debros dev`: a whole cluster in one process, for trying things out.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::directory;
use super::node::{Leadership, Node};
use super::start_error::StartError;
use super::{DevRequest, asked_to_stop, report};
use crate::config::{Config, HostPort, Loaded};
use crate::types::command::MemberRole;
use crate::types::{Exit, Role};

/// How long an invitation of a node to another in the same process is good for.
const INVITATION_TTL: Duration = Duration::from_secs(60);

/// Starts the nodes, prints where they are, and stops them at Ctrl-C.
pub(super) async fn run(request: DevRequest, loaded: Loaded) -> Exit {
    let (root, temporary) = (root(&request), request.data_dir.is_none());
    let mut nodes = Vec::new();
    let mut exit = Exit::Ok;
    match start(&request, &loaded.config, &root, &mut nodes).await {
        Ok(()) => {
            print(&nodes);
            asked_to_stop().await;
        }
        Err(error) => {
            report(&error);
            exit = Exit::Failed;
        }
    }
    for node in nodes.into_iter().rev() {
        if !node.stop(Leadership::LetGo).await {
            exit = Exit::Failed;
        }
    }
    if temporary && let Err(error) = std::fs::remove_dir_all(&root) {
        tracing::warn!(path = %root.display(), %error, "temporary directory not removed");
    }
    exit
}

/// Where the nodes' directories lie.
pub(super) fn root(request: &DevRequest) -> PathBuf {
    let temporary = || std::env::temp_dir().join(format!("debros-dev-{}", std::process::id()));
    request.data_dir.clone().unwrap_or_else(temporary)
}

async fn start(request: &DevRequest, config: &Config, root: &Path, nodes: &mut Vec<Node>) -> Result<(), StartError> {
    for number in 1..=request.nodes.max(1) {
        let mut config = config_of_node(config, root, number)?;
        // Ports are chosen at every start, so members of an earlier run are told where the others are now.
        let earlier = nodes.iter().flat_map(|node| &node.addresses.peer);
        config.discovery.bootstrap_peers = earlier.filter_map(|address| address.parse().ok()).collect();
        let (role, token) = match nodes.first() {
            None => (Role::Bootstrap, None),
            Some(_) if directory::has_record(config.data_dir()) => (Role::Node, None),
            Some(first) => (Role::Node, Some(first.invite(MemberRole::Node, INVITATION_TTL).await?)),
        };
        nodes.push(Node::start(role, &config, token.as_deref()).await?);
    }
    Ok(())
}

/// The first node takes the usual ports where they are free, so that the documentation's commands work as they are.
fn config_of_node(config: &Config, root: &Path, number: usize) -> Result<Config, StartError> {
    let mut config = config.clone();
    config.node.data_dir = Some(root.join(format!("node{number}")));
    config.node.key_file = None;
    config.node.listen_addresses = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a valid address")];
    config.node.advertise_addresses.clear();
    config.discovery.bootstrap_peers.clear();
    config.database.sql_addr = free_or_any(&config.database.sql_addr, number);
    if config.gateway.allowed_origins.is_empty() {
        // A page under development comes from any port.
        config.gateway.allowed_origins = vec!["*".to_owned()];
    }
    config.gateway.listen_addr = free_or_any(&config.gateway.listen_addr, number);
    Ok(config)
}

fn free_or_any(wanted: &HostPort, number: usize) -> HostPort {
    let free = number == 1 && std::net::TcpListener::bind((wanted.host(), wanted.port())).is_ok();
    if free { wanted.clone() } else { HostPort::new("127.0.0.1", 0) }
}

#[expect(clippy::print_stdout, reason = "the addresses are the command's result")]
fn print(nodes: &[Node]) {
    for (number, node) in nodes.iter().enumerate() {
        let addresses = &node.addresses;
        let sql = addresses.sql.as_deref().unwrap_or_default();
        let gateway = addresses.gateway.as_deref().unwrap_or_default();
        println!("node{}  sql http://{sql}  gateway http://{gateway}  data {}", number + 1, node.path().display());
    }
    println!("ready; stop with Ctrl-C");
}

impl Node {
    async fn invite(&self, role: MemberRole, ttl: Duration) -> Result<String, StartError> {
        let deadline = Instant::now() + INVITATION_TTL;
        Ok(self.cluster().invite(self.cluster_id(), role, ttl, deadline).await?.to_string())
    }
}
