//! One replication session: a pipeline of append requests on a stream, answered in order.
//!
//! openraft hands over a stream of requests and wants a stream of answers. Both directions are driven by whoever polls
//! the answers, in one task: requests are encoded as long as little is waiting to be sent, bytes go out as the stream
//! takes them, answers are read whenever some are there. So neither side ever writes without reading, and dropping the
//! session leaves nothing running.
//!
//! The end of the request stream is an end, not an error: openraft ends it whenever it has nothing to send. With
//! nothing outstanding the connection then goes back to its client and serves the next session. (Reporting such an end
//! as an error stops replication to that follower for good.)

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::raft::StreamAppendResult;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

use super::frames::put_frame;
use super::network::{Connection, broken, timed_out};
use super::type_config::TypeConfig;
use super::wire::{self, Append};

/// Requests are encoded ahead of the stream up to this many bytes.
const AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// Requests sent ahead of their answers. The follower answers after its fsync, so this many fsyncs may overlap.
const UNANSWERED_MAX: usize = 64;

/// A follower that is alive answers within an fsync; a slow disk may take a second. Heartbeats, which decide about
/// leadership, go over another stream and do not wait for this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

type Answer = Result<StreamAppendResult<TypeConfig>, openraft::errors::RPCError<TypeConfig>>;

pub(super) struct AppendSession<'s, S> {
    connection: Option<Connection>,
    /// Where the connection goes when it is clean at the end.
    give_back: &'s mut Option<Connection>,
    input: Option<S>,
    outgoing: Vec<u8>,
    sent: usize,
    unanswered: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<'s, S> AppendSession<'s, S>
where
    S: Stream<Item = Append> + Unpin,
{
    pub(super) fn new(connection: Connection, give_back: &'s mut Option<Connection>, input: S) -> Self {
        AppendSession {
            connection: Some(connection),
            give_back,
            input: Some(input),
            outgoing: Vec::new(),
            sent: 0,
            unanswered: 0,
            deadline: Box::pin(tokio::time::sleep(ANSWER_TIMEOUT)),
        }
    }

    fn progressed(&mut self) {
        self.deadline.as_mut().reset(Instant::now() + ANSWER_TIMEOUT);
    }

    /// Encodes requests while there are some and the pipeline is not full.
    fn fill(&mut self, cx: &mut Context<'_>) {
        while self.outgoing.len() - self.sent < AHEAD_BYTES_MAX && self.unanswered < UNANSWERED_MAX {
            let Some(input) = &mut self.input else { return };
            match input.poll_next_unpin(cx) {
                Poll::Ready(Some(request)) => {
                    if self.unanswered == 0 {
                        self.progressed();
                    }
                    put_frame(&mut self.outgoing, |out| wire::put_append(out, &request));
                    self.unanswered += 1;
                }
                Poll::Ready(None) => self.input = None,
                Poll::Pending => return,
            }
        }
    }

    /// Writes what the stream takes.
    fn send(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let mut stream = Pin::new(&mut connection.stream);
        while self.sent < self.outgoing.len() {
            match stream.as_mut().poll_write(cx, &self.outgoing[self.sent..])? {
                Poll::Ready(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => self.sent += count,
                Poll::Pending => break,
            }
        }
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        }
        // A flush that is not finished is continued by the connection's own task.
        let _ = stream.poll_flush(cx)?;
        Ok(())
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<StreamAppendResult<TypeConfig>>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(std::io::ErrorKind::NotConnected.into()));
        };
        let frame = ready!(connection.frames.poll_next(Pin::new(&mut connection.stream), cx))?;
        let frame = frame.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Poll::Ready(wire::take_stream_append_result(frame))
    }
}

impl<S> Stream for AppendSession<'_, S>
where
    S: Stream<Item = Append> + Unpin,
{
    type Item = Answer;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        let this = self.get_mut();
        if this.connection.is_none() {
            return Poll::Ready(None);
        }
        this.fill(cx);
        if let Err(error) = this.send(cx) {
            this.connection = None;
            return Poll::Ready(Some(Err(broken(error))));
        }
        if this.unanswered == 0 {
            // Nothing is owed: an idle follower may keep silent as long as it likes.
            return if this.input.is_none() { Poll::Ready(None) } else { Poll::Pending };
        }
        match this.poll_answer(cx) {
            Poll::Ready(Ok(answer)) => {
                this.unanswered -= 1;
                this.progressed();
                if answer.is_err() {
                    // The follower ends its side of the stream after a refusal.
                    this.connection = None;
                }
                Poll::Ready(Some(Ok(answer)))
            }
            Poll::Ready(Err(error)) => {
                this.connection = None;
                Poll::Ready(Some(Err(broken(error))))
            }
            Poll::Pending => {
                ready!(this.deadline.as_mut().poll(cx));
                this.connection = None;
                Poll::Ready(Some(Err(timed_out(ANSWER_TIMEOUT))))
            }
        }
    }
}

impl<S> Drop for AppendSession<'_, S> {
    fn drop(&mut self) {
        let nothing_read = self.connection.as_ref().is_some_and(|connection| connection.frames.is_empty());
        if self.unanswered == 0 && self.outgoing.is_empty() && nothing_read {
            *self.give_back = self.connection.take();
        }
    }
}
