//! Messages to other processes and from them.
//!
//! Messages that wait for the same shard travel in one frame; a message that waits for nobody travels at once. What
//! arrives is put in its sender's order, and what is missing is told to all whom it may concern.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, oneshot};

use super::frame::{Content, Frame, News, Sent};
use super::hub::Hub;
use super::message::Message;
use super::order::{Next, Order, Run, Runs};
use super::presence::Presence;
use crate::mesh::{GossipFrame, GossipInbox, Gossiped, Mesh, Shards};
use crate::types::NodeId;
use crate::types::limits::{GOSSIP_BATCH_BYTES_MAX, GOSSIP_PENDING_BYTES_MAX, GOSSIP_SHARDS};

/// What waits to be sent.
pub(super) struct Outbox {
    shards: Vec<Mutex<Pending>>,
    filled: Notify,
}

/// A message, and who wants to know what became of its frame.
type Waiting = (Arc<Message>, Option<oneshot::Sender<Gossiped>>);

#[derive(Default)]
struct Pending {
    messages: VecDeque<Waiting>,
    bytes: usize,
    /// Something did not fit since the last frame.
    lost: bool,
}

impl Outbox {
    pub(super) fn new() -> Outbox {
        Outbox { shards: (0..GOSSIP_SHARDS).map(|_| Mutex::default()).collect(), filled: Notify::new() }
    }

    /// Puts a message in; `false` when too much waits already. Whoever wants to know is told what became of its frame.
    pub(super) fn push(&self, shard: u8, message: Arc<Message>, tell: Option<oneshot::Sender<Gossiped>>) -> bool {
        let mut pending = self.pending(shard);
        if pending.bytes > GOSSIP_PENDING_BYTES_MAX {
            pending.lost = true;
            return false;
        }
        pending.bytes += message.bytes();
        pending.messages.push_back((message, tell));
        drop(pending);
        self.filled.notify_one();
        true
    }

    fn pending(&self, shard: u8) -> std::sync::MutexGuard<'_, Pending> {
        self.shards[usize::from(shard)].lock().expect("nobody panics while holding it")
    }

    /// Takes as many messages as go into one frame, and whether some were lost before them.
    fn take(&self, shard: u8) -> (Vec<Waiting>, bool) {
        let mut pending = self.pending(shard);
        let mut bytes = 0;
        let fits = |(message, _): &&Waiting| {
            bytes += message.bytes();
            bytes <= GOSSIP_BATCH_BYTES_MAX
        };
        let count = pending.messages.iter().take_while(fits).count().max(1).min(pending.messages.len());
        let taken: Vec<_> = pending.messages.drain(..count).collect();
        pending.bytes -= taken.iter().map(|(message, _)| message.bytes()).sum::<usize>();
        (taken, std::mem::take(&mut pending.lost))
    }
}

/// Counts the frames of this process.
pub(super) struct Sender {
    mesh: Mesh,
    run: u64,
    seqs: Mutex<[u64; GOSSIP_SHARDS]>,
}

impl Sender {
    pub(super) fn new(mesh: Mesh) -> Sender {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        Sender { mesh, run: u64::try_from(run).unwrap_or(u64::MAX), seqs: Mutex::new([0; GOSSIP_SHARDS]) }
    }

    /// Sends a frame; `skip`: one before it was lost, which receivers are to notice.
    pub(super) async fn send(&self, shard: u8, content: Content, skip: bool) -> Gossiped {
        let seq = {
            let mut seqs = self.seqs.lock().expect("nobody panics while holding it");
            let seq = &mut seqs[usize::from(shard)];
            *seq += 1 + u64::from(skip);
            *seq
        };
        let frame = Frame { run: self.run, seq, content };
        self.mesh.gossip(shard, frame.encode()).await.unwrap_or(Gossiped::Congested)
    }
}

/// Sends what is put into the outbox. Ends only with its task.
pub(super) async fn send(outbox: Arc<Outbox>, sender: Arc<Sender>) {
    loop {
        outbox.filled.notified().await;
        let mut sent_some = true;
        while std::mem::take(&mut sent_some) {
            // One frame of each shard in turn, so that a busy one does not hold up the others.
            for shard in 0..GOSSIP_SHARDS as u8 {
                let (taken, lost) = outbox.take(shard);
                if taken.is_empty() {
                    continue;
                }
                sent_some = true;
                let messages = taken.iter().map(|(message, _)| Sent::from(&**message)).collect();
                let gossiped = sender.send(shard, Content::Messages(messages), lost).await;
                for tell in taken.into_iter().filter_map(|(_, tell)| tell) {
                    // Who does not wait any more need not know.
                    let _ = tell.send(gossiped);
                }
            }
        }
    }
}

/// What came from other processes, on its way to subscribers here.
pub(super) struct Receiver {
    pub(super) hub: Arc<Hub>,
    pub(super) presence: Arc<Mutex<Presence>>,
    /// Shards that were not listened to since the last frame on them.
    pub(super) paused: Arc<Mutex<Shards>>,
    pub(super) orders: HashMap<(NodeId, u8), Order<Content>>,
    pub(super) runs: Runs,
}

impl Receiver {
    /// Takes what arrives, until the mesh stops.
    pub(super) async fn run(mut self, mut inbox: GossipInbox) {
        loop {
            let look_again = self.orders.values().filter_map(Order::look_again).min();
            tokio::select! {
                frame = inbox.next() => match frame {
                    Some(frame) => self.on_frame(frame),
                    None => return,
                },
                () = until(look_again) => self.give_up(),
            }
        }
    }

    fn on_frame(&mut self, frame: GossipFrame) {
        let GossipFrame { from, shard, bytes } = frame;
        let Frame { run, seq, content } = match Frame::decode(&bytes) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::warn!(%from, shard, %error, "a gossip frame cannot be read; is the node of another version?");
                return;
            }
        };
        let now = Instant::now();
        match self.runs.judge(from, run, now) {
            Run::Present => {}
            Run::New => self.orders.retain(|(sender, _), _| *sender != from),
            Run::Past => return,
        }
        self.resume(shard);
        let next = self.orders.entry((from, shard)).or_default().take(seq, content, now);
        self.tell(from, shard, next);
    }

    /// A shard that was not listened to begins anywhere again.
    fn resume(&mut self, shard: u8) {
        let mut paused = self.paused.lock().expect("nobody panics while holding it");
        if !paused.contains(shard) {
            return;
        }
        *paused = paused.without(shard);
        drop(paused);
        self.orders.iter_mut().filter(|((_, of), _)| *of == shard).for_each(|(_, order)| order.paused());
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        let given_up: Vec<_> =
            self.orders.iter_mut().map(|((from, shard), order)| (*from, *shard, order.give_up(now))).collect();
        for (from, shard, next) in given_up {
            self.tell(from, shard, next);
        }
    }

    fn tell(&mut self, from: NodeId, shard: u8, next: Vec<Next<Content>>) {
        for next in next {
            match next {
                Next::Frame(Content::Messages(messages)) => {
                    for message in messages {
                        self.hub.deliver(&Arc::new(message.into()));
                    }
                }
                Next::Frame(Content::News(news)) => self.note(from, &news),
                Next::Gap => {
                    tracing::debug!(%from, shard, "gossip frames were lost");
                    self.hub.network_gap(shard);
                }
            }
        }
    }

    fn note(&self, from: NodeId, news: &News) {
        self.presence.lock().expect("nobody panics while holding it").note(from, news, Instant::now());
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
