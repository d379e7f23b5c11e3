//! The gateway's shell from outside: what holds for every endpoint, whatever it does.

mod contract;
mod credentials;
mod limits;
mod paths;
mod raw;
