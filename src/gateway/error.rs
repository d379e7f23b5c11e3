//! Every way in which the gateway says no: one closed list of codes, and the one place that turns them into HTTP.
//!
//! A code is stable: programs compare it. The message is for people and may be improved. What only the operator may
//! know (names of files, for instance) goes to the log, never into an answer.

use std::borrow::Cow;
use std::time::Duration;

use hyper::header::{ALLOW, CONNECTION, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::reply::{self, Reply};
use crate::cluster::{ClusterError, WriteOutcome};
use crate::http::BodyReadError;
use crate::types::command::Refusal;
use crate::types::statement::{StatementError, StatementErrorKind};

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It certainly did not.
    NotExecuted,
    /// It may have, or may yet.
    Unknown,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Outcome::NotExecuted => "not_executed",
            Outcome::Unknown => "unknown",
        }
    }
}

impl From<WriteOutcome> for Outcome {
    fn from(outcome: WriteOutcome) -> Outcome {
        match outcome {
            WriteOutcome::NotExecuted => Outcome::NotExecuted,
            WriteOutcome::Unknown => Outcome::Unknown,
        }
    }
}

/// Whether the request could have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It only looks.
    Reads,
    /// It changes something, so its error says whether it did.
    Writes,
}

/// Whether the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// Not as it is.
    Useless,
    /// After a pause.
    Later,
}

/// One row per code: its name, status, message, what to do about it, and whether to try again.
macro_rules! codes {
    ($($variant:ident $name:literal $status:ident $retry:ident $message:literal $hint:literal;)*) => {
        /// Why there is no ordinary answer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code {
            $(#[doc = $message] $variant,)*
        }

        impl Code {
            /// Every code.
            pub(super) const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// What programs compare.
            pub(super) const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// The status of its answer.
            pub(super) const fn status(self) -> StatusCode {
                match self { $(Code::$variant => StatusCode::$status,)* }
            }

            const fn retry(self) -> Retry {
                match self { $(Code::$variant => Retry::$retry,)* }
            }

            /// What is said when there is nothing more exact to say.
            pub(super) const fn message(self) -> &'static str {
                match self { $(Code::$variant => $message,)* }
            }

            const fn hint(self) -> &'static str {
                match self { $(Code::$variant => $hint,)* }
            }
        }
    };
}

codes! {
    InvalidRequest "INVALID_REQUEST" BAD_REQUEST Useless "the request is malformed" "";
    InvalidJson "INVALID_JSON" BAD_REQUEST Useless "invalid json body" "";
    InvalidBody "INVALID_BODY" BAD_REQUEST Useless "the body is not what this endpoint takes" "";
    InvalidParameter "INVALID_PARAMETER" BAD_REQUEST Useless "a parameter is missing or malformed" "";
    CredentialConflict "CREDENTIAL_CONFLICT" BAD_REQUEST Useless "the request carries credentials of two namespaces" "send one of them";
    Unauthenticated "UNAUTHENTICATED" UNAUTHORIZED Useless "a valid credential is required" "send `Authorization: Bearer TOKEN` or `X-API-Key: KEY`";
    Forbidden "FORBIDDEN" FORBIDDEN Useless "the credential does not allow this" "";
    NamespaceMismatch "NAMESPACE_MISMATCH" FORBIDDEN Useless "the credential is for another namespace" "";
    NotMember "NOT_MEMBER" FORBIDDEN Useless "the wallet is not a member of the namespace" "choose a free name, or ask its owner to invite the wallet";
    NotFound "NOT_FOUND" NOT_FOUND Useless "there is no such endpoint" "GET /openapi.json lists what there is";
    NoSuchNamespace "NO_SUCH_NAMESPACE" NOT_FOUND Useless "there is no such namespace" "";
    NoSuchKey "NO_SUCH_KEY" NOT_FOUND Useless "key not found" "";
    NoSuchApiKey "NO_SUCH_API_KEY" NOT_FOUND Useless "there is no such API key" "";
    NoSuchApp "NO_SUCH_APP" NOT_FOUND Useless "app not found" "";
    NoSuchRow "NO_SUCH_ROW" NOT_FOUND Useless "no row matches" "";
    NoSuchTable "NO_SUCH_TABLE" NOT_FOUND Useless "there is no such table" "";
    NoSuchMember "NO_SUCH_MEMBER" NOT_FOUND Useless "there is no such member" "";
    MethodNotAllowed "METHOD_NOT_ALLOWED" METHOD_NOT_ALLOWED Useless "method not allowed" "";
    RequestTimeout "REQUEST_TIMEOUT" REQUEST_TIMEOUT Later "the request did not arrive in time" "";
    Conflict "CONFLICT" CONFLICT Useless "the present state does not allow this" "";
    ConstraintFailed "CONSTRAINT_FAILED" CONFLICT Useless "a constraint does not hold" "";
    ExpectationFailed "EXPECTATION_FAILED" CONFLICT Useless "a statement did not meet its expectation; nothing was changed" "";
    PreconditionFailed "PRECONDITION_FAILED" PRECONDITION_FAILED Useless "the condition does not hold" "read it again, and send its new ETag";
    BodyTooLarge "BODY_TOO_LARGE" PAYLOAD_TOO_LARGE Useless "the request body is too large" "";
    ResultTooLarge "RESULT_TOO_LARGE" UNPROCESSABLE_ENTITY Useless "the result is too large" "ask for fewer rows, with LIMIT for example";
    HeadersTooLarge "HEADERS_TOO_LARGE" REQUEST_HEADER_FIELDS_TOO_LARGE Useless "the headers are too large" "";
    UriTooLong "URI_TOO_LONG" URI_TOO_LONG Useless "the URI is too long" "send the data in the body";
    UnsupportedMediaType "UNSUPPORTED_MEDIA_TYPE" UNSUPPORTED_MEDIA_TYPE Useless "the body has a type or encoding that is not taken" "";
    StatementFailed "STATEMENT_FAILED" BAD_REQUEST Useless "the statement failed" "";
    StatementRefused "STATEMENT_REFUSED" UNPROCESSABLE_ENTITY Useless "the statement is not allowed" "";
    StatementLimit "STATEMENT_LIMIT" UNPROCESSABLE_ENTITY Useless "the statement took more work than it may" "ask for less, or add an index";
    IdempotencyMismatch "IDEMPOTENCY_MISMATCH" UNPROCESSABLE_ENTITY Useless "the idempotency key was used for another request" "take a new key for a new request";
    UpgradeRequired "UPGRADE_REQUIRED" UPGRADE_REQUIRED Useless "this endpoint speaks WebSocket only" "connect with a WebSocket client";
    RateLimited "RATE_LIMITED" TOO_MANY_REQUESTS Later "too many requests" "wait as long as Retry-After says";
    TooMany "TOO_MANY" CONFLICT Useless "there are as many as there may be" "remove one first";
    CursorTooOld "CURSOR_TOO_OLD" GONE Useless "what was asked for is no longer kept" "list again, and go on from there";
    QuotaExceeded "QUOTA_EXCEEDED" FORBIDDEN Useless "the namespace's quota is used up" "delete something, or ask the operator for more";
    StaleRead "STALE_READ" SERVICE_UNAVAILABLE Later "the data here is older than the request allows" "";
    NoLeader "NO_LEADER" SERVICE_UNAVAILABLE Later "no leader or no quorum" "";
    Overloaded "OVERLOADED" SERVICE_UNAVAILABLE Later "too many requests are waiting" "";
    Stopping "STOPPING" SERVICE_UNAVAILABLE Later "the process is shutting down" "";
    NotReady "NOT_READY" SERVICE_UNAVAILABLE Later "the process cannot serve" "";
    DeadlineExceeded "DEADLINE_EXCEEDED" GATEWAY_TIMEOUT Later "the request took longer than it may" "";
    PeerUnreachable "PEER_UNREACHABLE" BAD_GATEWAY Later "the peer cannot be reached" "";
    Internal "INTERNAL" INTERNAL_SERVER_ERROR Useless "something went wrong here" "the operator's log has the request id";
}

/// The challenge of a 401, the same for every reason.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"debros\", charset=\"UTF-8\"");

/// Wait before the next try where nothing better is known: an election takes about a second.
const RETRY_DEFAULT: Duration = Duration::from_secs(1);

/// A refusal on its way to the client.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    code: Code,
    message: Cow<'static, str>,
    outcome: Option<Outcome>,
    /// In a box, so that results stay small.
    more: Box<More>,
}

/// What few errors have.
#[derive(Clone, Debug, Default)]
struct More {
    details: Option<Value>,
    retry_after: Option<Duration>,
    allow: Option<String>,
    /// What only the log may say.
    private: Option<String>,
}

/// The form of an error's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// debros' own.
    Plain,
    /// The same with the members of RFC 9457.
    Problem,
}

impl From<Code> for ApiError {
    fn from(code: Code) -> ApiError {
        let message = Cow::Borrowed(code.message());
        ApiError { code, message, outcome: None, more: Box::default() }
    }
}

impl ApiError {
    /// An error with a message of its own.
    pub(super) fn new(code: Code, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError { message: message.into(), ..code.into() }
    }

    /// A missing or malformed parameter.
    pub(super) fn parameter(name: &str, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(Code::InvalidParameter, message).details(json!({ "parameter": name }))
    }

    /// A method that the path does not have.
    pub(super) fn method(allowed: String) -> ApiError {
        ApiError::with(Code::MethodNotAllowed, More { allow: Some(allowed), ..More::default() })
    }

    /// Something that must not happen; the log gets the reason, the client only its request id.
    pub(super) fn internal(reason: impl ToString) -> ApiError {
        ApiError::private(Code::Internal, reason.to_string())
    }

    /// Too much at once; good again after `wait`.
    pub(super) fn rate_limited(wait: Duration) -> ApiError {
        ApiError::with(Code::RateLimited, More { retry_after: Some(wait), ..More::default() })
    }

    /// The same with further members for programs.
    pub(super) fn details(mut self, details: Value) -> ApiError {
        self.more.details = Some(details);
        self
    }

    fn with(code: Code, more: More) -> ApiError {
        ApiError { more: Box::new(more), ..code.into() }
    }

    fn private(code: Code, reason: String) -> ApiError {
        ApiError::with(code, More { private: Some(reason), ..More::default() })
    }

    /// The same for a request that writes.
    pub(super) fn outcome(self, outcome: Outcome) -> ApiError {
        ApiError { outcome: Some(outcome), ..self }
    }

    /// What the cluster said to a request of this effect.
    pub(super) fn cluster(error: ClusterError, effect: Effect) -> ApiError {
        let outcome = error.outcome();
        let text = error.to_string();
        let with = |code: Code| ApiError::new(code, text.clone());
        let told = match error {
            ClusterError::NoLeader => Code::NoLeader.into(),
            // Which node leads, and why it cannot be reached, is the operator's business.
            ClusterError::LeaderUnreachable { .. } => ApiError::private(Code::NoLeader, text),
            ClusterError::LeadershipLost if effect == Effect::Writes => {
                ApiError::new(Code::DeadlineExceeded, "leadership was lost before the outcome was known")
            }
            ClusterError::LeadershipLost | ClusterError::NoNode => Code::NoLeader.into(),
            ClusterError::Timeout | ClusterError::ReadTimeout { .. } => Code::DeadlineExceeded.into(),
            ClusterError::StaleRead => Code::StaleRead.into(),
            ClusterError::NoSuchNamespace(_) | ClusterError::Refused(Refusal::NoSuchNamespace(_)) => {
                with(Code::NoSuchNamespace)
            }
            ClusterError::Refused(Refusal::IdempotencyMismatch(_)) => with(Code::IdempotencyMismatch),
            ClusterError::Refused(_) => with(Code::Conflict),
            ClusterError::TooLarge { bytes_max, .. } => {
                ApiError::from(Code::BodyTooLarge).details(json!({ "bytes_max": bytes_max }))
            }
            ClusterError::Overloaded => Code::Overloaded.into(),
            ClusterError::NoSuchNode(_) => with(Code::NoSuchMember),
            ClusterError::Membership(_) => with(Code::Conflict),
            ClusterError::Stopping => Code::Stopping.into(),
            ClusterError::Storage(reason) => ApiError::internal(reason),
        };
        match effect {
            Effect::Reads => told,
            Effect::Writes => told.outcome(outcome.into()),
        }
    }

    /// What SQLite, or what guards it, said to a statement. A failed statement has changed nothing.
    pub(super) fn statement(error: &StatementError) -> ApiError {
        // rqlite's clients know two of the messages by their words; here they can say more.
        if error.kind == StatementErrorKind::ReadOnly {
            let message = "the statement would change the database: send it to /v1/db/exec";
            return ApiError::new(Code::StatementRefused, message);
        }
        let constraint = error.message.contains("constraint failed");
        let code = match error.kind {
            StatementErrorKind::Sqlite if constraint => Code::ConstraintFailed,
            StatementErrorKind::Sqlite if error.message.starts_with("no such table") => Code::NoSuchTable,
            StatementErrorKind::Sqlite | StatementErrorKind::Parameters => Code::StatementFailed,
            StatementErrorKind::ReadOnly | StatementErrorKind::Refused => Code::StatementRefused,
            StatementErrorKind::Timeout => return Code::StatementLimit.into(),
            StatementErrorKind::TooLarge if error.message.starts_with("the namespace's database") => {
                Code::QuotaExceeded
            }
            StatementErrorKind::TooLarge => Code::ResultTooLarge,
            StatementErrorKind::Expectation => Code::ExpectationFailed,
        };
        ApiError::new(code, error.message.clone())
    }

    /// Its code.
    pub(super) fn code(&self) -> Code {
        self.code
    }

    /// What is told.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The answer. What an operator has to know is logged here, once.
    pub(super) fn into_reply(self, request_id: &str, form: Form) -> Reply {
        if let Some(private) = &self.more.private {
            tracing::error!(request_id, code = self.code.name(), error = %private, "request failed");
        }
        let status = self.code.status();
        let mut reply = reply::json(status, &self.body(request_id, form));
        let headers = reply.headers_mut();
        if form == Form::Problem {
            headers.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        if self.code == Code::UpgradeRequired {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if self.code.retry() == Retry::Later {
            let wait = self.more.retry_after.unwrap_or(RETRY_DEFAULT);
            // Whole seconds, rounded up: a client that comes back a moment too early waits twice.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(allow) = self.more.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
            headers.insert(ALLOW, allow);
        }
        if matches!(self.code, Code::BodyTooLarge | Code::RequestTimeout | Code::InvalidRequest) {
            // The rest of the body may still be on its way: it must not be taken for the next request.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }

    fn body(&self, request_id: &str, form: Form) -> Value {
        let mut body = json!({
            "error": self.message,
            "code": self.code.name(),
            "request_id": request_id,
            "retryable": self.code.retry() == Retry::Later,
        });
        if let Some(outcome) = self.outcome {
            body["outcome"] = outcome.as_str().into();
        }
        if let Some(details) = &self.more.details {
            body["details"] = details.clone();
        }
        if !self.code.hint().is_empty() {
            body["hint"] = self.code.hint().into();
        }
        if form == Form::Problem {
            body["type"] = "about:blank".into();
            body["title"] = self.code.message().into();
            body["status"] = self.code.status().as_u16().into();
            body["detail"] = self.message.as_ref().into();
        }
        body
    }
}

impl From<BodyReadError> for ApiError {
    fn from(error: BodyReadError) -> ApiError {
        match error {
            BodyReadError::TooLarge { bytes_max } => {
                ApiError::from(Code::BodyTooLarge).details(json!({ "bytes_max": bytes_max }))
            }
            BodyReadError::Timeout => Code::RequestTimeout.into(),
            BodyReadError::Broken(_) => ApiError::new(Code::InvalidRequest, "the request body is incomplete"),
        }
    }
}

/// Methods as an `Allow` header lists them.
pub(super) fn allow(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::types::Namespace;

    async fn answer(error: ApiError, form: Form) -> Value {
        let reply = error.into_reply("req-1", form);
        let mut headers: Vec<String> =
            reply.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        headers.sort();
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await.expect("a body").to_bytes();
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        json!({ "status": status, "headers": headers, "body": body })
    }

    #[tokio::test]
    async fn every_code_has_its_answer() {
        let mut answers = Vec::new();
        for code in Code::ALL {
            answers.push(answer((*code).into(), Form::Plain).await);
        }
        insta::assert_json_snapshot!("codes", answers);
    }

    #[test]
    fn codes_are_upper_snake_and_different() {
        let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        for name in &names {
            assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{name}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[tokio::test]
    async fn a_problem_document_has_both_sets_of_members() {
        let told = answer(ApiError::parameter("limit", "limit must be a number"), Form::Problem).await;
        insta::assert_json_snapshot!("problem", told);
    }

    #[tokio::test]
    async fn what_the_cluster_said_keeps_its_outcome() {
        let namespace: Namespace = "shop".parse().expect("a name");
        let errors = [
            ClusterError::NoLeader,
            ClusterError::LeaderUnreachable { node: Default::default(), reason: "/secret/path".to_owned() },
            ClusterError::LeadershipLost,
            ClusterError::Timeout,
            ClusterError::ReadTimeout { index: 7 },
            ClusterError::StaleRead,
            ClusterError::NoSuchNamespace(namespace),
            ClusterError::Refused(Refusal::IdempotencyMismatch("k".to_owned())),
            ClusterError::TooLarge { bytes: 9, bytes_max: 8 },
            ClusterError::Overloaded,
            ClusterError::Stopping,
            ClusterError::Storage("/secret/path failed".to_owned()),
        ];
        let mut answers = Vec::new();
        for error in errors {
            for effect in [Effect::Reads, Effect::Writes] {
                let told = answer(ApiError::cluster(error.clone(), effect), Form::Plain).await;
                assert!(!told.to_string().contains("/secret"), "{told}");
                answers.push(json!({ "error": format!("{error:?}"), "effect": format!("{effect:?}"),
                    "status": told["status"], "code": told["body"]["code"], "outcome": told["body"]["outcome"] }));
            }
        }
        insta::assert_json_snapshot!("cluster", answers);
    }
}
