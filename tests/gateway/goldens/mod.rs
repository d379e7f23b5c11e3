//! What the gateway answers, to the letter: a page for every route, with its success, its refusals and what is absent.
//!
//! Each chapter of the contract is one test that keeps a [`book::Book`]: it asks a real node, replaces what differs from
//! run to run by placeholders, and compares page by page with `snapshots/`. [`coverage`] then makes sure that no route of
//! the published contract is without a page, and no error code without an answer that has it. After a change that is
//! meant, run with `INSTA_UPDATE=always` and read the difference as a user would.

mod apps;
mod auth;
mod book;
mod coverage;
mod health;
mod limits;
mod namespaces;
mod network;
mod placeholders;
mod pubsub;
mod refusals;
mod sql;
mod storage;
mod without_quorum;
