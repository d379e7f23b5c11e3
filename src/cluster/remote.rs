//! The cluster as a process sees it that stores nothing: through the mesh only.

use crate::mesh::{Mesh, Standing};

/// A cluster that this process is not a replica of. Clones share it.
#[derive(Clone, Debug)]
pub struct RemoteCluster {
    pub(super) mesh: Mesh,
}

impl RemoteCluster {
    /// The cluster whose members this mesh knows.
    pub fn new(mesh: Mesh) -> RemoteCluster {
        RemoteCluster { mesh }
    }

    /// How many of its nodes are connected.
    pub fn nodes_connected(&self) -> usize {
        self.mesh.connected().iter().filter(|peer| peer.standing == Standing::Member).count()
    }
}
