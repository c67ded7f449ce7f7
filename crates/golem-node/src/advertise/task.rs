//! The task that looks, decides and writes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use golem_market::arkiv::{Client, QueryResult};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::plan::misleads;
use super::problem::AdvertProblem;
use super::{AdvertState, AdvertiseConfig, NetworkRules, Shown, Standing, Wish, plan, wait_for_quiet};
use crate::ledger::Ledger;
use crate::transactions::Queue;

/// Writes until what was seen should be right: one, and another where something came between.
const WRITES_AT_ONCE: usize = 3;

pub(super) struct Task {
    pub(super) config: AdvertiseConfig,
    pub(super) client: Client,
    pub(super) queue: Queue,
    pub(super) ledger: Ledger,
    pub(super) state: watch::Sender<AdvertState>,
    wish: watch::Receiver<Wish>,
    removed: watch::Receiver<bool>,
    /// Whether the last look was at a removal.
    removing: bool,
    /// The block of the last write: what is older than it is not believed.
    pub(super) written: u64,
    /// When the last writes were.
    pub(super) recent: VecDeque<Instant>,
    failures: u32,
}

impl Task {
    pub(super) fn new(
        config: AdvertiseConfig,
        client: Client,
        queue: Queue,
        ledger: Ledger,
        wish: watch::Receiver<Wish>,
        removed: watch::Receiver<bool>,
        state: watch::Sender<AdvertState>,
    ) -> Self {
        Self {
            config,
            client,
            queue,
            ledger,
            state,
            wish,
            removed,
            removing: false,
            written: 0,
            recent: VecDeque::new(),
            failures: 0,
        }
    }

    /// Goes on until `stop`. What was sent by then is found by the next start.
    pub(super) async fn run(mut self, check: Arc<Notify>, stop: CancellationToken) {
        stop.run_until_cancelled(self.go(&check)).await;
    }

    async fn go(&mut self, check: &Notify) {
        loop {
            let wait = match self.round().await {
                Ok(standing) => {
                    self.failures = 0;
                    self.stand(standing);
                    self.check_interval()
                }
                Err(problem) => {
                    let told = problem.describe(&self.config.name, self.state.borrow().lapses);
                    self.stand(Standing::Problem(told));
                    self.failures = self.failures.saturating_add(1);
                    self.config.pace.retry_after(self.failures)
                }
            };
            tokio::select! {
                changed = self.wish.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let is_behind = self.is_behind();
                    self.state.send_modify(|state| state.is_behind = is_behind);
                    wait_for_quiet(&mut self.wish, &mut self.removed, self.config.pace).await;
                }
                Ok(()) = self.removed.changed() => {}
                () = check.notified() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Looks, and writes until all is as it should be.
    async fn round(&mut self) -> Result<Standing, AdvertProblem> {
        let wish = self.wish.borrow_and_update().clone();
        self.removing = *self.removed.borrow_and_update();
        let wish = if self.removing { Wish::Hidden } else { wish };
        let wanted = match &wish {
            Wish::Shown(advert) => Some(advert.annotations()?),
            Wish::Unknown | Wish::Hidden => None,
        };
        let terms = NetworkRules { generation: self.client.generation(), lifetime: self.config.lifetime };
        for _ in 0..WRITES_AT_ONCE {
            let seen = self.look().await?;
            if wish == Wish::Unknown {
                return Ok(Standing::Starting);
            }
            let operations = plan(&seen.entities, wanted.as_ref(), seen.block, terms);
            if operations.is_empty() {
                return Ok(if wanted.is_some() { Standing::Current } else { Standing::Hidden });
            }
            self.write(&operations).await?;
        }
        Err(AdvertProblem::Unsettled)
    }

    /// Whether renters read something else than they should.
    fn is_behind(&self) -> bool {
        let state = self.state.borrow();
        let wish = self.wish.borrow();
        match (&*wish, &state.shown) {
            (Wish::Shown(advert), Some(shown)) => {
                advert.annotations().is_ok_and(|wanted| misleads(&shown.annotations, &wanted))
            }
            (Wish::Hidden, shown) => shown.is_some(),
            (Wish::Shown(_), None) | (Wish::Unknown, _) => false,
        }
    }

    /// What the network says of this node.
    async fn look(&mut self) -> Result<QueryResult, AdvertProblem> {
        let own = self.queue.account().wallet;
        let seen = self.client.own(own, own).await?;
        if seen.block < self.written {
            return Err(AdvertProblem::Behind { seen: seen.block, written: self.written });
        }
        let now = Timestamp::now();
        let longest = seen.entities.iter().max_by_key(|entity| entity.expires_at);
        let shown = longest.filter(|entity| entity.expires_at > seen.block).map(|entity| Shown {
            key: entity.key,
            annotations: entity.annotations.clone(),
            expires_at: entity.expires_at,
            block: seen.block,
        });
        let left = shown.as_ref().map(|shown| shown.expires_at - seen.block);
        let lapses = left.map(|blocks| self.time_of(blocks, now));
        self.state.send_modify(|state| {
            state.shown = shown;
            state.lapses = lapses;
            state.looked_at = Some(now);
        });
        Ok(seen)
    }

    /// About when `blocks` more blocks are made.
    fn time_of(&self, blocks: u64, now: Timestamp) -> Timestamp {
        let seconds = blocks.saturating_mul(u64::from(self.config.profile.block_seconds));
        let later = i64::try_from(seconds).ok().map(SignedDuration::from_secs);
        later.and_then(|later| now.checked_add(later).ok()).unwrap_or(Timestamp::MAX)
    }

    /// Tells how it stands; the log hears of it once.
    fn stand(&self, standing: Standing) {
        let before = self.state.borrow().standing.clone();
        if before != standing {
            let network = &self.config.name;
            match &standing {
                Standing::Starting => {}
                Standing::Current => tracing::info!(network, "renters find this node on the market"),
                Standing::Hidden => tracing::info!(network, "this node is not on the market"),
                Standing::Problem(problem) => tracing::warn!(network, "{problem}"),
            }
        }
        self.state.send_modify(|state| {
            state.removed = self.removing && standing == Standing::Hidden;
            state.is_behind = false;
            state.standing = standing;
        });
    }

    /// Often enough that an extension has several tries, however short an advert lives.
    fn check_interval(&self) -> Duration {
        let life = Duration::from_secs(
            self.config.lifetime.saturating_mul(u64::from(self.config.profile.block_seconds)),
        );
        self.config.pace.check.min(life / 12)
    }
}
