//! As much of NATS's client protocol as publishers and subscribers need, over TCP or a WebSocket, so that a NATS server
//! can be measured beside the nodes. Written from <https://docs.nats.io/reference/nats-protocol/nats-protocol>.
//!
//! Lines end with CR LF. The server begins with `INFO`; a client says `CONNECT`, `SUB subject id` and `PUB subject bytes`
//! with the message on the next line, and gets `MSG subject id bytes`, as well. What came before a `PING` was taken when
//! its `PONG` is there. Through a WebSocket the same bytes go in binary frames, which need not end where a line does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::SinkExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::error::BenchError;
use super::socket::{self, Socket};
use super::target::Target;

/// Longest line: that of `INFO` grows with the cluster.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What is read at once, and what is written at the latest when so much waits.
const BUFFER_BYTES: usize = 64 * 1024;

/// Longest time for the answer to a `PING`.
const PONG_MAX: Duration = Duration::from_secs(10);

/// A NATS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsTarget {
    target: Target,
    transport: Transport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    WebSocket,
}

/// Reads `host:port`, `nats://host:port` or `ws://host:port`.
impl FromStr for NatsTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<NatsTarget, String> {
        let (address, transport) = match (text.strip_prefix("ws://"), text.strip_prefix("nats://")) {
            (Some(address), _) => (address, Transport::WebSocket),
            (None, Some(address)) => (address, Transport::Tcp),
            (None, None) => (text, Transport::Tcp),
        };
        let target = address.parse().map_err(|_| format!("`{text}` is not like 127.0.0.1:4222 or ws://127.0.0.1:8080"));
        Ok(NatsTarget { target: target?, transport })
    }
}

impl fmt::Display for NatsTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.transport == Transport::Tcp { "nats" } else { "ws" };
        write!(f, "{scheme}://{}", self.target.address)
    }
}

/// One connection.
pub(super) struct NatsClient {
    wire: Wire,
    unread: BytesMut,
    unwritten: BytesMut,
}

enum Wire {
    Tcp(TcpStream),
    WebSocket(Box<Socket>),
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message(Bytes),
    Ping,
    Pong,
    Refused(String),
    /// Nothing that one must know.
    Other,
}

impl NatsClient {
    /// Connects, and waits until the server takes it.
    pub(super) async fn connect(server: &NatsTarget) -> Result<NatsClient, BenchError> {
        let wire = match server.transport {
            Transport::Tcp => Wire::Tcp(socket::connect(&server.target.address).await?),
            Transport::WebSocket => Wire::WebSocket(Box::new(socket::open(&server.target, "/", None).await?)),
        };
        let mut client = NatsClient { wire, unread: BytesMut::new(), unwritten: BytesMut::new() };
        client.say(server, r#"CONNECT {"verbose":false,"pedantic":false,"lang":"rust","version":"0"}"#).await?;
        Ok(client)
    }

    /// Subscribes, and waits until the server did so.
    pub(super) async fn subscribe(&mut self, server: &NatsTarget, subject: &str) -> Result<(), BenchError> {
        self.say(server, &format!("SUB {subject} 1")).await
    }

    async fn say(&mut self, server: &NatsTarget, line: &str) -> Result<(), BenchError> {
        let said = async {
            self.feed(format!("{line}\r\nPING\r\n").as_bytes()).await?;
            self.flush().await?;
            loop {
                match self.hear().await? {
                    Said::Pong => return Ok(()),
                    Said::Refused(reason) => return Err(reason),
                    Said::Ping => self.feed(b"PONG\r\n").await?,
                    Said::Message(_) | Said::Other => {}
                }
            }
        };
        let taken = tokio::time::timeout(PONG_MAX, said).await;
        let taken = taken.unwrap_or_else(|_| Err(format!("no answer within {} s", PONG_MAX.as_secs())));
        taken.map_err(|reason| BenchError::Socket { address: server.target.address.clone(), reason })
    }

    /// The next message. Cancel-safe but for answers to pings, of which a server misses one gladly.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn next(&mut self) -> Result<Bytes, String> {
        loop {
            match self.hear().await? {
                Said::Message(message) => return Ok(message),
                Said::Refused(reason) => return Err(reason),
                Said::Ping => {
                    self.feed(b"PONG\r\n").await?;
                    self.flush().await?;
                }
                Said::Pong | Said::Other => {}
            }
        }
    }

    /// Takes what is to be written.
    pub(super) async fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.unwritten.extend_from_slice(bytes);
        if self.unwritten.len() < BUFFER_BYTES { Ok(()) } else { self.flush().await }
    }

    /// Writes what was taken.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        match &mut self.wire {
            Wire::Tcp(stream) => stream.write_all_buf(&mut self.unwritten).await.map_err(|error| error.to_string()),
            Wire::WebSocket(socket) => {
                let frame = Frame::Binary(self.unwritten.split().freeze());
                socket.send(frame).await.map_err(|error| error.to_string())
            }
        }
    }

    async fn hear(&mut self) -> Result<Said, String> {
        loop {
            if let Some(said) = take(&mut self.unread)? {
                return Ok(said);
            }
            match &mut self.wire {
                Wire::Tcp(stream) => {
                    self.unread.reserve(BUFFER_BYTES);
                    let read = stream.read_buf(&mut self.unread).await.map_err(|error| error.to_string())?;
                    if read == 0 {
                        return Err("the server closed the connection".to_owned());
                    }
                }
                Wire::WebSocket(socket) => {
                    let bytes = socket::next(socket).await?;
                    self.unread.extend_from_slice(&bytes);
                }
            }
        }
    }
}

/// Takes the first thing said from what came so far; `None`: there is more to come.
fn take(unread: &mut BytesMut) -> Result<Option<Said>, String> {
    let Some(end) = memchr::memchr(b'\n', unread) else {
        return if unread.len() > LINE_BYTES_MAX { Err("not the NATS protocol".to_owned()) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&unread[..end]).map_err(|error| error.to_string())?.trim_end_matches('\r');
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let said = match word.to_ascii_uppercase().as_str() {
        "MSG" => {
            let bytes = rest.split_ascii_whitespace().next_back().and_then(|bytes| bytes.parse::<usize>().ok());
            let bytes = bytes.ok_or_else(|| format!("not the NATS protocol: {line}"))?;
            if unread.len() < end + 1 + bytes + 2 {
                return Ok(None);
            }
            unread.advance(end + 1);
            let message = unread.split_to(bytes).freeze();
            unread.advance(2);
            return Ok(Some(Said::Message(message)));
        }
        "PING" => Said::Ping,
        "PONG" => Said::Pong,
        "-ERR" => Said::Refused(rest.trim_matches('\'').to_owned()),
        "INFO" | "+OK" => Said::Other,
        _ => return Err(format!("not the NATS protocol: {line}")),
    };
    unread.advance(end + 1);
    Ok(Some(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_may_come_in_any_pieces() {
        let text = "INFO {\"a\":1}\r\nMSG t 1 5\r\na\r\nbc\r\nMSG t 1 reply 0\r\n\r\nPING\r\nPONG\r\n-ERR 'No'\r\n";
        let mut unread = BytesMut::new();
        let mut said = Vec::new();
        for byte in text.bytes() {
            unread.extend_from_slice(&[byte]);
            said.extend(take(&mut unread).expect("the protocol"));
        }
        let message = |text: &'static str| Said::Message(Bytes::from_static(text.as_bytes()));
        let refused = Said::Refused("No".to_owned());
        assert_eq!(said, [Said::Other, message("a\r\nbc"), message(""), Said::Ping, Said::Pong, refused]);
        assert!(unread.is_empty());
    }

    #[test]
    fn what_is_another_protocol_is_refused() {
        for text in ["HTTP/1.1 400 Bad Request\r\n", "MSG t 1 x\r\n", "MSG\r\n"] {
            assert!(take(&mut BytesMut::from(text)).is_err(), "{text}");
        }
        assert!(take(&mut BytesMut::from(vec![b'x'; LINE_BYTES_MAX + 1].as_slice())).is_err());
    }

    #[test]
    fn a_server_is_named_by_its_url() {
        for (text, shown) in
            [("h:4222", "nats://h:4222"), ("nats://h:4222", "nats://h:4222"), ("ws://h:8080", "ws://h:8080")]
        {
            assert_eq!(text.parse::<NatsTarget>().expect(text).to_string(), shown);
        }
        assert!("wss://h:1".parse::<NatsTarget>().is_err() && "h".parse::<NatsTarget>().is_err());
    }
}
