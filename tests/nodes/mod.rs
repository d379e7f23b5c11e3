//! What nodes promise while nothing fails but processes.

mod dev;
mod gateway;
mod joining;
mod leadership;
mod membership;
mod namespaces;
mod private_files;
mod remote;
mod single;
mod three;
