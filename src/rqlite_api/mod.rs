//! rqlite's HTTP contract.

mod body;
mod go_duration;
mod go_number;
mod go_string;
mod indent;
mod json;
mod parameters;
mod timestamp;
