//! Sessions: a signature becomes a token, and a token narrower ones.
//!
//! Owns their JSON. Never verifies a signature or makes a token: the node does.

use alloy_primitives::{Address, hex};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use golem_chain::session::{BadSession, SessionClaim};
use golem_node::NodeError;
use golem_node::sessions::{Narrower, Session, SessionError};
use golem_service::server::json::{json_response, ok};
use golem_service::server::serve::body;
use golem_types::wire::bodies::{SessionBody, TokenBody};
use golem_types::wire::{OpenSession, Problems, SessionScope, WireTime, parse_session, parse_token_request};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::Caller;
use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;

/// A session as its holder reads it; the token once.
#[derive(Serialize, ToSchema)]
struct SessionInfo<'a> {
    /// What `Authorization: Bearer` carries; told once.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    /// `bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'a str>,
    session_id: &'a str,
    created_at: WireTime,
    /// Seconds since the epoch, as clients of contract version 4 count.
    expires_at: i64,
    /// The wallet.
    requestor_address: String,
    /// The one VM that it is for, by id or name.
    vm_id: Option<&'a str>,
    /// `vm` or `provider`.
    scope: &'a str,
    /// Whether it may only read.
    read_only: bool,
}

impl<'a> SessionInfo<'a> {
    fn of(session: &'a Session, token: Option<&'a str>) -> Self {
        Self {
            access_token: token,
            token_type: token.map(|_| "bearer"),
            session_id: &session.id,
            created_at: WireTime(session.created_at),
            expires_at: session.expires_at.as_second(),
            requestor_address: session.wallet.to_string(),
            vm_id: session.vm.as_deref(),
            scope: if session.vm.is_some() { "vm" } else { "provider" },
            read_only: session.read_only,
        }
    }
}

impl From<SessionError> for ApiError {
    fn from(error: SessionError) -> Self {
        let status = match error {
            SessionError::NonceUsed => StatusCode::UNAUTHORIZED,
            SessionError::TooMany => StatusCode::TOO_MANY_REQUESTS,
            SessionError::Wider => StatusCode::FORBIDDEN,
            SessionError::Random => StatusCode::INTERNAL_SERVER_ERROR,
            SessionError::Ledger(error) => return NodeError::Ledger(error).into(),
        };
        Self::new(status, error.to_string())
    }
}

impl From<BadSession> for ApiError {
    fn from(error: BadSession) -> Self {
        let status = match error {
            BadSession::Form(_) | BadSession::TooLong => StatusCode::BAD_REQUEST,
            BadSession::Expired | BadSession::Early | BadSession::OtherProvider | BadSession::Signature => {
                StatusCode::UNAUTHORIZED
            }
        };
        Self::new(status, error.to_string())
    }
}

fn provider(public: &Public) -> Address {
    public.provider.provider_id.parse().unwrap_or_default()
}

/// Opens a session for the wallet that signed for it.
#[utoipa::path(
    post, path = "/api/v1/auth/requestor-sessions", tag = "Sessions",
    request_body = SessionBody,
    responses(
        (status = 200, body = SessionInfo, description = "The session, with its token"),
        (status = 400, description = "What was signed has a wrong form, or would last too long"),
        (status = 401, description = "The signature is wrong, too old, too early, for another provider, or was used already"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
    ),
)]
pub(super) async fn open(State(public): Shared, request: Request) -> ApiResult {
    let now = Timestamp::now();
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let signature = |text: &str| {
        hex::decode(text).map_err(|_| BadSession::Form("the signature must be hexadecimal text"))
    };
    let claim = match parse_session(&body(request).await?)? {
        OpenSession::TypedData { requestor, scope, nonce, deadline, signature: signed } => {
            let vm = match scope {
                SessionScope::Provider => None,
                SessionScope::Vm(vm) => Some(vm),
            };
            let claim = SessionClaim { wallet: requestor, vm, nonce, deadline };
            claim.check(provider(&public), &signature(&signed)?, seconds)?
        }
        OpenSession::Message { message, signature: signed } => {
            SessionClaim::of_message(&message, provider(&public), &signature(&signed)?, now)?
        }
    };
    let (token, session) = public.node.sessions().begin(claim, now).await?;
    Ok(ok(&SessionInfo::of(&session, Some(&token))))
}

/// A token that may do less than the one that asks for it.
#[utoipa::path(
    post, path = "/api/v1/auth/tokens", tag = "Sessions",
    request_body = TokenBody,
    security(("session" = [])),
    responses(
        (status = 201, body = SessionInfo, description = "The narrower session, with its token"),
        (status = 403, description = "It would do more than the one that asks"),
        (status = 422, body = Problems, description = "The body is invalid: every mistake in it, with its place"),
    ),
)]
pub(super) async fn mint(State(public): Shared, caller: Caller, request: Request) -> ApiResult {
    let holder = caller.session()?;
    let wanted = parse_token_request(&body(request).await?)?;
    let narrower = Narrower {
        vm: wanted.vm_id,
        read_only: wanted.read_only.unwrap_or(holder.read_only),
        seconds: wanted.expires_in_seconds,
    };
    let (token, session) = public.node.sessions().mint(holder, narrower, Timestamp::now()).await?;
    Ok(json_response(StatusCode::CREATED, &SessionInfo::of(&session, Some(&token))))
}

/// The sessions that the caller sees, without their tokens.
#[utoipa::path(
    get, path = "/api/v1/auth/tokens", tag = "Sessions",
    security(("session" = [])),
    responses(
        (status = 200, body = Vec<SessionInfo>, description = "The sessions"),
    ),
)]
pub(super) async fn list(State(public): Shared, caller: Caller) -> ApiResult {
    let seen = public.node.sessions().seen_by(caller.session()?, Timestamp::now());
    Ok(ok(&seen.iter().map(|session| SessionInfo::of(session, None)).collect::<Vec<_>>()))
}

/// Ends a session, and what was minted from it.
#[utoipa::path(
    delete, path = "/api/v1/auth/tokens/{id}", tag = "Sessions",
    params(("id" = String, Path, description = "The session's id; `current` for the one that asks")),
    security(("session" = [])),
    responses(
        (status = 204, description = "It has ended"),
        (status = 404, description = "No such session"),
    ),
)]
pub(super) async fn end(State(public): Shared, caller: Caller, Path(id): Path<String>) -> ApiResult {
    let holder = caller.session()?;
    let id = if id == "current" { holder.id.clone() } else { id };
    let ended = public.node.sessions().end(holder, &id, Timestamp::now()).await.map_err(NodeError::Ledger)?;
    if !ended {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "there is no such session"));
    }
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
