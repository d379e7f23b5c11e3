//! Namespaces, who belongs to them, and the keys that open them.

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::account_error::refused;
use super::auth_api::{WantedKey, rfc3339, scope_list, scopes_of, wallet};
use super::call::Call;
use super::error::{ApiError, Code};
use super::reply::{self, Reply};
use super::route::{Answer, Content, Policy, Route, Tag};
use super::schema::{count, list, moment, object, one_of, string};
use crate::accounts::{Actor, CreatedKey, KeyRequest};
use crate::auth::Grant;
use crate::auth::grant::Who;
use crate::types::{AccessRole, Action, Namespace, Scopes, WalletAddress};

/// Largest body: names.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// The endpoints.
pub(super) fn routes() -> Vec<Route> {
    let role = || one_of(&["owner", "admin", "writer", "reader"]);
    let done = || Content::json(object(&[("status", one_of(&["ok"]))]));
    let key = || {
        [
            ("key_id", string()),
            ("name", string()),
            ("scopes", list(string())),
            ("created_by", string()),
            ("created_at", moment()),
            ("expires_at?", moment()),
        ]
    };
    let shown_once = || {
        Content::json(object(&[
            ("api_key", string()),
            ("key_id", string()),
            ("namespace", string()),
            ("scopes?", list(string())),
            ("expires_at?", moment()),
        ]))
    };
    let of = |method, path, operation, summary, handler: fn(Call) -> Answer| {
        Route::new(method, path, operation, handler)
            .about(Tag::Namespaces, summary)
            .policy(Policy::Credential)
            .body_max(BODY_BYTES_MAX)
            .fails(&[Code::Forbidden, Code::NamespaceMismatch, Code::NotReady, Code::NoLeader, Code::DeadlineExceeded])
    };
    vec![
        of(Method::GET, "/v1/namespaces", "listNamespaces", "The namespaces that the wallet belongs to.", |call| {
            Box::pin(list_namespaces(call))
        })
        .answers(
            200,
            "The namespaces.",
            Content::json(object(&[(
                "namespaces",
                list(object(&[("name", string()), ("role", role()), ("created_at", moment())])),
            )])),
        ),
        of(
            Method::DELETE,
            "/v1/namespaces/{namespace}",
            "deleteNamespace",
            "Delete a namespace with all its data.",
            |call| Box::pin(delete_namespace(call)),
        )
        .answers(200, "It is gone.", done())
        .fails(&[Code::NoSuchNamespace, Code::Conflict]),
        of(Method::GET, "/v1/namespaces/{namespace}/members", "listMembers", "Who belongs to a namespace.", |call| {
            Box::pin(list_members(call))
        })
        .answers(
            200,
            "The members.",
            Content::json(object(&[(
                "members",
                list(object(&[
                    ("wallet", string()),
                    ("chain_type", one_of(&["ETH", "SOL"])),
                    ("role", role()),
                    ("created_at", moment()),
                ])),
            )])),
        ),
        of(
            Method::PUT,
            "/v1/namespaces/{namespace}/members/{wallet}",
            "setMember",
            "Invite a wallet, or change its role.",
            |call| Box::pin(set_member(call)),
        )
        .takes(Content::json(object(&[
            ("role", one_of(&["admin", "writer", "reader"])),
            ("chain_type?", one_of(&["ETH", "SOL"])),
        ])))
        .answers(200, "It belongs.", done())
        .fails(&[Code::Conflict, Code::TooMany, Code::NoSuchNamespace]),
        of(
            Method::DELETE,
            "/v1/namespaces/{namespace}/members/{wallet}",
            "removeMember",
            "Let a member go; their sessions here end.",
            |call| Box::pin(remove_member(call)),
        )
        .optional("chain_type", one_of(&["ETH", "SOL"]), "The wallet's chain; ETH when left out.")
        .answers(200, "They are gone.", done())
        .fails(&[Code::NoSuchMember, Code::Conflict]),
        of(
            Method::POST,
            "/v1/namespaces/{namespace}/transfer",
            "transferNamespace",
            "Make another wallet the owner.",
            |call| Box::pin(transfer(call)),
        )
        .takes(Content::json(object(&[("wallet", string()), ("chain_type?", one_of(&["ETH", "SOL"]))])))
        .answers(200, "It is the owner.", done())
        .fails(&[Code::NoSuchNamespace]),
        of(Method::GET, "/v1/keys", "listKeys", "The namespace's API keys, without their text.", |call| {
            Box::pin(list_keys(call))
        })
        .answers(200, "The keys.", Content::json(object(&[("keys", list(object(&key())))]))),
        of(Method::POST, "/v1/keys", "createKey", "Make an API key.", |call| Box::pin(create_key(call)))
            .takes(Content::json(object(&[("name?", string()), ("scopes?", list(string())), ("expires_in?", count())])))
            .answers(201, "The key; it is not shown again.", shown_once())
            .fails(&[Code::TooMany, Code::NoSuchNamespace]),
        of(Method::POST, "/v1/keys/{id}/rotate", "rotateKey", "Give a key a new text; the old one ends.", |call| {
            Box::pin(rotate_key(call))
        })
        .answers(200, "The new text; it is not shown again.", shown_once())
        .fails(&[Code::NoSuchApiKey]),
        of(Method::DELETE, "/v1/keys/{id}", "revokeKey", "End an API key.", |call| Box::pin(revoke_key(call)))
            .answers(200, "It has ended.", done())
            .fails(&[Code::NoSuchApiKey]),
    ]
}

fn ok() -> Reply {
    reply::ok(&json!({ "status": "ok" }))
}

/// Leave to do something in the namespace that the path names. Whether it exists is told only to those who belong.
fn grant_in_path(call: &Call, action: Action) -> Result<Grant, ApiError> {
    let text = call.path_parameter("namespace");
    let namespace: Namespace = text
        .parse()
        .map_err(|error: crate::types::names::InvalidNamespace| ApiError::parameter("namespace", error.to_string()))?;
    call.grant_in(&namespace, action)
}

async fn list_namespaces(call: Call) -> Result<Reply, ApiError> {
    let Who::Member { wallet, .. } = call.principal()?.who() else {
        return Err(ApiError::new(
            Code::Forbidden,
            "a wallet has namespaces; an API key opens one, see /v1/auth/whoami",
        ));
    };
    let found = call.face.accounts().namespaces_of(wallet, call.deadline).await.map_err(refused)?;
    let namespaces: Vec<Json> = found
        .iter()
        .map(|namespace| {
            let created_at = rfc3339(namespace.created_unix_ms);
            json!({ "name": namespace.name, "role": namespace.role.as_str(), "created_at": created_at })
        })
        .collect();
    Ok(reply::ok(&json!({ "namespaces": namespaces })))
}

async fn delete_namespace(call: Call) -> Result<Reply, ApiError> {
    let grant = grant_in_path(&call, Action::DeleteNamespace)?;
    call.face.accounts().drop_namespace(grant.namespace(), &Actor::of(&grant), call.deadline).await.map_err(refused)?;
    Ok(ok())
}

async fn list_members(call: Call) -> Result<Reply, ApiError> {
    let grant = grant_in_path(&call, Action::ReadMembers)?;
    let found = call.face.accounts().members(grant.namespace(), call.deadline).await.map_err(refused)?;
    let members: Vec<Json> = found
        .iter()
        .map(|member| {
            json!({
                "wallet": member.wallet.to_string(),
                "chain_type": member.wallet.chain().as_str(),
                "role": member.role.as_str(),
                "created_at": rfc3339(member.created_unix_ms),
            })
        })
        .collect();
    Ok(reply::ok(&json!({ "members": members })))
}

fn wallet_in_path(call: &Call, chain_type: Option<&str>) -> Result<WalletAddress, ApiError> {
    wallet(call.path_parameter("wallet"), chain_type)
}

async fn set_member(call: Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        role: AccessRole,
        #[serde(default)]
        chain_type: Option<String>,
    }
    let body: Body = call.json()?;
    let wallet = wallet_in_path(&call, body.chain_type.as_deref())?;
    let grant = grant_in_path(&call, Action::ManageMember(body.role))?;
    // A member makes keys and logs in: who may invite one could otherwise get at what they may not do themselves.
    let (given, own) = (scopes_of(body.role), own_scopes(&call)?);
    if !own.covers(given) {
        let message = format!("role: {} may do {given}, which is more than the {own} that you may hand on", body.role);
        return Err(ApiError::new(Code::Forbidden, message));
    }
    let accounts = call.face.accounts();
    accounts
        .set_member(grant.namespace(), &wallet, body.role, &Actor::of(&grant), call.deadline)
        .await
        .map_err(refused)?;
    Ok(ok())
}

async fn remove_member(call: Call) -> Result<Reply, ApiError> {
    let wallet = wallet_in_path(&call, call.query.one("chain_type")?)?;
    let own = matches!(call.principal()?.who(), Who::Member { wallet: own, .. } if *own == wallet);
    // Everybody may go.
    let action = if own { Action::Identify } else { Action::ManageMember(AccessRole::Admin) };
    let grant = grant_in_path(&call, action)?;
    let accounts = call.face.accounts();
    accounts.remove_member(grant.namespace(), &wallet, &Actor::of(&grant), call.deadline).await.map_err(refused)?;
    Ok(ok())
}

async fn transfer(call: Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        wallet: String,
        #[serde(default)]
        chain_type: Option<String>,
    }
    let body: Body = call.json()?;
    let to = wallet(&body.wallet, body.chain_type.as_deref())?;
    let grant = grant_in_path(&call, Action::TransferNamespace)?;
    call.face.accounts().transfer(grant.namespace(), &to, &Actor::of(&grant), call.deadline).await.map_err(refused)?;
    Ok(ok())
}

async fn list_keys(call: Call) -> Result<Reply, ApiError> {
    let grant = call.grant_here(Action::ManageKeys)?;
    let found = call.face.accounts().list_keys(grant.namespace(), call.deadline).await.map_err(refused)?;
    let keys: Vec<Json> = found
        .iter()
        .map(|key| {
            let mut shown = json!({
                "key_id": key.id,
                "name": key.name,
                "scopes": scope_list(key.scopes),
                "created_by": key.created_by,
                "created_at": rfc3339(key.created_unix_ms),
            });
            if let Some(at) = key.expires_unix_ms {
                shown["expires_at"] = rfc3339(at).into();
            }
            shown
        })
        .collect();
    Ok(reply::ok(&json!({ "keys": keys })))
}

/// What the caller may hand on in a key.
fn own_scopes(call: &Call) -> Result<Scopes, ApiError> {
    Ok(match call.principal()?.who() {
        Who::Member { role, .. } => scopes_of(*role),
        Who::Key { scopes, .. } | Who::Anonymous { scopes } => *scopes,
        Who::Operator => Scopes::ALL,
    })
}

async fn create_key(call: Call) -> Result<Reply, ApiError> {
    let grant = call.grant_here(Action::ManageKeys)?;
    let wanted: WantedKey = if call.body.is_empty() { super::json::decode(b"{}")? } else { call.json()? };
    let request = wanted.request(own_scopes(&call)?, "")?;
    let accounts = call.face.accounts();
    let created = accounts.create_key(grant.namespace(), &request, &Actor::of(&grant), call.deadline).await;
    let created = created.map_err(refused)?;
    Ok(reply::json(StatusCode::CREATED, &shown_once(&grant, &created, Some(&request))))
}

async fn rotate_key(call: Call) -> Result<Reply, ApiError> {
    let grant = call.grant_here(Action::ManageKeys)?;
    let id = call.path_parameter("id");
    let accounts = call.face.accounts();
    let own = own_scopes(&call)?;
    let created = accounts.rotate_key(grant.namespace(), id, own, &Actor::of(&grant), call.deadline).await;
    Ok(reply::ok(&shown_once(&grant, &created.map_err(refused)?, None)))
}

fn shown_once(grant: &Grant, created: &CreatedKey, request: Option<&KeyRequest>) -> Json {
    let mut shown = json!({ "api_key": created.key.reveal(), "key_id": created.id, "namespace": grant.namespace() });
    if let Some(request) = request {
        shown["scopes"] = scope_list(request.scopes).into();
        if let Some(at) = request.expires_unix_ms {
            shown["expires_at"] = rfc3339(at).into();
        }
    }
    shown
}

async fn revoke_key(call: Call) -> Result<Reply, ApiError> {
    let grant = call.grant_here(Action::ManageKeys)?;
    let id = call.path_parameter("id");
    call.face.accounts().revoke_key(grant.namespace(), id, &Actor::of(&grant), call.deadline).await.map_err(refused)?;
    Ok(ok())
}
