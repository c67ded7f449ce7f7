//! The task that keeps the advert on a discovery server.
//!
//! ```text
//!   wish ─► (quiet for a moment) ─► post ─┬─► every 240 s again: the server forgets after 300
//!            ▲                            └─► failed: again after 5 s, 10 s … 5 min, by chance a bit less
//!            └── changes that mislead renters
//! ```
//! Owns when the server is asked. What it was told is never taken for known: each post says all.

use std::sync::Arc;
use std::time::Duration;

use golem_market::arkiv::{Advert, AdvertError};
use golem_market::discovery::{Client, DiscoveryError, LIFETIME_SECONDS};
use golem_types::Resources;
use golem_types::Wallet;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::plan::misleads;
use super::{AdvertState, Pace, Standing, Wish, wait_for_quiet};

/// Where and how adverts are posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// The server.
    pub url: String,
    /// How often an advert is posted when nothing changes. The server forgets it after 300 s.
    pub interval: Duration,
    /// What has to be left for renters to be told at all.
    pub minimum: Resources,
    /// How quickly things are done.
    pub pace: Pace,
}

/// What is in the way.
#[derive(Debug, thiserror::Error)]
enum Problem {
    /// The server cannot be asked, or refuses.
    #[error(transparent)]
    Server(#[from] DiscoveryError),
    /// What should be said cannot be.
    #[error("the advert cannot be made")]
    Advert(#[from] AdvertError),
}

impl Problem {
    /// What is wrong, what it costs, and what mends it.
    fn describe(&self, lapses: Option<Timestamp>) -> String {
        let cost = match lapses {
            Some(lapses) => {
                format!("renters who look there find this node until {}", lapses.strftime("%R UTC"))
            }
            None => "renters who look there do not find this node".to_owned(),
        };
        let fix = match self {
            Self::Server(DiscoveryError::NoAnswer(_)) => {
                "; fix: check GOLEM_PROVIDER_DISCOVERY_URL, and whether this machine reaches it"
            }
            Self::Server(_) => "; fix: check GOLEM_PROVIDER_DISCOVERY_URL",
            Self::Advert(_) => "; fix: correct the setting",
        };
        let what = match self {
            Self::Server(cause) => cause.to_string(),
            Self::Advert(cause) => format!("{self}: {cause}"),
        };
        format!("{what}; {cost}; rentals go on, and it is tried again{fix}")
    }
}

pub(super) struct Task {
    config: DiscoveryConfig,
    client: Client,
    wallet: Wallet,
    wish: watch::Receiver<Wish>,
    removed: watch::Receiver<bool>,
    /// Whether the last look was at a removal.
    removing: bool,
    state: watch::Sender<AdvertState>,
    /// What was posted last, and not removed since.
    posted: Option<Advert>,
    failures: u32,
}

impl Task {
    pub(super) const fn new(
        config: DiscoveryConfig,
        client: Client,
        wallet: Wallet,
        wish: watch::Receiver<Wish>,
        removed: watch::Receiver<bool>,
        state: watch::Sender<AdvertState>,
    ) -> Self {
        Self { config, client, wallet, wish, removed, removing: false, state, posted: None, failures: 0 }
    }

    /// Goes on until `stop`. What was posted by then lapses by itself.
    pub(super) async fn run(mut self, check: Arc<Notify>, stop: CancellationToken) {
        stop.run_until_cancelled(self.go(&check)).await;
    }

    async fn go(&mut self, check: &Notify) {
        loop {
            let began = Instant::now();
            let wait = match self.round().await {
                Ok(standing) => {
                    self.failures = 0;
                    self.stand(standing);
                    self.config.interval
                }
                Err(problem) => {
                    self.forget_lapsed();
                    let told = problem.describe(self.state.borrow().lapses);
                    self.stand(Standing::Problem(told));
                    self.failures = self.failures.saturating_add(1);
                    self.config.pace.retry_after(self.failures)
                }
            };
            if !self.wait(began + wait, check).await {
                return;
            }
        }
    }

    /// Waits until there is something to do, at most until `end`; no longer when nothing will be
    /// wished any more.
    async fn wait(&mut self, end: Instant, check: &Notify) -> bool {
        loop {
            tokio::select! {
                changed = self.wish.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    if self.matters() {
                        self.state.send_modify(|state| state.is_behind = state.lapses.is_some());
                        wait_for_quiet(&mut self.wish, &mut self.removed, self.config.pace).await;
                        return true;
                    }
                }
                Ok(()) = self.removed.changed() => return true,
                () = check.notified() => return true,
                () = sleep_until(end) => return true,
            }
        }
    }

    /// What renters should read: nothing while so little is left that no VM fits.
    fn wished(&mut self) -> Wish {
        let wish = self.wish.borrow_and_update().clone();
        let minimum = self.config.minimum;
        self.removing = *self.removed.borrow_and_update();
        match wish {
            _ if self.removing => Wish::Hidden,
            Wish::Shown(advert) if !minimum.fits(advert.free) => {
                tracing::debug!(?minimum, free = ?advert.free, "less is left than any VM needs: nothing is advertised");
                Wish::Hidden
            }
            wish => wish,
        }
    }

    /// Whether what is wished now should be told at once.
    fn matters(&mut self) -> bool {
        match (self.wished(), &self.posted) {
            (Wish::Unknown, _) | (Wish::Hidden, None) => false,
            (Wish::Hidden, Some(_)) | (Wish::Shown(_), None) => true,
            (Wish::Shown(wanted), Some(posted)) => match (posted.annotations(), wanted.annotations()) {
                (Ok(told), Ok(wanted)) => misleads(&told, &wanted),
                _ => true,
            },
        }
    }

    async fn round(&mut self) -> Result<Standing, Problem> {
        let wish = self.wished();
        if wish == Wish::Unknown {
            return Ok(Standing::Starting);
        }
        if self.failures > 0 || self.state.borrow().looked_at.is_none() {
            // Tells a server that is down from one that does not like what it reads.
            self.client.health().await?;
        }
        let now = Timestamp::now();
        let Wish::Shown(advert) = wish else {
            // At the start an earlier run's may be there.
            if self.posted.is_some() || self.state.borrow().standing != Standing::Hidden {
                self.client.remove(&self.wallet, now).await?;
                tracing::debug!(server = self.config.url, "no advert is left on the discovery server");
            }
            self.posted = None;
            self.looked(now, None);
            return Ok(Standing::Hidden);
        };
        // For its judgement of prices and texts.
        advert.annotations()?;
        self.client.advertise(&self.wallet, &golem_market::discovery::PostedAdvert::of(&advert, now)).await?;
        tracing::debug!(
            server = self.config.url,
            cpu = advert.free.cpu,
            memory = advert.free.memory,
            storage = advert.free.storage,
            "advert posted to the discovery server"
        );
        self.posted = Some(*advert);
        self.looked(now, now.checked_add(SignedDuration::from_secs(LIFETIME_SECONDS)).ok());
        Ok(Standing::Current)
    }

    fn looked(&self, now: Timestamp, lapses: Option<Timestamp>) {
        self.state.send_modify(|state| {
            state.looked_at = Some(now);
            state.lapses = lapses;
        });
    }

    /// Forgets what renters do not read any more.
    fn forget_lapsed(&mut self) {
        if self.state.borrow().lapses.is_some_and(|lapses| lapses <= Timestamp::now()) {
            self.state.send_modify(|state| state.lapses = None);
            self.posted = None;
        }
    }

    /// Tells how it stands; the log hears of it once.
    fn stand(&self, standing: Standing) {
        if self.state.borrow().standing != standing {
            standing.log_of_server(&self.config.url);
        }
        self.state.send_modify(|state| {
            state.removed = self.removing && standing == Standing::Hidden;
            state.is_behind = false;
            state.standing = standing;
        });
    }
}
