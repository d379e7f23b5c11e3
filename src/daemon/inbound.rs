//! Streams that peers open, each to the part that serves its protocol.

use super::node::Membership;
use crate::cluster::Cluster;
use crate::mesh::{Inbound, Protocol};
use crate::raft::Raft;
use crate::tasks::Tasks;

/// Hands out streams until the mesh stops. Each stream gets a task, so that none waits for another.
pub(super) async fn dispatch(mut inbound: Inbound, raft: Raft, cluster: Cluster, membership: Membership, tasks: Tasks) {
    let Membership { record, secret } = membership;
    let id = record.cluster;
    while let Some(stream) = inbound.next().await {
        let (peer, protocol) = (stream.peer, stream.protocol);
        let (raft, cluster, secret) = (raft.clone(), cluster.clone(), secret.clone());
        tasks.spawn_until_cancelled(async move {
            let served = match protocol {
                Protocol::RaftAppend | Protocol::RaftControl | Protocol::RaftSnapshot => raft.serve(stream).await,
                Protocol::Rpc => cluster.serve_peer(stream).await,
                Protocol::Join => cluster.serve_join(id, &secret, stream).await,
            };
            if let Err(error) = served {
                tracing::debug!(%peer, %protocol, %error, "stream ended");
            }
        });
    }
}
