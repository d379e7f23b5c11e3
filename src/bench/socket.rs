//! WebSockets as a client opens them: to the gateway's topics, and to others that speak through one.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message as Frame};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::error::BenchError;
use super::target::Target;

/// A connection.
pub(super) type Socket = WebSocketStream<TcpStream>;

/// What is read or written at once: all messages of 1 KiB that may be in flight.
const BUFFER_BYTES: usize = 64 * 1024;

/// Longest time for a handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(30);

/// How much of a refusal is shown.
const SHOWN_BYTES_MAX: usize = 300;

/// Opens a socket.
pub(super) async fn open(target: &Target, path: &str, protocol: Option<&'static str>) -> Result<Socket, BenchError> {
    let stream = connect(&target.address).await?;
    let failed = |reason: String| BenchError::Socket { address: target.address.clone(), reason };
    let request = format!("ws://{}{path}", target.address).into_client_request();
    let mut request = request.map_err(|error| failed(error.to_string()))?;
    let headers = request.headers_mut();
    if let Some(value) = &target.authorization {
        let value = HeaderValue::from_str(value).map_err(|error| failed(error.to_string()))?;
        headers.insert(AUTHORIZATION, value);
    }
    if let Some(protocol) = protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    let config = WebSocketConfig::default().read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
    let opening = client_async_with_config(request, stream, Some(config));
    match tokio::time::timeout(HANDSHAKE_MAX, opening).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(failed(refusal(error))),
        Err(_) => Err(failed(format!("no answer within {} s", HANDSHAKE_MAX.as_secs()))),
    }
}

/// Opens a connection on which every write goes out at once.
pub(super) async fn connect(address: &str) -> Result<TcpStream, BenchError> {
    let failed = |source| BenchError::Connect { address: address.to_owned(), source };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

fn refusal(error: Error) -> String {
    match error {
        Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let shown = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES_MAX)]);
            format!("{} {}", response.status(), shown.trim()).trim().to_owned()
        }
        error => error.to_string(),
    }
}

/// The next binary frame. Cancel-safe.
///
/// # Errors
/// What the server said instead, or why it says nothing more.
pub(super) async fn next(socket: &mut Socket) -> Result<Bytes, String> {
    loop {
        match socket.next().await {
            Some(Ok(Frame::Binary(bytes))) => return Ok(bytes),
            Some(Ok(Frame::Text(text))) => return Err(text.chars().take(SHOWN_BYTES_MAX).collect()),
            Some(Ok(Frame::Close(Some(close)))) => return Err(format!("{} {}", close.code, close.reason)),
            Some(Ok(Frame::Close(None))) | None => return Err("the server closed the socket".to_owned()),
            // A ping's answer goes out with what is written or read next.
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.to_string()),
        }
    }
}
