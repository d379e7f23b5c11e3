//! A TCP stream that fails when its other side is silent, or deaf, for too long. hyper has one time limit for both the
//! headers of a request and the pause before it, and none for an answer that nobody takes, which holds its buffers for
//! ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// Bytes a second below which the reader of an answer falls into debt: a lame mobile link. A byte now and then is as good
/// as none.
const RATE_MIN: f64 = 32.0 * 1024.0;

fn debt_after(debt: Duration, waited: Duration, taken: usize) -> Duration {
    (debt + waited).saturating_sub(Duration::from_secs_f64(taken as f64 / RATE_MIN))
}

/// Longest silences of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Before the first byte of a request.
    pub(super) idle: Duration,
    /// From the first byte of a request to the end of its headers.
    pub(super) head: Duration,
    /// Without the client taking what it is sent, at the least rate.
    pub(super) stall: Duration,
}

/// What a connection is doing; shared by the stream and by the service behind it.
#[derive(Clone, Debug)]
pub(super) struct Phase(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    phase: AtomicU8,
    opened: Instant,
    /// When the last request was done, in milliseconds from `opened`.
    idle_since: AtomicU64,
}

/// Between requests.
const WAITING: u8 = 0;
/// A request has begun to arrive.
const HEAD: u8 = 1;
/// A request is being answered; how long its body may take is up to whoever reads it.
const SERVING: u8 = 2;

impl Phase {
    /// A connection that has just been opened.
    pub(super) fn new() -> Phase {
        let idle_since = AtomicU64::new(0);
        Phase(Arc::new(Shared { phase: AtomicU8::new(WAITING), opened: Instant::now(), idle_since }))
    }

    /// The headers of a request are here. It is served until the returned value is dropped.
    pub(super) fn serve(&self) -> Serving {
        self.0.phase.store(SERVING, Ordering::Relaxed);
        Serving(self.clone())
    }

    fn get(&self) -> u8 {
        self.0.phase.load(Ordering::Acquire)
    }

    fn idle_since(&self) -> Instant {
        self.0.opened + Duration::from_millis(self.0.idle_since.load(Ordering::Relaxed))
    }

    /// Bytes have come; whether they begin a request.
    fn begins(&self) -> bool {
        self.0.phase.compare_exchange(WAITING, HEAD, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// A request in service.
#[derive(Debug)]
pub(super) struct Serving(Phase);

impl Drop for Serving {
    fn drop(&mut self) {
        let Phase(shared) = &self.0;
        let idle_since = u64::try_from(shared.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        shared.idle_since.store(idle_since, Ordering::Relaxed);
        shared.phase.store(WAITING, Ordering::Release);
    }
}

/// The guarded stream.
pub(super) struct Guard {
    stream: TcpStream,
    patience: Patience,
    phase: Phase,
    /// The phase when the connection was last found silent.
    seen: u8,
    /// When the silence has lasted too long.
    deadline: Instant,
    /// Fires at `deadline` or before; moved only when it must be, which is seldom.
    silence: Pin<Box<Sleep>>,
    /// Time spent waiting for the reader that what it took since has not made up for.
    debt: Duration,
    /// Runs while a write waits, with the moment from which it does.
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Guard {
    /// A stream whose reads and writes fail with `TimedOut`.
    pub(super) fn new(stream: TcpStream, patience: Patience, phase: Phase) -> Guard {
        let deadline = Instant::now() + patience.idle;
        let silence = Box::pin(tokio::time::sleep_until(deadline));
        Guard { stream, patience, phase, seen: WAITING, deadline, silence, debt: Duration::ZERO, stalled: None }
    }

    /// Nothing has come: how long may that go on?
    ///
    /// While a request is served, nothing need come. The timer runs on all the same: hyper may not look at the stream
    /// again when the answer is out, and then only the timer makes it.
    fn watch_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.phase.get();
        if phase != self.seen || phase == SERVING {
            self.seen = phase;
            self.deadline = match phase {
                HEAD => Instant::now() + self.patience.head,
                SERVING => Instant::now() + self.patience.idle,
                _ => self.phase.idle_since() + self.patience.idle,
            };
        }
        if self.deadline < self.silence.deadline() {
            let deadline = self.deadline;
            self.silence.as_mut().reset(deadline);
        }
        while self.silence.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.deadline {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let deadline = self.deadline;
            self.silence.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn watch_stall(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            let waited = self.stalled.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
            self.debt = debt_after(self.debt, waited, *written.as_ref().unwrap_or(&0));
            return Poll::Ready(written);
        }
        let left = self.patience.stall.saturating_sub(self.debt);
        let (_, stalled) = self.stalled.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() {
            return self.watch_silence(cx);
        }
        if buf.filled().len() > before && self.phase.begins() {
            self.seen = HEAD;
            self.deadline = Instant::now() + self.patience.head;
        }
        read
    }
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch_stall(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_now_and_then_does_not_keep_a_connection() {
        let second = Duration::from_secs(1);
        let after =
            |steps: usize, taken: usize| (0..steps).fold(Duration::ZERO, |debt, _| debt_after(debt, second, taken));
        assert!(after(60, 1) > 59 * second);
        assert!(after(60, 16 * 1024) >= 29 * second, "half the rate pays back half");
        assert_eq!(after(60, 32 * 1024), Duration::ZERO);
        assert_eq!(after(60, 1024 * 1024), Duration::ZERO, "nobody saves up");
    }
}
