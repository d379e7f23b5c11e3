//! One request on its way through an endpoint: who asks, what exactly, until when.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::Face;
use super::access::Caller;
use super::body;
use super::failure::Failure;
use super::json::{self, Envelope, Operation, Style};
use super::parameters::{Flag, Parameters};
use super::reply::{self, Reply};
use super::space::Full;
use crate::cluster::{ClusterError, ServedBy};
use crate::types::command::IdempotencyKey;
use crate::types::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::types::{Namespace, Statement, StatementResult};

/// A request whose caller is known and whose body is here.
pub(super) struct Call<'a> {
    pub(super) face: &'a Face,
    pub(super) caller: Caller,
    pub(super) parameters: Parameters<'a>,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
    pub(super) started: Instant,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Call<'_> {
    /// The namespace that the caller works on.
    pub(super) fn namespace(&self) -> &Namespace {
        self.caller.namespace()
    }

    /// When the caller stops waiting.
    pub(super) fn deadline(&self) -> Instant {
        after(self.started, self.parameters.timeout())
    }

    /// The form of the answer.
    pub(super) fn style(&self, operation: Operation) -> Style {
        self.parameters.style(operation)
    }

    /// The statements of a JSON body.
    pub(super) fn statements(&self) -> Result<Vec<Statement>, Failure> {
        Ok(body::statements(&self.body)?)
    }

    /// The statements of a JSON body, or the one of a `text/plain` body.
    pub(super) fn statements_or_text(&self) -> Result<Vec<Statement>, Failure> {
        if !self.headers.get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/plain")) {
            return self.statements();
        }
        let sql = std::str::from_utf8(&self.body).map_err(|_| Failure::BadRequest("body is not UTF-8"))?;
        Ok(if sql.is_empty() { Vec::new() } else { vec![Statement::new(sql)] })
    }

    /// The caller's name for this request, if it gave one, with the hash that tells another request from it.
    ///
    /// Not in the hash are parameters that change only the form of the answer or the waiting: a retry may differ there.
    pub(super) fn idempotency(&self) -> Result<Option<IdempotencyKey>, Failure> {
        let Some(value) = self.headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
        let key = value.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()));
        let key = key.ok_or(Failure::BadRequest("Idempotency-Key must be 1 to 255 visible ASCII characters"))?;
        let mut hasher = blake3::Hasher::new();
        for part in [self.method.as_str().as_bytes(), self.path.as_bytes()] {
            hasher.update(part).update(b"\n");
        }
        hasher.update(if self.parameters.has(Flag::Transaction) { b"transaction\n" } else { b"\n" });
        hasher.update(&self.body);
        Ok(Some(IdempotencyKey { key: key.to_owned(), fingerprint: hasher.finalize().into() }))
    }

    /// A 200 with results.
    pub(super) fn results(
        &self,
        style: &Style,
        results: &[StatementResult],
        served_by: &ServedBy,
        index: Option<u64>,
    ) -> Result<Reply, Failure> {
        let raft_index = index.filter(|_| self.parameters.has(Flag::RaftIndex)).unwrap_or(0);
        let envelope = Envelope { results, elapsed: self.started.elapsed(), raft_index, ..Envelope::default() };
        let mut answer = match json::write(&envelope, style) {
            Ok(bytes) => match self.face.answers.room(self.namespace()).hold(bytes) {
                Ok(bytes) => reply::json(bytes),
                // What has had its effect must not look as if it could be tried again.
                Err(Full) if index.is_some() => Failure::AnswerNotHeld.into_reply(),
                Err(Full) => Failure::Control(ClusterError::Overloaded).into_reply(),
            },
            Err(error) => Failure::from(error).into_reply(),
        };
        reply::set_served_by(&mut answer, served_by, &self.face.served_by);
        if let Some(index) = index {
            reply::set_index(&mut answer, index);
        }
        Ok(answer)
    }

    /// With `redirect`, a request that another node would serve is sent there: the address of the leader's listener.
    ///
    /// A leader whose listener is not known cannot be named; then the request is forwarded as without `redirect`.
    pub(super) fn redirect(&self) -> Result<Option<Reply>, Failure> {
        let cluster = &self.face.cluster;
        if !self.parameters.has(Flag::Redirect) || cluster.is_leader() {
            return Ok(None);
        }
        let no_leader = || Failure::Text(StatusCode::INTERNAL_SERVER_ERROR, "leader not found".to_owned());
        let leader = cluster.leader().ok_or_else(no_leader)?;
        if leader.sql_address.is_empty() {
            return Ok(None);
        }
        let location = format!("http://{}{}?{}", leader.sql_address, self.path, self.query);
        let Ok(location) = HeaderValue::from_str(&location) else { return Ok(None) };
        let mut answer = reply::empty(StatusCode::MOVED_PERMANENTLY);
        answer.headers_mut().insert(hyper::header::LOCATION, location);
        Ok(Some(answer))
    }
}

/// A moment that a caller's span of time leads to; a span beyond the clock's range leads to a day from now.
pub(super) fn after(start: Instant, span: Duration) -> Instant {
    start.checked_add(span).unwrap_or(start + Duration::from_secs(24 * 60 * 60))
}
