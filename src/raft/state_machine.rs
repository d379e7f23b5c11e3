//! The state machine as openraft sees it: a handle that passes everything on to the apply thread.

use std::io;

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};

use super::apply::{ApplyThread, Directories, Work};
use super::log_store::Durable;
use super::snapshot::{self, Fence, SnapshotData};
use super::type_config::{LogId, SnapshotMeta, StoredMembership, TypeConfig};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// Entries applied in one transaction. More would gain nothing in throughput and delay the first answer.
const BATCH_MAX: usize = 4096;

/// Handle to the state machine.
#[derive(Clone)]
pub(super) struct StateMachine {
    pub(super) apply: ApplyThread,
    directories: Directories,
    log: Durable,
}

impl StateMachine {
    pub(super) fn new(apply: ApplyThread, directories: Directories, log: Durable) -> StateMachine {
        StateMachine { apply, directories, log }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = StateMachine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.apply.ask(|reply| Work::AppliedState { reply }).await
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batches = entries.try_ready_chunks(BATCH_MAX);
        while let Some(batch) = batches.try_next().await.map_err(|e| e.1)? {
            let (entries, responders): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            // An entry may be committed by others before it is on disk here. Were it applied then, a node that is killed
            // would come back with a state that its own log knows nothing of, or knows otherwise.
            if let Some(last) = entries.last() {
                self.log.wait(last.log_id).await?;
            }
            let outcomes = self.apply.ask(|reply| Work::Apply { entries, reply }).await?;
            // Answered from here and not from the apply thread: waking a task costs a system call from outside the
            // runtime and almost nothing inside.
            for (responder, outcome) in responders.into_iter().zip(outcomes) {
                if let Some(responder) = responder {
                    responder.send(outcome);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> StateMachine {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let directory = match snapshot {
            SnapshotData::Received(directory) => directory,
            SnapshotData::Local(source) => {
                let mut fence = Fence::raise(&source).await?;
                snapshot::copy_locally(&self.directories, &mut fence.snapshot)?;
                snapshot::make_ready(&self.directories)?
            }
        };
        self.apply.ask(|reply| Work::Install { directory, reply }).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let meta = self.apply.ask(|reply| Work::CurrentSnapshot { reply }).await?;
        Ok(meta.map(|meta| Snapshot { meta, snapshot: SnapshotData::Local(self.apply.clone()) }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let meta = self.apply.ask(|reply| Work::BuildSnapshot { reply }).await?;
        Ok(Snapshot { meta, snapshot: SnapshotData::Local(self.apply.clone()) })
    }
}
