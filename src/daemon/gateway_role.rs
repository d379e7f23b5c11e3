//! A gateway: it joins a cluster, stores none of its data, and serves the gateway's HTTP face through its nodes.
//!
//! What it keeps is who it is, and where the nodes were when last seen: they may all have moved when it starts again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::admin::{self, Operator};
use super::directory::{Addresses, DataDirectory, Record};
use super::listeners::bind;
use super::node::{Membership, account_options, begin_gateway, gateway_config, limits, mesh_config, start_pubsub};
use super::start_error::StartError;
use crate::accounts::Accounts;
use crate::cluster::{AnyCluster, RemoteCluster};
use crate::config::Config;
use crate::gateway;
use crate::mesh::{Identity, Mesh};
use crate::tasks::Tasks;
use crate::types::{NodeId, Role};

/// How long a stopping part may take beyond the grace period for requests.
const PART_STOP_MAX: Duration = Duration::from_secs(5);

/// A running gateway.
pub(super) struct Gateway {
    directory: Arc<DataDirectory>,
    /// The HTTP face and the admin socket: stopped first, so that nothing new begins.
    front: Tasks,
    /// Everything between the face and the mesh.
    middle: Tasks,
    /// The mesh, stopped last.
    mesh_tasks: Tasks,
    grace: Duration,
}

impl Gateway {
    pub(super) async fn start(config: &Config, token: Option<&str>) -> Result<Gateway, StartError> {
        let directory = Arc::new(DataDirectory::open(config.data_dir())?);
        let known = directory.record()?;
        let identity = match &known {
            Some(_) => Identity::load(&config.key_file())?,
            None => Identity::load_or_create(&config.key_file())?,
        };
        let node = identity.node_id();
        let known = known.map(|record| Membership::known(&directory, record, node, Role::Gateway)).transpose()?;
        if known.is_none() && token.is_none() {
            return Err(StartError::NoToken(directory.path().to_owned()));
        }
        let http = bind(&config.gateway.listen_addr, "--gateway-addr").await?;
        let (front, middle, mesh_tasks) = (Tasks::new(), Tasks::new(), Tasks::new());
        let (mesh, mut inbound) = Mesh::bind(mesh_config(Role::Gateway, config, identity), &mesh_tasks).await?;
        let Membership { record, secret } = match known {
            Some(membership) => membership,
            None => begin_gateway(&directory, &mesh, token).await?,
        };
        let cluster_id = record.cluster;
        let cluster = RemoteCluster::start(mesh.clone(), record.members.clone(), limits(config), &middle);
        middle.spawn_until_cancelled(keep_record(directory.clone(), record, cluster.watch_nodes()));
        let pubsub = start_pubsub(&mesh, &mut inbound, &middle);
        // Nobody has anything to ask of a gateway: what is opened to it is closed at once.
        middle.spawn_until_cancelled(async move { while inbound.next().await.is_some() {} });
        let addresses = Addresses {
            node_id: node,
            peer: mesh.listen_addresses().iter().map(|address| format!("{address}/p2p/{node}")).collect(),
            sql: None,
            gateway: Some(http.address.clone()),
        };
        let accounts = Accounts::new(AnyCluster::Remote(cluster), secret, account_options(config)?);
        let operator = Operator::new(accounts.clone(), cluster_id, Role::Gateway, addresses.clone());
        admin::serve(directory.path(), operator, &front)?;
        let (tasks, gateway_config) = (front.clone(), gateway_config(config));
        front.spawn(async move {
            gateway::serve(http.listener, accounts, pubsub, gateway_config, &tasks).await;
        });
        directory.write_addresses(&addresses)?;
        tracing::info!(%node, cluster = %cluster_id, gateway = addresses.gateway, "ready");
        Ok(Gateway { directory, front, middle, mesh_tasks, grace: config.node.shutdown_grace })
    }

    pub(super) async fn stop(self) -> bool {
        self.directory.remove_addresses();
        let served = self.front.stop(self.grace).await;
        let asked = self.middle.stop(PART_STOP_MAX).await;
        self.mesh_tasks.stop(PART_STOP_MAX).await && served && asked
    }
}

/// Writes down where the nodes are whenever that changes. Without it the next start may find nobody; this one goes on.
async fn keep_record(
    directory: Arc<DataDirectory>,
    mut record: Record,
    mut nodes: watch::Receiver<HashMap<NodeId, Vec<String>>>,
) {
    while nodes.changed().await.is_ok() {
        record.members.clone_from(&nodes.borrow_and_update());
        let (directory, now) = (directory.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || directory.write_record(&now)).await;
        match written {
            Ok(Ok(())) => {
                tracing::info!(nodes = record.members.len(), "the cluster's nodes or their addresses have changed")
            }
            Ok(Err(error)) => tracing::error!(%error, "the cluster's new addresses are not written down"),
            Err(error) => tracing::error!(%error, "the cluster's new addresses are not written down"),
        }
    }
}
