//! Keeping rentals paid: streams that run short are topped up, within bounds.
//!
//! Owns the decision, as a pure function, and the loop that acts on it. A chain that does not answer is
//! asked again; nothing is paid without knowing the stream.

use std::collections::BTreeSet;
use std::time::Duration;

use golem_chain::contract::v4;
use golem_types::{Decimal, Stream, VmName};
use ruint::aliases::U256;

use super::payment_error::PaymentError;
use super::payments::{Payments, stream_of};
use super::{Rental, Renter, StoreError};

/// When and by how much streams are topped up.
#[derive(Debug, Clone, Copy)]
pub struct TopUpLimits {
    /// A stream is topped up when fewer seconds than this are left.
    pub below: u64,
    /// How many hours a top-up pays for.
    pub hours: u32,
    /// Most 10^-18 coins that are paid in all.
    pub most: U256,
    /// Time between two rounds.
    pub every: Duration,
    /// Whether there is one round only.
    pub once: bool,
}

/// What a round has to do for one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Enough is left.
    Nothing,
    /// So many wei are due.
    TopUp(U256),
    /// They are due, and would be more than may be paid.
    Bound(U256),
    /// The stream has ended for good.
    Over,
}

impl TopUpLimits {
    /// What a top-up of a stream of `rate` takes, in the token's smallest units.
    fn amount(&self, rate: U256) -> U256 {
        rate.saturating_mul(U256::from(self.hours)).saturating_mul(U256::from(3600))
    }
}

fn next(stream: &Stream, now: u128, bounds: &TopUpLimits, spent: U256) -> Next {
    // What version 4 calls expired takes no top-up any more; a lapse on version 1 does.
    let is_expired = stream.lease.is_some() && v4::state(stream, now) == "expired";
    if stream.recipient.is_zero() || stream.halted || is_expired {
        return Next::Over;
    }
    if stream.remaining_seconds(now) >= u128::from(bounds.below) {
        return Next::Nothing;
    }
    let amount = bounds.amount(U256::from(stream.rate));
    if spent.saturating_add(amount) > bounds.most { Next::Bound(amount) } else { Next::TopUp(amount) }
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepEnd {
    /// No stream is left.
    Over,
    /// The next top-up would have been one too many.
    Bound,
    /// The one round is done.
    Once,
}

/// Why money gets short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShortReason {
    /// What is due would be more than may be paid.
    Bound,
    /// The wallet has too little for what is due.
    Wallet,
    /// The wallet has too little for the top-up after the one that was paid.
    NextTopUp,
    /// What is due could not be paid, for another reason.
    NotPaid,
}

impl ShortReason {
    /// The reason as programs read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Wallet => "wallet",
            Self::NextTopUp => "next_top_up",
            Self::NotPaid => "not_paid",
        }
    }
}

/// That money gets short for a rental.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// The rental.
    pub vm: VmName,
    /// Why.
    pub reason: ShortReason,
    /// The same in words.
    pub message: String,
}

/// Tells of what is short, once until it is not any more.
struct Warned<F> {
    warn: F,
    told: BTreeSet<(VmName, ShortReason)>,
}

impl<F: AsyncFn(&Short)> Warned<F> {
    async fn tell(&mut self, vm: &VmName, reason: ShortReason, message: String) {
        if self.told.insert((vm.clone(), reason)) {
            (self.warn)(&Short { vm: vm.clone(), reason, message }).await;
        }
    }

    fn is_well(&mut self, vm: &VmName) {
        self.told.retain(|(told, reason)| told != vm || *reason == ShortReason::NextTopUp);
    }
}

/// Pays for `hours` more of the rental `name`; a top-up that an earlier command sent is finished instead, so that the same
/// command, given again, pays once.
///
/// # Errors
/// [`PaymentError`].
pub async fn top_up(renter: &Renter<'_>, name: &VmName, hours: u32) -> Result<Rental, PaymentError> {
    let (payments, mut rental) = Payments::of(renter, name)?;
    let before = deposit(&rental);
    payments.settle(&mut rental).await?;
    if deposit(&rental) > before {
        renter.step("the top-up that was under way is paid; nothing more was paid");
        return Ok(rental);
    }
    let rate = rental.payment.as_ref().map_or(U256::ZERO, |payment| payment.rate.0);
    let amount = rate.saturating_mul(U256::from(hours)).saturating_mul(U256::from(3600));
    payments.top_up(&mut rental, amount).await?;
    Ok(rental)
}

/// Keeps the rentals `names` paid until there is no more to do; gives why, and what was paid in 10^-18 coins. Calls `warn`
/// where money gets short, once each.
///
/// # Errors
/// [`StoreError`]; money that could not be paid is told and tried again.
pub async fn keep(
    renter: &Renter<'_>,
    mut names: Vec<VmName>,
    bounds: &TopUpLimits,
    warn: impl AsyncFn(&Short),
) -> Result<(KeepEnd, U256), StoreError> {
    let mut spent = U256::ZERO;
    let mut warned = Warned { warn, told: BTreeSet::new() };
    loop {
        let mut left = Vec::new();
        for name in names {
            match round(renter, &name, bounds, &mut spent).await {
                Ok(Next::Over) => renter.step(&format!("{name}: its stream has ended; it is kept no more")),
                Ok(Next::Bound(amount)) => {
                    let [due, paid, most] = [amount, spent, bounds.most].map(Decimal::from_atto);
                    let text = format!(
                        "{name}: {due} are due, {paid} were paid, and {most} is the most that may be"
                    );
                    renter.step(&text);
                    warned.tell(&name, ShortReason::Bound, text).await;
                    return Ok((KeepEnd::Bound, spent));
                }
                Ok(Next::TopUp(amount)) => {
                    renter.step(&format!("{name}: topped up by {}", Decimal::from_atto(amount)));
                    warned.is_well(&name);
                    match affords(renter, &name, bounds).await {
                        Ok(()) => {
                            warned.told.remove(&(name.clone(), ShortReason::NextTopUp));
                        }
                        Err(error) => {
                            let text = format!("{name}: the next top-up cannot be paid: {error}");
                            renter.step(&text);
                            warned.tell(&name, ShortReason::NextTopUp, text).await;
                        }
                    }
                    left.push(name);
                }
                Ok(Next::Nothing) => {
                    warned.is_well(&name);
                    left.push(name);
                }
                // Another command may have destroyed it, which is fine.
                Err(PaymentError::Store(StoreError::NoRental(_))) => {
                    renter.step(&format!("{name}: it is rented no more"));
                }
                Err(PaymentError::Store(error @ (StoreError::File { .. } | StoreError::Damaged { .. }))) => {
                    return Err(error);
                }
                Err(error) => {
                    let text = format!("{name}: not topped up now, tried again later: {error}");
                    renter.step(&text);
                    let reason = match error {
                        PaymentError::Funds(_) | PaymentError::NoGas { .. } => ShortReason::Wallet,
                        _ => ShortReason::NotPaid,
                    };
                    warned.tell(&name, reason, text).await;
                    left.push(name);
                }
            }
        }
        names = left;
        if names.is_empty() {
            return Ok((KeepEnd::Over, spent));
        }
        if bounds.once {
            return Ok((KeepEnd::Once, spent));
        }
        tokio::time::sleep(bounds.every).await;
    }
}

/// Whether the wallet can pay one more top-up of the rental `name`; only what is known to be missing is an error.
async fn affords(renter: &Renter<'_>, name: &VmName, bounds: &TopUpLimits) -> Result<(), PaymentError> {
    let (payments, rental) = Payments::of(renter, name)?;
    let payment = rental.payment.as_ref().ok_or(PaymentError::Free)?;
    match payments.afford(payment, bounds.amount(payment.rate.0)).await {
        Err(error @ (PaymentError::Funds(_) | PaymentError::NoGas { .. })) => Err(error),
        _ => Ok(()),
    }
}

async fn round(
    renter: &Renter<'_>,
    name: &VmName,
    bounds: &TopUpLimits,
    spent: &mut U256,
) -> Result<Next, PaymentError> {
    let known = renter.store.rental(name)?;
    let payment = known.payment.as_ref().ok_or(PaymentError::Free)?;
    let decimals = payment.decimals;
    // What is told and counted is in coins, of whatever digits.
    let coins = |next: Next| match next {
        Next::TopUp(amount) => Next::TopUp(Decimal::from_units(amount, decimals).atto()),
        Next::Bound(amount) => Next::Bound(Decimal::from_units(amount, decimals).atto()),
        next => next,
    };
    let units = |atto: U256| Decimal::from_atto(atto).units(decimals);
    let bounds = TopUpLimits { most: units(bounds.most), ..*bounds };
    if payment.pending.is_none() {
        let (stream, now) = stream_of(renter, &known).await?.ok_or(PaymentError::Free)?;
        let next = next(&stream, now, &bounds, units(*spent));
        if !matches!(next, Next::TopUp(_)) {
            return Ok(coins(next));
        }
    }
    let (payments, mut rental) = Payments::of(renter, name)?;
    let atto = |units: U256| Decimal::from_units(units, decimals).atto();
    let before = deposit(&rental);
    let settled = payments.settle(&mut rental).await;
    *spent = spent.saturating_add(atto(deposit(&rental).saturating_sub(before)));
    settled?;
    let (stream, now) = payments.stream(&rental).await?;
    let next = next(&stream, now, &bounds, units(*spent));
    if let Next::TopUp(amount) = next {
        // Counted before it is paid: one whose fate is not known may have been.
        *spent = spent.saturating_add(atto(amount));
        match payments.top_up(&mut rental, amount).await {
            Ok(()) => {}
            Err(error) => {
                let under_way = rental.payment.as_ref().is_some_and(|payment| payment.pending.is_some());
                if !under_way {
                    *spent = spent.saturating_sub(atto(amount));
                }
                return Err(error);
            }
        }
    }
    Ok(coins(next))
}

fn deposit(rental: &Rental) -> U256 {
    rental.payment.as_ref().map_or(U256::ZERO, |payment| payment.deposit.0)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use proptest::prelude::*;
    use ruint::aliases::U160;

    use super::*;

    fn stream(stop: u128, rate: u128) -> Stream {
        Stream {
            token: U160::ZERO,
            sender: U160::from(1),
            recipient: U160::from(2),
            start: 0,
            stop,
            rate,
            deposit: U256::MAX,
            withdrawn: U256::ZERO,
            halted: false,
            lease: None,
        }
    }

    fn bounds(most: u64) -> TopUpLimits {
        TopUpLimits { below: 1800, hours: 1, most: U256::from(most), every: Duration::ZERO, once: false }
    }

    #[test]
    fn a_stream_that_runs_short_is_topped_up_and_one_that_has_ended_is_not() {
        let of = |stream: &Stream| next(stream, 1000, &bounds(100_000), U256::ZERO);
        assert_eq!(of(&stream(2800, 10)), Next::Nothing);
        assert_eq!(of(&stream(2799, 10)), Next::TopUp(U256::from(36_000)));
        assert_eq!(of(&stream(500, 10)), Next::TopUp(U256::from(36_000)), "a lapse is no end");
        assert_eq!(of(&Stream { halted: true, ..stream(1, 10) }), Next::Over);
        assert_eq!(of(&Stream { recipient: U160::ZERO, ..stream(9000, 10) }), Next::Over);
        assert_eq!(of(&stream(0, 28)), Next::Bound(U256::from(100_800)));
        let donation = golem_types::Donation {
            basis_points: 0,
            recipient: U160::ZERO,
            deposit: U256::ZERO,
            withdrawn: U256::ZERO,
        };
        let lease = golem_types::Lease { id: B256::ZERO, terms_hash: B256::ZERO, donation };
        let leased = |stop| Stream { lease: Some(lease), ..stream(stop, 10) };
        assert_eq!(of(&leased(971)), Next::TopUp(U256::from(36_000)), "in the grace of version 4");
        assert_eq!(of(&leased(970)), Next::Over, "after it");
    }

    proptest! {
        /// Whatever a chain says, no more is paid than may be.
        #[test]
        fn the_bound_holds(stop in any::<u128>(), now in any::<u128>(), rate in any::<u128>(), most in any::<u64>(), spent in any::<u64>()) {
            if let Next::TopUp(amount) = next(&stream(stop, rate), now, &bounds(most), U256::from(spent)) {
                prop_assert!(amount + U256::from(spent) <= U256::from(most));
            }
        }
    }
}
