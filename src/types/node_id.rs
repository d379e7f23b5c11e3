//! Who a node is: its Ed25519 public key, written as a libp2p peer id (`12D3Koo…`).
//!
//! The same 32 bytes name a node in the Raft log, on the mesh and in every message to an operator. A key is made once
//! per data directory, so an id is never reused by a node with an empty disk, which is what Raft's safety asks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The multihash and protobuf framing that turns an Ed25519 public key into a libp2p peer id (identity hash, 36 bytes).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// A node's identity: the 32 bytes of its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId([u8; 32]);

/// A text or byte string that is no Ed25519 peer id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not an Ed25519 peer id (expected base58 text that begins with 12D3Koo)")]
pub struct InvalidNodeId(pub String);

impl NodeId {
    /// The node that owns this Ed25519 public key.
    pub const fn from_public_key(key: [u8; 32]) -> NodeId {
        NodeId(key)
    }

    /// The Ed25519 public key.
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 38 bytes of the libp2p peer id (a multihash).
    pub fn to_peer_id_bytes(self) -> [u8; 38] {
        let mut bytes = [0; 38];
        bytes[..6].copy_from_slice(&PEER_ID_PREFIX);
        bytes[6..].copy_from_slice(&self.0);
        bytes
    }

    /// Reads the bytes of a libp2p peer id.
    ///
    /// # Errors
    /// When the bytes are not an identity multihash of an Ed25519 key.
    pub fn from_peer_id_bytes(bytes: &[u8]) -> Result<NodeId, InvalidNodeId> {
        match bytes.strip_prefix(&PEER_ID_PREFIX).map(<[u8; 32]>::try_from) {
            Some(Ok(key)) => Ok(NodeId(key)),
            _ => Err(InvalidNodeId(bs58::encode(bytes).into_string())),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_peer_id_bytes()).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<NodeId, InvalidNodeId> {
        let bytes = bs58::decode(text).into_vec().map_err(|_| InvalidNodeId(text.to_owned()))?;
        NodeId::from_peer_id_bytes(&bytes).map_err(|_| InvalidNodeId(text.to_owned()))
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(NodeId)
        }
    }
}

/// openraft's storage suite makes ids from numbers.
#[cfg(test)]
impl From<u64> for NodeId {
    fn from(number: u64) -> NodeId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        NodeId(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_a_libp2p_peer_id() {
        let text = "12D3KooWGqqR8bxgmYsYrGYMKnUWwZUCpioLmA3H37ggRDnAiFa7";
        let id: NodeId = text.parse().expect("a peer id");
        assert_eq!(id.to_string(), text);
        assert_eq!(NodeId::from_peer_id_bytes(&id.to_peer_id_bytes()), Ok(id));
    }

    #[test]
    fn other_text_is_refused_by_name() {
        for text in ["", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "12D3KooW", "0OIl"] {
            assert_eq!(text.parse::<NodeId>(), Err(InvalidNodeId(text.to_owned())));
        }
    }
}
