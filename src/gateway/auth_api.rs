//! Logging in with a wallet, staying logged in, and saying who one is.
//!
//! Every failure of a credential is the same 401: a nonce that never was, one that was used, and a signature of somebody
//! else cannot be told apart. The log knows.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::account_error::refused;
use super::call::Call;
use super::credential::Presented;
use super::error::{ApiError, Code};
use super::reply::{self, Reply};
use super::route::{Class, Content, Policy, Route, Tag};
use super::schema::{any_of, boolean, count, like, list, moment, nullable, object, one_of, string};
use crate::accounts::{Actor, Identified, KeyRequest, Proof, Purpose, Tokens};
use crate::auth::grant::Who;
use crate::auth::{RefreshToken, token};
use crate::types::{AccessRole, Action, Chain, Namespace, Scope, Scopes, WalletAddress, limits};

/// Largest body: a wallet, a nonce and a signature.
const BODY_BYTES_MAX: usize = 16 * 1024;

const WALLET: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// The endpoints.
pub(super) fn routes() -> Vec<Route> {
    let proof = |more: &[(&str, Json)]| {
        let mut members = vec![
            ("wallet", like(WALLET)),
            ("chain_type?", one_of(&["ETH", "SOL"])),
            ("nonce", string()),
            ("signature", string()),
            ("namespace?", string()),
        ];
        members.extend_from_slice(more);
        Content::json(object(&members))
    };
    let tokens = |more: &[(&str, Json)]| {
        let mut members = vec![
            ("access_token", string()),
            ("token_type", one_of(&["Bearer"])),
            ("expires_in", count()),
            ("namespace", string()),
        ];
        members.extend_from_slice(more);
        Content::json(object(&members))
    };
    let login = |path, operation, summary, handler: fn(Call) -> super::route::Answer| {
        Route::new(Method::POST, path, operation, handler)
            .about(Tag::Auth, summary)
            .policy(Policy::Public)
            .class(Class::Login)
            .body_max(BODY_BYTES_MAX)
            .fails(ACCOUNT_ERRORS)
    };
    let get = |path, operation, summary, handler: fn(Call) -> super::route::Answer| {
        Route::new(Method::GET, path, operation, handler).about(Tag::Auth, summary)
    };
    vec![
        login("/v1/auth/challenge", "challenge", "A nonce, and the text for the wallet to sign.", |call| {
            Box::pin(challenge(call))
        })
        .takes(Content::json(object(&[
            ("wallet", like(WALLET)),
            ("chain_type?", one_of(&["ETH", "SOL"])),
            ("namespace?", string()),
            ("purpose?", one_of(&["login", "api_key_generation", "register"])),
        ])))
        .answers(
            200,
            "The challenge.",
            Content::json(object(&[
                ("wallet", string()),
                ("namespace", string()),
                ("nonce", string()),
                ("message", string()),
                ("purpose", string()),
                ("chain_type", string()),
                ("expires_at", moment()),
            ])),
        ),
        login("/v1/auth/verify", "verify", "Log in with a signed challenge.", |call| Box::pin(verify(call)))
            .takes(proof(&[]))
            .answers(
                200,
                "Logged in.",
                tokens(&[
                    ("refresh_token", string()),
                    ("subject", string()),
                    ("nonce", string()),
                    ("signature_verified", boolean()),
                ]),
            )
            .fails(&[Code::NotMember, Code::TooMany]),
        login("/v1/auth/register", "register", "Register an application with a signed challenge.", |call| {
            Box::pin(register(call))
        })
        .takes(proof(&[("name?", string())]))
        .answers(
            201,
            "Registered.",
            Content::json(object(&[
                ("client_id", string()),
                (
                    "app",
                    object(&[
                        ("app_id", string()),
                        ("name", string()),
                        ("public_key", string()),
                        ("namespace", string()),
                        ("wallet", string()),
                    ]),
                ),
                ("signature_verified", boolean()),
            ])),
        )
        .fails(&[Code::NotMember, Code::TooMany]),
        login("/v1/auth/api-key", "issueApiKey", "An API key, for a signed challenge or an access token.", |call| {
            Box::pin(api_key(call))
        })
        .policy(Policy::Optional)
        .takes(Content::json(object(&[
            ("wallet?", like(WALLET)),
            ("chain_type?", one_of(&["ETH", "SOL"])),
            ("nonce?", string()),
            ("signature?", string()),
            ("namespace?", string()),
            ("plan?", string()),
            ("name?", string()),
            ("scopes?", list(string())),
            ("expires_in?", count()),
        ])))
        .answers(
            200,
            "The key; it is not shown again.",
            Content::json(object(&[
                ("api_key", string()),
                ("key_id", string()),
                ("namespace", string()),
                ("plan", string()),
                ("wallet", string()),
                ("scopes", list(string())),
                ("expires_at?", nullable(moment())),
            ])),
        )
        .fails(&[Code::NotMember, Code::Forbidden, Code::TooMany]),
        login("/v1/auth/token", "tokenForKey", "An access token for the bearer of an API key.", |call| {
            Box::pin(token_for_key(call))
        })
        .policy(Policy::Credential)
        .answers(200, "The token.", tokens(&[])),
        login("/v1/auth/ws-ticket", "makeTicket", "A ticket that opens one socket, on any node.", |call| {
            Box::pin(ws_ticket(call))
        })
        .policy(Policy::Namespace(Action::Subscribe))
        .answers(
            200,
            "The ticket, and the seconds within which it is good.",
            Content::json(object(&[("ticket", string()), ("expires_in", count())])),
        ),
        login("/v1/auth/refresh", "refresh", "New tokens for a refresh token, which works once.", |call| {
            Box::pin(refresh(call))
        })
        .takes(Content::json(object(&[("refresh_token", string()), ("namespace?", string())])))
        .answers(
            200,
            "New tokens.",
            tokens(&[("token", string()), ("refresh_token", string()), ("subject", string())]),
        ),
        login("/v1/auth/logout", "logout", "End a session, or with `all` every session of the wallet here.", |call| {
            Box::pin(logout(call))
        })
        .policy(Policy::Optional)
        .takes(Content::json(object(&[("refresh_token?", string()), ("namespace?", string()), ("all?", boolean())])))
        .answers(
            200,
            "Ended.",
            Content::json(any_of(
                &[("status", one_of(&["ok"])), ("revoked", json!({ "type": ["integer", "string"] }))],
                &["status"],
            )),
        ),
        get("/v1/auth/whoami", "whoami", "Who the credential stands for.", |call| Box::pin(whoami(call)))
            .policy(Policy::Credential)
            .answers(200, "The caller.", Content::json(json!({ "type": "object" }))),
        get("/v1/auth/jwks", "jwks", "The keys that access tokens are signed with (RFC 7517).", |call| {
            Box::pin(jwks(call))
        })
        .alias("/.well-known/jwks.json")
        .policy(Policy::Public)
        .answers(200, "The keys.", Content::json(object(&[("keys", list(json!({ "type": "object" })))])))
        .fails(&[Code::NotReady]),
    ]
}

const ACCOUNT_ERRORS: &[Code] = &[
    Code::Unauthenticated,
    Code::RateLimited,
    Code::NotReady,
    Code::NoLeader,
    Code::Overloaded,
    Code::DeadlineExceeded,
];

/// What every proof of a wallet has.
#[derive(Deserialize)]
struct ProofBody {
    wallet: String,
    #[serde(default)]
    chain_type: Option<String>,
    nonce: String,
    signature: String,
    #[serde(default)]
    namespace: Option<String>,
}

/// A wallet's address as it came in.
///
/// # Errors
/// Which member is wrong, and why.
pub(super) fn wallet(text: &str, chain_type: Option<&str>) -> Result<WalletAddress, ApiError> {
    if text.is_empty() {
        return Err(ApiError::new(Code::InvalidBody, "wallet is required"));
    }
    let invalid = |error: &dyn std::fmt::Display| ApiError::new(Code::InvalidBody, format!("invalid wallet: {error}"));
    match chain_type.filter(|chain| !chain.is_empty()) {
        Some(chain) => {
            let chain: Chain =
                chain.to_ascii_uppercase().parse().map_err(|error: crate::types::wallet::InvalidChain| {
                    ApiError::new(Code::InvalidBody, format!("chain_type: {error}"))
                })?;
            WalletAddress::parse(chain, text).map_err(|error| invalid(&error))
        }
        // Without a chain it is the one that the earlier contract had.
        None => WalletAddress::parse(Chain::Ethereum, text).map_err(|error| invalid(&error)),
    }
}

/// The namespace that a body names, or the gateway's.
fn namespace(call: &Call, text: Option<&str>) -> Result<Namespace, ApiError> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().map_err(|error: crate::types::names::InvalidNamespace| {
            ApiError::new(Code::InvalidBody, format!("namespace: {error}"))
        }),
        None => Ok(call.face.home().clone()),
    }
}

impl ProofBody {
    fn proof(self, call: &Call) -> Result<Proof, ApiError> {
        let required = |name: &str, text: &str| {
            if text.is_empty() {
                return Err(ApiError::new(Code::InvalidBody, format!("{name} is required")));
            }
            Ok(())
        };
        required("nonce", &self.nonce)?;
        required("signature", &self.signature)?;
        Ok(Proof {
            wallet: wallet(&self.wallet, self.chain_type.as_deref())?,
            nonce: self.nonce,
            signature: self.signature,
            namespace: namespace(call, self.namespace.as_deref())?,
        })
    }
}

async fn challenge(call: Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        wallet: String,
        #[serde(default)]
        chain_type: Option<String>,
        #[serde(default)]
        namespace: Option<String>,
        #[serde(default)]
        purpose: Option<String>,
    }
    let body: Body = call.json()?;
    let wallet_address = wallet(&body.wallet, body.chain_type.as_deref())?;
    let namespace = namespace(&call, body.namespace.as_deref())?;
    let purpose = body.purpose.unwrap_or_default();
    let purpose = Purpose::parse(&purpose).ok_or_else(|| {
        let shown: String = purpose.chars().take(40).flat_map(char::escape_debug).collect();
        let message = format!("purpose: `{shown}` is none: use login, api_key_generation or register");
        ApiError::new(Code::InvalidBody, message)
    })?;
    let challenge = call.face.accounts().challenge(&wallet_address, &namespace, purpose, call.deadline).await;
    let challenge = challenge.map_err(refused)?;
    Ok(reply::ok(&json!({
        "wallet": body.wallet,
        "namespace": namespace,
        "nonce": challenge.nonce,
        "message": challenge.message,
        "purpose": purpose.as_str(),
        "chain_type": wallet_address.chain().as_str(),
        "expires_at": rfc3339(challenge.expires_unix_ms),
    })))
}

async fn verify(call: Call) -> Result<Reply, ApiError> {
    let body: ProofBody = call.json()?;
    let (shown, nonce) = (body.wallet.clone(), body.nonce.clone());
    let proof = body.proof(&call)?;
    let tokens = call.face.accounts().log_in(&proof, call.deadline).await.map_err(refused)?;
    let mut answer = tokens_json(&tokens);
    answer["subject"] = shown.into();
    answer["nonce"] = nonce.into();
    answer["signature_verified"] = true.into();
    Ok(reply::ok(&answer))
}

fn tokens_json(tokens: &Tokens) -> Json {
    let mut answer = json!({
        "access_token": tokens.access,
        "token_type": "Bearer",
        "expires_in": tokens.expires_in,
        "namespace": tokens.namespace,
    });
    if let Some(refresh) = &tokens.refresh {
        answer["refresh_token"] = refresh.reveal().into();
    }
    answer
}

async fn register(call: Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        name: Option<String>,
    }
    let (proof, named): (ProofBody, Named) = (call.json()?, call.json()?);
    let name = label(named.name.as_deref().unwrap_or_default())?;
    let proof = proof.proof(&call)?;
    let registered = call.face.accounts().register(&proof, &name, call.deadline).await.map_err(refused)?;
    Ok(reply::json(
        StatusCode::CREATED,
        &json!({
            "client_id": registered.app_id,
            "app": {
                "app_id": registered.app_id,
                "name": name,
                "public_key": registered.public_key,
                "namespace": proof.namespace,
                "wallet": proof.wallet.to_string(),
            },
            "signature_verified": true,
        }),
    ))
}

/// A name that people give to something.
///
/// # Errors
/// When it is too long or has control characters.
pub(super) fn label(text: &str) -> Result<String, ApiError> {
    const BYTES_MAX: usize = 200;
    let text = text.trim();
    if text.len() > BYTES_MAX || text.chars().any(char::is_control) {
        let message = format!("name: use at most {BYTES_MAX} bytes without control characters");
        return Err(ApiError::new(Code::InvalidBody, message));
    }
    Ok(text.to_owned())
}

/// What is wanted of a new key.
#[derive(Clone, Default, Deserialize)]
pub(super) struct WantedKey {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    scopes: Option<WantedScopes>,
    /// Seconds.
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "expected a list of scopes, or a text with commas between them")]
enum WantedScopes {
    List(Vec<String>),
    Text(String),
}

impl WantedKey {
    /// The key to make, within what its maker may hand on.
    ///
    /// # Errors
    /// Which member is wrong, or that the scopes are more than the maker's own.
    pub(super) fn request(self, own: Scopes, default_name: &str) -> Result<KeyRequest, ApiError> {
        let scopes = match self.scopes {
            None => own,
            Some(wanted) => {
                let text = match wanted {
                    WantedScopes::List(list) => list.join(","),
                    WantedScopes::Text(text) => text,
                };
                text.parse::<Scopes>().map_err(|error| ApiError::new(Code::InvalidBody, format!("scopes: {error}")))?
            }
        };
        if !own.covers(scopes) {
            let message = format!("scopes: {scopes} is more than the {own} that you may hand on");
            return Err(ApiError::new(Code::Forbidden, message));
        }
        let expires_unix_ms = self.expires_in.map(expires_at).transpose()?;
        let name = label(self.name.as_deref().unwrap_or(default_name))?;
        Ok(KeyRequest { name, scopes, expires_unix_ms })
    }
}

fn expires_at(seconds: u64) -> Result<i64, ApiError> {
    const TEN_YEARS: u64 = 10 * 366 * 24 * 60 * 60;
    if !(1..=TEN_YEARS).contains(&seconds) {
        let message = format!("expires_in: {seconds} is not between 1 and {TEN_YEARS} seconds; leave it out for never");
        return Err(ApiError::new(Code::InvalidBody, message));
    }
    let at = jiff::Timestamp::now() + Duration::from_secs(seconds);
    Ok(at.as_millisecond())
}

/// What somebody with this role may hand on in a key.
pub(super) fn scopes_of(role: AccessRole) -> Scopes {
    match role {
        AccessRole::Owner | AccessRole::Admin => Scopes::ALL,
        AccessRole::Writer => Scopes::DATA,
        AccessRole::Reader => Scopes::of(&[Scope::SqlRead, Scope::KvRead, Scope::PubsubSubscribe]),
    }
}

async fn api_key(call: Call) -> Result<Reply, ApiError> {
    #[derive(Default, Deserialize)]
    struct Body {
        wallet: Option<String>,
        chain_type: Option<String>,
        nonce: Option<String>,
        signature: Option<String>,
        namespace: Option<String>,
        plan: Option<String>,
    }
    let (body, key): (Body, WantedKey) =
        if call.body.is_empty() { Default::default() } else { (call.json()?, call.json()?) };
    let plan = label(body.plan.as_deref().unwrap_or("free"))?;
    // What is wrong with the key itself is told before a signature is used up.
    key.clone().request(Scopes::ALL, "")?;
    let (namespace, holder, request, actor) = match (body.wallet, body.nonce, body.signature) {
        (Some(wallet), Some(nonce), Some(signature)) => {
            let proof = ProofBody { wallet, chain_type: body.chain_type, nonce, signature, namespace: body.namespace };
            let proof = proof.proof(&call)?;
            let role = call.face.accounts().prove_for_key(&proof, call.deadline).await.map_err(refused)?;
            let request = key.request(scopes_of(role), "wallet")?;
            (proof.namespace, Some(proof.wallet), request, Actor::member(&proof.wallet, role))
        }
        (None, None, None) => {
            let Ok(caller) = call.principal() else {
                return Err(ApiError::new(
                    Code::InvalidBody,
                    "wallet, nonce and signature are required, or an access token",
                ));
            };
            let Who::Member { wallet, role } = caller.who() else {
                return Err(ApiError::new(
                    Code::Forbidden,
                    "an access token of a wallet is needed; an API key makes others at /v1/keys",
                ));
            };
            let namespace = namespace_of(&call, body.namespace.as_deref())?;
            let request = key.request(scopes_of(*role), "wallet")?;
            let grant = call.grant_here(Action::Identify)?;
            (namespace, Some(*wallet), request, Actor::of(&grant))
        }
        _ => return Err(ApiError::new(Code::InvalidBody, "wallet, nonce and signature are required together")),
    };
    let created =
        call.face.accounts().create_key(&namespace, &request, &actor, call.deadline).await.map_err(refused)?;
    let mut answer = json!({
        "api_key": created.key.reveal(),
        "key_id": created.id,
        "namespace": namespace,
        "plan": plan,
        "wallet": holder.map(|wallet| wallet.to_string()),
        "scopes": scope_list(request.scopes),
    });
    if let Some(at) = request.expires_unix_ms {
        answer["expires_at"] = rfc3339(at).into();
    }
    Ok(reply::ok(&answer))
}

/// The caller's namespace; naming another is refused.
fn namespace_of(call: &Call, named: Option<&str>) -> Result<Namespace, ApiError> {
    let own = call.own_namespace()?.clone();
    match named {
        Some(text) if text != own.as_str() => Err(Code::NamespaceMismatch.into()),
        _ => Ok(own),
    }
}

/// Scopes as a list of words.
pub(super) fn scope_list(scopes: Scopes) -> Vec<String> {
    scopes.to_string().split(',').map(str::to_owned).collect()
}

async fn token_for_key(call: Call) -> Result<Reply, ApiError> {
    // One from the configuration is not stored, and nobody could end a token for it.
    let principal = call.principal()?;
    let (Who::Key { id, .. }, Some(session)) = (principal.who(), principal.credential()) else {
        return Err(ApiError::new(
            Code::Forbidden,
            "this exchanges a stored API key; an access token is refreshed at /v1/auth/refresh",
        ));
    };
    let tokens =
        call.face.accounts().token_for_key(call.own_namespace()?, id, session, call.deadline).await.map_err(refused)?;
    Ok(reply::ok(&tokens_json(&tokens)))
}

async fn ws_ticket(call: Call) -> Result<Reply, ApiError> {
    let presented = Presented::read(&call.headers)?;
    let (face, namespace) = (&call.face, call.grant()?.namespace());
    let maker = face.authenticator.ticket_maker(face.accounts(), &presented, call.identified()?, namespace);
    // Where nobody needs a credential, a socket needs no ticket.
    let maker = maker.ok_or(Code::Unauthenticated)?;
    let ticket = face.accounts().make_ticket(&maker, call.deadline).await.map_err(refused)?;
    Ok(reply::ok(&json!({ "ticket": ticket.reveal(), "expires_in": limits::WS_TICKET_TTL.as_secs() })))
}

async fn refresh(call: Call) -> Result<Reply, ApiError> {
    #[derive(Deserialize)]
    struct Body {
        refresh_token: String,
        #[serde(default)]
        namespace: Option<String>,
    }
    let body: Body = call.json()?;
    if body.refresh_token.trim().is_empty() {
        return Err(ApiError::new(Code::InvalidBody, "refresh_token is required"));
    }
    let asked = match body.namespace.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => Some(namespace(&call, Some(text))?),
        None => None,
    };
    let token: RefreshToken = body.refresh_token.trim().parse().map_err(|_| Code::Unauthenticated)?;
    let tokens = call.face.accounts().refresh(&token, asked.as_ref(), call.deadline).await.map_err(refused)?;
    let mut answer = tokens_json(&tokens);
    answer["token"] = tokens.access.clone().into();
    answer["subject"] = address_of(&tokens.subject).into();
    Ok(reply::ok(&answer))
}

/// A subject as clients know it: the wallet's address.
fn address_of(subject: &str) -> String {
    WalletAddress::from_subject(subject).map_or_else(|_| subject.to_owned(), |wallet| wallet.to_string())
}

async fn logout(call: Call) -> Result<Reply, ApiError> {
    #[derive(Default, Deserialize)]
    struct Body {
        #[serde(default)]
        refresh_token: Option<String>,
        #[serde(default)]
        all: bool,
    }
    let body: Body = if call.body.is_empty() { Body::default() } else { call.json()? };
    let accounts = call.face.accounts();
    let session = call.principal().ok().filter(|principal| matches!(principal.who(), Who::Member { .. }));
    let revoked: Json = match (body.refresh_token.as_deref().map(str::trim), body.all, session) {
        (_, true, None) => return Err(Code::Unauthenticated.into()),
        (_, true, Some(principal)) => {
            accounts
                .log_out_everywhere(call.own_namespace()?, &principal.to_string(), call.deadline)
                .await
                .map_err(refused)?;
            "all".into()
        }
        (Some(text), false, _) if !text.is_empty() => {
            // A token that is not one of ours has no session to end.
            if let Ok(token) = text.parse::<RefreshToken>() {
                accounts.log_out(&token, call.deadline).await.map_err(refused)?;
            }
            1.into()
        }
        (_, false, Some(principal)) => {
            let session = principal.credential().unwrap_or_default();
            accounts.log_out_session(session, call.deadline).await.map_err(refused)?;
            1.into()
        }
        (_, false, None) => {
            let message = "nothing to revoke: provide refresh_token, an access token, or all=true";
            return Err(ApiError::new(Code::InvalidBody, message));
        }
    };
    Ok(reply::ok(&json!({ "status": "ok", "revoked": revoked })))
}

async fn whoami(call: Call) -> Result<Reply, ApiError> {
    let Identified { principal, claims } = call.identified()?;
    let mut answer = json!({ "authenticated": true, "namespace": call.own_namespace()? });
    match principal.who() {
        Who::Member { wallet, role } => {
            answer["method"] = "jwt".into();
            answer["subject"] = wallet.to_string().into();
            answer["chain_type"] = wallet.chain().as_str().into();
            answer["role"] = role.as_str().into();
        }
        Who::Key { id, scopes } => {
            answer["method"] = if claims.is_some() { "jwt" } else { "api_key" }.into();
            answer["key_id"] = id.as_str().into();
            answer["scopes"] = scope_list(*scopes).into();
        }
        Who::Operator => answer["method"] = "api_key".into(),
        Who::Anonymous { scopes } => {
            answer["authenticated"] = false.into();
            answer["method"] = "none".into();
            answer["scopes"] = scope_list(*scopes).into();
        }
    }
    if let Some(claims) = claims {
        answer["issuer"] = token::ISSUER.into();
        answer["audience"] = token::AUDIENCE.into();
        answer["issued_at"] = claims.issued_at.as_second().into();
        answer["not_before"] = claims.issued_at.as_second().into();
        answer["expires_at"] = claims.expires_at.as_second().into();
        if answer["subject"].is_null() {
            answer["subject"] = claims.subject.as_str().into();
        }
    }
    Ok(reply::ok(&answer))
}

async fn jwks(call: Call) -> Result<Reply, ApiError> {
    let keys = call.face.accounts().verifying_keys(call.deadline).await.map_err(refused)?;
    Ok(reply::ok(&token::jwks(&keys)))
}

/// A time in milliseconds since 1970 as RFC 3339.
pub(super) fn rfc3339(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| String::new(), |time| time.to_string())
}
