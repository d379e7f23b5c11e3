//! The two spellings of a node's identity: ours and libp2p's.

use libp2p::PeerId;

use crate::types::NodeId;

/// libp2p's spelling of a node id.
pub(super) fn to_peer_id(node: NodeId) -> PeerId {
    PeerId::from_bytes(&node.to_peer_id_bytes()).expect("an identity multihash of 36 bytes is a peer id")
}

/// Our spelling of a peer id; `None` for keys that are not Ed25519, which no debros node has.
pub(super) fn to_node_id(peer: &PeerId) -> Option<NodeId> {
    NodeId::from_peer_id_bytes(&peer.to_bytes()).ok()
}
