//! The gateway from outside: what holds for every endpoint, and what each of them does.

mod accounts;
mod caller;
mod contract;
mod credentials;
mod events;
mod goldens;
mod keys;
mod limits;
mod members;
mod paths;
mod raw;
mod roles;
