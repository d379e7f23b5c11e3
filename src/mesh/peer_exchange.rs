//! The wire side of `/debros/peer-exchange/1.0.0`: one JSON object and a newline each way.
//!
//! The caller writes `{"limit":10}`, the callee answers `{"peers":[{"id":"12D3…","addrs":["/ip4/…/tcp/4001"]}]}` and
//! closes. A reader takes the first JSON value and needs neither the newline nor the end of the stream; fields that it
//! does not know are skipped (nodes of other makes add some).

use std::io;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::types::limits::{PEER_EXCHANGE_BYTES_MAX, PEER_EXCHANGE_PEERS_MAX, PEER_EXCHANGE_TIMEOUT};

/// What a caller gets that names no sensible limit.
const LIMIT_DEFAULT: usize = 10;

#[derive(Debug, Serialize, Deserialize)]
struct Request {
    #[serde(default)]
    limit: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// `null` from a caller in Go that knows nobody.
    peers: Option<Vec<PeerInfo>>,
}

/// A peer and where it may be dialled, as texts: nothing is believed before it is parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PeerInfo {
    pub(super) id: String,
    #[serde(default)]
    pub(super) addrs: Option<Vec<String>>,
}

/// Why an exchange came to nothing. For the log: nobody waits for it.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("stream failed: {0}")]
    Io(#[from] io::Error),
    #[error("message is not the JSON expected: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("message is larger than {PEER_EXCHANGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("exchange took longer than {PEER_EXCHANGE_TIMEOUT:?}")]
    Timeout,
}

/// Asks for up to `limit` peers.
pub(super) async fn ask<S>(mut stream: S, limit: usize) -> Result<Vec<PeerInfo>, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        write_line(&mut stream, &Request { limit: i64::try_from(limit).unwrap_or(i64::MAX) }).await?;
        let answer: Answer = read_value(&mut stream).await?;
        stream.shutdown().await?;
        let mut peers = answer.peers.unwrap_or_default();
        peers.truncate(limit);
        Ok(peers)
    };
    timeout(PEER_EXCHANGE_TIMEOUT, exchange).await.map_err(|_| ExchangeError::Timeout)?
}

/// Answers a question with as many of `peers` as were asked for and fit.
pub(super) async fn answer<S>(mut stream: S, peers: Vec<PeerInfo>) -> Result<(), ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let exchange = async {
        let request: Request = read_value(&mut stream).await?;
        write_line(&mut stream, &fitting(peers, request.limit)).await?;
        stream.shutdown().await?;
        // Dropping a stream that the caller has not closed resets it, and some callers then lose what they have not
        // read yet: wait for the caller's end. The deadline bounds it.
        let mut rest = [0; 64];
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    };
    timeout(PEER_EXCHANGE_TIMEOUT, exchange).await.map_err(|_| ExchangeError::Timeout)?
}

/// The answer to a caller who asked for `limit` peers.
fn fitting(mut peers: Vec<PeerInfo>, limit: i64) -> Answer {
    let limit = match usize::try_from(limit) {
        Ok(0) | Err(_) => LIMIT_DEFAULT,
        Ok(limit) => limit.min(PEER_EXCHANGE_PEERS_MAX),
    };
    peers.truncate(limit);
    // Frame: `{"peers":[]}` and the newline; each peer its JSON and a comma.
    let mut left = PEER_EXCHANGE_BYTES_MAX - 13;
    let fit = peers.iter().take_while(|peer| {
        let bytes = serde_json::to_vec(peer).map_or(usize::MAX, |json| json.len() + 1);
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    });
    let fit = fit.count();
    peers.truncate(fit);
    Answer { peers: Some(peers) }
}

async fn write_line<S: AsyncWrite + Unpin>(stream: &mut S, message: &impl Serialize) -> Result<(), ExchangeError> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    Ok(stream.flush().await?)
}

/// Reads until the bytes hold one JSON value.
async fn read_value<S, T>(stream: &mut S) -> Result<T, ExchangeError>
where
    S: AsyncRead + Unpin,
    T: DeserializeOwned,
{
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 2048];
        let read = stream.read(&mut chunk).await?;
        bytes.extend_from_slice(&chunk[..read]);
        // Both messages are objects: without a brace in the new bytes nothing can have ended.
        if read == 0 || chunk[..read].contains(&b'}') {
            match serde_json::Deserializer::from_slice(&bytes).into_iter::<T>().next() {
                Some(Ok(value)) => return Ok(value),
                Some(Err(error)) if error.is_eof() && read > 0 => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            }
        }
        if bytes.len() >= PEER_EXCHANGE_BYTES_MAX {
            return Err(ExchangeError::TooLarge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(number: usize) -> PeerInfo {
        PeerInfo { id: format!("peer-{number}"), addrs: Some(vec![format!("/ip4/10.0.0.1/tcp/{number}")]) }
    }

    #[tokio::test]
    async fn both_ends_understand_each_other() {
        let (caller, callee) = tokio::io::duplex(64);
        let peers: Vec<_> = (0..20).map(info).collect();
        let (asked, answered) = tokio::join!(ask(caller, 12), answer(callee, peers.clone()));
        assert_eq!(asked.expect("asked"), peers[..12]);
        answered.expect("answered");
    }

    #[tokio::test]
    async fn a_value_is_taken_without_newline_or_end_and_in_any_pieces() {
        let (mut caller, callee) = tokio::io::duplex(1024);
        let talk = async {
            for byte in b"{\"limit\":1,\"more\":{\"a\":\"}\"}}" {
                caller.write_all(&[*byte]).await.expect("written");
                tokio::task::yield_now().await;
            }
            let mut line = Vec::new();
            caller.read_to_end(&mut line).await.expect("answer");
            drop(caller);
            line
        };
        let (line, answered) = tokio::join!(talk, answer(callee, vec![info(1), info(2)]));
        answered.expect("answered");
        assert_eq!(line, b"{\"peers\":[{\"id\":\"peer-1\",\"addrs\":[\"/ip4/10.0.0.1/tcp/1\"]}]}\n");
    }

    #[tokio::test]
    async fn garbage_and_endless_messages_are_refused() {
        let read = async |bytes: Vec<u8>| read_value::<_, Request>(&mut &bytes[..]).await;
        assert!(matches!(read(b"hello}".to_vec()).await, Err(ExchangeError::Malformed(_))));
        assert!(matches!(read(b"{\"limit\"".to_vec()).await, Err(ExchangeError::Malformed(_))));
        assert!(matches!(read(Vec::new()).await, Err(ExchangeError::Io(_))));
        assert!(matches!(read(vec![b' '; PEER_EXCHANGE_BYTES_MAX * 2]).await, Err(ExchangeError::TooLarge)));
    }

    #[test]
    fn an_answer_keeps_to_the_limits_of_count_and_size() {
        let many: Vec<_> = (0..200).map(info).collect();
        let count = |limit| fitting(many.clone(), limit).peers.map_or(0, |peers| peers.len());
        assert_eq!([count(-3), count(0), count(7), count(1_000_000)], [10, 10, 7, 50]);
        let large: Vec<_> = (0..50).map(|n| PeerInfo { addrs: Some(vec!["x".repeat(1000)]), ..info(n) }).collect();
        let answer = serde_json::to_vec(&fitting(large, 50)).expect("JSON");
        assert!(answer.len() < PEER_EXCHANGE_BYTES_MAX && answer.len() > PEER_EXCHANGE_BYTES_MAX - 1200);
    }

    #[test]
    fn an_answer_of_another_make_is_understood() {
        let text = r#"{"peers":[{"id":"a","addrs":null},{"id":"b"}],"rqlite_metadata":{"node_id":"x"}}"#;
        let answer: Answer = serde_json::from_str(text).expect("JSON");
        assert_eq!(answer.peers.expect("peers").len(), 2);
        assert!(serde_json::from_str::<Answer>(r#"{"peers":null}"#).expect("JSON").peers.is_none());
    }
}
