//! Sending a snapshot, and receiving one.
//!
//! The sender offers a list of files. For each file in turn the receiver says which chunks it has (from a transfer that
//! broke, or from its own, older database: replicas are alike page by page), the sender sends the others and the hash
//! of the whole. Turns alternate, so nobody writes into a full pipe while the other does. What arrived stays in
//! `snapshots/incoming`, so a broken transfer goes on where it stopped.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncWrite};

use super::apply::Directories;
use super::codec::{
    put_log_id, put_option, put_stored_membership, put_vote, take_log_id, take_option, take_stored_membership, take_u8,
    take_u32, take_u64, take_vote,
};
use super::files;
use super::frames::{FrameReader, send_frame};
use super::network::Connection;
use super::snapshot::{self, Fence, FencedFile, SnapshotData};
use super::type_config::{SnapshotMeta, Vote};
use super::wire::{put_block, take_block, unknown_tag};
use crate::mesh::MeshStream;

/// Files are compared and sent in pieces of this size: small enough to skip what is equal, large enough for the pipe.
const CHUNK_BYTES: usize = 256 * 1024;

/// Enough of a BLAKE3 hash to tell two chunks apart; the whole file is checked with all 32 bytes.
const CHUNK_HASH_BYTES: usize = 16;

/// No message for this long means that the other side is gone. Installing waits for its disk.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Files of one snapshot: one per namespace, and `_system`.
const FILES_MAX: usize = 1_000_000;

/// A received snapshot, ready to be given to openraft.
pub(super) struct Received {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) data: SnapshotData,
}

struct Offer {
    vote: Vote,
    meta: SnapshotMeta,
    files: Vec<(String, u64)>,
}

const PIECE_CHUNK: u8 = 0;
const PIECE_END: u8 = 1;

enum Piece {
    Chunk { offset: u64, bytes: Bytes },
    End { hash: [u8; 32] },
}

/// Sends this node's state; the receiver's vote after it has installed it.
pub(super) async fn send(mut connection: Connection, vote: &Vote, data: SnapshotData) -> io::Result<Vote> {
    let SnapshotData::Local(apply) = data else {
        return Err(io::Error::other("only this node's own state can be sent"));
    };
    let mut fence = Fence::raise(&apply).await?;
    let offer = Offer {
        vote: *vote,
        meta: fence.snapshot.meta.clone(),
        files: fence.snapshot.files.iter().map(|file| (file.name.clone(), file.bytes)).collect(),
    };
    send_frame(&mut connection.stream, |out| put_offer(out, &offer)).await?;
    let broken = fence.snapshot.broken.clone();
    for file in &mut fence.snapshot.files {
        let present = receive(&mut connection).await?;
        send_file(&mut connection.stream, file, &present, &broken).await?;
    }
    drop(fence);
    let mut answer = receive(&mut connection).await?;
    take_vote(&mut answer)
}

async fn receive(connection: &mut Connection) -> io::Result<Bytes> {
    expect(&mut connection.frames, &mut connection.stream).await
}

async fn expect(frames: &mut FrameReader, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    tokio::time::timeout(SILENCE_MAX, frames.expect(stream))
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the peer fell silent during a snapshot")))
}

async fn send_file(
    stream: &mut (impl AsyncWrite + Unpin),
    file: &mut FencedFile,
    present: &[u8],
    broken: &AtomicBool,
) -> io::Result<()> {
    let mut whole = blake3::Hasher::new();
    let mut present = present.chunks_exact(CHUNK_HASH_BYTES);
    let mut offset = 0;
    while offset < file.bytes {
        let length = CHUNK_BYTES.min((file.bytes - offset) as usize);
        let (chunk, hash) = tokio::task::block_in_place(|| {
            let mut chunk = vec![0; length];
            file.file.read_exact(&mut chunk)?;
            whole.update(&chunk);
            let hash = chunk_hash(&chunk);
            Ok::<_, io::Error>((chunk, hash))
        })?;
        if present.next() != Some(&hash[..]) {
            send_frame(stream, |out| {
                out.put_u8(PIECE_CHUNK);
                out.put_u64_le(offset);
                out.put_slice(&chunk);
            })
            .await?;
        }
        offset += length as u64;
    }
    // Before the end is sent: without it the receiver does not use the file.
    if broken.load(Ordering::Acquire) {
        return Err(io::Error::other("the databases changed while the snapshot was sent"));
    }
    send_frame(stream, |out| {
        out.put_u8(PIECE_END);
        out.put_slice(whole.finalize().as_bytes());
    })
    .await
}

/// Receives an offered snapshot into `snapshots/ready`.
pub(super) async fn receive_snapshot(
    directories: &Directories,
    frames: &mut FrameReader,
    stream: &mut MeshStream,
) -> io::Result<Received> {
    let offer = take_offer(expect(frames, stream).await?)?;
    let incoming = snapshot::incoming_directory(directories);
    std::fs::create_dir_all(&incoming)?;
    remove_others(&incoming, &offer)?;
    for (name, bytes) in &offer.files {
        let path = incoming.join(name);
        let live = directories.databases.join(name);
        let present = tokio::task::block_in_place(|| chunks_present(&path, &live))?;
        send_frame(stream, |out| out.put_slice(&present)).await?;
        receive_file(frames, stream, &path, *bytes).await?;
    }
    let directory = tokio::task::block_in_place(|| snapshot::make_ready(directories))?;
    Ok(Received { vote: offer.vote, meta: offer.meta, data: SnapshotData::Received(directory) })
}

async fn receive_file(
    frames: &mut FrameReader,
    stream: &mut (impl AsyncRead + Unpin),
    path: &Path,
    bytes: u64,
) -> io::Result<()> {
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    loop {
        match take_piece(expect(frames, stream).await?)? {
            Piece::Chunk { offset, bytes } => tokio::task::block_in_place(|| {
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(&bytes)
            })?,
            Piece::End { hash } => {
                return tokio::task::block_in_place(|| {
                    file.set_len(bytes)?;
                    check_whole(&mut file, path, &hash)
                });
            }
        }
    }
}

/// A file that does not match is removed: the next transfer begins it anew.
fn check_whole(file: &mut File, path: &Path, expected: &[u8; 32]) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = blake3::Hasher::new();
    io::copy(file, &mut hasher)?;
    if hasher.finalize().as_bytes() == expected {
        return Ok(());
    }
    std::fs::remove_file(path)?;
    let message = format!("{}: the hash of the received file is wrong", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, message))
}

/// Hashes of what is here of a file: from a broken transfer, else from a copy of the live database.
fn chunks_present(path: &Path, live: &Path) -> io::Result<Vec<u8>> {
    if !path.exists() && live.exists() {
        std::fs::copy(live, path)?;
    }
    let mut hashes = Vec::new();
    let Ok(mut file) = File::open(path) else { return Ok(hashes) };
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    loop {
        chunk.clear();
        if (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)? == 0 {
            return Ok(hashes);
        }
        hashes.extend_from_slice(&chunk_hash(&chunk));
    }
}

fn remove_others(incoming: &Path, offer: &Offer) -> io::Result<()> {
    for file in std::fs::read_dir(incoming)? {
        let file = file?;
        if !offer.files.iter().any(|(name, _)| file.file_name() == name.as_str()) {
            std::fs::remove_file(file.path())?;
        }
    }
    files::sync_directory(incoming)
}

fn chunk_hash(chunk: &[u8]) -> [u8; CHUNK_HASH_BYTES] {
    let mut short = [0; CHUNK_HASH_BYTES];
    short.copy_from_slice(&blake3::hash(chunk).as_bytes()[..CHUNK_HASH_BYTES]);
    short
}

fn put_offer(out: &mut Vec<u8>, offer: &Offer) {
    put_vote(out, &offer.vote);
    put_option(out, offer.meta.last_log_id.as_ref(), put_log_id);
    let mut membership = Vec::new();
    put_stored_membership(&mut membership, &offer.meta.last_membership);
    put_block(out, &membership);
    out.put_u32_le(offer.files.len() as u32);
    for (name, bytes) in &offer.files {
        put_block(out, name.as_bytes());
        out.put_u64_le(*bytes);
    }
}

fn take_offer(mut frame: Bytes) -> io::Result<Offer> {
    let vote = take_vote(&mut frame)?;
    let last_log_id = take_option(&mut frame, take_log_id)?;
    let last_membership = take_stored_membership(take_block(&mut frame)?)?;
    let count = (take_u32(&mut frame)? as usize).min(FILES_MAX);
    let mut files = Vec::with_capacity(count.min(1024));
    for _ in 0..count {
        let name = take_block(&mut frame)?;
        files.push((file_name(&name)?, take_u64(&mut frame)?));
    }
    Ok(Offer { vote, meta: SnapshotMeta { last_log_id, last_membership }, files })
}

/// Only names that a database file can have: nothing that leads out of the directory.
fn file_name(name: &[u8]) -> io::Result<String> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "offered file has no database's name");
    let name = std::str::from_utf8(name).map_err(|_| invalid())?;
    let stem = name.strip_suffix(".sqlite").ok_or_else(invalid)?;
    if stem != "_system" && crate::types::Namespace::from_stored(stem).is_err() {
        return Err(invalid());
    }
    Ok(name.to_owned())
}

fn take_piece(mut frame: Bytes) -> io::Result<Piece> {
    match take_u8(&mut frame)? {
        PIECE_CHUNK => Ok(Piece::Chunk { offset: take_u64(&mut frame)?, bytes: frame }),
        PIECE_END => {
            let hash = <[u8; 32]>::try_from(&frame[..]).map_err(|_| io::ErrorKind::InvalidData)?;
            Ok(Piece::End { hash })
        }
        tag => Err(unknown_tag("snapshot piece", tag)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offered_name_cannot_leave_the_directory() {
        for good in ["_system.sqlite", "default.sqlite"] {
            assert_eq!(file_name(good.as_bytes()).expect("valid"), good);
        }
        for bad in ["../x.sqlite", "a/b.sqlite", ".sqlite", "x", "_other.sqlite", "default.sqlite-wal"] {
            assert!(file_name(bad.as_bytes()).is_err(), "{bad:?} was accepted");
        }
    }

    /// Sends a file of some chunks to a receiver that has none of it; what the sender and the receiver say.
    async fn transfer(flag: bool) -> (io::Result<()>, io::Result<()>, Vec<u8>) {
        let dir = tempfile::tempdir().expect("temp dir");
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        std::fs::write(&source, vec![7; CHUNK_BYTES * 2 + 100]).expect("writes");
        let mut file = FencedFile::open("default.sqlite", &source).expect("opens");
        let bytes = file.bytes;
        let broken = AtomicBool::new(flag);
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        let mut frames = FrameReader::default();
        let (sent, received) = tokio::join!(
            async move {
                let sent = send_file(&mut near, &mut file, &[], &broken).await;
                drop(near);
                sent
            },
            receive_file(&mut frames, &mut far, &target, bytes)
        );
        (sent, received, std::fs::read(&target).expect("reads"))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_file_that_may_have_changed_while_it_was_sent_is_not_used() {
        let (sent, received, content) = transfer(false).await;
        assert!(sent.is_ok() && received.is_ok() && content == vec![7; CHUNK_BYTES * 2 + 100]);
        let (sent, received, _) = transfer(true).await;
        assert!(sent.expect_err("is given up").to_string().contains("changed"));
        assert!(received.is_err(), "without its end a file is not whole");
    }
}
