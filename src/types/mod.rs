//! The words of the domain: values that can only be made valid, and the commands and outcomes that travel between parts.
//!
//! Nothing here does I/O, waits, or knows another module of the crate.

pub mod access;
pub mod cluster_id;
pub mod cluster_secret;
pub mod admin;
pub mod build;
pub mod callback_url;
pub mod command;
pub mod durable;
mod excerpt;
pub mod exit;
pub mod kv;
pub mod hex;
pub mod ip_range;
pub mod limits;
pub mod names;
pub mod node_id;
pub mod role;
pub mod scope;
pub mod statement;
pub(crate) mod timestamp;
pub mod topic;
pub mod wallet;

pub use access::{AccessRole, Action};
pub use cluster_id::ClusterId;
pub use cluster_secret::ClusterSecret;
pub use command::{Command, Envelope, Executed, Outcome, Stamp};
pub use durable::TopicChange;
pub(crate) use excerpt::excerpt;
pub use exit::Exit;
pub use ip_range::{InvalidIpRange, IpRange};
pub use kv::{Key, Kv};
pub use names::Namespace;
pub use node_id::NodeId;
pub use role::Role;
pub use scope::{Scope, Scopes};
pub use statement::{Rows, Statement, StatementResult, Value};
pub use topic::{InvalidTopic, Topic, TopicFilter};
pub use wallet::{Chain, WalletAddress};
