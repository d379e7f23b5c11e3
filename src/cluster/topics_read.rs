//! Reads of durable topics, and waiting for their messages.

use std::time::{Duration, Instant};

use super::Cluster;
use super::error::ClusterError;
use super::peer_api::{PeerRequest, PeerResponse};
use super::read::{Allowed, Answer, Hop, Question, Terms};
use super::request::{Level, TopicsAnswer, TopicsRead};
use crate::sql::{ReadError, Readers, TopicReadOptions};
use crate::types::durable::{TopicFound, TopicQuery};
use crate::types::{Command, Namespace, TopicChange};

impl Question for TopicsRead {
    type Found = TopicFound;

    fn terms(&self) -> Terms<'_> {
        let TopicsRead { namespace, level, freshness, min_index, .. } = self;
        Terms { namespace, level: *level, freshness: *freshness, min_index: *min_index }
    }

    fn ask(&self, readers: &Readers, allowed: &Allowed) -> Result<TopicFound, ReadError> {
        let bytes_max = allowed.limits.result_bytes_max as u64;
        readers.topics(&self.query, &TopicReadOptions { deadline: allowed.deadline, bytes_max, work: allowed.work })
    }

    fn to_leader(self, timeout: Duration) -> PeerRequest {
        PeerRequest::ReadTopics { read: self, timeout }
    }

    fn answered(response: PeerResponse) -> Result<TopicFound, PeerResponse> {
        match response {
            PeerResponse::Topics { found, .. } => Ok(found),
            other => Err(other),
        }
    }

    /// An entry that changes nothing marks the place in the log; what is here when it has been applied is the answer.
    async fn through_log(self, cluster: &Cluster, deadline: Instant) -> Result<Answer<TopicFound>, ClusterError> {
        let marker = Command::Topics(TopicChange::new(self.namespace.clone(), Vec::new()));
        let applied = cluster.submit(marker, deadline).await?;
        let after = TopicsRead { min_index: self.min_index.max(Some(applied.index)), ..self };
        let found = cluster.find_here(&after, deadline).await?;
        Ok(Answer { found, index: Some(applied.index), served_by: applied.served_by })
    }
}

impl Cluster {
    /// Reads durable topics or their messages at the level asked for.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn read_topics(&self, read: TopicsRead, deadline: Instant) -> Result<TopicsAnswer, ClusterError> {
        let Answer { found, index, served_by } = self.answer(read, Hop::Allowed, deadline).await?;
        Ok(TopicsAnswer { found, index, served_by })
    }

    /// Waits until this node has a stored message of the namespace, or a change of its set of durable topics, behind the
    /// one numbered `after`; the number of the newest.
    ///
    /// # Errors
    /// [`ClusterError::Timeout`] when none came in time, [`ClusterError::NoSuchNamespace`] when the namespace is not
    /// there or goes. Cancel safe.
    pub async fn wait_topics_change(
        &self,
        namespace: &Namespace,
        after: u64,
        deadline: Instant,
    ) -> Result<u64, ClusterError> {
        let newest = TopicsRead {
            namespace: namespace.clone(),
            query: TopicQuery::Newest,
            level: Level::None,
            freshness: None,
            min_index: None,
        };
        let newest_of = |found: &TopicFound| match found {
            TopicFound::Newest(newest) => Some(*newest),
            _ => None,
        };
        self.wait_change(self.raft().state().topic_feeds(), &newest, newest_of, after, deadline).await
    }
}
