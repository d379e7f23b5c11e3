//! What tests of running nodes share: processes, clusters of them, a client, wallets, waiting, seeded chance.

pub(crate) mod cluster;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod wait;
pub(crate) mod wallet;

pub(crate) use cluster::TestCluster;
pub(crate) use node::TestNode;
pub(crate) use random::Random;
pub(crate) use wait::{soon, within};
pub(crate) use wallet::Wallet;

/// Starts a node alone, with an anonymous SQL listener on the returned port; it stops when the guard is dropped.
pub(crate) fn start_single_node() -> (TestNode, u16) {
    let node = TestNode::bootstrap();
    let port = node.sql_address().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    (node, port.expect("the SQL listener has a port"))
}
