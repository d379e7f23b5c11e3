//! The gateway from outside: what holds for every endpoint, and what each of them does.

mod accounts;
mod caller;
mod connections;
mod contract;
mod credentials;
mod durable;
mod events;
mod goldens;
mod isolation;
mod keys;
mod limits;
mod many_sockets;
mod members;
mod migrations;
mod paths;
mod pubsub;
mod raw;
mod roles;
mod soak;
mod socket;
mod sql;
mod storage;
mod tickets;
mod watch;
