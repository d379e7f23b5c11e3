//! The clients: each asks, waits for the whole answer, checks it and asks again, until the time is up.
//!
//! All of them live on the caller's thread. A request costs one write and, as answers are short, one read.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::error::BenchError;
use super::histogram::Histogram;
use super::request::{Keys, Request};
use super::response::{self, Malformed};
use super::target::Target;
use super::workload::Workload;
use crate::tasks::Tasks;

/// Largest answer: one for 100 statements is some 4 KiB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long the last answers may take once the time is up; a node gives up on a write after 30 s at most.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(30);

/// How much of a refusal is kept to be shown.
const SHOWN_BYTES_MAX: usize = 300;

/// How hard to ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) workload: Workload,
    pub(super) connections: usize,
    pub(super) duration: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Of good answers.
    pub(super) latencies: Histogram,
    /// Bytes of the bodies of good answers.
    pub(super) body_bytes: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

impl Tally {
    fn merge(&mut self, other: Tally) {
        self.latencies.merge(&other.latencies);
        self.body_bytes += other.body_bytes;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn count_error(&mut self, error: &ExchangeError) {
        self.errors += 1;
        if self.first_error.is_none() {
            self.first_error = Some(error.to_string());
        }
    }
}

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("{status} {text}")]
    Refused { status: u16, text: String },
}

/// Makes what the workload needs.
pub(super) async fn prepare(target: &Target, workload: Workload) -> Result<(), BenchError> {
    ask_all(target, workload.preparation(target)).await
}

/// Asks one thing after the other, of which each must be answered well.
pub(super) async fn ask_all(target: &Target, requests: Vec<Request>) -> Result<(), BenchError> {
    let mut client = Client::connect(target).await?;
    for request in requests {
        client.ask_once(request).await.map_err(BenchError::Prepare)?;
    }
    Ok(())
}

/// An access token for the bearer of the target's API key.
pub(super) async fn access_token(target: &Target) -> Result<String, BenchError> {
    #[derive(serde::Deserialize)]
    struct Issued {
        access_token: String,
    }
    let mut client = Client::connect(target).await?;
    let request = Request::post_json(target, "/v1/auth/token", "{}");
    let answer = client.ask_once(request).await.map_err(BenchError::Token)?;
    let issued: Issued = serde_json::from_slice(answer).map_err(|error| BenchError::Token(error.to_string()))?;
    Ok(issued.access_token)
}

/// Connects, asks for as long as the load says, and counts.
pub(super) async fn drive(targets: &[Target], load: Load) -> Result<Tally, BenchError> {
    let mut clients = Vec::with_capacity(load.connections);
    for target in targets.iter().cycle().take(load.connections) {
        clients.push((Client::connect(target).await?, load.workload.request(target)));
    }
    let tasks = Tasks::new();
    let end = Instant::now() + load.duration;
    let running = (0..).zip(clients).map(|(seed, (client, request))| tasks.spawn(client.run(request, seed, end)));
    let running: Vec<_> = running.collect();
    let last_answer = tokio::time::Instant::from_std(end + LAST_ANSWER_MAX);
    let mut total = Tally::default();
    for mut task in running {
        match tokio::time::timeout_at(last_answer, &mut task).await {
            Ok(Ok(tally)) => total.merge(tally),
            Ok(Err(_)) | Err(_) => {
                task.abort();
                let silence = format!("no answer within {} s of the end", LAST_ANSWER_MAX.as_secs());
                total.merge(Tally { errors: 1, first_error: Some(silence), ..Tally::default() });
            }
        }
    }
    Ok(total)
}

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Client {
    pub(super) async fn connect(target: &Target) -> Result<Client, BenchError> {
        let failed = |source| BenchError::Connect { address: target.address.clone(), source };
        let stream = TcpStream::connect(&target.address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(Client { stream, buffer: vec![0; ANSWER_BYTES_MAX].into_boxed_slice() })
    }

    /// Asks until `end`. A refusal is counted and the client goes on; without its connection it stops.
    async fn run(mut self, mut request: Request, seed: u64, end: Instant) -> Tally {
        let mut tally = Tally::default();
        let mut keys = Keys::new(seed);
        let mut asked = Instant::now();
        while asked < end {
            let answer = self.ask(request.next(&mut keys)).await;
            let answered = Instant::now();
            match answer {
                // What comes after the end belongs to no second that is counted.
                Ok(_) if answered > end => break,
                Ok(body) => {
                    tally.latencies.add(answered - asked);
                    tally.body_bytes += body.len() as u64;
                }
                Err(error) => {
                    tally.count_error(&error);
                    if !matches!(error, ExchangeError::Refused { .. }) {
                        break;
                    }
                }
            }
            asked = answered;
        }
        tally
    }

    /// Asks something besides the load; the body, or why there is none.
    async fn ask_once(&mut self, mut request: Request) -> Result<&[u8], String> {
        let asked = self.ask(request.next(&mut Keys::new(0)));
        match tokio::time::timeout(LAST_ANSWER_MAX, asked).await {
            Ok(Ok(body)) => Ok(&self.buffer[body]),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LAST_ANSWER_MAX.as_secs())),
        }
    }

    /// Sends a request and waits for its answer; returns where in the buffer its body is.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Range<usize>, ExchangeError> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            filled += read;
            if let Some(response) = response::parse(&self.buffer[..filled])? {
                check(response.status, &self.buffer[response.body.clone()])?;
                return Ok(response.body);
            }
            if filled == self.buffer.len() {
                return Err(ExchangeError::TooLarge);
            }
        }
    }
}

/// An answer is good when it says so twice: by its status, and by having no error inside.
fn check(status: u16, body: &[u8]) -> Result<(), ExchangeError> {
    if matches!(status, 200 | 201) && response::find(body, b"\"error\"").is_none() {
        return Ok(());
    }
    let shown = &body[..body.len().min(SHOWN_BYTES_MAX)];
    Err(ExchangeError::Refused { status, text: String::from_utf8_lossy(shown).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::sql_workload::SqlWorkload;
    use super::*;

    /// Answers one connection: each of `answers` in single bytes, then it closes.
    async fn server(listener: TcpListener, answers: Vec<&'static str>) {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        stream.set_nodelay(true).expect("sets");
        let mut request = vec![0; 4096];
        for answer in answers {
            assert_ne!(stream.read(&mut request).await.expect("reads"), 0);
            for byte in answer.as_bytes() {
                stream.write_all(&[*byte]).await.expect("writes");
                tokio::task::yield_now().await;
            }
        }
    }

    async fn tally(answers: &[&'static str]) -> Tally {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let target = Target::new(listener.local_addr().expect("bound").to_string());
        let load =
            Load { workload: Workload::Sql(SqlWorkload::Insert), connections: 1, duration: Duration::from_secs(60) };
        let (tally, ()) = tokio::join!(drive(std::slice::from_ref(&target), load), server(listener, answers.to_vec()));
        tally.expect("connects")
    }

    #[tokio::test]
    async fn answers_are_counted_and_refusals_are_told() {
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let refused = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";
        let failed = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"error\":\"x\"}";
        let tally = tally(&[good, refused, failed, good]).await;
        // The third error is the server's going away.
        assert_eq!((tally.latencies.count(), tally.body_bytes, tally.errors), (2, 4, 3));
        assert_eq!(tally.first_error.as_deref(), Some("503 busy"));
    }

    #[tokio::test]
    async fn a_server_that_speaks_something_else_ends_the_client() {
        let tally = tally(&["SSH-2.0\r\n\r\n"]).await;
        assert_eq!((tally.latencies.count(), tally.errors), (0, 1));
        assert_eq!(tally.first_error.as_deref(), Some("not an HTTP/1.1 answer with a length"));
    }
}
