//! Everything that keeps a request from its answer, and the one place that turns it into HTTP.
//!
//! On the data endpoints rqlite reports what went wrong in the cluster inside a 200; its clients look there. What is
//! certain before anything was tried (nobody leads, overload) is a 503.

use hyper::StatusCode;

use super::access::Denied;
use super::body::BodyError;
use super::go_number::NotFinite;
use super::json::{self, Envelope, Style, WriteError};
use super::parameters::ParameterError;
use super::reply::{self, Reply};
use super::space::Full;
use crate::cluster::ClusterError;
use crate::http::head::Repeated;
use crate::http::{BodyReadError, UploadError};
use crate::types::command::Refusal;

/// Why there is no ordinary answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Head(#[from] Repeated),
    #[error(transparent)]
    BodyRead(#[from] BodyReadError),
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The path exists, the method does not.
    #[error("method not allowed")]
    Method(BodyType),
    /// The request asks for something that it may not.
    #[error("{0}")]
    BadRequest(&'static str),
    /// A whole request refused with its reason at the top of a 200, as rqlite refuses some PRAGMAs.
    #[error("{0}")]
    RefusedInside(&'static str, Style),
    /// The cluster could not do it; a data endpoint asked.
    #[error("{0}")]
    Data(ClusterError, Style, Effect),
    /// The cluster could not do it; another endpoint asked.
    #[error(transparent)]
    Control(#[from] ClusterError),
    /// A result that JSON has no number for.
    #[error("json: error calling MarshalJSON for type *http.DBResults: json: unsupported value: {}", .0.0)]
    NotFinite(NotFinite),
    /// The request took effect, but its answer found no room.
    #[error("the request was executed, but there is no memory for its answer now: too many large ones are being taken")]
    AnswerNotHeld,
    /// Results whose JSON would be too large.
    #[error(transparent)]
    AnswerTooLarge(WriteError),
    /// A fixed status and text.
    #[error("{1}")]
    Text(StatusCode, String),
    /// A file could not be read or written here.
    #[error("{doing}: {source}")]
    File {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
}

impl From<UploadError<Full>> for Failure {
    fn from(error: UploadError<Full>) -> Failure {
        match error {
            UploadError::Body(error) => Failure::BodyRead(error),
            UploadError::NoRoom(Full) => Failure::Control(ClusterError::Overloaded),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        match error {
            WriteError::NotFinite(number) => Failure::NotFinite(number),
            too_large @ WriteError::TooLarge { .. } => Failure::AnswerTooLarge(too_large),
        }
    }
}

/// What an endpoint's empty answers say they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyType {
    Json,
    Unsaid,
}

/// Whether the request could have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Reads,
    Writes,
}

impl Failure {
    /// Whether nobody leads.
    pub(super) fn is_no_leader(&self) -> bool {
        matches!(self, Failure::Data(ClusterError::NoLeader, ..) | Failure::Control(ClusterError::NoLeader))
    }

    /// The answer for the caller. What an operator has to know is logged here, once.
    pub(super) fn into_reply(self) -> Reply {
        let message = match &self {
            // What failed names files of this machine, which is nobody's business but the operator's.
            Failure::Data(ClusterError::Storage(reason), ..) | Failure::Control(ClusterError::Storage(reason)) => {
                tracing::error!(error = %reason, "request failed in storage");
                "reading the database failed".to_owned()
            }
            other => other.to_string(),
        };
        match self {
            Failure::Parameters(_) | Failure::Head(_) | Failure::Body(_) | Failure::BadRequest(_) => {
                reply::error(StatusCode::BAD_REQUEST, &message)
            }
            Failure::Denied(Denied::Unauthorized) => {
                let mut answer = reply::empty(StatusCode::UNAUTHORIZED);
                reply::ask_for_credentials(answer.headers_mut());
                answer
            }
            Failure::Denied(_) => reply::error(StatusCode::FORBIDDEN, &message),
            Failure::BodyRead(error) => reply::error(status_of_body(&error), &message),
            Failure::Method(BodyType::Json) => reply::empty_json(StatusCode::METHOD_NOT_ALLOWED),
            Failure::Method(BodyType::Unsaid) => reply::empty(StatusCode::METHOD_NOT_ALLOWED),
            Failure::RefusedInside(_, style) => inside(&message, &style),
            Failure::Data(error, style, effect) => data(&error, &message, &style, effect),
            Failure::Control(error) => {
                reply::error(status_of(&error).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &message)
            }
            Failure::NotFinite(_) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, &message),
            Failure::AnswerTooLarge(_) | Failure::AnswerNotHeld => {
                reply::error(StatusCode::PAYLOAD_TOO_LARGE, &message)
            }
            Failure::Text(status, _) => reply::error(status, &message),
            Failure::File { doing, source } => {
                tracing::error!(error = %source, "{doing}");
                reply::error(StatusCode::INTERNAL_SERVER_ERROR, doing)
            }
        }
    }
}

fn status_of_body(error: &BodyReadError) -> StatusCode {
    match error {
        BodyReadError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        BodyReadError::Timeout => StatusCode::REQUEST_TIMEOUT,
        BodyReadError::Broken(_) => StatusCode::BAD_REQUEST,
    }
}

fn data(error: &ClusterError, message: &str, style: &Style, effect: Effect) -> Reply {
    let mut answer = match status_of(error) {
        Some(status) => reply::error(status, message),
        None => inside(message, style),
    };
    if effect == Effect::Writes {
        reply::set_outcome(&mut answer, error.outcome());
    }
    answer
}

fn inside(message: &str, style: &Style) -> Reply {
    let envelope = Envelope { error: Some(message), ..Envelope::default() };
    reply::json(json::write(&envelope, style).expect("an answer without results has no number"))
}

/// The status of an error that is no part of a 200.
fn status_of(error: &ClusterError) -> Option<StatusCode> {
    match error {
        ClusterError::NoLeader | ClusterError::Overloaded | ClusterError::Stopping => {
            Some(StatusCode::SERVICE_UNAVAILABLE)
        }
        ClusterError::TooLarge { .. } => Some(StatusCode::PAYLOAD_TOO_LARGE),
        ClusterError::Refused(Refusal::IdempotencyMismatch(_)) => Some(StatusCode::UNPROCESSABLE_ENTITY),
        ClusterError::Membership(_) | ClusterError::Storage(_) => Some(StatusCode::INTERNAL_SERVER_ERROR),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::super::json::Operation;
    use super::super::parameters::Parameters;
    use super::*;
    use crate::types::NodeId;

    async fn answer(error: ClusterError, effect: Effect) -> (u16, String, Option<String>) {
        let style = Parameters::default().style(Operation::Execute);
        let reply = Failure::Data(error, style, effect).into_reply();
        let outcome = reply.headers().get("debros-outcome").map(|v| v.to_str().expect("text").to_owned());
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.to_vec()).expect("text"), outcome)
    }

    #[tokio::test]
    async fn what_happens_in_the_cluster_is_told_as_rqlite_tells_it() {
        for (error, status, body) in [
            (ClusterError::NoLeader, 503, "leader not found\n"),
            (ClusterError::LeadershipLost, 200, r#"{"results":[],"error":"leadership lost while committing log"}"#),
            (ClusterError::StaleRead, 200, r#"{"results":[],"error":"stale read"}"#),
            (
                ClusterError::ReadTimeout { index: 7 },
                200,
                r#"{"results":[],"error":"index 7: timeout waiting for fsm"}"#,
            ),
            (
                ClusterError::LeaderUnreachable { node: NodeId::default(), reason: "refused".to_owned() },
                200,
                r#"{"results":[],"error":"cannot reach the leader 12D3KooW9pNAk8aiBuGVQtWRdbkLmo5qVL3e2h5UxbN2Nz9ttwiw: refused"}"#,
            ),
            (ClusterError::Overloaded, 503, "node is overloaded, try again\n"),
            (ClusterError::Storage("/var/lib/x failed".to_owned()), 500, "reading the database failed\n"),
        ] {
            let (found_status, found_body, outcome) = answer(error, Effect::Reads).await;
            assert_eq!((found_status, found_body.as_str(), outcome), (status, body, None));
        }
    }

    #[tokio::test]
    async fn a_failed_write_says_whether_it_may_have_taken_effect() {
        for (error, expected) in [
            (ClusterError::LeadershipLost, "unknown"),
            (ClusterError::Timeout, "unknown"),
            (ClusterError::NoLeader, "not-executed"),
            (ClusterError::Overloaded, "not-executed"),
        ] {
            assert_eq!(answer(error, Effect::Writes).await.2.as_deref(), Some(expected));
        }
    }
}
