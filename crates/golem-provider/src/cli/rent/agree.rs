//! Whether a create may pay, and a destroy destroy.
//!
//! Owns what is shown and asked before money moves, and what is refused without a question: nobody to ask and no bound,
//! and a price that is far from what the market asks. Never pays.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, ensure};
use golem_rent::{Proposal, Rental};
use golem_types::{Decimal, SnapshotName, VmName};
use tokio::time::timeout;

use crate::cli::confirm::confirmed;
use crate::cli::printer::Printer;
use crate::pricing;
use golem_host::settings::PriceSettings;

/// How many times the market's median price is absurd.
const ABSURD: u32 = 10;

/// Longest that rates are waited for.
const RATES: Duration = Duration::from_secs(5);

/// How a create is agreed to.
pub(super) struct Agree<'a> {
    pub prices: &'a PriceSettings,
    pub printer: Printer,
    /// Whether it was agreed to beforehand.
    pub yes: bool,
    /// What the market asks for the same in US dollars a month, in the middle; `None` if it was not asked.
    pub median: Option<Decimal>,
}

/// Makes sure that somebody can be asked, or has said yes to no more than a bound.
pub(super) fn somebody_decides(free: bool, yes: bool, bounded: bool) -> anyhow::Result<()> {
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    ensure!(
        free || terminal || (yes && bounded),
        "nobody can be asked here whether the price is right; fix: give --yes and --most COINS_A_MONTH, or --free"
    );
    Ok(())
}

/// Whether `rental` may be destroyed: somebody at a terminal is asked, and scripts never were.
pub(super) fn to_destroy(rental: &Rental) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    let question = format!(
        "Destroy {} at {}, with its disk? Its stream ends, and what is left of it comes back.",
        rental.name, rental.provider_url
    );
    confirmed(&question, "")
}

/// Whether the disk of `vm` may become that of the snapshot `name`: as [`to_destroy`].
pub(super) fn to_restore(vm: &VmName, name: &SnapshotName) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    confirmed(&format!("Make the disk of {vm} what it was in {name}? What was written since is lost."), "")
}

/// Whether the disk of `vm` may be made anew: as [`to_destroy`].
pub(super) fn to_rebuild(vm: &VmName) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    confirmed(&format!("Make the disk of {vm} anew? All that is on it is lost."), "")
}

impl Agree<'_> {
    /// What `coins` of the proposal's money are worth, by a feed of rates; test money is worth nothing.
    async fn usd(&self, proposal: &Proposal) -> Option<Decimal> {
        let network = &proposal.network;
        if network.network.testnet || network.network.local {
            return None;
        }
        let config = pricing::config(self.prices, Some(network));
        let feeds = config.feeds().ok()?;
        let quoted = timeout(RATES, feeds.ask()).await.ok()?.ok()?;
        let is_glm = network.price_id() == Some(golem_chain::price_id::GLM);
        match (network.token.is_zero(), is_glm) {
            (true, _) => quoted.coin,
            (false, true) => Some(quoted.glm),
            (false, false) => quoted.token,
        }
    }

    /// Shows `proposal`, and asks where that is needed.
    pub(super) async fn ask(&self, proposal: &Proposal) -> Result<(), String> {
        let Proposal { offer, network, hours, price_per_hour, price_per_month, deposit } = proposal;
        let symbol = network.symbol();
        let rate = self.usd(proposal).await;
        let usd = |coins: Decimal| rate.map(|rate| format!(" ({} USD)", coins.times(rate).short(2)));
        let usd = |coins: Decimal| usd(coins).unwrap_or_default();
        let claimed = offer.usd_per_month.as_deref().and_then(|usd| usd.parse::<Decimal>().ok());
        if let Some(median) = self.median {
            let most = median.atto().saturating_mul(ruint::aliases::U256::from(ABSURD));
            let asked = [rate.map(|rate| price_per_month.times(rate)), claimed];
            if let Some(asked) = asked.into_iter().flatten().find(|asked| asked.atto() > most) {
                return Err(format!(
                    "it costs {} USD a month, and other providers ask about {} USD for the same",
                    asked.short(2),
                    median.short(2)
                ));
            }
        }
        let says = offer.usd_per_month.as_deref();
        let says = says.map(|usd| format!("; the provider says {usd} USD a month")).unwrap_or_default();
        let others = self.median.map(|usd| format!("; other providers ask about {} USD", usd.short(2)));
        let others = others.unwrap_or_default();
        self.printer.note(&format!(
            "{price_per_hour} {symbol}{} an hour, {price_per_month} {symbol}{} a month{says}{others}",
            usd(*price_per_hour),
            usd(*price_per_month)
        ));
        self.printer.note(&format!(
            "to pay now, for {hours} h: {deposit} {symbol}{} on {} (chain id {}), and gas; what is not used comes back",
            usd(*deposit),
            network.name,
            network.network.chain_id
        ));
        if self.yes {
            return Ok(());
        }
        // Whoever answers takes their time; the runtime is not to stand still meanwhile.
        let asked = || confirmed("Rent it?", "nobody can be asked whether to rent it; fix: --yes");
        match tokio::task::spawn_blocking(asked).await.context("nobody can be asked").flatten() {
            Ok(true) => Ok(()),
            Ok(false) => Err("you did not agree".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}
