//! The serving loop that both HTTP faces share: accept, bound, time out, drain. No routes, no contract.
//!
//! Promises: never more than `connections_max` connections, nor more than `connections_per_address_max` of one client; a
//! client that sends its headers slowly, or reads its answer slowly, is cut off, and one that idles is closed much later;
//! when the owner of the tasks stops, no new connection is taken, idle ones close at once, busy ones
//! finish their request within the grace period, and [`serve`] returns when all are gone.

pub(crate) mod go_duration;
pub(crate) mod head;
mod guard;
mod places;
mod serving;
mod takeover;
mod upload;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::tasks::Tasks;
use crate::types::IpRange;
use guard::{Guard, Patience, Phase};
use places::{Place, Places};
use serving::Served;

pub(crate) use places::client_of;
pub(crate) use takeover::{Connection, Takeover};
pub(crate) use upload::{UploadError, read_upload};

/// The body of an answer: in memory, or a stream.
pub(crate) type ReplyBody = Either<Full<Bytes>, UnsyncBoxBody<Bytes, io::Error>>;

/// A JSON answer in memory with status 200.
pub(crate) fn json_reply(body: Bytes) -> Response<ReplyBody> {
    let mut reply = Response::new(Either::Left(Full::new(body)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    reply
}

/// What bounds a listener.
#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Connections held at once; one more is answered 503 and closed.
    pub connections_max: usize,
    /// Connections held at once for one client: an IPv4 address or an IPv6 /64. This machine and `proxies` are exempt.
    pub connections_per_address_max: usize,
    /// Addresses behind which there are many clients.
    pub proxies: Vec<IpRange>,
    /// Longest time from the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// Longest time before the first byte of a request.
    pub idle_timeout: Duration,
    /// Longest time without the client taking a byte of an answer.
    pub stall_timeout: Duration,
    /// Longest time that a running request may take once the listener stops.
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            // With two full buffers each they hold 256 MiB at worst.
            connections_max: 2048,
            // More than a busy client's pool; fewer than all.
            connections_per_address_max: 256,
            proxies: Vec::new(),
            // A slow-header attack holds a connection no longer than this.
            header_timeout: Duration::from_secs(10),
            // Longer than the pools of clients and proxies keep one, so that they close it, and not we under a request.
            idle_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

/// Most bytes of a request line and headers, and of one read from the socket.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Pause after a failed accept, which is nearly always a lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Serves until the owner of `tasks` stops, then drains.
pub(crate) async fn serve<H, F>(listener: TcpListener, limits: HttpLimits, tasks: &Tasks, handler: H)
where
    H: Fn(SocketAddr, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<ReplyBody>> + Send + 'static,
{
    let HttpLimits { connections_max, connections_per_address_max, ref proxies, .. } = limits;
    let places = Places::new(connections_max, connections_per_address_max, proxies.clone());
    let limits = Arc::new(limits);
    let cancelled = tasks.cancelled();
    while let Some(accepted) = cancelled.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => match places.take(peer.ip()) {
                Some(place) => {
                    tasks.spawn(connection(stream, peer, place, Arc::clone(&limits), tasks.clone(), handler.clone()));
                }
                None => turn_away(stream, peer),
            },
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    places.all_free().await;
}

async fn connection<H, F>(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    limits: Arc<HttpLimits>,
    tasks: Tasks,
    handler: H,
) where
    H: Fn(SocketAddr, Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<ReplyBody>> + Send + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY not set");
    }
    let phase = Phase::new();
    let HttpLimits { header_timeout, idle_timeout, stall_timeout, .. } = *limits;
    let patience = Patience { idle: idle_timeout, head: header_timeout, stall: stall_timeout };
    let guarded = Guard::new(stream, patience, phase.clone());
    let place = Arc::new(place);
    let taken_over = (Arc::clone(&place), tasks.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let serving = phase.serve();
        let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let answer = handler(peer, request);
        let (place, tasks) = taken_over.clone();
        async move {
            let mut answer = answer.await;
            let serving = match (upgrade, answer.extensions_mut().remove::<Takeover>()) {
                (Some(upgrade), Some(takeover)) => {
                    tasks.spawn(async move {
                        let _held = (place, serving);
                        takeover.run(upgrade).await;
                    });
                    None
                }
                _ => Some(serving),
            };
            Ok::<_, std::convert::Infallible>(answer.map(|body| Served::new(body, serving)))
        }
    });
    let connection = http1::Builder::new()
        // The guard keeps time: hyper's header timeout runs between requests, too.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(guarded), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = tasks.cancelled().cancelled_owned() => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.drain, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "connection ended early"),
        Err(_) => tracing::warn!(%peer, "request cut off: it ran longer than the grace period"),
    }
}

/// Answers 503 if that is possible at once, and closes.
fn turn_away(stream: TcpStream, peer: SocketAddr) {
    use std::io::Write as _;
    const BUSY: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\nRetry-After: 1\r\n\r\n";
    let written = stream.into_std().and_then(|mut stream| stream.write(BUSY));
    tracing::debug!(%peer, answered = written.is_ok(), "connection turned away: too many");
}

/// Why a request's body could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyReadError {
    /// It is larger than the limit.
    #[error("request body is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// It did not arrive in time.
    #[error("request body did not arrive in time")]
    Timeout,
    /// The connection broke or the framing is wrong.
    #[error("request body is incomplete")]
    Broken(#[source] hyper::Error),
}

/// Collects a body; one that came in a single piece is not copied.
///
/// # Errors
/// [`BodyReadError`]; a body whose declared length is over the limit is refused before a byte of it is read.
pub(crate) async fn read_body(body: Incoming, bytes_max: usize, timeout: Duration) -> Result<Bytes, BodyReadError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyReadError::TooLarge { bytes_max });
    }
    tokio::time::timeout(timeout, collect(body, bytes_max)).await.unwrap_or(Err(BodyReadError::Timeout))
}

async fn collect(mut body: Incoming, bytes_max: usize) -> Result<Bytes, BodyReadError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(BodyReadError::Broken)?.into_data() else { continue };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(BodyReadError::TooLarge { bytes_max });
        }
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        all.extend_from_slice(&std::mem::take(&mut first));
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

#[cfg(test)]
mod tests;
