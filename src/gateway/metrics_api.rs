//! `/metrics`: what a monitoring system collects, in the text form of OpenMetrics. For operators only, since it tells
//! how busy everybody is.
//!
//! Labels come from the table of routes and from lists of a few words, never from what a client sends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::BuildInfo;
use super::call::Call;
use super::error::ApiError;
use super::reply::{self, Reply};
use super::route::{Content, Policy, Route, Tag};
use crate::pubsub::PubSubCounters;

const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds in seconds: from a read in memory to the longest that a request may take.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    status_class: &'static str,
}

type Seconds = Family<RequestLabels, Histogram, fn() -> Histogram>;

/// What is measured.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Seconds,
    gauges: Gauges,
}

/// Values that are read when somebody asks.
#[derive(Debug, Default)]
struct Gauges {
    term: Gauge<u64, AtomicU64>,
    last_log_index: Gauge<u64, AtomicU64>,
    applied_index: Gauge<u64, AtomicU64>,
    commit_lag_entries: Gauge<u64, AtomicU64>,
    is_leader: Gauge,
    peers: Gauge<u64, AtomicU64>,
    disk_free: Gauge<u64, AtomicU64>,
    subscriptions: Gauge<u64, AtomicU64>,
    published: Counter,
    delivered: Counter,
    dropped: Counter,
    congested: Counter,
}

impl Metrics {
    pub(super) fn new(build: &BuildInfo) -> Metrics {
        let mut registry = Registry::with_prefix("debros");
        let requests: Seconds = Family::new_with_constructor(|| Histogram::new(SECONDS));
        registry.register_with_unit("http_request", "Time until an answer began", Unit::Seconds, requests.clone());
        let labels = vec![("version", build.version), ("commit", build.commit)];
        registry.register("build", "The build that runs", Info::new(labels));
        let gauges = Gauges::default();
        registry.register("raft_term", "The current term", gauges.term.clone());
        registry.register(
            "raft_last_log_index",
            "Index of the last entry in the log here",
            gauges.last_log_index.clone(),
        );
        registry.register("raft_applied_index", "Index of the last entry applied here", gauges.applied_index.clone());
        let lag = "Entries committed and not applied here";
        registry.register("raft_commit_lag_entries", lag, gauges.commit_lag_entries.clone());
        registry.register("raft_is_leader", "1 on the leader", gauges.is_leader.clone());
        registry.register("p2p_peers", "Peers that are connected", gauges.peers.clone());
        registry.register("disk_free_bytes", "Free space of the data directory's disk", gauges.disk_free.clone());
        registry.register("pubsub_subscriptions", "Subscriptions that there are", gauges.subscriptions.clone());
        registry.register("pubsub_published", "Messages published here", gauges.published.clone());
        registry.register("pubsub_delivered", "Messages handed to subscribers here", gauges.delivered.clone());
        registry.register("pubsub_dropped", "Messages lost by slow subscribers here", gauges.dropped.clone());
        let congested = "Messages that other processes did not get because too many waited";
        registry.register("pubsub_congested", congested, gauges.congested.clone());
        Metrics { registry, requests, gauges }
    }

    /// Counts an answer. A path that is not served has one label for all.
    pub(super) fn answered(&self, method: &Method, route: Option<&'static str>, status: StatusCode, elapsed: Duration) {
        let labels = RequestLabels {
            method: name_of(method),
            route: route.unwrap_or("none"),
            status_class: match status.as_u16() / 100 {
                1 => "1xx",
                2 => "2xx",
                3 => "3xx",
                4 => "4xx",
                _ => "5xx",
            },
        };
        self.requests.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }
}

fn name_of(method: &Method) -> &'static str {
    const NAMES: [(Method, &str); 6] = [
        (Method::GET, "GET"),
        (Method::POST, "POST"),
        (Method::PUT, "PUT"),
        (Method::DELETE, "DELETE"),
        (Method::HEAD, "HEAD"),
        (Method::OPTIONS, "OPTIONS"),
    ];
    NAMES.iter().find(|(known, _)| known == method).map_or("other", |(_, name)| name)
}

/// The routes of this chapter.
pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new(Method::GET, "/metrics", "getMetrics", metrics)
            .about(Tag::Health, "Measurements of this process, as OpenMetrics.")
            .policy(Policy::Operator)
            .answers(200, "The measurements.", Content::of(MEDIA_TYPE)),
    ]
}

async fn metrics(call: Call) -> Result<Reply, ApiError> {
    let face = &call.face;
    let Metrics { registry, gauges, .. } = &face.metrics;
    gauges.peers.set(face.cluster().peers_connected() as u64);
    gauges.disk_free.set(face.look().await.disk_free.unwrap_or(0));
    if let Some(raft) = face.cluster().raft_status() {
        gauges.term.set(raft.term);
        gauges.last_log_index.set(raft.last_log_index);
        gauges.applied_index.set(raft.applied_index);
        gauges.commit_lag_entries.set(raft.commit_index.saturating_sub(raft.applied_index));
        gauges.is_leader.set(i64::from(raft.leader == Some(raft.node)));
    }
    let PubSubCounters { published, delivered, dropped, congested, subscriptions } = face.pubsub.counters();
    gauges.subscriptions.set(subscriptions);
    // They are counted where they happen; here they are only shown.
    gauges.published.inner().store(published, Ordering::Relaxed);
    gauges.delivered.inner().store(delivered, Ordering::Relaxed);
    gauges.dropped.inner().store(dropped, Ordering::Relaxed);
    gauges.congested.inner().store(congested, Ordering::Relaxed);
    let mut text = String::new();
    encode(&mut text, registry).map_err(ApiError::internal)?;
    Ok(reply::typed(StatusCode::OK, HeaderValue::from_static(MEDIA_TYPE), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_lists_and_not_from_clients() {
        let metrics = Metrics::new(&BuildInfo::default());
        let strange = Method::from_bytes(b"STRANGE").expect("a method");
        for number in 0..100 {
            metrics.answered(&strange, None, StatusCode::NOT_FOUND, Duration::from_millis(number));
        }
        metrics.answered(&Method::GET, Some("/v1/apps/{id}"), StatusCode::OK, Duration::from_millis(3));
        let mut text = String::new();
        encode(&mut text, &metrics.registry).expect("text");
        let count = "debros_http_request_seconds_count{method=\"other\",route=\"none\",status_class=\"4xx\"} 100";
        assert!(text.contains(count), "{text}");
        assert!(text.contains("debros_build_info{"), "{text}");
        assert!(text.contains("route=\"/v1/apps/{id}\",status_class=\"2xx\""), "{text}");
    }
}
