//! Topics of a namespace, over the cluster.

pub mod durable;
