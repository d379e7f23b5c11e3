//! A gateway: it joins a cluster, stores nothing, and so far answers only whether it is there.

use std::time::Duration;

use super::admin::{self, Operator};
use super::directory::{Addresses, DataDirectory};
use super::listeners::bind;
use super::node::{Membership, begin_gateway, http_limits, mesh_config};
use super::start_error::StartError;
use crate::cluster::RemoteCluster;
use crate::config::Config;
use crate::gateway;
use crate::mesh::{Identity, Mesh};
use crate::tasks::Tasks;
use crate::types::Role;

/// How long the mesh may take to end.
const MESH_STOP_MAX: Duration = Duration::from_secs(5);

/// A running gateway.
pub(super) struct Gateway {
    directory: DataDirectory,
    front: Tasks,
    mesh_tasks: Tasks,
    grace: Duration,
}

impl Gateway {
    pub(super) async fn start(config: &Config, token: Option<&str>) -> Result<Gateway, StartError> {
        let directory = DataDirectory::open(config.data_dir())?;
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
        let (front, mesh_tasks) = (Tasks::new(), Tasks::new());
        let (mesh, mut inbound) = Mesh::bind(mesh_config(Role::Gateway, config, identity), &mesh_tasks).await?;
        let Membership { record, .. } = match known {
            Some(membership) => membership,
            None => begin_gateway(&directory, &mesh, token).await?,
        };
        mesh.set_members(record.members.clone(), Default::default());
        // Nobody has anything to ask of a gateway: what is opened to it is closed at once.
        front.spawn_until_cancelled(async move { while inbound.next().await.is_some() {} });
        let addresses = Addresses {
            node_id: node,
            peer: mesh.listen_addresses().iter().map(|address| format!("{address}/p2p/{node}")).collect(),
            sql: None,
            gateway: Some(http.address.clone()),
        };
        admin::serve(directory.path(), Operator::gateway(mesh.clone(), record.cluster, addresses.clone()), &front)?;
        let (tasks, limits) = (front.clone(), http_limits(config));
        front.spawn(async move {
            let config = gateway::GatewayConfig { limits, build: gateway::BuildInfo::default() };
            let backend = gateway::Backend::Remote(RemoteCluster::new(mesh));
            gateway::serve(http.listener, backend, config, &tasks).await;
        });
        directory.write_addresses(&addresses)?;
        tracing::info!(%node, cluster = %record.cluster, gateway = addresses.gateway, "ready");
        Ok(Gateway { directory, front, mesh_tasks, grace: config.node.shutdown_grace })
    }

    pub(super) async fn stop(self) -> bool {
        self.directory.remove_addresses();
        let served = self.front.stop(self.grace).await;
        self.mesh_tasks.stop(MESH_STOP_MAX).await && served
    }
}
