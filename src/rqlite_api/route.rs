//! From a request to its endpoint: path, method, caller, body, in this order. Nothing runs without a decision on who asks.
//!
//! Some paths match as prefixes, as in rqlite: `/db/executeXYZ` is `/db/execute`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::CONTENT_ENCODING;
use hyper::{Method, Request, StatusCode};

use super::access::{AnonymousAccess, Caller, Denied, identify, key_of};
use super::call::Call;
use super::counters::Counter;
use super::failure::{BodyType, Failure};
use super::parameters::Parameters;
use super::reply::{self, Credentials, Reply};
use super::{Face, analyze, backup, execute, leader, load, maintenance, nodes, query, readyz, request, status, vars};
use crate::auth::Principal;
use crate::auth::grant::Who;
use crate::cluster::ClusterError;
use crate::http::head::check_repeated;
use crate::http::read_upload;
use crate::types::limits::{BODY_BYTES_MAX, LOAD_BYTES_MAX};
use crate::types::{Namespace, Scope, Scopes};

/// A path that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Execute,
    Query,
    Request,
    Backup,
    Load,
    Sql,
    Status,
    Nodes,
    Readyz,
    Remove,
    Boot,
    Snapshot,
    Reap,
    Leader,
    Vars,
    Licenses,
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    Prefix,
    Exact,
}

/// Who is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    Everyone,
    KnownCallers,
    Operator,
}

const ROUTES: [(&str, Match, Endpoint); 16] = [
    ("/db/execute", Match::Prefix, Endpoint::Execute),
    ("/db/query", Match::Prefix, Endpoint::Query),
    ("/db/request", Match::Prefix, Endpoint::Request),
    ("/db/backup", Match::Prefix, Endpoint::Backup),
    ("/db/load", Match::Prefix, Endpoint::Load),
    ("/db/sql", Match::Prefix, Endpoint::Sql),
    ("/status", Match::Prefix, Endpoint::Status),
    ("/nodes", Match::Prefix, Endpoint::Nodes),
    ("/readyz", Match::Prefix, Endpoint::Readyz),
    ("/remove", Match::Prefix, Endpoint::Remove),
    ("/boot", Match::Exact, Endpoint::Boot),
    ("/snapshot", Match::Exact, Endpoint::Snapshot),
    ("/reap", Match::Exact, Endpoint::Reap),
    ("/leader", Match::Exact, Endpoint::Leader),
    ("/debug/vars", Match::Exact, Endpoint::Vars),
    ("/licenses", Match::Exact, Endpoint::Licenses),
];

impl Endpoint {
    fn at(path: &str) -> Option<Endpoint> {
        let matches = |route: &str, how| match how {
            Match::Prefix => path.starts_with(route),
            Match::Exact => path == route,
        };
        ROUTES.iter().find(|(route, how, _)| matches(route, *how)).map(|(_, _, endpoint)| *endpoint)
    }

    fn allows(self, method: &Method) -> bool {
        use Endpoint::{
            Backup, Boot, Execute, Leader, Licenses, Load, Nodes, Query, Readyz, Reap, Remove, Request, Snapshot, Sql,
            Status, Vars,
        };
        match self {
            Execute | Request | Load | Boot | Snapshot | Reap => method == Method::POST,
            Backup | Status | Nodes | Readyz | Vars | Licenses => method == Method::GET,
            Query | Sql | Leader => method == Method::GET || method == Method::POST,
            Remove => method == Method::DELETE,
        }
    }

    /// Who may come. What changes the cluster is the operator's; what shows it needs any valid key.
    fn audience(self, method: &Method) -> Audience {
        match self {
            Endpoint::Readyz | Endpoint::Licenses => Audience::Everyone,
            Endpoint::Remove | Endpoint::Boot | Endpoint::Snapshot | Endpoint::Reap => Audience::Operator,
            Endpoint::Leader if method == Method::POST => Audience::Operator,
            _ => Audience::KnownCallers,
        }
    }

    /// What a key needs; nothing for what only shows the node.
    fn scope(self) -> Option<Scope> {
        match self {
            Endpoint::Execute | Endpoint::Request | Endpoint::Load | Endpoint::Boot => Some(Scope::SqlWrite),
            Endpoint::Query | Endpoint::Backup | Endpoint::Sql => Some(Scope::SqlRead),
            _ => None,
        }
    }

    fn empty_body_type(self) -> BodyType {
        match self {
            Endpoint::Execute | Endpoint::Query | Endpoint::Request | Endpoint::Sql => BodyType::Json,
            _ => BodyType::Unsaid,
        }
    }

    /// Most bytes of a body.
    fn body_bytes_max(self) -> usize {
        match self {
            Endpoint::Load | Endpoint::Boot => LOAD_BYTES_MAX,
            Endpoint::Remove | Endpoint::Leader => 64 * 1024,
            _ => BODY_BYTES_MAX,
        }
    }
}

/// Answers any request.
pub(super) async fn answer(face: &Face, peer: SocketAddr, request: Request<Incoming>) -> Reply {
    let mut answer = if request.method() == Method::OPTIONS {
        reply::empty(StatusCode::OK)
    } else {
        dispatch(face, peer, request).await.unwrap_or_else(|failure| {
            if failure.is_no_leader() {
                face.counters.add(Counter::LeaderNotFound, 1);
            }
            failure.into_reply()
        })
    };
    let credentials = match face.anonymous {
        AnonymousAccess::Loopback => Credentials::Optional,
        AnonymousAccess::Never => Credentials::Required,
    };
    reply::set_common(answer.headers_mut(), credentials);
    answer
}

async fn dispatch(face: &Face, peer: SocketAddr, request: Request<Incoming>) -> Result<Reply, Failure> {
    let (head, body) = request.into_parts();
    check_repeated(&head.headers)?;
    let query = head.uri.query().unwrap_or_default();
    let parameters = Parameters::parse(query)?;
    let Some(endpoint) = Endpoint::at(head.uri.path()) else { return Ok(reply::empty(StatusCode::NOT_FOUND)) };
    if !endpoint.allows(&head.method) {
        return Err(Failure::Method(endpoint.empty_body_type()));
    }
    let audience = endpoint.audience(&head.method);
    if audience == Audience::Everyone {
        return Ok(match endpoint {
            Endpoint::Readyz => readyz::handle(face, &parameters).await,
            _ => reply::text(LICENSES),
        });
    }
    let caller = admitted(face, peer, &head.headers).await?;
    if audience == Audience::Operator && !caller.is_operator() {
        return Err(Failure::Denied(Denied::Unauthorized));
    }
    if let Some(scope) = endpoint.scope() {
        caller.needs(scope)?;
    }
    let mut room = face.bodies.room(caller.namespace());
    let body = if head.method == Method::GET {
        Bytes::new()
    } else {
        if head.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            let text = "compressed request bodies are not supported".to_owned();
            return Err(Failure::Text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
        }
        read_upload(body, endpoint.body_bytes_max(), |bytes| room.grow_to(bytes)).await?
    };
    let call = Call {
        face,
        caller,
        parameters,
        method: &head.method,
        path: head.uri.path(),
        query,
        headers: &head.headers,
        body,
        started: Instant::now(),
    };
    run(endpoint, &call).await
}

/// How long finding out about a key may take that this replica does not know.
const IDENTIFY_MAX: Duration = Duration::from_secs(5);

async fn admitted(face: &Face, peer: SocketAddr, headers: &hyper::HeaderMap) -> Result<Caller, Failure> {
    let opened = match key_of(headers) {
        None => None,
        Some(key) => match face.accounts.identify_key(&key, Instant::now() + IDENTIFY_MAX).await {
            Ok(identified) => identified.and_then(|identified| opened_by(&identified.principal)),
            Err(error) => {
                tracing::debug!(%error, "key not looked up");
                return Err(ClusterError::NoLeader.into());
            }
        },
    };
    let caller = identify(face.anonymous, peer.ip(), headers, opened);
    face.counters.add(if caller.is_ok() { Counter::AuthOk } else { Counter::AuthFail }, 1);
    Ok(caller?)
}

fn opened_by(principal: &Principal) -> Option<(Namespace, Scopes)> {
    match (principal.namespace(), principal.who()) {
        (Some(namespace), Who::Key { scopes, .. }) => Some((namespace.clone(), *scopes)),
        _ => None,
    }
}

async fn run(endpoint: Endpoint, call: &Call<'_>) -> Result<Reply, Failure> {
    match endpoint {
        Endpoint::Execute => execute::handle(call).await,
        Endpoint::Query => query::handle(call).await,
        Endpoint::Request => request::handle(call).await,
        Endpoint::Backup => backup::handle(call).await,
        Endpoint::Load => load::handle(call).await,
        Endpoint::Boot => load::boot(call).await,
        Endpoint::Sql => analyze::handle(call),
        Endpoint::Status => status::handle(call).await,
        Endpoint::Nodes => nodes::handle(call).await,
        Endpoint::Leader => leader::handle(call).await,
        Endpoint::Remove => maintenance::remove(call).await,
        Endpoint::Snapshot => maintenance::snapshot(call).await,
        Endpoint::Reap => maintenance::reap(call).await,
        Endpoint::Vars => vars::handle(call),
        Endpoint::Readyz | Endpoint::Licenses => unreachable!("answered before the caller is known"),
    }
}

const LICENSES: &str = "debros\n\nLicensed under the Apache License, Version 2.0.\n\
    http://www.apache.org/licenses/LICENSE-2.0\n\nIt contains SQLite, which is in the public domain, and Rust crates \
    under the MIT, Apache-2.0, BSD, ISC and MPL-2.0 licences.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_paths_are_prefixes_and_some_are_not() {
        for (path, endpoint) in [
            ("/db/executeXYZ", Some(Endpoint::Execute)),
            ("/db/query/", Some(Endpoint::Query)),
            ("/status", Some(Endpoint::Status)),
            ("/nodes/", Some(Endpoint::Nodes)),
            ("/leader", Some(Endpoint::Leader)),
            ("/leader/", None),
            ("/bootx", None),
            ("/", None),
            ("/db", None),
            ("/DB/query", None),
            ("/console/", None),
        ] {
            assert_eq!(Endpoint::at(path), endpoint, "{path}");
        }
    }

    #[test]
    fn what_changes_the_cluster_is_for_the_operator_only() {
        for (path, method, audience) in [
            ("/remove", Method::DELETE, Audience::Operator),
            ("/leader", Method::POST, Audience::Operator),
            ("/leader", Method::GET, Audience::KnownCallers),
            ("/boot", Method::POST, Audience::Operator),
            ("/snapshot", Method::POST, Audience::Operator),
            ("/reap", Method::POST, Audience::Operator),
            ("/status", Method::GET, Audience::KnownCallers),
            ("/nodes", Method::GET, Audience::KnownCallers),
            ("/debug/vars", Method::GET, Audience::KnownCallers),
            ("/db/load", Method::POST, Audience::KnownCallers),
            ("/readyz", Method::GET, Audience::Everyone),
        ] {
            let endpoint = Endpoint::at(path).expect("served");
            assert!(endpoint.allows(&method));
            assert_eq!(endpoint.audience(&method), audience, "{method} {path}");
        }
    }
}
