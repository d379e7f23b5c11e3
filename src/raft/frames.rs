//! Messages on a stream: a little-endian `u32` length, then that many bytes.
//!
//! An end of the stream between two frames is an end; in the middle of one it is an error. Which end means what is for
//! the protocol above to say.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::types::limits::FRAME_BYTES_MAX;

const LENGTH_BYTES: usize = 4;

/// Read at once: one multiplexer window is 256 KiB, more would only be copied twice.
const READ_BYTES: usize = 64 * 1024;

/// Appends a frame whose body `put` writes.
pub(crate) fn put_frame(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    put(out);
    let length = (out.len() - start - LENGTH_BYTES) as u32;
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// Writes one frame and flushes.
pub(crate) async fn send_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    put: impl FnOnce(&mut Vec<u8>),
) -> io::Result<()> {
    let mut out = Vec::with_capacity(256);
    put_frame(&mut out, put);
    stream.write_all(&out).await?;
    stream.flush().await
}

/// Collects bytes into frames.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    bytes_max: usize,
}

impl Default for FrameReader {
    fn default() -> FrameReader {
        FrameReader::with_limit(FRAME_BYTES_MAX)
    }
}

impl FrameReader {
    /// Takes no frame larger than this: for peers that are no members.
    pub(crate) fn with_limit(bytes_max: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), bytes_max }
    }

    /// The next frame, `None` at a clean end. Cancel safe: bytes read stay here.
    pub(crate) async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return self.end();
            }
        }
    }

    /// The next frame, where a missing one is an error.
    pub(crate) async fn expect(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
        self.next(stream).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    pub(crate) fn poll_next(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            if let Some(frame) = self.take()? {
                return Poll::Ready(Ok(Some(frame)));
            }
            let mut chunk = [0; 16 * 1024];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(stream.as_mut().poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(self.end());
            }
            self.buffer.extend_from_slice(chunk.filled());
        }
    }

    /// Whether nothing of a next frame has arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    fn take(&mut self) -> io::Result<Option<Bytes>> {
        let Some(length) = self.buffer.get(..LENGTH_BYTES) else { return Ok(None) };
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if length > self.bytes_max {
            let message = format!("frame of {length} bytes is larger than the limit of {}", self.bytes_max);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn end(&self) -> io::Result<Option<Bytes>> {
        if self.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_whole_however_they_are_cut() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, |out| out.extend_from_slice(b"one"));
        put_frame(&mut bytes, |_| {});
        put_frame(&mut bytes, |out| out.extend_from_slice(&[7; 100_000]));
        let (mut near, mut far) = tokio::io::duplex(13);
        let sender = async move {
            near.write_all(&bytes).await.expect("writes");
        };
        let receiver = async move {
            let mut reader = FrameReader::default();
            assert_eq!(reader.next(&mut far).await.expect("reads").as_deref(), Some(&b"one"[..]));
            assert_eq!(reader.next(&mut far).await.expect("reads").as_deref(), Some(&b""[..]));
            assert_eq!(reader.next(&mut far).await.expect("reads").map(|frame| frame.len()), Some(100_000));
            assert!(reader.next(&mut far).await.expect("a clean end").is_none());
        };
        tokio::join!(sender, receiver);
    }

    #[tokio::test]
    async fn a_stranger_cannot_send_what_a_member_may() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, |out| out.extend_from_slice(&[7; 1001]));
        let refused = FrameReader::with_limit(1000).next(&mut &bytes[..]).await.expect_err("too large");
        assert!(refused.to_string().contains("frame of 1001 bytes is larger than the limit of 1000"), "{refused}");
        assert!(FrameReader::with_limit(1001).next(&mut &bytes[..]).await.expect("fits").is_some());
        assert!(FrameReader::default().next(&mut &bytes[..]).await.expect("fits").is_some());
    }

    #[tokio::test]
    async fn an_end_within_a_frame_and_an_oversized_frame_are_errors() {
        for bytes in [&[3, 0, 0, 0, 1][..], &u32::MAX.to_le_bytes()[..]] {
            let mut stream = bytes;
            assert!(FrameReader::default().next(&mut stream).await.is_err());
        }
    }
}
