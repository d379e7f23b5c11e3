//! Whether this node can serve: a decision over what was observed, and the observing.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::cluster::{AnyCluster, Cluster, ClusterError, Level, RaftState, Read, RemoteCluster};
use crate::types::{Namespace, Statement, StatementResult};

/// Longest that the database may take to answer `SELECT 1`; probes have short timeouts of their own.
const DATABASE_WAIT: Duration = Duration::from_secs(2);

/// Without a word from the leader (for a leader: from a quorum) for so long, a node can neither write nor read what
/// everybody agreed on: it is several heartbeats and elections, and one may take itself for a follower all the while.
const CONTACT_MAX: Duration = Duration::from_secs(5);

/// Entries committed but not applied here; beyond it reads of this node are noticeably behind.
const LAG_MAX: u64 = 10_000;

/// Bytes of the disk that must be free: the log, the databases' own logs and a snapshot go on growing until somebody
/// has come to look. A node whose disk is full stops.
const DISK_FREE_BYTES_MIN: u64 = 512 * 1024 * 1024;

/// How long an observation stands for the next: anybody may ask, and each look is a query.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Whose data this process serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// Its own: behind a leader that is gone they grow old.
    Replica,
    /// Other nodes': they say for themselves what they can do without a leader.
    Relay,
}

/// What was seen.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    pub(super) stopped: bool,
    pub(super) serving: Serving,
    pub(super) leader_known: bool,
    /// When this node last heard from its leader, or the leader from a quorum.
    pub(super) last_contact: Option<Duration>,
    pub(super) lag: u64,
    pub(super) database: Result<(), String>,
    /// Free bytes of the disk; `None` where nothing is stored.
    pub(super) disk_free: Option<u64>,
}

/// One of the things that health is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) verdict: Verdict,
}

/// What follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything works.
    Ok,
    /// Reads and writes work, but something is wrong.
    Degraded(String),
    /// It cannot serve.
    Unavailable(String),
}

impl Verdict {
    /// Judges an observation: the worst of its checks.
    pub(super) fn of(seen: &Observation) -> Verdict {
        let verdicts = checks(seen).map(|check| check.verdict);
        let worst = |found: fn(&Verdict) -> bool| verdicts.iter().find(|verdict| found(verdict)).cloned();
        worst(|verdict| matches!(verdict, Verdict::Unavailable(_)))
            .or_else(|| worst(|verdict| matches!(verdict, Verdict::Degraded(_))))
            .unwrap_or(Verdict::Ok)
    }
}

/// Judges each part of an observation, the gravest first.
pub(super) fn checks(seen: &Observation) -> [Check; 6] {
    let unavailable = |bad: bool, reason: &str| {
        if bad { Verdict::Unavailable(reason.to_owned()) } else { Verdict::Ok }
    };
    let database = match &seen.database {
        Ok(()) => Verdict::Ok,
        Err(error) => Verdict::Unavailable(format!("database does not answer: {error}")),
    };
    let leader = match (seen.leader_known, seen.serving) {
        (true, _) => Verdict::Ok,
        (false, Serving::Replica) => Verdict::Unavailable("leader not found".to_owned()),
        (false, Serving::Relay) => Verdict::Degraded("leader not found: only reads work".to_owned()),
    };
    let quorum = match (seen.last_contact, seen.serving) {
        (None, _) => Verdict::Degraded("never heard from the leader".to_owned()),
        (Some(ago), serving) if ago > CONTACT_MAX => {
            let reason = format!("no contact to a quorum for {} s: only reads with level=none work", ago.as_secs());
            match serving {
                Serving::Replica => Verdict::Unavailable(reason),
                Serving::Relay => Verdict::Degraded(reason),
            }
        }
        (Some(_), _) => Verdict::Ok,
    };
    let lag = match seen.lag {
        0..=LAG_MAX => Verdict::Ok,
        lag => Verdict::Degraded(format!("{lag} committed log entries are not applied yet")),
    };
    let disk = match seen.disk_free {
        Some(free) if free < DISK_FREE_BYTES_MIN => {
            Verdict::Degraded(format!("less than {} MiB of disk are free", DISK_FREE_BYTES_MIN / 1024 / 1024))
        }
        _ => Verdict::Ok,
    };
    [
        Check { name: "running", verdict: unavailable(seen.stopped, "node is shutting down") },
        Check { name: "database", verdict: database },
        Check { name: "leader", verdict: leader },
        Check { name: "quorum", verdict: quorum },
        Check { name: "applied", verdict: lag },
        Check { name: "disk", verdict: disk },
    ]
}

/// Looks, and remembers for a moment what was seen.
#[derive(Debug, Default)]
pub(super) struct Observer {
    last: Mutex<Option<(Instant, Observation)>>,
}

impl Observer {
    /// What is seen now, or was a moment ago. Who asks while somebody is looking gets what that one sees.
    pub(super) async fn look(&self, backend: &AnyCluster, data_dir: &Path) -> Observation {
        let mut last = self.last.lock().await;
        if let Some((when, seen)) = &*last
            && when.elapsed() < LOOK_EVERY
        {
            return seen.clone();
        }
        let seen = observe(backend, data_dir).await;
        *last = Some((Instant::now(), seen.clone()));
        seen
    }
}

async fn observe(backend: &AnyCluster, data_dir: &Path) -> Observation {
    match backend {
        AnyCluster::Node(cluster) => Observation { disk_free: disk_free(data_dir), ..observe_node(cluster).await },
        AnyCluster::Remote(cluster) => observe_remote(cluster),
    }
}

/// Bytes that an ordinary process may still write there.
fn disk_free(directory: &Path) -> Option<u64> {
    match rustix::fs::statvfs(directory) {
        Ok(disk) => Some(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => {
            tracing::warn!(directory = %directory.display(), %error, "free disk space cannot be read");
            None
        }
    }
}

/// A process without data can serve as long as it reaches somebody who has them.
fn observe_remote(cluster: &RemoteCluster) -> Observation {
    let reach = cluster.reach();
    let database = match (reach.refused, reach.nodes_answering) {
        (true, _) => Err("the cluster does not admit this gateway: it was removed".to_owned()),
        (false, 0) => Err("no node of the cluster answers".to_owned()),
        (false, _) => Ok(()),
    };
    Observation {
        stopped: false,
        serving: Serving::Relay,
        leader_known: reach.writable,
        last_contact: Some(Duration::ZERO),
        lag: 0,
        disk_free: None,
        database,
    }
}

async fn observe_node(cluster: &Cluster) -> Observation {
    let raft = cluster.raft_status();
    let read = Read::new(Namespace::default_namespace(), vec![Statement::new("SELECT 1")], Level::None);
    let answer = tokio::time::timeout(DATABASE_WAIT, cluster.read(read, Instant::now() + DATABASE_WAIT)).await;
    let database = match answer {
        Err(_) => Err("timeout".to_owned()),
        // Anyone may ask, so the names of files stay in the log.
        Ok(Err(ClusterError::Storage(reason))) => {
            tracing::error!(error = %reason, "health check failed in storage");
            Err("storage error".to_owned())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(answer)) => match answer.results.into_iter().next() {
            Some(StatementResult::Failed(failure)) => Err(failure.message),
            _ => Ok(()),
        },
    };
    Observation {
        stopped: raft.state == RaftState::Shutdown,
        serving: Serving::Replica,
        leader_known: raft.leader.is_some(),
        last_contact: cluster.quorum_contact(),
        lag: raft.commit_index.saturating_sub(raft.applied_index),
        database,
        disk_free: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Observation = Observation {
        stopped: false,
        serving: Serving::Replica,
        leader_known: true,
        last_contact: Some(Duration::ZERO),
        lag: 0,
        database: Ok(()),
        disk_free: Some(u64::MAX),
    };

    #[test]
    fn only_a_node_that_can_serve_is_well() {
        assert_eq!(Verdict::of(&FINE), Verdict::Ok);
        for broken in [
            Observation { stopped: true, ..FINE },
            Observation { leader_known: false, ..FINE },
            Observation { database: Err("disk I/O error".to_owned()), ..FINE },
            Observation { last_contact: Some(CONTACT_MAX * 2), ..FINE },
        ] {
            assert!(matches!(Verdict::of(&broken), Verdict::Unavailable(_)), "{broken:?}");
        }
        for limping in [
            Observation { leader_known: false, serving: Serving::Relay, ..FINE },
            Observation { last_contact: None, ..FINE },
            Observation { last_contact: Some(CONTACT_MAX * 2), serving: Serving::Relay, ..FINE },
            Observation { lag: LAG_MAX + 1, ..FINE },
            Observation { disk_free: Some(DISK_FREE_BYTES_MIN - 1), ..FINE },
        ] {
            assert!(matches!(Verdict::of(&limping), Verdict::Degraded(_)), "{limping:?}");
        }
        let both = Observation { leader_known: false, lag: LAG_MAX + 1, ..FINE };
        assert!(matches!(Verdict::of(&both), Verdict::Unavailable(_)), "the worst counts");
    }
}
