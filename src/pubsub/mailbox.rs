//! What waits for one subscriber: a bounded queue whose oldest messages give way, and are counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::message::Message;
use crate::types::limits::{MAILBOX_BYTES_MAX, MAILBOX_MESSAGES_MAX};

/// What a subscriber finds.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// Messages are missing here.
    Gap(Gap),
    /// A message.
    Message(Arc<Message>),
}

/// Why messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The subscriber took them too slowly.
    Slow {
        /// How many.
        lost: u64,
    },
    /// They were lost between nodes; of which topics, and how many, is not known.
    Network,
}

/// The queue. One side pushes and never waits, the other takes.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    lost: u64,
    network_gap: bool,
}

impl Mailbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nobody panics while holding it")
    }

    /// Puts a message in; how many it pushed out.
    pub(super) fn push(&self, message: &Arc<Message>) -> u64 {
        let mut queue = self.queue();
        // Who takes empties the queue, or takes again without waiting.
        let was_empty = queue.messages.is_empty();
        queue.bytes += message.bytes();
        queue.messages.push_back(message.clone());
        let mut pushed_out = 0;
        // The newest stays, however large it is.
        while queue.messages.len() > MAILBOX_MESSAGES_MAX
            || (queue.bytes > MAILBOX_BYTES_MAX && queue.messages.len() > 1)
        {
            let oldest = queue.messages.pop_front().expect("there are several");
            queue.bytes -= oldest.bytes();
            pushed_out += 1;
        }
        queue.lost += pushed_out;
        drop(queue);
        if was_empty {
            self.filled.notify_one();
        }
        pushed_out
    }

    /// Notes that something did not come.
    pub(super) fn push_network_gap(&self) {
        self.queue().network_gap = true;
        self.filled.notify_one();
    }

    /// Waits until there is something, and takes at most `count_max` messages. Cancel-safe.
    pub(super) async fn take(&self, count_max: usize) -> Vec<Delivery> {
        loop {
            let taken = self.take_now(count_max);
            if !taken.is_empty() {
                return taken;
            }
            self.filled.notified().await;
        }
    }

    fn take_now(&self, count_max: usize) -> Vec<Delivery> {
        let mut queue = self.queue();
        let count = queue.messages.len().min(count_max);
        let mut taken = Vec::with_capacity(count + 2);
        if std::mem::take(&mut queue.network_gap) {
            taken.push(Delivery::Gap(Gap::Network));
        }
        match std::mem::take(&mut queue.lost) {
            0 => {}
            lost => taken.push(Delivery::Gap(Gap::Slow { lost })),
        }
        let Queue { messages, bytes, .. } = &mut *queue;
        taken.extend(messages.drain(..count).map(|message| {
            *bytes -= message.bytes();
            Delivery::Message(message)
        }));
        taken
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::pubsub::message::Publisher;
    use crate::types::Namespace;

    fn message(publisher: &Publisher, bytes: usize) -> Arc<Message> {
        let topic = "t".parse().expect("a topic");
        Arc::new(publisher.next(topic, Bytes::from(vec![0; bytes]), 0, |message| message))
    }

    fn seqs(taken: &[Delivery]) -> Vec<u64> {
        let seq = |delivery: &Delivery| match delivery {
            Delivery::Message(message) => Some(message.seq),
            Delivery::Gap(_) => None,
        };
        taken.iter().filter_map(seq).collect()
    }

    #[tokio::test]
    async fn the_oldest_give_way_and_are_counted_before_the_rest() {
        let publisher = Publisher::new(Namespace::default_namespace(), "p");
        let mailbox = Mailbox::default();
        let pushed_out: u64 = (0..MAILBOX_MESSAGES_MAX + 5).map(|_| mailbox.push(&message(&publisher, 1))).sum();
        assert_eq!(pushed_out, 5);
        let taken = mailbox.take(2).await;
        assert!(matches!(taken[0], Delivery::Gap(Gap::Slow { lost: 5 })));
        assert_eq!(seqs(&taken), [6, 7]);
        let rest = mailbox.take(usize::MAX).await;
        assert_eq!(rest.len(), MAILBOX_MESSAGES_MAX - 2);
        assert_eq!(mailbox.queue().bytes, 0);
    }

    #[tokio::test]
    async fn large_messages_are_bounded_by_their_bytes_and_the_newest_stays() {
        let publisher = Publisher::new(Namespace::default_namespace(), "p");
        let mailbox = Mailbox::default();
        mailbox.push(&message(&publisher, MAILBOX_BYTES_MAX * 2 / 3));
        mailbox.push(&message(&publisher, MAILBOX_BYTES_MAX * 2 / 3));
        assert_eq!(seqs(&mailbox.take(9).await), [2]);
        mailbox.push(&message(&publisher, MAILBOX_BYTES_MAX * 2));
        assert_eq!(seqs(&mailbox.take(9).await), [3]);
        mailbox.push_network_gap();
        assert!(matches!(mailbox.take(9).await[..], [Delivery::Gap(Gap::Network)]));
    }
}
