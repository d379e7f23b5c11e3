//! A stream of server-sent events, read as they come.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::http::{Answer, read_head};

/// How long an event may take on a loaded machine.
const WAIT: Duration = Duration::from_secs(60);

/// A stream that was opened.
#[derive(Debug)]
pub(crate) struct Events {
    connection: BufReader<TcpStream>,
    head: Answer,
    text: String,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Empty when it has none.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: serde_json::Value,
}

impl Event {
    /// Its id where ids are numbers.
    pub(crate) fn number(&self) -> u64 {
        self.id.parse().expect("a number")
    }
}

impl Events {
    /// Asks for a stream; the answer may be a refusal, which [`Events::head`] then has.
    pub(crate) fn open(address: &str, target: &str, headers: &[(&str, &str)]) -> Events {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(WAIT)).expect("a socket");
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        stream
            .write_all(format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n").as_bytes())
            .expect("sent");
        let mut connection = BufReader::new(stream);
        let head = read_head(&mut connection).expect("a head");
        Events { connection, head, text: String::new() }
    }

    /// Status and headers.
    pub(crate) fn head(&self) -> &Answer {
        &self.head
    }

    /// The next event or comment as it was sent; panics at the end of the stream.
    pub(crate) fn next_event(&mut self) -> String {
        self.try_next().expect("the stream goes on")
    }

    /// The next event or comment; `None` at the end of the stream.
    pub(crate) fn try_next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                return Some(std::mem::replace(&mut self.text, rest).trim_end().to_owned() + "\n");
            }
            let mut size = String::new();
            self.connection.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
            let mut chunk = vec![0; size + 2];
            self.connection.read_exact(&mut chunk).ok()?;
            self.text.push_str(std::str::from_utf8(&chunk[..size]).expect("text"));
        }
    }

    /// The next event with a name; heartbeats are passed over. `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let text = self.try_next()?;
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                let (id, name) = (field("id: ").unwrap_or_default().to_owned(), name.to_owned());
                return Some(Event { id, name, data: serde_json::from_str(data).expect("JSON") });
            }
        }
    }
}
