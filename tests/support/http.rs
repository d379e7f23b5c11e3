//! A small blocking HTTP client that keeps its connection, repeats nothing by itself, and tells a write that was not
//! executed from one whose outcome is unknown.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// The body as it came.
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Every header, by its name in small letters.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// What a write that was acknowledged gave.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) results: Value,
    /// Its log index.
    pub(crate) index: u64,
    /// It had been executed before, under the same idempotency key.
    pub(crate) replayed: bool,
}

/// Why a write was not acknowledged.
#[derive(Clone, Debug)]
#[expect(dead_code, reason = "the texts are read in the messages of failed tests")]
pub(crate) enum NotWritten {
    /// It has no effect, and never will.
    NotExecuted(String),
    /// It may have taken effect, or may yet.
    Unknown(String),
    /// SQLite refused a statement.
    Refused(String),
}

/// A client of one listener.
#[derive(Debug)]
pub(crate) struct Client {
    address: String,
    connection: Option<BufReader<TcpStream>>,
    timeout: Duration,
    /// Base64 of `namespace:key`.
    credentials: Option<String>,
}

impl Client {
    pub(crate) fn new(address: &str) -> Client {
        let timeout = Duration::from_secs(60);
        Client { address: address.to_owned(), connection: None, timeout, credentials: None }
    }

    pub(crate) fn timeout(mut self, timeout: Duration) -> Client {
        self.timeout = timeout;
        self
    }

    /// Sends Basic auth with every request.
    pub(crate) fn authenticated(mut self, namespace: &str, key: &str) -> Client {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{namespace}:{key}"));
        self.credentials = Some(encoded);
        self
    }

    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, &[], "").unwrap_or_else(|error| panic!("GET {path} at {}: {error}", self.address))
    }

    pub(crate) fn post(&mut self, path: &str, body: &str) -> Answer {
        self.request("POST", path, &[], body).unwrap_or_else(|error| panic!("POST {path} at {}: {error}", self.address))
    }

    /// One exchange. After an error the next one begins with a new connection.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> io::Result<Answer> {
        self.connect()?;
        self.send_and_receive(method, path, headers, body.as_ref())
    }

    fn connect(&mut self) -> io::Result<()> {
        if self.connection.is_none() {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.timeout))?;
            stream.set_write_timeout(Some(self.timeout))?;
            self.connection = Some(BufReader::new(stream));
        }
        Ok(())
    }

    fn send_and_receive(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        if let Some(credentials) = &self.credentials {
            head.push_str(&format!("Authorization: Basic {credentials}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut connection = self.connection.take().expect("connected");
        connection.get_mut().write_all(&[head.as_bytes(), body].concat())?;
        let (answer, keep) = receive(&mut connection, method)?;
        if keep {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    /// Writes; `statements` is the JSON body of `/db/execute`.
    pub(crate) fn write(&mut self, statements: &Value, headers: &[(&str, &str)]) -> Result<Written, NotWritten> {
        self.connect().map_err(|error| NotWritten::NotExecuted(error.to_string()))?;
        let answer = self.send_and_receive("POST", "/db/execute", headers, statements.to_string().as_bytes());
        let answer = answer.map_err(|error| NotWritten::Unknown(error.to_string()))?;
        let text = format!("{} {}", answer.status, answer.body.trim());
        match answer.header("debros-outcome") {
            Some("not-executed") => return Err(NotWritten::NotExecuted(text)),
            Some("unknown") => return Err(NotWritten::Unknown(text)),
            _ => {}
        }
        if answer.status != 200 {
            return Err(NotWritten::Refused(text));
        }
        let body = answer.json();
        let results = body["results"].clone();
        let failed = results.as_array().is_none_or(|all| all.iter().any(|result| result.get("error").is_some()));
        if failed || body.get("error").is_some() {
            return Err(NotWritten::Refused(text));
        }
        let index = answer.header("debros-index").and_then(|index| index.parse().ok()).expect("a write has an index");
        Ok(Written { results, index, replayed: answer.header("idempotent-replayed") == Some("true") })
    }

    /// Executes one statement that must succeed; its log index.
    pub(crate) fn execute(&mut self, sql: &str) -> u64 {
        let written = self.write(&json!([sql]), &[]);
        written.unwrap_or_else(|error| panic!("{sql} at {}: {error:?}", self.address)).index
    }

    /// Rows of one query at a level; an error is what the node said.
    pub(crate) fn query(&mut self, sql: &str, parameters: &str) -> Result<Vec<Value>, String> {
        let path = format!("/db/query?{parameters}");
        let answer = self.request("POST", &path, &[], json!([sql]).to_string()).map_err(|error| error.to_string())?;
        let body: Value = serde_json::from_str(&answer.body).map_err(|_| format!("{answer:?}"))?;
        let result = &body["results"][0];
        if answer.status != 200 || body.get("error").is_some() || result.get("error").is_some() || result.is_null() {
            return Err(format!("{} {}", answer.status, answer.body));
        }
        Ok(result["values"].as_array().cloned().unwrap_or_default())
    }

    /// Rows of one query at the default level that must succeed.
    pub(crate) fn rows(&mut self, sql: &str) -> Vec<Value> {
        self.query(sql, "").unwrap_or_else(|error| panic!("{sql} at {}: {error}", self.address))
    }

    /// The one value of a query that must succeed.
    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        self.rows(sql)[0][0].as_i64().unwrap_or_else(|| panic!("{sql} gives no number"))
    }
}

/// Reads status and headers.
pub(crate) fn read_head(connection: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let status = line(connection)?.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| invalid("no status line"))?;
    let mut headers = BTreeMap::new();
    loop {
        let line = line(connection)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("no header"))?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Answer { status, headers, body: String::new(), bytes: Vec::new() })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads one answer; whether the connection can be used again.
pub(crate) fn receive(connection: &mut BufReader<TcpStream>, method: &str) -> io::Result<(Answer, bool)> {
    let Answer { status, headers, .. } = read_head(connection)?;
    let mut keep = headers.get("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));
    let mut body = Vec::new();
    let bodyless = method == "HEAD" || status == 204 || status == 304;
    if bodyless {
        // Nothing follows.
    } else if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        loop {
            let size = usize::from_str_radix(&line(connection)?, 16).map_err(|_| invalid("no chunk size"))?;
            let mut chunk = vec![0; size];
            connection.read_exact(&mut chunk)?;
            line(connection)?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk);
        }
    } else if let Some(length) = headers.get("content-length") {
        body = vec![0; length.parse().map_err(|_| invalid("no content length"))?];
        connection.read_exact(&mut body)?;
    } else {
        connection.read_to_end(&mut body)?;
        keep = false;
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    Ok((Answer { status, headers, body: text, bytes: body }, keep))
}

fn line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
