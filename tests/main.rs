//! The program as its users have it: real processes of the real binary, real sockets, real files.
//!
//! Nodes listen on ports that the system chooses and keep everything in temporary directories, so tests run beside each
//! other. `DEBROS_TEST_BIN` names another binary to test, for instance a release build.

mod faults;
mod gateway;
mod nodes;
mod rqlite;
mod source;
mod support;
