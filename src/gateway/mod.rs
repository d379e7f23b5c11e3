//! The gateway's HTTP face: what applications talk to.
//!
//! Everything that is served stands in one table of routes ([`route`]); [`server`] takes a request from its head to its
//! answer and is the only place that decides in which order things are checked; each `*_api` module has the entries and
//! handlers of one chapter. A handler gets a [`call::Call`] whose caller was let in, and returns an answer or one of the
//! errors of the closed list in [`error`].
//!
//! What it promises: who may come is decided from the table before a body is read; every answer has a request id, every
//! error a stable code; whatever a client can make grow is bounded; nothing that may be a secret is logged.

mod access_log;
mod account_error;
mod apps_api;
mod auth_api;
mod authenticate;
mod call;
mod client_address;
mod compression;
mod consistency;
mod cors;
mod credential;
mod docs_api;
mod durable_api;
mod error;
mod event_stream;
mod health;
mod health_api;
mod json;
mod kv_api;
mod kv_watch;
mod login_page;
mod metrics_api;
mod namespace_api;
mod network_api;
mod openapi;
mod publication;
mod pubsub_api;
mod pubsub_durable;
mod pubsub_events;
mod pubsub_frames;
mod pubsub_socket;
mod query;
mod rate_limit;
mod reply;
mod request;
mod request_id;
mod route;
mod schema;
mod select;
mod server;
mod socket_credential;
mod sql_api;
mod sql_schema;
mod sql_value;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::cluster::AnyCluster;
use crate::http::{self, HttpLimits};
use crate::pubsub::PubSub;
use crate::tasks::Tasks;
use crate::types::callback_url::CallbackUrl;
use crate::types::kv::KvQuota;
use crate::types::{IpRange, Namespace};
use authenticate::Authenticator;
use health::{Observation, Observer};
use metrics_api::Metrics;
use publication::KnownDurable;
use pubsub_api::Publishers;
use rate_limit::RateLimits;
use request_id::RequestIds;
use route::{Route, Routes};

pub use authenticate::{Anonymous, Keyring, Opens};
pub use cors::AllowedOrigins;
pub use pubsub_socket::SocketFormat;
pub use rate_limit::Rates;
pub use socket_credential::QueryCredentials;

/// How the gateway is set up.
#[derive(Clone, Debug, Default)]
pub struct GatewayConfig {
    /// Connections, timeouts, trusted proxies and the grace period.
    pub limits: HttpLimits,
    /// Where this build comes from.
    pub build: BuildInfo,
    /// Whose pages may call.
    pub origins: AllowedOrigins,
    /// How many requests are let through.
    pub rates: Rates,
    /// Who is let in without the cluster being asked.
    pub keyring: Keyring,
    /// Where the login page may hand a key to, besides the browser's own machine.
    pub login_callbacks: Vec<CallbackUrl>,
    /// What each namespace may store.
    pub quotas: Quotas,
    /// How messages come on a socket where no subprotocol is spoken.
    pub socket_format: SocketFormat,
    /// Frames per second that one socket may send, with twice as many at once; 0 is without limit.
    pub socket_rate: u32,
    /// Whether credentials in a URL count where a browser can set no header.
    pub query_credentials: QueryCredentials,
    /// The directory whose disk must not run full.
    pub data_dir: PathBuf,
}

/// What each namespace may store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Keys and their bytes.
    pub kv: KvQuota,
    /// Size of its database's file; `None` = as large as the disk.
    pub database_bytes_max: Option<u64>,
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
    accounts: Accounts,
    build: BuildInfo,
    routes: Routes,
    /// `/openapi.json`, once somebody has asked: making it takes megabytes that an idle process need not have touched.
    contract: OnceLock<Bytes>,
    authenticator: Authenticator,
    request_ids: RequestIds,
    limits: RateLimits,
    origins: AllowedOrigins,
    login_callbacks: Vec<CallbackUrl>,
    proxies: Vec<IpRange>,
    bodies: Semaphore,
    observer: Observer,
    metrics: Metrics,
    quotas: Quotas,
    pubsub: PubSub,
    publishers: Publishers,
    durable: KnownDurable,
    socket_format: SocketFormat,
    socket_rate: u32,
    query_credentials: QueryCredentials,
    stopping: CancellationToken,
    data_dir: PathBuf,
    started: Instant,
    started_at: SystemTime,
}

impl Face {
    fn cluster(&self) -> &AnyCluster {
        self.accounts.cluster()
    }

    fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The namespace of requests that name none.
    fn home(&self) -> &Namespace {
        self.authenticator.namespace()
    }

    /// The contract as it is served.
    fn contract(&self) -> Bytes {
        let written = || Bytes::from(openapi::document(&self.routes, self.build.version).to_string());
        self.contract.get_or_init(written).clone()
    }

    fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Cancelled when the process stops: answers without an end must end then.
    fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// The health of this process, now or a moment ago.
    async fn look(&self) -> Observation {
        self.observer.look(self.cluster(), &self.data_dir).await
    }
}

/// The table of everything that is served.
fn routes() -> Vec<Route> {
    let chapters = [
        health_api::routes(),
        auth_api::routes(),
        login_page::routes(),
        namespace_api::routes(),
        apps_api::routes(),
        sql_api::routes(),
        kv_api::routes(),
        pubsub_api::routes(),
        durable_api::routes(),
        network_api::routes(),
        metrics_api::routes(),
        docs_api::routes(),
    ];
    chapters.into_iter().flatten().collect()
}

/// Serves until the owner of `tasks` stops, then lets running requests end.
pub async fn serve(listener: TcpListener, accounts: Accounts, pubsub: PubSub, config: GatewayConfig, tasks: &Tasks) {
    let routes = Routes::new(routes());
    let face = Arc::new(Face {
        accounts,
        build: config.build,
        routes,
        contract: OnceLock::new(),
        authenticator: Authenticator::new(config.keyring),
        request_ids: RequestIds::default(),
        limits: RateLimits::new(config.rates),
        origins: config.origins,
        login_callbacks: config.login_callbacks,
        proxies: config.limits.proxies.clone(),
        bodies: Semaphore::new(request::BODIES_KIB_MAX),
        observer: Observer::default(),
        metrics: Metrics::new(&config.build),
        quotas: config.quotas,
        pubsub,
        publishers: Publishers::default(),
        durable: KnownDurable::default(),
        socket_format: config.socket_format,
        socket_rate: config.socket_rate,
        query_credentials: config.query_credentials,
        stopping: tasks.cancelled(),
        data_dir: config.data_dir,
        started: Instant::now(),
        started_at: SystemTime::now(),
    });
    // In a box, so that an idle connection does not keep room for the largest endpoint.
    let answer = move |peer, request| Box::pin(server::answer(Arc::clone(&face), peer, request));
    http::serve(listener, config.limits, tasks, answer).await;
}
