//! One request from its head to its answer: address, route, caller, limits, body, endpoint; and what every answer
//! carries.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, EXPECT, HeaderMap, HeaderValue, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use super::Face;
use super::access_log::Line;
use super::account_error::refused;
use super::call::Call;
use super::client_address::client_address;
use super::compression;
use super::cors::{self, Asked};
use super::credential::Presented;
use super::error::{ApiError, Code};
use super::query::Query;
use super::rate_limit::{Budget, Exceeded};
use super::reply::{self, Reply};
use super::request::{Unread, check_head, error_form, pass_over, take_body};
use super::request_id::{RequestId, X_REQUEST_ID};
use super::route::{Class, Found, Policy, Route};
use super::socket_credential;
use crate::accounts::{Identified, TicketMaker};
use crate::auth::{Grant, WsTicket};
use crate::types::{Action, Namespace};

/// Longest that a caller is kept waiting.
const REQUEST_MAX: Duration = Duration::from_secs(30);

/// What is found out on the way and outlives the endpoint.
#[derive(Default)]
struct Journey {
    route: Option<Arc<Route>>,
    identified: Option<Identified>,
    ticket_maker: Option<TicketMaker>,
    grant: Option<Grant>,
    budget: Option<Budget>,
}

impl Journey {
    /// Whose data it concerned.
    fn namespace(&self) -> Option<&Namespace> {
        let granted = self.grant.as_ref().map(Grant::namespace);
        granted.or_else(|| self.identified.as_ref().and_then(|identified| identified.principal.namespace()))
    }
}

/// Answers any request.
pub(super) async fn answer(face: Arc<Face>, peer: SocketAddr, request: Request<Incoming>) -> Reply {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let request_id = face.request_ids.of(&head.headers);
    let client = client_address(peer.ip(), &head.headers, &face.proxies);
    let origin = head.headers.get(ORIGIN).cloned();
    let (gzip, form) = (compression::accepted(&head.headers), error_form(&head.headers));
    let method = head.method.clone();
    let asked = if method == Method::OPTIONS { Asked::Before } else { Asked::Now };
    let mut journey = Journey::default();
    let mut body = Some(body);
    let awaits_continue = head.headers.contains_key(EXPECT);
    let answered = dispatch(&face, head, &mut body, client, &mut journey).await;
    let (mut reply, code) = match answered {
        Ok(reply) => (reply, None),
        Err(error) => {
            let code = error.code();
            (error.into_reply(request_id.as_str(), form), Some(code))
        }
    };
    if let Some(unread) = body
        && pass_over(unread, awaits_continue).await == Unread::InTheWay
    {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let class = journey.route.as_ref().map_or(Class::Ordinary, |route| route.class);
    if gzip && class != Class::Login {
        reply = compression::compress(reply).await;
    }
    finish(&face, reply.headers_mut(), origin.as_ref(), asked, class, &request_id);
    if let Some(budget) = journey.budget {
        budget.tell(reply.headers_mut());
    }
    let (template, elapsed) = (journey.route.as_ref().map(|route| route.path), started.elapsed());
    face.metrics.answered(&method, template, reply.status(), elapsed);
    Line {
        method: &method,
        route: template,
        class,
        status: reply.status(),
        code,
        elapsed,
        bytes: reply.body().size_hint().exact(),
        client,
        request_id: &request_id,
        principal: journey.identified.as_ref().map(|identified| &identified.principal),
        namespace: journey.namespace(),
    }
    .write();
    reply
}

/// What every answer carries.
fn finish(
    face: &Face,
    headers: &mut HeaderMap,
    origin: Option<&HeaderValue>,
    asked: Asked,
    class: Class,
    request_id: &RequestId,
) {
    cors::set(&face.origins, origin, asked, headers);
    headers.insert(X_REQUEST_ID, request_id.to_header());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if class == Class::Login || !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

async fn dispatch(
    face: &Arc<Face>,
    mut head: Parts,
    body: &mut Option<Incoming>,
    client: IpAddr,
    journey: &mut Journey,
) -> Result<Reply, ApiError> {
    let deadline = Instant::now() + REQUEST_MAX;
    check_head(&head)?;
    let (route, path) = match face.routes.find(&head.method, head.uri.path())? {
        Found::Route(route, path) => (route, path),
        Found::Options(allowed) => return Ok(options(&allowed)),
    };
    journey.route = Some(Arc::clone(&route));
    if route.class != Class::Probe {
        spend(journey, face.limits.address(client))?;
    }
    if route.class == Class::Login {
        spend(journey, face.limits.login(client))?;
    }
    let query = Query::parse(head.uri.query().unwrap_or_default())?;
    let ticket = match route.class {
        Class::Socket => socket_credential::lift(&mut head.headers, &query, face.query_credentials)?,
        _ => None,
    };
    match route.policy {
        Policy::Public => {}
        _ if let Some(ticket) = ticket => take_ticket(face, &ticket, journey, deadline).await?,
        Policy::Optional => match identify(face, &head.headers, journey, deadline).await {
            Err(error) if error.code() != Code::Unauthenticated => return Err(error),
            _ => {}
        },
        Policy::Credential | Policy::Namespace(_) | Policy::Operator => {
            identify(face, &head.headers, journey, deadline).await?;
        }
    }
    permit(face, &route, &query, journey)?;
    let taken = take_body(&head.headers, body, route.body_bytes_max, &face.bodies).await?;
    let call = Call {
        face: Arc::clone(face),
        method: head.method,
        path,
        query,
        headers: head.headers,
        body: taken.bytes.clone(),
        target: head.uri,
        identified: journey.identified.clone(),
        ticket_maker: journey.ticket_maker.clone(),
        grant: journey.grant.clone(),
        deadline,
    };
    route.run(call).await
}

/// Finds out who asks.
async fn identify(face: &Face, headers: &HeaderMap, journey: &mut Journey, deadline: Instant) -> Result<(), ApiError> {
    let presented = Presented::read(headers)?;
    let identified = face.authenticator.identify(face.accounts(), &presented, headers, &face.origins, deadline).await?;
    if let Some(credential) = presented.key.or(presented.token) {
        spend(journey, face.limits.credential(credential.as_bytes()))?;
    }
    journey.identified = Some(identified);
    Ok(())
}

/// Uses a ticket up, and finds out who comes with it.
async fn take_ticket(face: &Face, ticket: &WsTicket, journey: &mut Journey, deadline: Instant) -> Result<(), ApiError> {
    let maker = face.accounts().take_ticket(ticket, deadline).await.map_err(refused)?;
    let identified = face.authenticator.identify_maker(face.accounts(), &maker, deadline).await?;
    spend(journey, face.limits.credential(maker.credential.name().as_bytes()))?;
    journey.identified = Some(identified);
    journey.ticket_maker = Some(maker);
    Ok(())
}

/// Makes sure that whoever asks may.
fn permit(face: &Face, route: &Route, query: &Query, journey: &mut Journey) -> Result<(), ApiError> {
    let Some(Identified { principal, .. }) = &journey.identified else { return Ok(()) };
    let own = principal.namespace().unwrap_or(face.authenticator.namespace());
    let (asked, action) = match route.policy {
        Policy::Public | Policy::Optional => return Ok(()),
        // What it may do is decided where it is known in which namespace; it counts in its own.
        Policy::Credential => return spend(journey, face.limits.namespace(own)),
        Policy::Operator => (own.clone(), Action::OperateNetwork),
        Policy::Namespace(action) => match query.one("namespace")? {
            None => (own.clone(), action),
            Some(name) => {
                let asked = name.parse::<Namespace>();
                (asked.map_err(|error| ApiError::parameter("namespace", error.to_string()))?, action)
            }
        },
    };
    let grant = principal.grant(&asked, action)?;
    spend(journey, face.limits.namespace(grant.namespace()))?;
    journey.grant = Some(grant);
    Ok(())
}

/// Counts a request against a budget, and remembers the scarcest.
fn spend(journey: &mut Journey, checked: Result<Option<Budget>, Exceeded>) -> Result<(), ApiError> {
    match checked {
        Ok(left) => {
            journey.budget = left.map_or(journey.budget, |left| Some(left.scarcer(journey.budget)));
            Ok(())
        }
        Err(exceeded) => {
            journey.budget = Some(exceeded.budget());
            Err(exceeded.into())
        }
    }
}

/// The answer to a browser that asks what it may send, and to anybody else who asks what there is.
fn options(allowed: &str) -> Reply {
    let mut reply = reply::empty(StatusCode::NO_CONTENT);
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        reply.headers_mut().insert(ALLOW, allowed);
    }
    reply
}
