//! Whether this node can serve: a decision over what was observed, and the observing.

use std::time::{Duration, Instant};

use crate::cluster::{AnyCluster, Cluster, ClusterError, Level, RaftState, Read, RemoteCluster};
use crate::types::command::Atomicity;
use crate::types::{Namespace, Statement, StatementResult};

/// Longest that the database may take to answer `SELECT 1`; probes have short timeouts of their own.
const DATABASE_WAIT: Duration = Duration::from_secs(2);

/// Without a word from the leader for so long, answers from here are old: several heartbeats and an election.
const CONTACT_MAX: Duration = Duration::from_secs(5);

/// Entries committed but not applied here; beyond it reads of this node are noticeably behind.
const LAG_MAX: u64 = 10_000;

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
    pub(super) last_contact: Option<Duration>,
    pub(super) lag: u64,
    pub(super) database: Result<(), String>,
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
    /// Judges an observation.
    pub(super) fn of(seen: &Observation) -> Verdict {
        if seen.stopped {
            return Verdict::Unavailable("node is shutting down".to_owned());
        }
        if let Err(error) = &seen.database {
            return Verdict::Unavailable(format!("database does not answer: {error}"));
        }
        match (seen.leader_known, seen.serving) {
            (true, _) => {}
            (false, Serving::Replica) => return Verdict::Unavailable("leader not found".to_owned()),
            (false, Serving::Relay) => return Verdict::Degraded("leader not found: only reads work".to_owned()),
        }
        match seen.last_contact {
            None => return Verdict::Degraded("never heard from the leader".to_owned()),
            Some(ago) if ago > CONTACT_MAX => {
                return Verdict::Degraded(format!("last heard from the leader {} s ago", ago.as_secs()));
            }
            Some(_) => {}
        }
        if seen.lag > LAG_MAX {
            return Verdict::Degraded(format!("{} committed log entries are not applied yet", seen.lag));
        }
        Verdict::Ok
    }
}

/// Looks now.
pub(super) async fn observe(cluster: &AnyCluster) -> Observation {
    match cluster {
        AnyCluster::Node(cluster) => observe_node(cluster).await,
        AnyCluster::Remote(cluster) => observe_remote(cluster),
    }
}

/// A process without data can serve as long as somebody answers who has them.
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
        database,
    }
}

async fn observe_node(cluster: &Cluster) -> Observation {
    let raft = cluster.raft_status();
    let read = Read {
        namespace: Namespace::default_namespace(),
        statements: vec![Statement::new("SELECT 1")],
        atomicity: Atomicity::EachStatement,
        level: Level::None,
        freshness: None,
        min_index: None,
        statement_timeout: None,
        qualify_columns: false,
    };
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
        last_contact: raft.last_contact,
        lag: raft.commit_index.saturating_sub(raft.applied_index),
        database,
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
    };

    #[test]
    fn only_a_node_that_can_serve_is_well() {
        assert_eq!(Verdict::of(&FINE), Verdict::Ok);
        for broken in [
            Observation { stopped: true, ..FINE },
            Observation { leader_known: false, ..FINE },
            Observation { database: Err("disk I/O error".to_owned()), ..FINE },
        ] {
            assert!(matches!(Verdict::of(&broken), Verdict::Unavailable(_)), "{broken:?}");
        }
        for limping in [
            Observation { leader_known: false, serving: Serving::Relay, ..FINE },
            Observation { last_contact: None, ..FINE },
            Observation { last_contact: Some(CONTACT_MAX * 2), ..FINE },
            Observation { lag: LAG_MAX + 1, ..FINE },
        ] {
            assert!(matches!(Verdict::of(&limping), Verdict::Degraded(_)), "{limping:?}");
        }
    }
}
