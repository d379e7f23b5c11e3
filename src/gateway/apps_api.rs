//! Registered applications.

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::account_error::refused;
use super::auth_api::{label, rfc3339};
use super::call::Call;
use super::error::{ApiError, Code};
use super::reply::{self, Reply};
use super::route::{Answer, Content, Policy, Route, Tag};
use super::schema::{count, list, moment, object, one_of, string};
use crate::accounts::{Actor, App};
use crate::types::{Action, Namespace};

/// Largest body: a name and a key.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// Longest public key; the longest in use, RSA with 8192 bits in PEM, have 1.5 KB.
const PUBLIC_KEY_BYTES_MAX: usize = 4 * 1024;

/// The endpoints.
pub(super) fn routes() -> Vec<Route> {
    let app = || {
        object(&[
            ("app_id", string()),
            ("name", string()),
            ("public_key", string()),
            ("namespace", string()),
            ("created_at", moment()),
        ])
    };
    let body = || Content::json(object(&[("name?", string()), ("public_key?", string())]));
    let done = || Content::json(object(&[("status", one_of(&["ok"]))]));
    let of = |method, path, operation, summary, action, handler: fn(Call) -> Answer| {
        Route::new(method, path, operation, handler)
            .about(Tag::Apps, summary)
            .policy(Policy::Namespace(action))
            .body_max(BODY_BYTES_MAX)
            .fails(&[Code::NotReady, Code::NoLeader, Code::DeadlineExceeded])
    };
    vec![
        of(
            Method::GET,
            "/v1/apps",
            "listApps",
            "The namespace's applications, newest first.",
            Action::ReadApps,
            |call| Box::pin(list_apps(call)),
        )
        .answers(
            200,
            "The applications.",
            Content::json(object(&[("items", list(app())), ("count", count())])),
        ),
        of(Method::POST, "/v1/apps", "createApp", "Register an application.", Action::ManageApps, |call| {
            Box::pin(create(call))
        })
        .takes(body())
        .answers(
            201,
            "Registered.",
            Content::json(object(&[
                ("app_id", string()),
                ("name", string()),
                ("public_key", string()),
                ("namespace", string()),
            ])),
        )
        .fails(&[Code::TooMany]),
        of(Method::GET, "/v1/apps/{id}", "getApp", "One application.", Action::ReadApps, |call| Box::pin(show(call)))
            .answers(200, "The application.", Content::json(app()))
            .fails(&[Code::NoSuchApp]),
        of(
            Method::PUT,
            "/v1/apps/{id}",
            "updateApp",
            "Change an application's name or key.",
            Action::ManageApps,
            |call| Box::pin(update(call)),
        )
        .takes(body())
        .answers(200, "Changed.", done())
        .fails(&[Code::NoSuchApp]),
        of(Method::DELETE, "/v1/apps/{id}", "deleteApp", "Remove an application.", Action::ManageApps, |call| {
            Box::pin(remove(call))
        })
        .answers(200, "Gone.", done())
        .fails(&[Code::NoSuchApp]),
    ]
}

#[derive(Default, Deserialize)]
struct Body {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    public_key: Option<String>,
}

impl Body {
    fn of(call: &Call) -> Result<Body, ApiError> {
        let body: Body = if call.body.is_empty() { Body::default() } else { call.json()? };
        if body.public_key.as_ref().is_some_and(|key| key.len() > PUBLIC_KEY_BYTES_MAX) {
            let message = format!("public_key: use at most {PUBLIC_KEY_BYTES_MAX} bytes");
            return Err(ApiError::new(Code::InvalidBody, message));
        }
        let name = body.name.as_deref().map(label).transpose()?;
        Ok(Body { name, ..body })
    }
}

fn shown(app: &App, namespace: &Namespace) -> Json {
    json!({
        "app_id": app.app_id,
        "name": app.name,
        "public_key": app.public_key,
        "namespace": namespace,
        "created_at": rfc3339(app.created_unix_ms),
    })
}

async fn list_apps(call: Call) -> Result<Reply, ApiError> {
    let namespace = call.grant()?.namespace();
    let apps = call.face.accounts().list_apps(namespace, call.deadline).await.map_err(refused)?;
    let items: Vec<Json> = apps.iter().map(|app| shown(app, namespace)).collect();
    Ok(reply::ok(&json!({ "count": items.len(), "items": items })))
}

async fn create(call: Call) -> Result<Reply, ApiError> {
    let grant = call.grant()?;
    let Body { name, public_key } = Body::of(&call)?;
    let (name, public_key) = (name.unwrap_or_default(), public_key.unwrap_or_default());
    let accounts = call.face.accounts();
    let app_id = accounts.create_app(grant.namespace(), &name, &public_key, &Actor::of(grant), call.deadline).await;
    let app_id = app_id.map_err(refused)?;
    let body = json!({ "app_id": app_id, "name": name, "public_key": public_key, "namespace": grant.namespace() });
    Ok(reply::json(StatusCode::CREATED, &body))
}

async fn show(call: Call) -> Result<Reply, ApiError> {
    let namespace = call.grant()?.namespace();
    let app = call.face.accounts().app(namespace, call.path_parameter("id"), call.deadline).await.map_err(refused)?;
    Ok(reply::ok(&shown(&app, namespace)))
}

async fn update(call: Call) -> Result<Reply, ApiError> {
    let grant = call.grant()?;
    let Body { name, public_key } = Body::of(&call)?;
    if name.is_none() && public_key.is_none() {
        return Err(ApiError::new(Code::InvalidBody, "no fields to update"));
    }
    let change = (name.as_deref(), public_key.as_deref());
    let (accounts, id) = (call.face.accounts(), call.path_parameter("id"));
    accounts.update_app(grant.namespace(), id, change, &Actor::of(grant), call.deadline).await.map_err(refused)?;
    Ok(reply::ok(&json!({ "status": "ok" })))
}

async fn remove(call: Call) -> Result<Reply, ApiError> {
    let grant = call.grant()?;
    let (accounts, id) = (call.face.accounts(), call.path_parameter("id"));
    accounts.delete_app(grant.namespace(), id, &Actor::of(grant), call.deadline).await.map_err(refused)?;
    Ok(reply::ok(&json!({ "status": "ok" })))
}
