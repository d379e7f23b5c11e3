//! Raft's answers: what this node does with the streams that members open to it.

use std::io;
use std::pin::pin;

use futures::StreamExt;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::frames::{FrameReader, put_frame, send_frame};
use super::handle::Raft;
use super::wire::{self, Append, Control};
use crate::mesh::{InboundStream, MeshStream, Protocol};

type Snapshot = openraft::alias::SnapshotOf<super::TypeConfig, super::snapshot::SnapshotData>;

/// Append requests read ahead of openraft, which itself takes 64.
const APPENDS_AHEAD_MAX: usize = 64;

/// Answers collected into one write when several are ready at once.
const ANSWERS_PER_WRITE_MAX: usize = 64;

impl Raft {
    /// Serves one inbound stream until the peer ends it or something breaks.
    ///
    /// # Errors
    /// What broke; the stream is closed, the peer opens another when it needs one.
    pub async fn serve(&self, inbound: InboundStream) -> io::Result<()> {
        let InboundStream { protocol, mut stream, .. } = inbound;
        let mut frames = FrameReader::default();
        self.hello.check(frames.expect(&mut stream).await?)?;
        match protocol {
            Protocol::RaftAppend => self.serve_append(frames, stream).await,
            Protocol::RaftControl => self.serve_control(frames, stream).await,
            Protocol::RaftSnapshot => self.serve_snapshot(frames, stream).await,
            other => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{other} is not raft's"))),
        }
    }

    async fn serve_append(&self, frames: FrameReader, stream: MeshStream) -> io::Result<()> {
        let (reader, writer) = stream.split();
        let (requests, queue) = mpsc::channel(APPENDS_AHEAD_MAX);
        let mut answer = pin!(self.answer_appends(queue, writer));
        tokio::select! {
            // openraft refused a request: the peer has been told, nothing more is read.
            answered = &mut answer => answered,
            read = read_appends(frames, reader, requests) => {
                read?;
                answer.await
            }
        }
    }

    async fn answer_appends(&self, queue: mpsc::Receiver<Append>, mut writer: WriteHalf<MeshStream>) -> io::Result<()> {
        let requests =
            futures::stream::unfold(queue, |mut queue| async { queue.recv().await.map(|request| (request, queue)) });
        let answers = pin!(self.core.stream_append(requests));
        let mut answers = answers.ready_chunks(ANSWERS_PER_WRITE_MAX);
        let mut out = Vec::new();
        while let Some(ready) = answers.next().await {
            out.clear();
            for answer in ready {
                let answer = answer.map_err(io::Error::other)?;
                self.contact.note();
                put_frame(&mut out, |out| wire::put_stream_append_result(out, &answer));
            }
            writer.write_all(&out).await?;
            writer.flush().await?;
        }
        writer.shutdown().await
    }

    async fn serve_control(&self, mut frames: FrameReader, mut stream: MeshStream) -> io::Result<()> {
        while let Some(frame) = frames.next(&mut stream).await? {
            match Control::take(frame)? {
                Control::Append(request) => {
                    let answer = self.core.append_entries(request).await.map_err(io::Error::other)?;
                    self.contact.note();
                    send_frame(&mut stream, |out| wire::put_append_response(out, &answer)).await?;
                }
                Control::Vote(request) => {
                    let answer = self.core.vote(request).await.map_err(io::Error::other)?;
                    send_frame(&mut stream, |out| wire::put_vote_response(out, &answer)).await?;
                }
                Control::PreVote(request) => {
                    let answer = self.core.pre_vote(request).await.map_err(io::Error::other)?;
                    send_frame(&mut stream, |out| wire::put_vote_response(out, &answer)).await?;
                }
                Control::TransferLeader(request) => {
                    let answer = self.core.handle_transfer_leader(request).await.map_err(io::Error::other)?;
                    send_frame(&mut stream, |out| wire::put_transfer_response(out, &answer)).await?;
                }
            }
        }
        Ok(())
    }

    async fn serve_snapshot(&self, mut frames: FrameReader, mut stream: MeshStream) -> io::Result<()> {
        let _only_one = self
            .receiving
            .try_lock()
            .map_err(|_| io::Error::new(io::ErrorKind::ResourceBusy, "another snapshot is being received"))?;
        let received = super::transfer::receive_snapshot(&self.directories, &mut frames, &mut stream).await?;
        let index = received.meta.last_log_id.map_or(0, |id| id.index);
        tracing::info!(index, "snapshot received");
        let snapshot = Snapshot { meta: received.meta, snapshot: received.data };
        let answer = self.core.install_full_snapshot(received.vote, snapshot).await.map_err(io::Error::other)?;
        send_frame(&mut stream, |out| super::codec::put_vote(out, &answer.vote)).await?;
        // Wait for the sender to end the stream: dropping it now could overtake the answer.
        frames.next(&mut stream).await.map(|_| ())
    }
}

async fn read_appends(
    mut frames: FrameReader,
    mut reader: ReadHalf<MeshStream>,
    requests: mpsc::Sender<Append>,
) -> io::Result<()> {
    while let Some(frame) = frames.next(&mut reader).await? {
        if requests.send(wire::take_append(frame)?).await.is_err() {
            // openraft refused an earlier request and takes no more; the answer side tells the peer.
            return Ok(());
        }
    }
    Ok(())
}
