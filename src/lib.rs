//! debros: replicated SQLite, key-value, pub/sub and an HTTP gateway in one process.

pub mod types;
pub mod tasks;
pub mod telemetry;
pub mod sql;
pub mod mesh;
pub mod raft;
pub mod cluster;
pub mod http;
pub mod gateway;
pub mod rqlite_api;
pub mod bench;
pub mod config;
pub mod daemon;
pub mod cli;
