//! debros: replicated SQLite, key-value, pub/sub and an HTTP gateway in one process.

pub mod cli;
pub mod cluster;
pub mod raft;
pub mod mesh;
pub mod sql;
pub mod config;
pub mod daemon;
pub mod gateway;
pub mod http;
pub mod rqlite_api;
pub mod tasks;
pub mod telemetry;
pub mod types;
