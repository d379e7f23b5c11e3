//! debros: replicated SQLite, key-value, pub/sub and an HTTP gateway in one process.

pub mod cluster;
pub mod gateway;
pub mod http;
pub mod rqlite_api;
pub mod tasks;
pub mod types;
