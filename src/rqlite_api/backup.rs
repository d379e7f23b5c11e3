//! `/db/backup`: a consistent copy of the caller's database, streamed from a file.
//!
//! rqlite asks the leader for it; here the node that was asked first makes sure that it has everything the leader has
//! committed, and then copies its own. `noleader` skips that.

use std::io::{self, Write as _};

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http_body_util::{BodyExt, Either, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::call::Call;
use super::counters::Counter;
use super::failure::Failure;
use super::parameters::Flag;
use super::reply::Reply;
use crate::cluster::{BackupFile, BackupFormat};

/// Bytes read, and perhaps compressed, at a time: a millisecond of work.
const CHUNK_BYTES: usize = 64 * 1024;

/// Answers `/db/backup`.
pub(super) async fn handle(call: &Call<'_>) -> Result<Reply, Failure> {
    let format = format(call)?;
    if let Some(elsewhere) = call.redirect()? {
        return Ok(elsewhere);
    }
    if !call.parameters.has(Flag::NoLeader) {
        call.face.cluster.wait_synced(call.deadline()).await?;
    }
    let content_type = match format {
        BackupFormat::Sql { .. } => "application/sql",
        _ => "application/octet-stream",
    };
    let vacuum = call.parameters.has(Flag::Vacuum);
    let backup = call.face.cluster.backup(call.namespace(), format, vacuum).await?;
    call.face.counters.add(Counter::Backups, 1);
    let unreadable = |source| Failure::File { doing: "reading the backup failed", source };
    let file = File::open(&backup.path).await.map_err(unreadable)?;
    let length = file.metadata().await.map_err(unreadable)?.len();
    let gzip = call.parameters.has(Flag::Compress).then(|| GzEncoder::new(Vec::new(), Compression::fast()));
    let sized = gzip.is_none();
    let mut answer = Response::new(Either::Right(StreamBody::new(chunks(backup, file, gzip)).boxed_unsync()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if sized {
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(answer)
}

fn format(call: &Call<'_>) -> Result<BackupFormat, Failure> {
    let parameters = &call.parameters;
    match parameters.fmt.as_deref() {
        Some("sql") if parameters.has(Flag::Vacuum) => {
            Err(Failure::Text(StatusCode::INTERNAL_SERVER_ERROR, "invalid backup format".to_owned()))
        }
        Some("sql") => {
            let names = parameters.tables.as_deref().unwrap_or_default().split(',').map(str::trim);
            Ok(BackupFormat::Sql { tables: names.filter(|name| !name.is_empty()).map(str::to_owned).collect() })
        }
        Some("delete") => Ok(BackupFormat::DeleteMode),
        _ => Ok(BackupFormat::Binary),
    }
}

type Gzip = Option<GzEncoder<Vec<u8>>>;

/// What is left to send. The backup's file is removed when this is dropped.
struct Remaining {
    backup: BackupFile,
    file: File,
    gzip: Gzip,
}

fn chunks(backup: BackupFile, file: File, gzip: Gzip) -> impl futures::Stream<Item = io::Result<Frame<Bytes>>> {
    stream::try_unfold(Some(Remaining { backup, file, gzip }), |remaining| async move {
        let Some(mut remaining) = remaining else { return Ok(None) };
        let (chunk, ended) = next_chunk(&mut remaining).await.inspect_err(|error| {
            tracing::error!(path = %remaining.backup.path.display(), %error, "sending a backup failed");
        })?;
        Ok(Some((Frame::data(chunk), (!ended).then_some(remaining))))
    })
}

/// The next bytes, and whether they are the last. They may be none.
async fn next_chunk(remaining: &mut Remaining) -> io::Result<(Bytes, bool)> {
    let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
    let ended = remaining.file.read_buf(&mut chunk).await? == 0;
    let Some(gzip) = &mut remaining.gzip else { return Ok((chunk.freeze(), ended)) };
    gzip.write_all(&chunk)?;
    if ended {
        gzip.try_finish()?;
    }
    Ok((std::mem::take(gzip.get_mut()).into(), ended))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    async fn sent(gzip: Gzip, content: &[u8]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("backup");
        std::fs::write(&path, content).expect("written");
        let file = File::open(&path).await.expect("opened");
        let body = StreamBody::new(chunks(BackupFile { path: path.clone() }, file, gzip));
        let sent = body.collect().await.expect("sent").to_bytes();
        assert!(!path.exists(), "the copy is gone once it was sent");
        sent.to_vec()
    }

    #[tokio::test]
    async fn a_backup_is_sent_whole_and_then_removed() {
        let content: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        assert_eq!(sent(None, &content).await, content);
        let gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&sent(Some(gzip), &content).await[..]).read_to_end(&mut unpacked).expect("gzip");
        assert_eq!(unpacked, content);
    }
}
