//! The service's sockets: providers that are shown while they are connected, and renters who look on.
//!
//! ```text
//!   request ─► seat (shares of sources) ─► hello ─► session, bounded in time and rate ─► why it ends ─► close
//! ```
//! Owns who may hold a socket, and for how long. Never remembers a provider that is gone: the directory is in memory.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use alloy_primitives::hex;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use golem_service::descriptors;
use golem_service::log_limited;
use golem_service::places::{HolderState, PlaceLimits};
use golem_service::server::error::ErrorResponse;
use golem_service::server::peer::Peer;
use golem_service::server::seats::{Holder, Seats};
use golem_service::tasks::Tasks;
use golem_service::web_socket::seated::Seated;
use golem_service::web_socket::talk::{End, Pulse, Talk};
use golem_service::web_socket::{Bytes, GOING_AWAY, Limits, POLICY, TRY_AGAIN, Utf8Bytes, WebSocket, accept};
use jiff::Timestamp;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Duration, timeout};

use crate::discovery::live::directory::{Directory, Membership, Shown};
use crate::discovery::live::words::{self, BadMessage, FromProvider};
use crate::discovery::live::{MESSAGE, PING, SILENCE, SUBSCRIPTION};
use crate::discovery::store::Filter;

/// Most providers at a time, as many as there are adverts in the database.
const PROVIDERS: usize = 10_000;

/// Providers of one customer and of one network: as many signed adverts as count as one source's over HTTP.
const PROVIDERS_OF_ONE: [usize; 2] = [16, 64];

/// Most renters who look on.
const REQUESTORS: usize = 4096;

/// Renters of one customer and of one network: several people may share an address.
const REQUESTORS_OF_ONE: [usize; 2] = [64, 256];

/// How long a socket may take to say who it is, or what it looks for.
const BEGIN: Duration = Duration::from_secs(10);

/// How long a renter may take to read the list of all adverts, some 5 MB.
const LIST: Duration = Duration::from_secs(120);

/// A provider's advert is below 1 KiB, a renter's filters as well.
const LIMITS: Limits = Limits { message_bytes: 8 << 10, write: Duration::from_secs(20) };

/// What a part of a list has at most, in bytes. Each socket that was sent one holds as much memory until it ends.
const PART_BYTES: usize = 16 << 10;

/// What sockets share.
#[derive(Debug)]
pub(super) struct Live {
    directory: Directory,
    providers: Seats,
    requestors: Seats,
    tasks: Tasks,
}

impl Live {
    /// No socket yet; each will be a task of `tasks`.
    pub(super) fn new(tasks: &Tasks) -> Self {
        let seats = |total, of_one| Seats::new(PlaceLimits::of(total, of_one));
        Self {
            directory: Directory::default(),
            // Half of what the process may have open at most, so that renters and requests find theirs.
            providers: seats(PROVIDERS.min(descriptors::limit() / 2), PROVIDERS_OF_ONE),
            requestors: seats(descriptors::share(REQUESTORS), REQUESTORS_OF_ONE),
            tasks: tasks.clone(),
        }
    }
}

/// A socket for a provider.
pub(super) async fn providers(
    State(live): State<Arc<Live>>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    open(live, request, Role::Provider)
}

/// A socket for a renter.
pub(super) async fn requestors(
    State(live): State<Arc<Live>>,
    request: Request,
) -> Result<Response, ErrorResponse> {
    open(live, request, Role::Requestor)
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
enum Role {
    Provider,
    Requestor,
}

/// Opens a socket as a task, which goes on until it ends, has to give way, or everything stops.
fn open(live: Arc<Live>, request: Request, role: Role) -> Result<Response, ErrorResponse> {
    let (name, seats) = match role {
        Role::Provider => ("discovery provider", &live.providers),
        Role::Requestor => ("discovery requestor", &live.requestors),
    };
    let source = Peer::source_of(&request);
    let (response, accepted) = accept(request)?;
    let Some(seat) = seats.take(source) else {
        log_limited!(warn, name, "sockets refused: their sources have too many open");
        let text = "too many sockets of this network; try again later";
        return Err(ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    let seated = Seated::new(seat, live.tasks.stopping().clone(), "the server ends");
    let tasks = live.tasks.clone();
    tasks.spawn(name, async move {
        let Ok(Some(mut socket)) = seated.while_seated(accepted.socket(LIMITS)).await else { return };
        let session = session(&mut socket, role, seated.holder(), &live.directory);
        let end = seated.while_seated(session).await.unwrap_or_else(|end| end);
        end.tell(socket, name).await;
    });
    Ok(response)
}

async fn session(socket: &mut WebSocket, role: Role, holder: &Holder, directory: &Directory) -> End {
    let mut talk = Talk::new(socket, Pulse { ping: PING, silence: SILENCE }, MESSAGE);
    let ended = match role {
        Role::Provider => provider(&mut talk, holder, directory).await,
        Role::Requestor => requestor(&mut talk, holder, directory).await,
    };
    match ended {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

/// Tells what is wrong with a message.
fn failure(error: &BadMessage) -> Utf8Bytes {
    let code = match error {
        BadMessage::NoMessage(_) => "invalid_message",
        BadMessage::Unknown(_) => "unknown_type",
        BadMessage::Fields(_) => "invalid_fields",
        BadMessage::Advert(_) => "invalid_advertisement",
        BadMessage::Unauthenticated => "unauthorized",
        BadMessage::Filter => "invalid_filter",
    };
    words::failure(code, error)
}

async fn provider(talk: &mut Talk<'_>, holder: &Holder, directory: &Directory) -> Result<Infallible, End> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|_| End::told(TRY_AGAIN, "the server has no randomness"))?;
    let nonce = hex::encode(nonce);
    talk.say(words::hello(&nonce)).await?;
    let late = |_| Err(End::told(POLICY, "no authentication within 10 s"));
    let membership = timeout(BEGIN, authenticate(talk, &nonce, directory)).await.unwrap_or_else(late)?;
    // The longer it has been shown, the later it gives way.
    holder.becomes(HolderState::Young(Instant::now()));
    talk.say(words::authenticated()).await?;
    let mut pings = talk.pulses();
    loop {
        tokio::select! {
            text = talk.hear() => obey(talk, &membership, &text?).await?,
            () = membership.replaced() => {
                return Err(End::told(POLICY, "a newer connection of this provider is there"));
            }
            _ = pings.tick() => talk.pulse().await?,
        }
    }
}

/// Who the other end proves to be. Its proof is looked at once: the nonce is no other's, and no second time's.
async fn authenticate(talk: &mut Talk<'_>, nonce: &str, directory: &Directory) -> Result<Membership, End> {
    let refused = match FromProvider::read(&talk.hear().await?) {
        Ok(FromProvider::Authenticate(proof)) => match proof.verify(nonce, Timestamp::now()) {
            Ok(id) => return Ok(directory.join(id)),
            Err(bad) => words::failure("unauthorized", &bad),
        },
        Ok(_) => failure(&BadMessage::Unauthenticated),
        Err(bad) => failure(&bad),
    };
    talk.say(refused).await?;
    Err(End::told(POLICY, "authentication failed"))
}

/// Does what a provider says.
async fn obey(talk: &mut Talk<'_>, membership: &Membership, text: &str) -> Result<(), End> {
    match FromProvider::read(text) {
        Ok(FromProvider::Upsert(advert)) => match membership.upsert(*advert) {
            Ok(()) => talk.say(words::accepted()).await,
            Err(error) => talk.say(words::failure("invalid_advertisement", &error)).await,
        },
        Ok(FromProvider::Remove) => {
            membership.remove();
            talk.say(words::removed()).await
        }
        Ok(FromProvider::Authenticate(_)) => Err(End::told(POLICY, "a nonce counts once")),
        Err(bad) => talk.say(failure(&bad)).await,
    }
}

async fn requestor(talk: &mut Talk<'_>, holder: &Holder, directory: &Directory) -> Result<Infallible, End> {
    // A renter's client that knows nothing of it loses nothing.
    talk.say(words::hello("")).await?;
    let late = |_| Err(End::told(POLICY, "no subscription within 10 s"));
    let mut filter = timeout(BEGIN, subscription(talk)).await.unwrap_or_else(late)?;
    holder.becomes(HolderState::Young(Instant::now()));
    loop {
        let (shown, mut changes) = directory.subscribe(&filter);
        let slow = |_| Err(End::told(TRY_AGAIN, "too slow for the list"));
        timeout(LIST, talk.say_parts(parts(shown))).await.unwrap_or_else(slow)?;
        let mut pings = talk.pulses();
        filter = loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => {
                        if let Some(message) = change.message(&filter) {
                            talk.say(message).await?;
                        }
                    }
                    Err(RecvError::Lagged(_)) => return Err(End::told(TRY_AGAIN, "too slow for the changes")),
                    Err(RecvError::Closed) => return Err(End::told(GOING_AWAY, "the server ends")),
                },
                filter = subscription(talk) => break filter?,
                _ = pings.tick() => talk.pulse().await?,
            }
        };
    }
}

/// What a renter looks for, once it says so. May be given up at any time.
async fn subscription(talk: &mut Talk<'_>) -> Result<Filter, End> {
    loop {
        let text = talk.hear().await?;
        match words::read_subscription(&text) {
            Ok(filter) => {
                talk.pay(SUBSCRIPTION - MESSAGE, "too many subscriptions")?;
                return Ok(filter);
            }
            Err(bad) => talk.say(failure(&bad)).await?,
        }
    }
}

/// The message with all of `shown`, in parts.
fn parts(shown: Vec<Arc<Shown>>) -> impl Iterator<Item = Bytes> {
    let mut shown = shown.into_iter().enumerate().peekable();
    let mut begun = false;
    std::iter::from_fn(move || {
        let mut part = String::with_capacity(PART_BYTES);
        if !std::mem::replace(&mut begun, true) {
            part.push_str(r#"{"type":"snapshot","advertisements":["#);
        } else if shown.peek().is_none() {
            return None;
        }
        while part.len() < PART_BYTES - 1024
            && let Some((number, shown)) = shown.next()
        {
            if number > 0 {
                part.push(',');
            }
            part.push_str(shown.json());
        }
        if shown.peek().is_none() {
            part.push_str("]}");
        }
        Some(Bytes::from(part))
    })
}

#[cfg(test)]
mod tests;
