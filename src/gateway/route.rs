//! The table of everything that is served. One entry yields routing, who may come, how large a body may be, the label
//! in logs and metrics, and the entry in `/openapi.json`: they cannot drift apart.
//!
//! Paths are compared as they were sent, byte by byte: nothing is decoded, joined or folded first, so no spelling of a
//! path reaches something else than the one that stands here. Only what a `{parameter}` caught is decoded, afterwards.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::Method;
use serde_json::Value;

use super::call::Call;
use super::error::{ApiError, Code, allow};
use super::query::decode;
use super::reply::Reply;
use crate::types::Action;

/// Largest body where an endpoint does not say otherwise.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// What a handler gives.
pub(super) type Answer = BoxFuture<'static, Result<Reply, ApiError>>;

/// Who may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Everybody; credentials are not looked at.
    Public,
    /// Everybody; a credential that is good is taken into account.
    Optional,
    /// Whoever has any valid credential.
    Credential,
    /// Whoever may do this in the namespace that the request is for: the credential's, and no other.
    Namespace(Action),
    /// The operator of the cluster.
    Operator,
}

/// How an endpoint is treated besides its policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Like most.
    Ordinary,
    /// Asked all the time by machines: logged only when it fails, and not limited.
    Probe,
    /// Opens a socket or a stream from a browser, which can set no header: credentials may come otherwise.
    Socket,
    /// Hands out or takes secrets: a tighter rate limit, and an answer that is neither stored nor compressed.
    Login,
}

/// The chapter of the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tag {
    Health,
    Auth,
    Namespaces,
    Apps,
    Sql,
    Storage,
    PubSub,
    Network,
    Documentation,
}

impl Tag {
    /// Every chapter with what it is about.
    pub(super) const ALL: [(Tag, &'static str, &'static str); 9] = [
        (Tag::Health, "health", "Whether this process lives and can serve, and what it is."),
        (Tag::Auth, "auth", "Logging in with a wallet, and what stands for it afterwards."),
        (Tag::Namespaces, "namespaces", "Namespaces, who belongs to them, and the keys that open them."),
        (Tag::Apps, "apps", "Registered applications."),
        (Tag::Sql, "sql", "The namespace's database."),
        (Tag::Storage, "storage", "Keys and values."),
        (Tag::PubSub, "pubsub", "Messages to whoever listens."),
        (Tag::Network, "network", "The nodes of the cluster, as this process sees them."),
        (Tag::Documentation, "documentation", "This contract."),
    ];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        Tag::ALL.iter().find(|(tag, ..)| *tag == self).map_or("", |(_, name, _)| name)
    }
}

/// A body as the documentation shows it.
#[derive(Clone, Debug)]
pub(super) struct Content {
    /// Its media type.
    pub(super) media_type: &'static str,
    /// Its JSON schema; `None` for what is not JSON.
    pub(super) schema: Option<Value>,
}

impl Content {
    /// No body at all.
    pub(super) const fn none() -> Content {
        Content { media_type: "", schema: None }
    }

    /// A JSON body.
    pub(super) fn json(schema: Value) -> Content {
        Content { media_type: "application/json", schema: Some(schema) }
    }

    /// A body of another type.
    pub(super) const fn of(media_type: &'static str) -> Content {
        Content { media_type, schema: None }
    }
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the query.
    Query,
    /// In a header.
    Header,
}

/// A parameter beside the path.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    pub(super) place: Place,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) required: bool,
    pub(super) schema: Value,
}

/// One of the answers.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) content: Option<Content>,
}

/// One entry of the table.
pub(super) struct Route {
    pub(super) method: Method,
    /// The path, with `{parameters}`; also the label in logs and metrics.
    pub(super) path: &'static str,
    /// Other paths of the same, from earlier versions of the contract.
    pub(super) aliases: Vec<&'static str>,
    /// Its unique name in the documentation.
    pub(super) operation: &'static str,
    /// What it does, in a line.
    pub(super) summary: &'static str,
    pub(super) tag: Tag,
    pub(super) policy: Policy,
    pub(super) class: Class,
    pub(super) body_bytes_max: usize,
    pub(super) parameters: Vec<Parameter>,
    pub(super) takes: Vec<Content>,
    pub(super) answers: Vec<Answered>,
    /// Codes of errors beside those that follow from policy and body.
    pub(super) errors: Vec<Code>,
    handler: Box<dyn Fn(Call) -> Answer + Send + Sync>,
}

impl Route {
    /// A route that has no answers yet.
    pub(super) fn new<F, A>(method: Method, path: &'static str, operation: &'static str, handler: F) -> Route
    where
        F: Fn(Call) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Reply, ApiError>> + Send + 'static,
    {
        Route {
            method,
            path,
            aliases: Vec::new(),
            operation,
            summary: "",
            tag: Tag::Health,
            policy: Policy::Operator,
            class: Class::Ordinary,
            body_bytes_max: BODY_BYTES_MAX,
            parameters: Vec::new(),
            takes: Vec::new(),
            answers: Vec::new(),
            errors: Vec::new(),
            handler: Box::new(move |call| Box::pin(handler(call))),
        }
    }

    pub(super) fn about(self, tag: Tag, summary: &'static str) -> Route {
        Route { tag, summary, ..self }
    }

    pub(super) fn policy(self, policy: Policy) -> Route {
        Route { policy, ..self }
    }

    pub(super) fn class(self, class: Class) -> Route {
        Route { class, ..self }
    }

    pub(super) fn alias(mut self, path: &'static str) -> Route {
        self.aliases.push(path);
        self
    }

    /// A query parameter that may be left out.
    pub(super) fn optional(mut self, name: &'static str, schema: Value, about: &'static str) -> Route {
        self.parameters.push(Parameter { place: Place::Query, name, about, required: false, schema });
        self
    }

    /// A query parameter that must be there.
    pub(super) fn needed(mut self, name: &'static str, schema: Value, about: &'static str) -> Route {
        self.parameters.push(Parameter { place: Place::Query, name, about, required: true, schema });
        self
    }

    /// A header that may be left out.
    pub(super) fn header(mut self, name: &'static str, schema: Value, about: &'static str) -> Route {
        self.parameters.push(Parameter { place: Place::Header, name, about, required: false, schema });
        self
    }

    /// Another bound on the body.
    pub(super) fn body_max(self, body_bytes_max: usize) -> Route {
        Route { body_bytes_max, ..self }
    }

    pub(super) fn takes(mut self, content: Content) -> Route {
        self.takes.push(content);
        self
    }

    pub(super) fn answers(mut self, status: u16, about: &'static str, content: Content) -> Route {
        let content = Some(content).filter(|content| !content.media_type.is_empty());
        self.answers.push(Answered { status, about, content });
        self
    }

    pub(super) fn fails(mut self, codes: &[Code]) -> Route {
        self.errors.extend_from_slice(codes);
        self
    }

    /// Runs the endpoint.
    pub(super) fn run(&self, call: Call) -> Answer {
        (self.handler)(call)
    }

    /// The names in its `{}`.
    pub(super) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// What `{parameters}` caught, decoded.
pub(super) type PathParameters = Vec<(String, String)>;

/// The table, ready to be searched.
pub(super) struct Routes {
    /// In the order of the documentation.
    pub(super) all: Vec<Arc<Route>>,
    paths: Vec<Vec<(Method, Arc<Route>)>>,
    router: matchit::Router<usize>,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("count", &self.all.len()).finish_non_exhaustive()
    }
}

/// What a path and a method lead to.
pub(super) enum Found {
    /// An endpoint.
    Route(Arc<Route>, PathParameters),
    /// The path is served, and the client asks with what.
    Options(String),
}

impl Routes {
    /// # Panics
    /// When two entries claim the same path and method, which a test would have found.
    pub(super) fn new(all: Vec<Route>) -> Routes {
        let mut by_path: BTreeMap<&'static str, Vec<(Method, Arc<Route>)>> = BTreeMap::new();
        let all: Vec<Arc<Route>> = all.into_iter().map(Arc::new).collect();
        for route in &all {
            for path in std::iter::once(&route.path).chain(&route.aliases) {
                let methods = by_path.entry(path).or_default();
                assert!(methods.iter().all(|(method, _)| *method != route.method), "{} {path} twice", route.method);
                methods.push((route.method.clone(), Arc::clone(route)));
            }
        }
        let mut router = matchit::Router::new();
        let mut paths = Vec::new();
        for (path, methods) in by_path {
            router.insert(path, paths.len()).expect("paths of the table do not overlap");
            paths.push(methods);
        }
        Routes { all, paths, router }
    }

    /// Finds who answers. HEAD works where GET does.
    ///
    /// # Errors
    /// 404, 405 with `Allow`, and 400 for a path parameter that is no text.
    pub(super) fn find(&self, method: &Method, path: &str) -> Result<Found, ApiError> {
        let Ok(matched) = self.router.at(path) else { return Err(Code::NotFound.into()) };
        let methods = &self.paths[*matched.value];
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        let Some((_, route)) = methods.iter().find(|(method, _)| method == wanted) else {
            let allowed = allowed(methods);
            return if method == Method::OPTIONS {
                Ok(Found::Options(allowed))
            } else {
                Err(ApiError::method(allowed))
            };
        };
        let mut parameters = PathParameters::new();
        for (name, value) in matched.params.iter() {
            let value = decode(value, super::query::Plus::Literal).map(Cow::into_owned);
            let value = value.ok_or_else(|| ApiError::parameter(name, format!("`{name}` in the path is not text")))?;
            parameters.push((name.to_owned(), value));
        }
        Ok(Found::Route(Arc::clone(route), parameters))
    }
}

fn allowed(methods: &[(Method, Arc<Route>)]) -> String {
    let mut allowed: Vec<Method> = methods.iter().map(|(method, _)| method.clone()).collect();
    if allowed.contains(&Method::GET) {
        allowed.push(Method::HEAD);
    }
    allowed.push(Method::OPTIONS);
    allow(&allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn nothing(_: Call) -> Result<Reply, ApiError> {
        Err(Code::Internal.into())
    }

    fn routes() -> Routes {
        let route = |method, path, name| Route::new(method, path, name, nothing);
        Routes::new(vec![
            route(Method::GET, "/v1/health", "health").alias("/health"),
            route(Method::GET, "/v1/apps/{id}", "getApp"),
            route(Method::PUT, "/v1/apps/{id}", "putApp"),
        ])
    }

    fn found(method: &Method, path: &str) -> Result<(String, PathParameters), Code> {
        match routes().find(method, path).map_err(|error| error.code())? {
            Found::Route(route, parameters) => Ok((route.operation.to_owned(), parameters)),
            Found::Options(allowed) => Ok((allowed, Vec::new())),
        }
    }

    #[test]
    fn a_path_leads_to_its_endpoint_and_no_other_spelling_does() {
        assert_eq!(found(&Method::GET, "/v1/health"), Ok(("health".to_owned(), vec![])));
        assert_eq!(found(&Method::HEAD, "/health"), Ok(("health".to_owned(), vec![])));
        for path in [
            "",
            "/",
            "*",
            "//v1/health",
            "/v1//health",
            "/v1/health/",
            "/v1/health/.",
            "/v1/./health",
            "/v1/apps/../health",
            "/v1/%68ealth",
            "/v1%2fhealth",
            "/v1/health;x",
            "/v1/health.",
            "/V1/health",
            "/v1/health%00",
            "/v1/health/../apps/x",
            "/v1/apps/%2e%2e/health",
            "/v1/apps/",
            "/v1/apps/a/b",
        ] {
            assert_eq!(found(&Method::GET, path), Err(Code::NotFound), "{path}");
        }
    }

    #[test]
    fn a_parameter_is_decoded_and_stays_one_parameter() {
        let id = |path| found(&Method::GET, path).map(|(_, parameters)| parameters[0].1.clone());
        assert_eq!(id("/v1/apps/app_1"), Ok("app_1".to_owned()));
        assert_eq!(id("/v1/apps/a%2Fb+c"), Ok("a/b+c".to_owned()));
        assert_eq!(id("/v1/apps/%2e%2e"), Ok("..".to_owned()));
        assert_eq!(id("/v1/apps/%ff"), Err(Code::InvalidParameter));
        assert_eq!(id("/v1/apps/%zz"), Err(Code::InvalidParameter));
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        assert_eq!(found(&Method::POST, "/v1/health"), Err(Code::MethodNotAllowed));
        assert_eq!(found(&Method::OPTIONS, "/v1/apps/x"), Ok(("GET, PUT, HEAD, OPTIONS".to_owned(), vec![])));
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn no_path_and_method_has_two_endpoints() {
        let route = |path| Route::new(Method::GET, path, "x", nothing);
        Routes::new(vec![route("/a"), route("/b").alias("/a")]);
    }
}
