//! `GET /vms/{id}/console/live`: the serial console of a VM over a WebSocket, for its renter (`vm-console.v1`).
//!
//! ```text
//!   request ─► seat (shares of sources) ─► token of the header, or auth within 10 s ─► opened ─► bytes both ways ─► closed
//!                 └── none: 503                └── refused: error (1008)     taken over, session over: 1008 …
//! ```
//! Owns who may open one and the words of the socket. How much is kept, and who takes over, the node decides; what is typed
//! goes to the guest alone and is never kept.

pub(super) mod page;
mod words;

use std::convert::Infallible;
use std::time::Instant as Began;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use golem_node::NodeError;
use golem_node::console::{ConsoleEnd, ConsoleOutput, ConsoleSession, OpenedBy};
use golem_service::places::{HolderState, PlaceLimits};
use golem_service::server::peer::Peer;
use golem_service::server::seats::Seats;
use golem_service::tasks::Tasks;
use golem_service::web_socket::seated::Seated;
use golem_service::web_socket::talk::{End, Pulse, Said, Talk};
use golem_service::web_socket::{Bytes, GOING_AWAY, Limits, NORMAL, POLICY, accept};
use golem_service::{descriptors, log_limited};
use jiff::Timestamp;
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::caller::{Caller, Deed, bearer};
use super::{Public, Shared};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use words::FromClient;

/// Most sockets; fewer where the process may have few descriptors. Of consoles there are fewer, which the node bounds.
const SOCKETS: usize = 256;

/// Those of one customer and of one network.
const SOCKETS_OF_ONE: [usize; 2] = [16, 64];

/// How long a client may take to say who it is.
const BEGIN: Duration = Duration::from_secs(10);

/// What is pasted comes in several messages.
const LIMITS: Limits = Limits { message_bytes: 16 << 10, write: Duration::from_secs(20) };

/// How often a sign of life is asked for, and how long a client may show none.
const PULSE: Pulse = Pulse { ping: Duration::from_secs(15), silence: Duration::from_secs(40) };

/// What a message costs: somebody who types fast sends 30 a second.
const COST: f64 = 0.02;

/// What the sockets share.
pub(super) struct Consoles {
    seats: Seats,
    tasks: Tasks,
}

impl Consoles {
    /// No socket yet; each will be a task of `tasks`.
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { seats: Seats::new(PlaceLimits::of(descriptors::share(SOCKETS), SOCKETS_OF_ONE)), tasks }
    }
}

/// The VM's serial console, both ways. A session that there is already is taken over.
///
/// Bytes are what the guest writes and what is typed; texts are `{"type": …}`. Without a header, the first message is
/// `{"type":"auth","token":…}` within 10 seconds.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/console/live", tag = "VMs",
    params(("id" = String, Path, description = "The VM's id; its name, too, for a session and where the API is open")),
    security((), ("session" = [])),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on"),
        (status = 400, description = "The request asks for no WebSocket"),
        (status = 426, description = "The request asks for no WebSocket"),
        (status = 501, description = "This provider offers no consoles; `detail` says why"),
    ),
)]
pub(super) async fn open(State(public): Shared, Path(which): Path<String>, request: Request) -> ApiResult {
    if let Some(problem) = public.node.console_problem() {
        return Err(NodeError::NoConsole(problem).into());
    }
    let token = bearer(request.headers()).map(str::to_owned);
    if let Some(token) = &token {
        Caller::of_token(token, &public)?;
    }
    let source = Peer::source_of(&request);
    let (response, accepted) = accept(request)?;
    let Some(seat) = public.consoles.seats.take(source) else {
        log_limited!(warn, "console sockets refused: their sources have too many open");
        let text = "too many consoles of this network are open; try again later";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    let (name, tasks) = ("console socket", public.consoles.tasks.clone());
    let seated = Seated::new(seat, tasks.stopping().clone(), "the provider's node stops");
    tasks.spawn(name, async move {
        let Ok(Some(mut socket)) = seated.while_seated(accepted.socket(LIMITS)).await else { return };
        let held = async {
            let mut talk = Talk::new(&mut socket, PULSE, COST);
            let (session, token) = match begin(&mut talk, &public, &which, token).await {
                Ok(begun) => begun,
                Err(end) => return end,
            };
            // The longer it is held, the later it gives way.
            seated.holder().becomes(HolderState::Young(Began::now()));
            match hold(&mut talk, &public, &session, token.as_deref()).await {
                Ok(never) => match never {},
                Err(end) => end,
            }
        };
        let end = seated.while_seated(held).await.unwrap_or_else(|end| end);
        end.tell(socket, name).await;
    });
    Ok(response)
}

/// The console, once the client has said who it is and may, and its token.
async fn begin(
    talk: &mut Talk<'_>,
    public: &Public,
    which: &str,
    token: Option<String>,
) -> Result<(ConsoleSession, Option<String>), End> {
    let token = match token {
        Some(token) => Ok(Some(token)),
        None => match timeout(BEGIN, talk.hear_any()).await {
            Ok(said) => words::token(&said?),
            Err(_) => Err("no authentication within 10 s".to_owned()),
        },
    };
    let opened = match token {
        Ok(token) => {
            let opened = open_console(public, which, token.as_deref()).await;
            opened.map(|session| (session, token)).map_err(|error| error.text())
        }
        Err(why) => Err(why),
    };
    match opened {
        Ok(begun) => Ok(begun),
        Err(why) => {
            talk.say(words::error(&why)).await?;
            Err(End::Told(POLICY, why.into()))
        }
    }
}

async fn open_console(public: &Public, which: &str, token: Option<&str>) -> Result<ConsoleSession, ApiError> {
    let caller = Caller::of(token, public)?;
    // Whoever types there can do anything with the VM.
    let vm = caller.find(public, which, Deed::Change).await?;
    let by = caller.wallet().map_or_else(|| "who has the VM's id".to_owned(), |wallet| wallet.to_string());
    Ok(public.node.open_console(&vm.id, OpenedBy(by)).await?)
}

/// Carries bytes until there is a reason to end.
async fn hold(
    talk: &mut Talk<'_>,
    public: &Public,
    session: &ConsoleSession,
    token: Option<&str>,
) -> Result<Infallible, End> {
    let sessions = public.node.sessions();
    let mut ended = sessions.ended();
    ended.mark_unchanged();
    talk.say(words::opened()).await?;
    let mut pulses = talk.pulses();
    let mut typed: Option<Bytes> = None;
    // Kept from turn to turn: whoever says much must not put it off.
    let over = over_at(public, token)?;
    loop {
        tokio::select! {
            output = session.next() => match output {
                Ok(ConsoleOutput { dropped, bytes }) => {
                    if dropped > 0 {
                        talk.say(words::dropped(dropped)).await?;
                    }
                    talk.say_bytes(bytes).await?;
                }
                Err(end) => {
                    talk.say(words::closed(end)).await?;
                    return Err(End::Told(code(end), end.to_string().into()));
                }
            },
            // Nothing more is heard until the guest takes it.
            said = talk.hear_any(), if typed.is_none() => match said? {
                Said::Bytes(bytes) => typed = Some(bytes).filter(|bytes| !bytes.is_empty()),
                Said::Text(text) => match FromClient::read(&text) {
                    Ok(FromClient::Ping) => talk.say(words::pong()).await?,
                    // A serial port has no size.
                    Ok(FromClient::Resize) => {}
                    Ok(FromClient::Auth { .. }) => {
                        let why = "this socket is authenticated; open another one for another token";
                        talk.say(words::error(why)).await?;
                    }
                    Err(why) => talk.say(words::error(&why)).await?,
                },
            },
            room = session.room(), if typed.is_some() => {
                if let (Some(room), Some(bytes)) = (room, typed.take()) {
                    room.send(bytes);
                }
            }
            Ok(()) = ended.changed() => drop(over_at(public, token)?),
            () = sleep_until(over) => return Err(session_over()),
            _ = pulses.tick() => talk.pulse().await?,
        }
    }
}

/// When the client's session is over.
///
/// # Errors
/// The end, where it is.
fn over_at(public: &Public, token: Option<&str>) -> Result<Instant, End> {
    const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let now = Timestamp::now();
    let left = match token {
        None => FAR,
        Some(token) => {
            let session = public.node.sessions().of(token, now).ok_or_else(session_over)?;
            Duration::try_from(session.expires_at.duration_since(now)).unwrap_or_default().min(FAR)
        }
    };
    Ok(Instant::now() + left)
}

fn session_over() -> End {
    End::told(POLICY, "the session is over; sign in again")
}

const fn code(end: ConsoleEnd) -> u16 {
    match end {
        ConsoleEnd::TakenOver => POLICY,
        ConsoleEnd::NodeStops => GOING_AWAY,
        ConsoleEnd::Left | ConsoleEnd::Idle | ConsoleEnd::GuestEnded | ConsoleEnd::Gone => NORMAL,
    }
}
