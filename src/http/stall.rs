//! A TCP stream that fails when its reader takes too little for too long. hyper has no such timeout of its own, and an
//! answer that nobody takes holds its buffers for ever. A byte now and then is as good as none: time spent waiting is a
//! debt, and only bytes taken at a [least rate](RATE_MIN) pay it back.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Bytes a second below which a reader falls into debt: a lame mobile link.
const RATE_MIN: f64 = 32.0 * 1024.0;

fn debt_after(debt: Duration, waited: Duration, taken: usize) -> Duration {
    (debt + waited).saturating_sub(Duration::from_secs_f64(taken as f64 / RATE_MIN))
}

/// The guarded stream.
pub(super) struct StallGuard {
    stream: TcpStream,
    timeout: Duration,
    debt: Duration,
    /// Runs while a write waits, with the moment from which it does.
    stalled: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl StallGuard {
    /// A stream whose writes fail with `TimedOut` after waiting for `timeout`.
    pub(super) fn new(stream: TcpStream, timeout: Duration) -> StallGuard {
        StallGuard { stream, timeout, debt: Duration::ZERO, stalled: None }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            let waited = self.stalled.take().map_or(Duration::ZERO, |(since, _)| since.elapsed());
            self.debt = debt_after(self.debt, waited, *written.as_ref().unwrap_or(&0));
            return Poll::Ready(written);
        }
        let left = self.timeout.saturating_sub(self.debt);
        let (_, stalled) = self.stalled.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
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
