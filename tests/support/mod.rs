//! What tests of a running node share.

/// Starts a node alone, with an anonymous SQL listener; it stops when the guard is dropped.
pub fn start_single_node() -> (NodeGuard, u16) {
    unimplemented!("a node cannot be started yet")
}

/// A running node.
pub struct NodeGuard {}
