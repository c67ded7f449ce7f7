//! The task that keeps the advert on a discovery server that shows who is connected.
//!
//! ```text
//!   nothing to show, or no endpoint ◄─────────────── remove, close ◄──┐
//!         │ something to show                                         │ nothing to show
//!         └─► connect ─► upsert ─► keep ─┬─► a change ─► upsert at once, or
//!              ▲                         └─► it ended
//!              └── after 5 s, 10 s … 5 min, by chance a bit less ◄──┘
//! ```
//! Owns one connection to one server, how much is said on it, and when it is made again. Renters find the node only while it
//! lasts, so that nothing has to be remembered: each connection begins with all that is to be said.

use std::sync::Arc;
use std::time::Duration;

use golem_market::arkiv::{Advert, AdvertError};
use golem_market::discovery::live::advert::{Endpoint, LiveAdvert};
use golem_market::discovery::live::provider::{self, LiveError, ProviderSocket};
use golem_service::http;
use golem_service::log::with_causes;
use golem_service::web_socket::rate::Rate;
use golem_types::{Resources, Wallet};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::plan::misleads;
use super::{AdvertState, Pace, Standing, Wish, wait_for_quiet};

/// How long the end of the node waits for a server to hear of it.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a change costs of what may be said: eight at once, and then one in about eight seconds. Each end takes twelve
/// messages at once, of which the greeting and the first advert are some.
const CHANGE: f64 = 7.5;

/// Where and how adverts are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveConfig {
    /// The server's socket for providers, `wss://…/api/v1/discovery/providers`.
    pub url: String,
    /// What has to be left for renters to be told at all.
    pub minimum: Resources,
    /// How quickly things are done.
    pub pace: Pace,
}

/// What is in the way.
#[derive(Debug, thiserror::Error)]
enum Problem {
    /// The server cannot be used.
    #[error("the discovery server cannot be used")]
    Server(#[from] LiveError),
    /// What should be said cannot be.
    #[error("the advert cannot be made")]
    Advert(#[from] AdvertError),
    /// Renters could not reach the node's API.
    #[error("this node has no https endpoint, without which the renters' web page shows no provider")]
    NoEndpoint,
}

impl Problem {
    /// What is wrong, what it costs, and what mends it.
    fn describe(&self) -> String {
        let fix = match self {
            Self::Server(LiveError::Refused(_) | LiveError::Advert(_)) => "",
            Self::Server(_) => {
                "; fix: check GOLEM_PROVIDER_DISCOVERY_WS_URL, and whether this machine reaches it"
            }
            Self::Advert(_) => "; fix: correct the setting",
            Self::NoEndpoint => "; fix: until it has one, add another market to GOLEM_PROVIDER_ADVERTISERS",
        };
        let cost = "renters who look there do not find this node; rentals go on, and it is tried again";
        format!("{}; {cost}{fix}", with_causes(self))
    }
}

/// What is to be shown now.
enum Due {
    /// This, at that endpoint.
    Shown(Box<Advert>, Endpoint),
    /// Nothing, and how that stands.
    Nothing(Standing),
}

/// What renters are told of `advert`, if it can be said.
fn told(advert: &Advert, endpoint: &Endpoint) -> Result<LiveAdvert, Problem> {
    // For its judgement of prices and texts.
    advert.annotations()?;
    Ok(LiveAdvert::of(advert, endpoint).map_err(LiveError::from)?)
}

pub(super) struct Task {
    config: LiveConfig,
    http: http::Client,
    wallet: Wallet,
    wish: watch::Receiver<Wish>,
    endpoint: watch::Receiver<Option<String>>,
    removed: watch::Receiver<bool>,
    removing: bool,
    state: watch::Sender<AdvertState>,
    socket: Option<ProviderSocket>,
    /// What was shown last on this connection, and where.
    shown: Option<(Advert, Endpoint)>,
    /// How much may be said on this connection.
    rate: Rate,
    failures: u32,
}

impl Task {
    /// # Errors
    /// [`LiveError::Http`].
    pub(super) fn new(
        config: LiveConfig,
        wallet: Wallet,
        wish: watch::Receiver<Wish>,
        endpoint: watch::Receiver<Option<String>>,
        removed: watch::Receiver<bool>,
        state: watch::Sender<AdvertState>,
    ) -> Result<Self, LiveError> {
        let (http, removing) = (provider::client()?, false);
        let (socket, shown, rate, failures) = (None, None, Rate::default(), 0);
        Ok(Self {
            config,
            http,
            wallet,
            wish,
            endpoint,
            removed,
            removing,
            state,
            socket,
            shown,
            rate,
            failures,
        })
    }

    /// Goes on until `stop`, and then has the advert taken off.
    pub(super) async fn run(mut self, check: Arc<Notify>, stop: CancellationToken) {
        stop.run_until_cancelled(self.go(&check)).await;
        let _ = timeout(FAREWELL, self.leave()).await;
    }

    async fn go(&mut self, check: &Notify) {
        loop {
            let standing = match self.due() {
                Due::Nothing(standing) => {
                    // One that does not hear it learns it by the connection's end.
                    let _ = self.leave().await;
                    standing
                }
                Due::Shown(advert, endpoint) => {
                    if self.failures == 0 && matches!(self.state.borrow().standing, Standing::Problem(_)) {
                        // It was in the way of asking, and is gone.
                        self.stand(Standing::Starting);
                    }
                    match self.show(*advert, endpoint).await {
                        Ok(()) => continue,
                        Err(problem) => {
                            self.drop_connection();
                            self.failures = self.failures.saturating_add(1);
                            Standing::Problem(problem.describe())
                        }
                    }
                }
            };
            let failed = self.failures > 0;
            self.stand(standing);
            let retry = self.config.pace.retry_after(self.failures);
            tokio::select! {
                () = check.notified() => {}
                () = sleep(retry), if failed => {}
                // A change is no reason to ask a server that fails more often.
                changed = self.wish.changed(), if !failed => if changed.is_err() {
                    return;
                },
                Ok(()) = self.endpoint.changed() => {}
                Ok(()) = self.removed.changed() => {}
            }
        }
    }

    /// Connects, and shows `advert` and what it becomes, as long as there is something to show.
    async fn show(&mut self, advert: Advert, endpoint: Endpoint) -> Result<(), Problem> {
        let live = told(&advert, &endpoint)?;
        let mut socket = ProviderSocket::open(&self.http, &self.config.url, &self.wallet).await?;
        self.state.send_modify(|state| state.connected = Some(true));
        socket.upsert(live).await?;
        (self.socket, self.rate) = (Some(socket), Rate::default());
        self.shown = Some((advert, endpoint));
        let since = Instant::now();
        let ended = self.keep().await;
        // One that accepts and ends at once is no server that is well.
        if ended.is_ok() || since.elapsed() >= self.config.pace.retry_most {
            self.failures = 0;
        }
        ended
    }

    /// Keeps the connection, and what it says true, until there is nothing to say.
    async fn keep(&mut self) -> Result<(), Problem> {
        self.stand(Standing::Current);
        loop {
            let Some(socket) = &mut self.socket else { return Ok(()) };
            tokio::select! {
                ended = socket.keep() => return Err(ended.into()),
                changed = self.wish.changed() => if changed.is_err() {
                    // Nothing will be wished any more; what is shown stays until the node ends.
                    return Err(socket.keep().await.into());
                },
                Ok(()) = self.endpoint.changed() => {}
                Ok(()) = self.removed.changed() => {}
            }
            match self.due() {
                // What is there stays as it is.
                Due::Nothing(Standing::Starting) => {}
                Due::Nothing(_) => return Ok(()),
                Due::Shown(advert, endpoint) if self.matters(&advert, &endpoint) => {
                    self.tell_change().await?
                }
                Due::Shown(..) => {}
            }
        }
    }

    /// Tells what is wished: at once, unless so much was told of late that the server would take it for a flood.
    async fn tell_change(&mut self) -> Result<(), Problem> {
        while !self.rate.take(CHANGE) {
            self.state.send_modify(|state| state.is_behind = true);
            wait_for_quiet(&mut self.wish, &mut self.removed, self.config.pace).await;
            if *self.removed.borrow() {
                break;
            }
        }
        let Due::Shown(advert, endpoint) = self.due() else {
            // Seen again by who keeps the connection.
            self.wish.mark_changed();
            return Ok(());
        };
        let live = told(&advert, &endpoint)?;
        if let Some(socket) = &mut self.socket {
            socket.upsert(live).await?;
        }
        self.shown = Some((*advert, endpoint));
        self.stand(Standing::Current);
        Ok(())
    }

    /// What renters should read: nothing while so little is left that no VM fits.
    fn due(&mut self) -> Due {
        let wish = self.wish.borrow_and_update().clone();
        let endpoint = self.endpoint.borrow_and_update().as_deref().map(Endpoint::of);
        self.removing = *self.removed.borrow_and_update();
        match (wish, endpoint) {
            _ if self.removing => Due::Nothing(Standing::Hidden),
            (Wish::Unknown, _) => Due::Nothing(Standing::Starting),
            (Wish::Hidden, _) => Due::Nothing(Standing::Hidden),
            (Wish::Shown(advert), _) if !self.config.minimum.fits(advert.free) => {
                Due::Nothing(Standing::Hidden)
            }
            (Wish::Shown(_), None | Some(None)) => {
                Due::Nothing(Standing::Problem(Problem::NoEndpoint.describe()))
            }
            (Wish::Shown(advert), Some(Some(endpoint))) => Due::Shown(advert, endpoint),
        }
    }

    /// Whether what is wished now should be told at once.
    fn matters(&self, wanted: &Advert, endpoint: &Endpoint) -> bool {
        let Some((shown, at)) = &self.shown else { return true };
        match (shown.annotations(), wanted.annotations()) {
            (Ok(told), Ok(wanted)) => at != endpoint || misleads(&told, &wanted),
            _ => true,
        }
    }

    /// Has the advert taken off, and ends the connection as agreed.
    async fn leave(&mut self) -> Result<(), LiveError> {
        let socket = self.socket.take();
        self.drop_connection();
        if let Some(mut socket) = socket {
            socket.remove().await?;
            socket.close().await;
        }
        Ok(())
    }

    fn drop_connection(&mut self) {
        (self.socket, self.shown) = (None, None);
        self.state.send_modify(|state| state.connected = Some(false));
    }

    /// Tells how it stands; the log hears of it once.
    fn stand(&self, standing: Standing) {
        if self.state.borrow().standing != standing {
            standing.log_of_server(&self.config.url);
        }
        let now = Timestamp::now();
        self.state.send_modify(|state| {
            state.removed = self.removing && standing == Standing::Hidden;
            state.looked_at = Some(now);
            state.is_behind = false;
            state.standing = standing;
        });
    }
}
