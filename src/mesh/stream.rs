//! A stream to a peer.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

use super::protocol::Protocol;
use crate::types::NodeId;

/// Bytes in order, both ways, encrypted, from and to one authenticated peer.
///
/// * **Always read while you write.** A peer that does not read stops our writer after about 256 KiB; two peers that both
///   write first wait for each other for ever. [`MeshStream::split`] and one task per half avoid it.
/// * **An end may be a loss.** Reading 0 bytes means that the peer closed the stream, dropped it, or that the connection
///   broke; the multiplexer does not tell which. A message therefore carries its length, and only an end between two
///   messages with nothing outstanding is a clean one.
/// * **Write batches.** Each write becomes a frame of its own: collect small messages and write them at once.
/// * Dropping it resets the stream unless both sides have closed it: shut down the writer and read to the end first.
///
/// Reading and writing are cancel-safe as far as tokio's extension methods are.
pub struct MeshStream {
    stream: Compat<Stream>,
    /// A stranger's share of the streams that strangers may hold.
    _permit: Option<OwnedSemaphorePermit>,
}

impl MeshStream {
    pub(super) fn new(stream: Stream, permit: Option<OwnedSemaphorePermit>) -> MeshStream {
        MeshStream { stream: stream.compat(), _permit: permit }
    }

    /// The two halves, for two tasks. They share a lock that is held for the length of one poll, never over a wait.
    pub fn split(self) -> (ReadHalf<MeshStream>, WriteHalf<MeshStream>) {
        tokio::io::split(self)
    }
}

impl AsyncRead for MeshStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for MeshStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl fmt::Debug for MeshStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshStream").finish_non_exhaustive()
    }
}

/// A stream that a peer opened. The peer was admitted to the protocol when it did.
#[derive(Debug)]
pub struct InboundStream {
    /// Who opened it; proven by the handshake of the connection.
    pub peer: NodeId,
    /// What for.
    pub protocol: Protocol,
    /// The stream, with nothing read from it.
    pub stream: MeshStream,
}
