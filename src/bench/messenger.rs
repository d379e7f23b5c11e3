//! Publishers and subscribers, of a node or of a NATS server.
//!
//! At a node a subscriber is a WebSocket on its topic, which gets binary frames with what was published. A publisher
//! speaks `debros.v1`, since a socket on a topic gets its own messages too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::SinkExt as _;
use tokio_tungstenite::tungstenite::{Message as Frame, Utf8Bytes};

use super::error::BenchError;
use super::nats::{NatsClient, NatsTarget};
use super::socket::{self, Socket};
use super::stamp::{STAMP_BYTES, Stamp};
use super::target::Target;

/// Where topics are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At a gateway.
    Gateway(Target),
    /// At a NATS server.
    Nats(NatsTarget),
}

enum Line {
    Gateway(Box<Socket>),
    Nats(Box<NatsClient>),
}

impl Line {
    /// The next message. Cancel-safe.
    async fn next(&mut self) -> Result<Bytes, String> {
        match self {
            Line::Gateway(socket) => socket::next(socket).await,
            Line::Nats(client) => client.next().await,
        }
    }
}

/// One subscriber to one topic.
pub(super) struct Subscriber(Line);

impl Subscriber {
    pub(super) async fn connect(place: &Place, topic: &str) -> Result<Subscriber, BenchError> {
        let line = match place {
            Place::Gateway(target) => {
                let path = format!("/v1/pubsub/ws?topic={topic}&format=raw");
                Line::Gateway(Box::new(socket::open(target, &path, None).await?))
            }
            Place::Nats(server) => {
                let mut client = NatsClient::connect(server).await?;
                client.subscribe(server, topic).await?;
                Line::Nats(Box::new(client))
            }
        };
        Ok(Subscriber(line))
    }

    /// The next message.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn next(&mut self) -> Result<Bytes, String> {
        self.0.next().await
    }
}

/// One publisher to one topic, of messages that are the same but for their stamps.
pub(super) struct Publisher {
    line: Line,
    /// What goes over the wire, in base64 where it is JSON.
    wire: Vec<u8>,
    stamp_at: usize,
}

impl Publisher {
    pub(super) async fn connect(place: &Place, topic: &str, size_bytes: usize) -> Result<Publisher, BenchError> {
        let body = vec![b'x'; size_bytes];
        let (line, before, body, after) = match place {
            Place::Gateway(target) => {
                let socket = socket::open(target, "/v1/pubsub/ws", Some("debros.v1")).await?;
                let before = format!(r#"{{"type":"publish","topic":"{topic}","ack":"none","data_base64":""#);
                (Line::Gateway(Box::new(socket)), before, BASE64.encode(body).into_bytes(), "\"}")
            }
            Place::Nats(server) => {
                let client = NatsClient::connect(server).await?;
                (Line::Nats(Box::new(client)), format!("PUB {topic} {size_bytes}\r\n"), body, "\r\n")
            }
        };
        let wire = [before.as_bytes(), &body, after.as_bytes()].concat();
        Ok(Publisher { line, wire, stamp_at: before.len() })
    }

    /// Takes a message that is to be published.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) async fn feed(&mut self, stamp: Stamp) -> Result<(), String> {
        let stamp = stamp.to_bytes();
        match &mut self.line {
            Line::Gateway(socket) => {
                let place = &mut self.wire[self.stamp_at..self.stamp_at + STAMP_BYTES / 3 * 4];
                BASE64.encode_slice(stamp, place).expect("four characters for three bytes");
                let text = Utf8Bytes::try_from(Bytes::copy_from_slice(&self.wire)).expect("JSON is text");
                socket.feed(Frame::Text(text)).await.map_err(|error| error.to_string())
            }
            Line::Nats(client) => {
                self.wire[self.stamp_at..self.stamp_at + STAMP_BYTES].copy_from_slice(&stamp);
                client.feed(&self.wire).await
            }
        }
    }

    /// Sends what was taken.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        match &mut self.line {
            Line::Gateway(socket) => socket.flush().await.map_err(|error| error.to_string()),
            Line::Nats(client) => client.flush().await,
        }
    }

    /// Waits until the server says something, which is why nothing more can be published. Cancel-safe.
    pub(super) async fn refusal(&mut self) -> String {
        match self.line.next().await {
            Ok(_) => "a publisher that subscribes to nothing got a message".to_owned(),
            Err(reason) => reason,
        }
    }
}
