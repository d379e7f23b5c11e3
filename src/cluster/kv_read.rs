//! Reads of keys, and waiting for their changes.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Cluster;
use super::error::ClusterError;
use super::peer_api::{PeerRequest, PeerResponse};
use super::read::{Allowed, Answer, Hop, Question, Terms};
use super::request::{KvAnswer, KvRead, Level};
use crate::sql::{KvReadOptions, ReadError, Readers};
use crate::types::kv::{Kv, KvFound, KvQuery};
use crate::types::{Command, Namespace};

impl Question for KvRead {
    type Found = KvFound;

    fn terms(&self) -> Terms<'_> {
        let KvRead { namespace, level, freshness, min_index, .. } = self;
        Terms { namespace, level: *level, freshness: *freshness, min_index: *min_index }
    }

    fn ask(&self, readers: &Readers, allowed: &Allowed) -> Result<KvFound, ReadError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let options = KvReadOptions {
            now_unix_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            deadline: allowed.deadline,
            bytes_max: allowed.limits.result_bytes_max as u64,
            work: allowed.work,
        };
        readers.kv(&self.query, &options)
    }

    fn to_leader(self, timeout: Duration) -> PeerRequest {
        PeerRequest::ReadKv { read: self, timeout }
    }

    fn answered(response: PeerResponse) -> Result<KvFound, PeerResponse> {
        match response {
            PeerResponse::Kv { found, .. } => Ok(found),
            other => Err(other),
        }
    }

    /// An entry that changes nothing marks the place in the log; what is here when it has been applied is the answer.
    async fn through_log(self, cluster: &Cluster, deadline: Instant) -> Result<Answer<KvFound>, ClusterError> {
        let marker = Command::Kv(Kv::new(self.namespace.clone(), Vec::new()));
        let applied = cluster.submit(marker, deadline).await?;
        let after = KvRead { min_index: self.min_index.max(Some(applied.index)), ..self };
        let found = cluster.find_here(&after, deadline).await?;
        Ok(Answer { found, index: Some(applied.index), served_by: applied.served_by })
    }
}

impl Cluster {
    /// Reads keys at the level asked for.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn read_kv(&self, read: KvRead, deadline: Instant) -> Result<KvAnswer, ClusterError> {
        let Answer { found, index, served_by } = self.answer(read, Hop::Allowed, deadline).await?;
        Ok(KvAnswer { found, index, served_by })
    }

    /// Waits until this node has a change of the namespace's keys behind the one numbered `after`; the number of the
    /// newest.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] when none came in time, [`ClusterError::NoSuchNamespace`] when the namespace is not
    /// there or goes. Cancel safe.
    pub async fn wait_kv_change(
        &self,
        namespace: &Namespace,
        after: u64,
        deadline: Instant,
    ) -> Result<u64, ClusterError> {
        let query = KvQuery::Changes { prefix: String::new(), after, changes_max: 0 };
        let read = KvRead { namespace: namespace.clone(), query, level: Level::None, freshness: None, min_index: None };
        let newest_of = |found: &KvFound| match found {
            KvFound::Changes { newest, .. } | KvFound::ChangesGone { newest } => Some(*newest),
            _ => None,
        };
        self.wait_change(self.raft().state().kv_feeds(), &read, newest_of, after, deadline).await
    }
}
