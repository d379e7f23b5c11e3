//! WebSockets (RFC 6455) on topics.
//!
//! Without a subprotocol a socket is what it was in the earlier system: subscribed to one topic, every frame of the
//! client is published there, every message comes as a frame, its own included. With `debros.v1` it says itself what it
//! wants. No extension is spoken, compression neither.
//!
//! A socket ends when its client is silent, sends too much or what is no WebSocket, when its credential ends, and when
//! the process stops: each with the code that RFC 6455, section 7.4, has for it. A client that reads too slowly loses the
//! oldest messages and is told; where there is no way to tell, the socket ends with 1013.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use hyper::StatusCode;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use serde_json::Value as Json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message as Frame, Utf8Bytes};

use super::call::Call;
use super::error::{ApiError, Code};
use super::publication::{self, Publication, check_namespace};
use super::pubsub_api::{invalid, one_topic};
use super::pubsub_durable::{self as durable, Readers};
use super::pubsub_frames::{self as frames, After, Ask, AskedAck};
use super::reply::{self, Reply};
use super::socket_credential::offered;
use crate::http::{Connection, Takeover};
use crate::pubsub::{Delivery, Gap, Inbox, Message, Publisher, Subscriber};
use crate::types::limits::{MESSAGE_BYTES_MAX, PRESENCE_ID_BYTES_MAX, PRESENCE_META_BYTES_MAX};
use crate::types::{Action, Topic, TopicFilter};

/// The subprotocol in which a client says itself what it wants.
const DEBROS_V1: &str = "debros.v1";

/// Between two pings, as in the earlier system.
const PING_EVERY: Duration = Duration::from_secs(30);

/// A client of which nothing has come for so long, pongs included, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(75);

/// How often the credential is looked at again.
const CREDENTIAL_CHECK: Duration = Duration::from_secs(2);

/// Longest time for a last word.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Longest that a message may take to be stored.
const PUBLISH_MAX: Duration = Duration::from_secs(10);

/// Messages taken from the queue at once.
const TAKE_MAX: usize = 64;

/// Answers and stored messages that wait to be written, in order; whoever asks faster than it reads waits. A message may
/// have more than a megabyte, so there are few.
const ANSWERS_MAX: usize = 8;

/// Largest frame and message of a client: a message in base64 with what stands around it.
const FRAME_BYTES_MAX: usize = MESSAGE_BYTES_MAX.div_ceil(3) * 4 + 4 * 1024;

/// How messages come where no subprotocol is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SocketFormat {
    /// Binary frames with what was published.
    #[default]
    Raw,
    /// Text frames with data, time and topic in JSON.
    Envelope,
}

/// What is spoken on a socket.
enum Speech {
    Plain { topic: Topic, format: SocketFormat },
    Framed,
}

/// Who is named as a member, and where.
struct Named {
    topic: Topic,
    id: String,
    meta: Option<String>,
}

/// Takes a connection over.
pub(super) async fn open(call: Call) -> Result<Reply, ApiError> {
    let accept = check_handshake(&call.headers)?;
    check_origin(&call)?;
    let framed = offered(&call.headers).any(|protocol| protocol == DEBROS_V1);
    let namespace = call.grant()?.namespace().clone();
    check_namespace(&call.face, &namespace).await?;
    let mut subscriber = call.face.pubsub.subscriber(namespace.clone());
    let speech = if framed {
        if let Some(text) = call.query.one("topic")? {
            subscriber.subscribe(text.parse().map_err(invalid)?)?;
        }
        Speech::Framed
    } else {
        let topic = one_topic(&call)?;
        subscriber.subscribe(TopicFilter::One(topic.clone()))?;
        Speech::Plain { topic, format: format_of(&call)? }
    };
    let named = named_member(&call)?;
    let publisher = Arc::new(Publisher::new(namespace, call.grant()?.actor()));
    let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if framed {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(DEBROS_V1));
    }
    let may_publish = call.grant_in(publisher.namespace(), Action::Publish).is_ok();
    let session = Session {
        call,
        speech,
        subscriber: Mutex::new(subscriber),
        publisher,
        may_publish: AtomicBool::new(may_publish),
        readers: Readers::default(),
        named,
    };
    reply.extensions_mut().insert(Takeover::new(|connection| session.run(connection)));
    Ok(reply)
}

/// What the client must have sent (RFC 6455, section 4.2.1); what it gets for its key.
fn check_handshake(headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    let has = |name: HeaderName, token: &str| {
        let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        lists.flat_map(|list| list.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
    };
    if !has(CONNECTION, "upgrade") || !has(UPGRADE, "websocket") {
        return Err(ApiError::new(Code::UpgradeRequired, "this is a WebSocket: connect with a WebSocket client"));
    }
    if !has(SEC_WEBSOCKET_VERSION, "13") {
        return Err(ApiError::new(Code::UpgradeRequired, "only version 13 of the WebSocket protocol is spoken"));
    }
    let is_key = |key: &&HeaderValue| BASE64.decode(key.as_bytes()).is_ok_and(|bytes| bytes.len() == 16);
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(is_key);
    let key = key.ok_or_else(|| ApiError::new(Code::InvalidRequest, "Sec-WebSocket-Key must be 16 bytes in base64"))?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(ApiError::internal)
}

/// Whether the page that opens the socket may: nothing else keeps one of another origin from it. Programs name none.
fn check_origin(call: &Call) -> Result<(), ApiError> {
    let Some(origin) = call.headers.get(ORIGIN) else { return Ok(()) };
    let host = call.headers.get(HOST).map(HeaderValue::as_bytes);
    let page = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, page)| page.as_bytes());
    if call.face.origins.allows(origin) || (page.is_some() && page == host) {
        return Ok(());
    }
    let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
    let message = format!("pages of origin `{origin}` may not open sockets: list it in gateway.allowed_origins");
    Err(ApiError::new(Code::Forbidden, message))
}

fn format_of(call: &Call) -> Result<SocketFormat, ApiError> {
    match call.query.one("format")? {
        None => Ok(call.face.socket_format),
        Some("raw") => Ok(SocketFormat::Raw),
        Some("envelope") => Ok(SocketFormat::Envelope),
        Some(other) => Err(ApiError::parameter("format", format!("`{other}` is neither `raw` nor `envelope`"))),
    }
}

fn named_member(call: &Call) -> Result<Option<Named>, ApiError> {
    if !call.query.flag("presence")? {
        return Ok(None);
    }
    let id = call.query.one("member_id")?.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| ApiError::parameter("member_id", "`member_id` is missing: `presence` needs one"))?;
    if id.len() > PRESENCE_ID_BYTES_MAX {
        let message = format!("`member_id` has {} bytes, at most {PRESENCE_ID_BYTES_MAX} are allowed", id.len());
        return Err(ApiError::parameter("member_id", message));
    }
    let meta = call.query.one("member_meta")?.filter(|meta| !meta.is_empty());
    if let Some(meta) = meta {
        let length = meta.len();
        if length > PRESENCE_META_BYTES_MAX {
            let message = format!("`member_meta` has {length} bytes, at most {PRESENCE_META_BYTES_MAX} are allowed");
            return Err(ApiError::parameter("member_meta", message));
        }
        serde_json::from_str::<Json>(meta)
            .map_err(|error| ApiError::parameter("member_meta", format!("`member_meta` is not JSON: {error}")))?;
    }
    if call.query.one("topic")?.is_none() {
        return Err(ApiError::parameter("topic", "`topic` is missing: a member is in a topic"));
    }
    Ok(Some(Named { topic: one_topic(call)?, id: id.to_owned(), meta: meta.map(str::to_owned) }))
}

/// One socket.
struct Session {
    call: Call,
    speech: Speech,
    subscriber: Mutex<Subscriber>,
    publisher: Arc<Publisher>,
    /// Looked at again with the credential: a member's role may change.
    may_publish: AtomicBool,
    readers: Readers,
    named: Option<Named>,
}

/// Why a socket ends.
struct End {
    code: CloseCode,
    reason: String,
}

fn end(code: CloseCode, reason: impl Into<String>) -> End {
    End { code, reason: reason.into() }
}

type Socket = WebSocketStream<Connection>;
type Reader = futures::stream::SplitStream<Socket>;
type Writer = futures::stream::SplitSink<Socket, Frame>;

impl Session {
    async fn run(mut self, connection: Connection) {
        let config = WebSocketConfig::default()
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX))
            // Many sockets are idle: what they hold is small. What is written waits for a slow reader in its queue.
            .read_buffer_size(4 * 1024)
            .write_buffer_size(32 * 1024)
            .max_write_buffer_size(4 * FRAME_BYTES_MAX);
        let socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(config)).await;
        let (mut writer, mut reader) = socket.split();
        let (answers_sender, mut answers) = mpsc::channel(ANSWERS_MAX);
        let heard = Mutex::new(Instant::now());
        let _attendance = self
            .named
            .take()
            .map(|Named { topic, id, meta }| self.call.face.pubsub.join(self.publisher.clone(), topic, id, meta));
        let inbox = self.subscriber.lock().expect("nobody panics while holding it").inbox();
        let end = tokio::select! {
            end = self.read(&mut reader, &answers_sender, &heard) => end,
            end = self.write(&mut writer, &mut answers, &inbox) => end,
            never = self.readers.run(&answers_sender) => match never {},
            end = self.watch(&heard) => Some(end),
        };
        let Some(End { code, reason }) = end else { return };
        tracing::debug!(code = u16::from(code), reason, "socket ends");
        let close = Frame::Close(Some(CloseFrame { code, reason: Utf8Bytes::from(reason) }));
        let goodbye = async move {
            writer.send(close).await.ok()?;
            // The client's own last word; what comes before it is no longer of interest.
            while let Some(Ok(_)) = reader.next().await {}
            linger(writer.reunite(reader).ok()?.get_mut()).await.ok()
        };
        // A client that is gone, or does not read, hears nothing.
        let _ = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
    }

    /// Takes what the client sends; `None` when the client has ended it.
    async fn read(&self, reader: &mut Reader, answers: &mpsc::Sender<String>, heard: &Mutex<Instant>) -> Option<End> {
        let rate = NonZeroU32::new(self.call.face.socket_rate)
            .map(|rate| RateLimiter::direct(Quota::per_second(rate).allow_burst(rate.saturating_mul(TWICE))));
        while let Some(frame) = reader.next().await {
            *heard.lock().expect("nobody panics while holding it") = Instant::now();
            if let Some(end) = too_fast(rate.as_ref(), self.call.face.socket_rate) {
                return Some(end);
            }
            let taken = match frame {
                Ok(Frame::Text(text)) => self.take(Bytes::from(text), Kind::Text, answers).await,
                Ok(Frame::Binary(bytes)) => self.take(bytes, Kind::Binary, answers).await,
                // A close, too: reading on sends the answer to it, and then there is nothing more.
                Ok(_) => Ok(()),
                Err(error) => return broken(error),
            };
            if let Err(end) = taken {
                return Some(end);
            }
        }
        None
    }

    async fn take(&self, bytes: Bytes, kind: Kind, answers: &mpsc::Sender<String>) -> Result<(), End> {
        match (&self.speech, kind) {
            (Speech::Plain { topic, .. }, _) => self.publish_plainly(topic.clone(), bytes, answers).await,
            (Speech::Framed, Kind::Binary) => {
                Err(end(CloseCode::Unsupported, "debros.v1 is JSON in text frames; bytes go into data_base64"))
            }
            (Speech::Framed, Kind::Text) => {
                let answer = match serde_json::from_slice::<Ask>(&bytes) {
                    Ok(ask) => self.answer(ask).await,
                    Err(error) => {
                        Some(frames::failed(None, &ApiError::new(Code::InvalidBody, format!("no frame: {error}"))))
                    }
                };
                if let Some(answer) = answer {
                    // Fails when the writer has ended, and then the socket does.
                    let _ = answers.send(answer).await;
                }
                Ok(())
            }
        }
    }

    async fn publish_plainly(&self, topic: Topic, bytes: Bytes, answers: &mpsc::Sender<String>) -> Result<(), End> {
        if !self.may_publish.load(Ordering::Relaxed) {
            return Err(end(CloseCode::Policy, "the credential does not allow publishing"));
        }
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(end(CloseCode::Size, format!("a message may have {MESSAGE_BYTES_MAX} bytes")));
        }
        self.count()?;
        let deadline = Instant::now() + PUBLISH_MAX;
        let ack = AskedAck::Local;
        if publication::publish(&self.call.face, &self.publisher, topic, bytes, ack, None, deadline).await.is_err() {
            // What the earlier system says.
            let _ = answers.send("publish_error".to_owned()).await;
        }
        Ok(())
    }

    /// Counts a message as one request of the namespace.
    fn count(&self) -> Result<(), End> {
        match self.call.face.limits.namespace(self.publisher.namespace()) {
            Ok(_) => Ok(()),
            Err(_) => Err(end(CloseCode::Policy, "the namespace publishes too much: wait a second")),
        }
    }

    async fn answer(&self, ask: Ask) -> Option<String> {
        let (id, answer) = match ask {
            Ask::Subscribe { id, topic, after: None } => (id, self.subscribe(id, &topic)),
            Ask::Subscribe { id, topic, after: Some(after) } => (id, self.follow(id, &topic, &after).await),
            Ask::Unsubscribe { id, topic } => (id, self.unsubscribe(id, &topic)),
            Ask::Ping { id } => (id, Ok(serde_json::json!({ "type": "pong", "id": id }).to_string())),
            Ask::Publish { id, topic, data, ack } => {
                let published = self.publish(&topic, data, ack).await;
                if ack == AskedAck::None && published.is_ok() {
                    return None;
                }
                (id, published.map(|published| frames::published(id, &topic, &published)))
            }
        };
        Some(answer.unwrap_or_else(|error| frames::failed(id, &error)))
    }

    fn subscribe(&self, id: Option<u64>, topic: &str) -> Result<String, ApiError> {
        let filter = topic.parse().map_err(invalid)?;
        self.subscriber.lock().expect("nobody panics while holding it").subscribe(filter)?;
        Ok(frames::answer("subscribed", id, topic))
    }

    /// Subscribes to what is stored of a topic or pattern, from somewhere on.
    async fn follow(&self, id: Option<u64>, topic: &str, after: &After) -> Result<String, ApiError> {
        let filter: TopicFilter = topic.parse().map_err(invalid)?;
        let (namespace, deadline) = (self.publisher.namespace(), Instant::now() + PUBLISH_MAX);
        let follower = durable::follower(&self.call.face, namespace, filter, after.begin()?, deadline).await?;
        self.readers.start(topic, follower)?;
        Ok(frames::answer("subscribed", id, topic))
    }

    fn unsubscribe(&self, id: Option<u64>, topic: &str) -> Result<String, ApiError> {
        let filter = topic.parse().map_err(invalid)?;
        let was = self.subscriber.lock().expect("nobody panics while holding it").unsubscribe(&filter);
        let followed = self.readers.stop(topic);
        if !was && !followed {
            return Err(ApiError::parameter("topic", format!("there is no subscription to `{topic}`")));
        }
        Ok(frames::answer("unsubscribed", id, topic))
    }

    async fn publish(&self, topic: &str, data: frames::Data, ack: AskedAck) -> Result<Publication, ApiError> {
        if !self.may_publish.load(Ordering::Relaxed) {
            return Err(ApiError::new(Code::Forbidden, "the credential does not allow publishing"));
        }
        let topic: Topic = topic.parse().map_err(invalid)?;
        self.call.face.limits.namespace(self.publisher.namespace())?;
        let (data, deadline) = (data.bytes()?, Instant::now() + PUBLISH_MAX);
        publication::publish(&self.call.face, &self.publisher, topic, data, ack, None, deadline).await
    }

    /// Writes what there is for the client; `None` when that is no longer possible.
    async fn write(&self, writer: &mut Writer, answers: &mut mpsc::Receiver<String>, inbox: &Inbox) -> Option<End> {
        let mut ping = tokio::time::interval_at((Instant::now() + PING_EVERY).into(), PING_EVERY);
        loop {
            let written = tokio::select! {
                deliveries = inbox.take(TAKE_MAX) => self.deliver(writer, deliveries).await,
                answer = answers.recv() => match answer {
                    Some(answer) => writer.send(Frame::Text(answer.into())).await.map_err(broken),
                    None => return None,
                },
                _ = ping.tick() => writer.send(Frame::Ping(Bytes::from_static(b"ping"))).await.map_err(broken),
            };
            if let Err(end) = written {
                return end;
            }
        }
    }

    async fn deliver(&self, writer: &mut Writer, deliveries: Vec<Delivery>) -> Result<(), Option<End>> {
        for delivery in deliveries {
            let frame = match (delivery, &self.speech) {
                (Delivery::Message(message), speech) => frame_of(&message, speech),
                (Delivery::Gap(gap), Speech::Framed) => Frame::Text(frames::gap(gap).to_string().into()),
                (Delivery::Gap(Gap::Slow { lost }), Speech::Plain { .. }) => {
                    return Err(Some(end(CloseCode::Again, format!("{lost} messages were lost: read faster"))));
                }
                // Nothing in this form can say it, and perhaps nothing of this topic is missing.
                (Delivery::Gap(Gap::Network), Speech::Plain { .. }) => continue,
            };
            writer.feed(frame).await.map_err(broken)?;
        }
        writer.flush().await.map_err(broken)
    }

    /// Waits for a reason to end that neither side's frames give.
    async fn watch(&self, heard: &Mutex<Instant>) -> End {
        let stopping = self.call.face.stopping();
        loop {
            let stops = stopping.run_until_cancelled(tokio::time::sleep(CREDENTIAL_CHECK)).await.is_none();
            if stops {
                return end(CloseCode::Away, "this node stops: connect to another");
            }
            if heard.lock().expect("nobody panics while holding it").elapsed() > SILENCE_MAX {
                return end(CloseCode::Away, "nothing has come for too long, not even a pong");
            }
            if let Some([may_listen, may_publish]) = self.call.allowed_now([Action::Subscribe, Action::Publish]).await {
                if !may_listen {
                    return end(CloseCode::Policy, "the credential has ended");
                }
                self.may_publish.store(may_publish, Ordering::Relaxed);
            }
            if !self.call.face.durable.namespace_exists(&self.call.face, self.publisher.namespace()).await {
                return end(CloseCode::Policy, "the namespace is deleted");
            }
        }
    }
}

/// Ends our side and takes what the client still sends, to its end. The system resets a connection that is dropped with
/// something unread, and who is in the middle of a message that is too large may then never see the code that says so.
async fn linger(connection: &mut Connection) -> std::io::Result<u64> {
    connection.shutdown().await?;
    tokio::io::copy(connection, &mut tokio::io::sink()).await
}

/// A burst is twice what a second allows.
const TWICE: NonZeroU32 = NonZeroU32::new(2).expect("not zero");

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Binary,
}

fn too_fast(limiter: Option<&DefaultDirectRateLimiter>, rate: u32) -> Option<End> {
    limiter?.check().err().map(|_| end(CloseCode::Policy, format!("a socket may send {rate} frames a second")))
}

fn frame_of(message: &Message, speech: &Speech) -> Frame {
    let text = |bytes: Bytes| Frame::Text(Utf8Bytes::try_from(bytes).expect("JSON is text"));
    match speech {
        Speech::Framed => text(frames::framed(message)),
        Speech::Plain { format: SocketFormat::Envelope, .. } => text(frames::enveloped(message)),
        Speech::Plain { format: SocketFormat::Raw, .. } => Frame::Binary(message.data.clone()),
    }
}

/// How a socket ends on which something went wrong; `None` when nobody is there to be told.
fn broken(error: Error) -> Option<End> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            Some(end(CloseCode::Size, format!("a message of {size} bytes is larger than {max_size}")))
        }
        Error::Utf8(_) => Some(end(CloseCode::Invalid, "a text frame is not UTF-8")),
        Error::Protocol(
            ProtocolError::ResetWithoutClosingHandshake
            | ProtocolError::SendAfterClosing
            | ProtocolError::ReceivedAfterClosing,
        ) => None,
        Error::Protocol(error) => Some(end(CloseCode::Protocol, error.to_string())),
        error => {
            tracing::debug!(%error, "socket broke");
            None
        }
    }
}
