//! Who asks: anybody, or a wallet with a session.
//!
//! ```text
//!   no token           ─► a VM's unguessable id is the right to use it; names where the API is open
//!   a session's token  ─► the wallet's own VMs, by id or name; one VM only, or only reading, if it is narrower
//!   any other token    ─► 401
//! ```
//! Owns which VM a request means, and whether it may. Never answers a request.

use std::sync::Arc;

use alloy_primitives::Address;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use golem_node::sessions::Session;
use golem_node::vm::owner_of;
use golem_node::{NodeError, Vm};
use golem_types::VmId;
use jiff::Timestamp;

use super::Public;
use crate::config::VmAccess;
use crate::error::ApiError;

/// Who asks.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Anybody.
    Anyone,
    /// A wallet.
    Wallet(Session),
}

/// What a request does with a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Read,
    Change,
}

impl FromRequestParts<Arc<Public>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, public: &Arc<Public>) -> Result<Self, ApiError> {
        Self::of_headers(&parts.headers, public)
    }
}

impl Caller {
    fn of_headers(headers: &HeaderMap, public: &Public) -> Result<Self, ApiError> {
        Self::of(bearer(headers), public)
    }

    /// Whose token it is, if there is one.
    pub(super) fn of(token: Option<&str>, public: &Public) -> Result<Self, ApiError> {
        token.map_or(Ok(Self::Anyone), |token| Self::of_token(token, public))
    }

    /// Whose token it is.
    pub(super) fn of_token(token: &str, public: &Public) -> Result<Self, ApiError> {
        let session = public.node.sessions().of(token, Timestamp::now());
        session.map(Self::Wallet).ok_or_else(|| {
            let text = "the session is over, or there never was one; sign in again (POST /api/v1/auth/requestor-sessions)";
            ApiError::new(StatusCode::UNAUTHORIZED, text)
        })
    }

    /// The session, without which nothing is to be had here.
    pub(super) fn session(&self) -> Result<&Session, ApiError> {
        match self {
            Self::Wallet(session) => Ok(session),
            Self::Anyone => Err(ApiError::new(StatusCode::UNAUTHORIZED, "this needs a session's token")),
        }
    }

    /// The wallet that asks for a VM called `name`.
    pub(super) fn renter_of(&self, name: &str) -> Result<Option<Address>, ApiError> {
        let Self::Wallet(session) = self else { return Ok(None) };
        self.may(Deed::Change)?;
        match &session.vm {
            Some(vm) if vm != name => Err(other_vm()),
            _ => Ok(Some(session.wallet)),
        }
    }

    /// The wallet that asks.
    pub(super) fn wallet(&self) -> Option<Address> {
        match self {
            Self::Wallet(session) => Some(session.wallet),
            Self::Anyone => None,
        }
    }

    fn may(&self, deed: Deed) -> Result<(), ApiError> {
        match self {
            Self::Wallet(session) if session.read_only && deed == Deed::Change => {
                Err(ApiError::new(StatusCode::FORBIDDEN, "this token may only read"))
            }
            _ => Ok(()),
        }
    }

    /// The VM that `which` names to this caller, if that may do `deed` with it.
    pub(super) async fn find(&self, public: &Public, which: &str, deed: Deed) -> Result<Arc<Vm>, ApiError> {
        match self {
            Self::Anyone => find_open(public, which).await,
            Self::Wallet(session) => {
                let vm = find_own(public, session, which).await?;
                self.may(deed)?;
                Ok(vm)
            }
        }
    }

    /// Every VM that this caller sees.
    pub(super) fn vms(&self, public: &Public) -> Vec<Arc<Vm>> {
        let vms = public.node.vms();
        match self {
            Self::Anyone if public.access == VmAccess::Open => vms,
            Self::Anyone => Vec::new(),
            Self::Wallet(session) => vms.into_iter().filter(|vm| is_within(session, vm)).collect(),
        }
    }
}

/// The token in a request's headers. Another scheme is a reverse proxy's business.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, token) = given?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn other_vm() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "this session is not for that VM")
}

/// Whether `session` is for `vm`.
fn is_within(session: &Session, vm: &Vm) -> bool {
    let named = |which: &String| which == vm.id.as_str() || which == vm.name.as_str();
    vm.owner == owner_of(session.wallet) && session.vm.as_ref().is_none_or(named)
}

/// The VM `id`, whoever's it is.
async fn of_id(public: &Public, id: &VmId) -> Result<Arc<Vm>, ApiError> {
    match public.node.vm(id).await {
        Err(NodeError::NotFound(_)) => Err(ApiError::no_vm(id.as_str())),
        found => Ok(found?),
    }
}

/// A VM of the session's wallet, by id or name. Its live VMs have different names.
async fn find_own(public: &Public, session: &Session, which: &str) -> Result<Arc<Vm>, ApiError> {
    let vm = match which.parse::<VmId>() {
        Ok(id) => of_id(public, &id).await?,
        Err(_) => {
            let owner = owner_of(session.wallet);
            let is_it = |vm: &Arc<Vm>| vm.name.as_str() == which && vm.owner == owner;
            public.node.vms().into_iter().find(is_it).ok_or_else(|| ApiError::no_vm(which))?
        }
    };
    if is_within(session, &vm) { Ok(vm) } else { Err(other_vm()) }
}

/// A VM as everybody may name it.
async fn find_open(public: &Public, which: &str) -> Result<Arc<Vm>, ApiError> {
    if let Ok(id) = which.parse::<VmId>() {
        return of_id(public, &id).await;
    }
    if public.access != VmAccess::Open {
        return Err(ApiError::no_vm(which));
    }
    let mut named = public.node.vms().into_iter().filter(|vm| vm.name.as_str() == which);
    match (named.next(), named.next()) {
        (Some(vm), None) => Ok(vm),
        (Some(_), Some(_)) => {
            Err(ApiError::new(StatusCode::CONFLICT, "several VMs have this name; use the id"))
        }
        (None, _) => Err(ApiError::no_vm(which)),
    }
}
