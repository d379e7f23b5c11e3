//! The gateway's HTTP face. So far: whether this process lives, can serve, and what it is.
//!
//! These answers are for load balancers, supervisors and people at a terminal, so they need no credentials and tell the
//! truth with their status code, not only in their text.

mod health;
mod server;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::net::TcpListener;

use crate::cluster::AnyCluster;
use crate::http::{self, HttpLimits};
use crate::tasks::Tasks;

/// How the gateway is set up.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Connections, timeouts and the grace period.
    pub limits: HttpLimits,
    /// Where this build comes from.
    pub build: BuildInfo,
}

/// Where a build comes from.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// Its version.
    pub version: &'static str,
    /// Its commit; `unknown` when built outside of a repository.
    pub commit: &'static str,
    /// When it was built, in RFC 3339; `unknown` when that was not recorded.
    pub build_time: &'static str,
}

impl Default for BuildInfo {
    fn default() -> BuildInfo {
        BuildInfo { version: env!("CARGO_PKG_VERSION"), commit: "unknown", build_time: "unknown" }
    }
}

/// What all requests share.
#[derive(Debug)]
struct Face {
    cluster: AnyCluster,
    build: BuildInfo,
    started: Instant,
    started_at: SystemTime,
}

/// Serves until the owner of `tasks` stops, then lets running requests end.
pub async fn serve(listener: TcpListener, cluster: AnyCluster, config: GatewayConfig, tasks: &Tasks) {
    let face = Arc::new(Face { cluster, build: config.build, started: Instant::now(), started_at: SystemTime::now() });
    http::serve(listener, config.limits, tasks, move |_, request| {
        let face = Arc::clone(&face);
        async move { server::answer(&face, &request).await }
    })
    .await;
}
