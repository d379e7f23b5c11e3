//! Consensus: the log, the state machine behind it, and the traffic between members. The only place that names openraft.
//!
//! A command's way: [`Raft::propose`] stamps and encodes it → openraft appends it → [`log_store`] makes it durable with
//! others in one fsync, while [`network`] sends it to followers that do the same → a quorum has it → [`apply`] runs it
//! in the namespace's database → the proposer gets its outcome.
//!
//! In reading order: [`type_config`] (what openraft is told), [`codec`] and [`wire`] (our bytes), [`log_file`] and
//! [`log_store`] (the log), [`system`], [`databases`] and [`apply`] (the state), [`feeds`] (who waits for it), [`snapshot`] and [`transfer`]
//! (catching up), [`network`] and [`serve`] (the traffic), [`handle`] (the face).

mod append_session;
mod apply;
mod checksum;
mod codec;
mod databases;
mod feeds;
mod files;
mod frames;
mod handle;
mod log_file;
mod log_store;
mod network;
mod serve;
mod snapshot;
mod state_machine;
mod system;
mod transfer;
mod type_config;
mod wal_check;
mod wire;

pub use apply::{Progress, StateView};
pub use checksum::{Checksum, Checksums};
pub use databases::SharedReaders;
pub use feeds::Feeds;
pub(crate) use frames::{FrameReader, put_frame, send_frame};
pub use handle::{Follower, ProposeError, Raft, RaftOptions, RaftOwner, RaftStartError, RaftState, Status};
pub use log_file::LogFileError;
pub use system::{SystemError, SystemView};
pub use type_config::{Peer, TypeConfig};

#[cfg(test)]
mod tests;
