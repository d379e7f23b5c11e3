//! A client's WebSocket.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::handshake::client::Response;
use tungstenite::http::{HeaderName, HeaderValue};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::support::TestNode;

/// How long a message may take on a loaded machine.
const WAIT: Duration = Duration::from_secs(30);

/// A socket that was opened.
pub(crate) struct Socket {
    inner: WebSocket<TcpStream>,
    pub(crate) protocol: Option<String>,
}

impl Socket {
    /// Opens a socket with these headers; the status when it is refused.
    pub(crate) fn open(address: &str, target: &str, headers: &[(&str, &str)]) -> Result<Socket, u16> {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(WAIT)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        let mut request = format!("ws://{address}{target}").into_client_request().expect("a request");
        for (name, value) in headers {
            let name = name.parse::<HeaderName>().expect("a name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a value"));
        }
        match tungstenite::client(request, stream) {
            Ok((inner, answer)) => Ok(Socket { inner, protocol: protocol_of(&answer) }),
            Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{target}: {error}"),
        }
    }

    /// A plain socket on a topic, by an API key.
    pub(crate) fn plain(node: &TestNode, topic: &str, key: &str) -> Socket {
        let target = format!("/v1/pubsub/ws?topic={topic}");
        Socket::open(node.gateway_address(), &target, &[("X-API-Key", key)]).expect("a socket")
    }

    /// A socket that speaks `debros.v1`, by an API key.
    pub(crate) fn framed(node: &TestNode, key: &str) -> Socket {
        let headers = [("X-API-Key", key), ("Sec-WebSocket-Protocol", "debros.v1")];
        let socket = Socket::open(node.gateway_address(), "/v1/pubsub/ws", &headers).expect("a socket");
        assert_eq!(socket.protocol.as_deref(), Some("debros.v1"));
        socket
    }

    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.try_send(message).expect("sent");
    }

    pub(crate) fn try_send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        self.inner.send(message.into())
    }

    /// The bytes below the frames.
    pub(crate) fn raw(&mut self) -> &mut TcpStream {
        self.inner.get_mut()
    }

    /// The next message; pings are answered and passed over.
    pub(crate) fn next(&mut self) -> Message {
        self.try_next(WAIT).expect("a message in time")
    }

    /// The next message, if one comes in time.
    pub(crate) fn try_next(&mut self, wait: Duration) -> Option<Message> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.raw().set_read_timeout(Some(left)).expect("a socket");
            match self.inner.read() {
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(message) => return Some(message),
                Err(Error::Io(error))
                    if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
                {
                    return None;
                }
                Err(error) => panic!("the socket broke: {error}"),
            }
        }
    }

    /// The next message's bytes.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        self.next().into_data().to_vec()
    }

    /// The next message as JSON.
    pub(crate) fn json(&mut self) -> Value {
        let text = self.next().into_text().expect("a text");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Asks something in `debros.v1`, and the answer to it; messages that come before it are dropped.
    pub(crate) fn ask(&mut self, mut frame: Value) -> Value {
        frame["id"] = json!(7);
        self.send(frame.to_string());
        loop {
            let answer = self.json();
            if answer["id"] == 7 {
                return answer;
            }
        }
    }

    /// Subscribes in `debros.v1`.
    pub(crate) fn subscribe(&mut self, topic: &str) {
        let answer = self.ask(json!({ "type": "subscribe", "topic": topic }));
        assert_eq!(answer["type"], "subscribed", "{answer}");
    }

    /// The next `debros.v1` message.
    pub(crate) fn message(&mut self) -> Value {
        let message = self.json();
        assert_eq!(message["type"], "message", "{message}");
        message
    }

    /// Reads to the end; the code with which the other side ends it.
    pub(crate) fn end(&mut self) -> Option<CloseCode> {
        self.raw().set_read_timeout(Some(WAIT)).expect("a socket");
        loop {
            match self.inner.read() {
                Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

fn protocol_of(answer: &Response) -> Option<String> {
    answer.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok()).map(str::to_owned)
}
