//! Sessions: a signature becomes a token, and a token narrower ones.
//!
//! Owns their JSON. Never verifies a signature or makes a token: the node does.

use alloy_primitives::{Address, hex};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use golem_chain::session::{BadSession, SessionClaim};
use golem_node::NodeError;
use golem_node::sessions::{Narrower, Session, SessionError};
use golem_service::server::json::{json_response, ok};
use golem_service::server::serve::body;
use golem_types::wire::{OpenSession, SessionScope, WireTime, parse_session, parse_token_request};
use jiff::Timestamp;
use serde::Serialize;

use super::caller::Caller;
use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};

/// A session as its holder reads it; the token once.
#[derive(Serialize)]
struct SessionInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'a str>,
    session_id: &'a str,
    created_at: WireTime,
    /// Seconds since the epoch, as clients of contract version 4 count.
    expires_at: i64,
    requestor_address: String,
    vm_id: Option<&'a str>,
    scope: &'a str,
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

/// A session for whoever signed for it.
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
pub(super) async fn list(State(public): Shared, caller: Caller) -> ApiResult {
    let seen = public.node.sessions().seen_by(caller.session()?, Timestamp::now());
    Ok(ok(&seen.iter().map(|session| SessionInfo::of(session, None)).collect::<Vec<_>>()))
}

/// Ends a session, and what was minted from it; `current` is the caller's own.
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
