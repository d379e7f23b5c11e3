//! The gateway from outside: what holds for every endpoint, and what each of them does.

mod caller;
mod contract;
mod credentials;
mod events;
mod goldens;
mod limits;
mod paths;
mod raw;
