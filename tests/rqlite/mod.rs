//! The rqlite listener of a running node.

mod access;
mod exchange;
mod goldens;
