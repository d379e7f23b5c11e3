//! SQLite, synchronous, without any knowledge of Raft: the files of namespaces, written by the log and read by all.
//!
//! [`Database`] applies log entries to one file and gives the same content on every replica. [`Readers`] answers
//! queries of the same file, on as many threads as there are. [`adopt()`] turns a user's file into a namespace's.
//!
//! # How replicas stay equal
//!
//! SQL is run as it was sent, not rewritten. What could make it answer differently on another machine is pinned or
//! refused, each by the part that is closest to it:
//!
//! | what | guard |
//! |---|---|
//! | the time, however SQL asks for it | `clock_vfs`: the entry's |
//! | `random()`, `randomblob()`, `total_changes()` | `randomness`: seeded by the entry, counted from its start |
//! | `changes()`, `last_insert_rowid()` | set to 0 before each entry |
//! | random rowids after the largest one | `effects`: that rowid is refused |
//! | random column names of CREATE TABLE AS | `effects`: refused |
//! | the planner's statistics, which may differ in memory | `admission`: none are gathered; `adopt`: none are kept |
//! | what FTS5 gathers before it writes | `database`: written at the end of each entry |
//! | versions, paths, ATTACH, VACUUM, connection settings | `admission`: refused |
//! | statements that end the batch's transaction | `entry`, `database`: the batch is run again without them |
//! | deferred foreign keys | checked per entry |
//! | time limits | `meter`: counted in VM steps, and in the work of `functions` that do much in one |
//! | memory of one statement | `heap`: counted from large values on |
//! | full disk, I/O errors, no memory | `error`: the node stops |
//! | a namespace's size | `page_limit`: counted in pages, told apart from a full disk |
//! | when a key expires, when a message is too old | `kv`, `topics`: by the entry's time |
//! | `localtime` | the process runs with `TZ=UTC`, which is the daemon's duty |

mod admission;
mod adopt;
mod bind;
mod checkpoint;
mod clock_vfs;
mod connection;
mod effects;
mod entry;
mod error;
mod ffi;
mod functions;
mod heap;
mod idempotency;
mod internal;
mod kv;
mod kv_read;
mod meter;
mod page_limit;
mod randomness;
mod scalar;
mod statement;
mod tables;
mod text;
mod topic_read;
mod topics;

pub mod backup;
pub mod database;
pub mod dump;
pub mod readers;
pub mod script;
pub mod snapshot;

#[cfg(test)]
mod database_tests;
#[cfg(test)]
mod expect_tests;
#[cfg(test)]
mod fence_tests;
#[cfg(test)]
mod functions_tests;
#[cfg(test)]
mod kv_tests;
#[cfg(test)]
mod page_limit_tests;
#[cfg(test)]
mod replay_tests;
#[cfg(test)]
mod resource_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod topics_tests;

pub use adopt::adopt;
pub use backup::BackupOptions;
pub use connection::ForeignKeys;
pub use connection::prepare_process;
pub use database::{BatchEntry, Change, Checkpoint, Database};
pub use dump::DumpError;
pub use error::{AdoptError, ReadError, SqlError};
pub use kv_read::KvReadOptions;
pub use readers::{ReadOptions, Readers, Work};
pub use snapshot::ReadSnapshot;
pub use topic_read::TopicReadOptions;
