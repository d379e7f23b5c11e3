//! One request on its way through an endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::header::HeaderMap;
use hyper::{Method, Uri};
use serde::de::DeserializeOwned;

use super::Face;
use super::credential::Presented;
use super::error::{ApiError, Code};
use super::json;
use super::query::Query;
use super::request::check_json;
use super::route::PathParameters;
use crate::accounts::{Identified, TicketMaker};
use crate::auth::{Grant, Principal};
use crate::types::{Action, Namespace};

/// How long looking at a credential again may take.
const RECHECK_MAX: Duration = Duration::from_secs(5);

/// A request whose path, caller and body are known and allowed.
pub(super) struct Call {
    pub(super) face: Arc<Face>,
    pub(super) method: Method,
    pub(super) path: PathParameters,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Path and query as they were sent.
    pub(super) target: Uri,
    /// Who asks; `None` where everybody may.
    pub(super) identified: Option<Identified>,
    /// What made the ticket that the caller came with, where it was a ticket.
    pub(super) ticket_maker: Option<TicketMaker>,
    /// Proof that the caller may do what the route's policy says, where that is an action.
    pub(super) grant: Option<Grant>,
    /// When the caller stops waiting.
    pub(super) deadline: Instant,
}

impl Call {
    /// Who asks.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] on a public route, where nobody was asked for a credential.
    pub(super) fn identified(&self) -> Result<&Identified, ApiError> {
        self.identified.as_ref().ok_or_else(|| Code::Unauthenticated.into())
    }

    /// Who asks.
    ///
    /// # Errors
    /// As [`Call::identified`].
    pub(super) fn principal(&self) -> Result<&Principal, ApiError> {
        self.identified().map(|identified| &identified.principal)
    }

    /// The namespace in which the caller acts when the request names none.
    ///
    /// # Errors
    /// As [`Call::identified`].
    pub(super) fn own_namespace(&self) -> Result<&Namespace, ApiError> {
        Ok(self.principal()?.namespace().unwrap_or(self.face.home()))
    }

    /// Leave to do something in a namespace that the request names.
    ///
    /// # Errors
    /// What is in the way.
    pub(super) fn grant_in(&self, namespace: &Namespace, action: Action) -> Result<Grant, ApiError> {
        Ok(self.principal()?.grant(namespace, action)?)
    }

    /// Leave to do something in the caller's own namespace.
    ///
    /// # Errors
    /// What is in the way.
    pub(super) fn grant_here(&self, action: Action) -> Result<Grant, ApiError> {
        self.grant_in(self.own_namespace()?, action)
    }

    /// What a `{parameter}` of the path caught.
    pub(super) fn path_parameter(&self, name: &str) -> &str {
        self.path.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Whether the credential that let the caller in would still do, for answers that last.
    pub(super) async fn still_allowed(&self) -> bool {
        match &self.grant {
            Some(grant) => self.allowed_now([grant.action()]).await.is_none_or(|[allowed]| allowed),
            None => true,
        }
    }

    /// Which of some things the caller may do in the namespace of the request now; the answers may have been others when
    /// it came. `None`: nobody can be asked, which is no reason to send anybody away.
    pub(super) async fn allowed_now<const N: usize>(&self, actions: [Action; N]) -> Option<[bool; N]> {
        let namespace = self.grant.as_ref()?.namespace();
        match self.identify_again().await {
            Ok(identified) => Some(actions.map(|action| identified.principal.grant(namespace, action).is_ok())),
            Err(error) => (error.code() == Code::Unauthenticated).then_some([false; N]),
        }
    }

    /// In a box: identifying is deep, and this stands in the types of answers that last.
    fn identify_again(&self) -> BoxFuture<'_, Result<Identified, ApiError>> {
        Box::pin(self.identify_now())
    }

    async fn identify_now(&self) -> Result<Identified, ApiError> {
        let (face, deadline) = (&self.face, Instant::now() + RECHECK_MAX);
        if let Some(maker) = &self.ticket_maker {
            return face.authenticator.identify_maker(face.accounts(), maker, deadline).await;
        }
        let presented = Presented::read(&self.headers).map_err(|_| Code::Unauthenticated)?;
        face.authenticator.identify(face.accounts(), &presented, &self.headers, &face.origins, deadline).await
    }

    /// Proof that the caller may do this, and the namespace where.
    ///
    /// # Errors
    /// [`Code::Forbidden`] on a route whose policy is no action.
    pub(super) fn grant(&self) -> Result<&Grant, ApiError> {
        self.grant.as_ref().ok_or_else(|| Code::Forbidden.into())
    }

    /// The JSON body.
    ///
    /// # Errors
    /// When it says to be something else, is no JSON, or has another shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        check_json(&self.headers)?;
        json::decode(&self.body)
    }
}
