//! `GET /vms/{name}/live`: a VM shown while its renter looks on, over a WebSocket (`vm-live.v1`).
//!
//! ```text
//!   request ─► seat (shares of sources) ─► auth within 10 s ─► hello, snapshot ─► update … ─► why it ends ─► close
//!                 └── none: told so (1013)     └── refused: error (1008)   VM gone: 1000, session over: 1008, stop: 1001
//! ```
//! Owns who may look on, for how long, and when something has changed that is to be told. What is shown are the answers
//! of the other routes ([`picture`]). Never changes anything.

mod picture;
mod words;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant as Began;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use golem_node::{HistoryRange, Job, Vm};
use golem_service::places::{HolderState, PlaceLimits};
use golem_service::server::peer::Peer;
use golem_service::server::seats::{Holder, Seats};
use golem_service::tasks::Tasks;
use golem_service::web_socket::seated::Seated;
use golem_service::web_socket::talk::{End, Pulse, Talk};
use golem_service::web_socket::{Accepted, Limits, NORMAL, POLICY, TRY_AGAIN, WebSocket, accept};
use golem_service::{descriptors, log_limited};
use golem_types::{JobId, VmState};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::caller::{Caller, Deed};
use super::{Public, Shared, query_value};
use crate::error::{ApiError, ApiResult};
use crate::extract::Path;
use picture::{Readings, lifecycle, part};
use words::{BadMessage, FromClient, Part, Scope, read_range};

/// Most who look on; fewer where the process may have few descriptors.
const SOCKETS: usize = 1024;

/// Those of one customer and of one network: several people may share an address, and one has several tabs open.
const SOCKETS_OF_ONE: [usize; 2] = [32, 128];

/// Most of those for whom there is no place that are told so in a socket at a time: a browser shows its page nothing
/// else. The others read it in an HTTP response.
const TURNED_AWAY: usize = 64;

/// How long a client may take to say who it is.
const BEGIN: Duration = Duration::from_secs(10);

/// A token has some 80 characters. What is said to the client are a few KiB.
const LIMITS: Limits = Limits { message_bytes: 4 << 10, write: Duration::from_secs(20) };

/// How often a heartbeat is sent, and asked for; and how long a client may show none.
const PULSE: Pulse = Pulse { ping: Duration::from_secs(15), silence: Duration::from_secs(40) };

/// What a message costs, and each scope that it asks for.
const COST: f64 = 1.0;

/// How often a VM's create is looked at while it goes on: its stages are told to nobody.
const LOOK: Duration = Duration::from_secs(2);

/// How often a stream is looked at, as the chain may change it at any time; as often as the provider itself looks. What the VM
/// uses is told as often.
const STREAM: Duration = Duration::from_secs(30);

/// What changes beside the stream.
const CHANGING: [Scope; 4] = [Scope::ProviderInfo, Scope::Lifecycle, Scope::Access, Scope::Job];

/// What the sockets share.
pub(super) struct Live {
    seats: Seats,
    turned_away: Arc<Semaphore>,
    readings: Readings,
    tasks: Tasks,
}

impl Live {
    /// No socket yet; each will be a task of `tasks`.
    pub(super) fn new(tasks: Tasks) -> Self {
        Self {
            seats: Seats::new(PlaceLimits::of(descriptors::share(SOCKETS), SOCKETS_OF_ONE)),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
            readings: Readings::default(),
            tasks,
        }
    }
}

/// What a client asks to see.
struct Asked {
    /// The VM, by id or name.
    which: String,
    /// The job that makes it.
    job: Option<String>,
    /// How much of the past it wants measurements of.
    history_range: Option<String>,
}

/// A socket that tells how the VM is doing.
///
/// The first message is `{"type":"auth","token":…}` within 10 seconds.
#[utoipa::path(
    get, path = "/api/v1/vms/{id}/live", tag = "VMs",
    params(
        ("id" = String, Path, description = "The VM's id or name"),
        ("job_id" = Option<String>, Query, description = "The job of its create, to be told of that as well"),
        ("history_range" = Option<String>, Query, description = "How much of the past is wanted: `1h` (if absent), `6h`, `24h`, `7d` or `30d`"),
    ),
    responses(
        (status = 101, description = "The connection is a WebSocket from here on"),
        (status = 400, description = "The request asks for no WebSocket"),
        (status = 426, description = "The request asks for no WebSocket"),
    ),
)]
pub(super) async fn open(State(public): Shared, Path(which): Path<String>, request: Request) -> ApiResult {
    let value = |name| {
        let value = query_value(request.uri().query(), name).filter(|value| !value.is_empty());
        value.map(str::to_owned)
    };
    let asked = Asked { which, job: value("job_id"), history_range: value("history_range") };
    let source = Peer::source_of(&request);
    let (response, accepted) = accept(request)?;
    let live = &public.live;
    let Some(seat) = live.seats.take(source) else {
        return turn_away(live, accepted).map(|()| response);
    };
    let seated = Seated::new(seat, live.tasks.stopping().clone(), "the provider's node stops");
    let (name, tasks) = ("live socket", live.tasks.clone());
    tasks.spawn(name, async move {
        let Ok(Some(mut socket)) = seated.while_seated(accepted.socket(LIMITS)).await else { return };
        let looks_on = look_on(&mut socket, seated.holder(), &public, &asked);
        let end = seated.while_seated(looks_on).await.unwrap_or_else(|end| end);
        end.tell(socket, name).await;
    });
    Ok(response)
}

/// Tells a client that there is no place for it.
fn turn_away(live: &Live, accepted: Accepted) -> Result<(), ApiError> {
    log_limited!(warn, "live sockets refused: their sources have too many open");
    let text = "too many live sockets of this network are open; try again later";
    let Ok(permit) = Arc::clone(&live.turned_away).try_acquire_owned() else {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    live.tasks.spawn("live socket refused", async move {
        let _permit = permit;
        if let Ok(Some(socket)) = timeout(BEGIN, accepted.socket(LIMITS)).await {
            socket.close(TRY_AGAIN, text).await;
        }
    });
    Ok(())
}

async fn look_on(socket: &mut WebSocket, holder: &Holder, public: &Public, asked: &Asked) -> End {
    let mut talk = Talk::new(socket, PULSE, COST);
    let looked = async {
        let mut looker = begin(&mut talk, public, asked).await?;
        // The longer it looks on, the later it gives way.
        holder.becomes(HolderState::Young(Began::now()));
        looker.run(&mut talk).await
    };
    match looked.await {
        Ok(never) => match never {},
        Err(end) => end,
    }
}

/// Who looks on, once it has said who it is and may.
async fn begin<'a>(talk: &mut Talk<'_>, public: &'a Public, asked: &Asked) -> Result<Looker<'a>, End> {
    let admitted = match timeout(BEGIN, talk.hear()).await {
        Ok(text) => Looker::admit(public, asked, &text?).await,
        Err(_) => Err(BadMessage(None, "no authentication within 10 s".to_owned())),
    };
    match admitted {
        Ok(looker) => Ok(looker),
        Err(BadMessage(scope, why)) => {
            talk.say(words::error(scope, &why)).await?;
            Err(End::Told(POLICY, why.into()))
        }
    }
}

/// Who looks at a VM, and what it was shown.
struct Looker<'a> {
    public: &'a Public,
    token: Option<String>,
    /// As its changes were told last.
    vm: Arc<Vm>,
    job: Option<JobId>,
    /// How much of the past it wants measurements of.
    range: HistoryRange,
    shown: [Option<Part>; Scope::ALL.len()],
}

impl From<ApiError> for BadMessage {
    fn from(error: ApiError) -> Self {
        Self(None, error.text())
    }
}

impl<'a> Looker<'a> {
    /// The client whose first message is `text`, if it may see what is asked for.
    async fn admit(public: &'a Public, asked: &Asked, text: &str) -> Result<Self, BadMessage> {
        let FromClient::Auth(token) = FromClient::read(text)? else {
            let text = r#"the first message has to be {"type":"auth","token":…}"#;
            return Err(BadMessage(None, text.to_owned()));
        };
        let caller = Caller::of(token.as_deref(), public)?;
        let job = asked.job.as_deref().and_then(|job| job.parse::<JobId>().ok());
        let job = match &job {
            Some(id) => public.node.job(id).await.map_err(ApiError::from)?,
            None => None,
        };
        let found = caller.find(public, &asked.which, Deed::Read).await;
        let vm = match (found, &job) {
            // One that could not be made has no name any more, and nobody but who has its id or its job's knows it.
            (Err(error), Some(job)) if error.is_not_found() => {
                let vm = caller.find(public, job.vm_id.as_str(), Deed::Read).await?;
                if vm.name.as_str() != asked.which {
                    return Err(error.into());
                }
                vm
            }
            (found, _) => found?,
        };
        if asked.job.is_some() && job.as_ref().is_none_or(|job| job.vm_id != vm.id) {
            return Err(BadMessage(Some(Scope::Job), "job not found".to_owned()));
        }
        let range = asked.history_range.as_deref().map(read_range).transpose()?.unwrap_or_default();
        Ok(Self { public, token, vm, job: job.map(|job| job.id), range, shown: Default::default() })
    }

    /// Shows the VM until there is a reason to end.
    async fn run(&mut self, talk: &mut Talk<'_>) -> Result<Infallible, End> {
        let mut changes = self.public.node.changes();
        let mut ended = self.public.node.sessions().ended();
        changes.mark_unchanged();
        ended.mark_unchanged();
        talk.say(words::hello()).await?;
        self.snapshot(talk).await?;
        let mut pulses = talk.pulses();
        let mut streams = interval(STREAM);
        streams.set_missed_tick_behavior(MissedTickBehavior::Delay);
        streams.reset();
        // Kept from turn to turn: whoever says much must not put it off.
        let mut look = self.next_look();
        loop {
            tokio::select! {
                text = talk.hear() => self.obey(talk, &text?).await?,
                Ok(()) = changes.changed() => {
                    let now = changes.borrow_and_update().get(&self.vm.id).map(|rental| Arc::clone(&rental.vm));
                    if now.as_ref() != Some(&self.vm) {
                        self.tell_changes(talk).await?;
                        self.tell(talk, &[Scope::Stream]).await?;
                    }
                }
                Ok(()) = ended.changed() => drop(self.tell(talk, &[]).await?),
                () = sleep_until(look) => {
                    self.tell_changes(talk).await?;
                    look = self.next_look();
                }
                _ = streams.tick() => drop(self.tell(talk, &[Scope::Stream, Scope::Metrics]).await?),
                _ = pulses.tick() => {
                    talk.pulse().await?;
                    talk.say(words::heartbeat()).await?;
                }
            }
        }
    }

    /// When to look by itself: soon, while the VM is made; and when the session is over.
    fn next_look(&self) -> Instant {
        let now = Timestamp::now();
        let session = self.token.as_ref().and_then(|token| self.public.node.sessions().of(token, now));
        let over =
            session.and_then(|session| Duration::try_from(session.expires_at.duration_since(now)).ok());
        let look = if self.vm.state == VmState::Creating { LOOK } else { STREAM };
        Instant::now() + over.map_or(look, |over| look.min(over + Duration::from_millis(1)))
    }

    /// Does what the client says.
    async fn obey(&mut self, talk: &mut Talk<'_>, text: &str) -> Result<(), End> {
        match FromClient::read(text) {
            Ok(FromClient::Ping) => talk.say(words::heartbeat()).await,
            Ok(FromClient::Refresh(scopes)) => {
                for scope in scopes {
                    talk.pay(COST, "too many refreshes")?;
                    self.shown[scope as usize] = None;
                    self.tell(talk, &[scope]).await?;
                }
                Ok(())
            }
            Ok(FromClient::HistoryRange(range)) => {
                talk.pay(COST, "too many changes of the range")?;
                self.range = range;
                self.tell(talk, &[Scope::Metrics]).await.map(drop)
            }
            Ok(FromClient::Auth(_)) => {
                let text = "this socket is authenticated; open another one for another token";
                talk.say(words::error(None, text)).await
            }
            Err(BadMessage(scope, why)) => talk.say(words::error(scope, &why)).await,
        }
    }

    async fn snapshot(&mut self, talk: &mut Talk<'_>) -> Result<(), End> {
        let is_there = self.is_there();
        let (vm, job) = self.see(talk).await?;
        let mut parts = Vec::new();
        for scope in Scope::ALL {
            let part = part(scope, self.public, &vm, job.as_ref(), self.range).await;
            self.remember(scope, &part);
            parts.push((scope, part));
        }
        self.vm = vm;
        talk.say(words::snapshot(parts)).await?;
        is_there
    }

    /// Remembers what was told of `scope`; but for measurements, which are large and never the same.
    fn remember(&mut self, scope: Scope, part: &Part) {
        if scope != Scope::Metrics {
            self.shown[scope as usize] = Some(part.clone());
        }
    }

    async fn tell_changes(&mut self, talk: &mut Talk<'_>) -> Result<(), End> {
        self.vm = self.tell(talk, &CHANGING).await?;
        Ok(())
    }

    /// Tells what has changed of `scopes`; gives the VM of which that was told.
    async fn tell(&mut self, talk: &mut Talk<'_>, scopes: &[Scope]) -> Result<Arc<Vm>, End> {
        let is_there = self.is_there();
        let (vm, job) = self.see(talk).await?;
        for scope in scopes {
            let part = part(*scope, self.public, &vm, job.as_ref(), self.range).await;
            if self.shown[*scope as usize].as_ref() != Some(&part) {
                talk.say(words::update(*scope, &part)).await?;
                self.remember(*scope, &part);
            }
        }
        is_there.map(|()| vm)
    }

    /// Looks at the VM and its job anew, as who looks on may now.
    async fn see(&self, talk: &mut Talk<'_>) -> Result<(Arc<Vm>, Option<Job>), End> {
        match self.look().await {
            Ok(seen) => Ok(seen),
            Err(error) if error.is_not_found() => {
                let gone = Vm { state: VmState::Deleted, ..(*self.vm).clone() };
                talk.say(words::update(Scope::Lifecycle, &lifecycle(&gone, None))).await?;
                Err(gone_end())
            }
            Err(error) => {
                let why = error.text();
                talk.say(words::error(None, &why)).await?;
                Err(End::Told(POLICY, why.into()))
            }
        }
    }

    async fn look(&self) -> Result<(Arc<Vm>, Option<Job>), ApiError> {
        let caller = Caller::of(self.token.as_deref(), self.public)?;
        let vm = caller.find(self.public, self.vm.id.as_str(), Deed::Read).await?;
        let job = match &self.job {
            Some(id) => self.public.node.job(id).await?,
            None => None,
        };
        Ok((vm, job))
    }

    /// An end where nothing of the VM is left but why. Asked before that is looked at, so that the last state is told.
    fn is_there(&self) -> Result<(), End> {
        let is_live = self.public.node.changes().borrow().get(&self.vm.id).is_some();
        if is_live { Ok(()) } else { Err(gone_end()) }
    }
}

fn gone_end() -> End {
    End::told(NORMAL, "the VM is gone")
}
