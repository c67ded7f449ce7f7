//! Keeping rentals paid: streams that run short are topped up, within bounds.
//!
//! Owns the decision, as a pure function, and the loop that acts on it. A chain that does not answer is
//! asked again; nothing is paid without knowing the stream.

use std::time::Duration;

use golem_types::{Decimal, Stream, VmName};
use ruint::aliases::U256;

use super::payments::{PaymentError, Payments, stream_of};
use super::{Renter, StoreError};

/// When and by how much streams are topped up.
#[derive(Debug, Clone, Copy)]
pub struct TopUpLimits {
    /// A stream is topped up when fewer seconds than this are left.
    pub below: u64,
    /// How many hours a top-up pays for.
    pub hours: u32,
    /// Most wei that are paid in all.
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

fn next(stream: &Stream, now: u128, bounds: &TopUpLimits, spent: U256) -> Next {
    if stream.recipient.is_zero() || stream.halted {
        return Next::Over;
    }
    if stream.remaining_seconds(now) >= u128::from(bounds.below) {
        return Next::Nothing;
    }
    let amount =
        U256::from(stream.rate).saturating_mul(U256::from(bounds.hours)).saturating_mul(U256::from(3600));
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

/// Keeps the rentals `names` paid until there is no more to do; gives why, and what was paid in wei.
///
/// # Errors
/// [`StoreError`]; money that could not be paid is told and tried again.
pub async fn keep(
    renter: &Renter<'_>,
    mut names: Vec<VmName>,
    bounds: &TopUpLimits,
) -> Result<(KeepEnd, U256), StoreError> {
    let mut spent = U256::ZERO;
    loop {
        let mut left = Vec::new();
        for name in names {
            match round(renter, &name, bounds, &mut spent).await {
                Ok(Next::Over) => renter.step(&format!("{name}: its stream has ended; it is kept no more")),
                Ok(Next::Bound(amount)) => {
                    let [due, paid, most] = [amount, spent, bounds.most].map(Decimal::from_atto);
                    renter.step(&format!(
                        "{name}: {due} are due, {paid} were paid, and {most} is the most that may be"
                    ));
                    return Ok((KeepEnd::Bound, spent));
                }
                Ok(Next::TopUp(amount)) => {
                    renter.step(&format!("{name}: topped up by {}", Decimal::from_atto(amount)));
                    left.push(name);
                }
                Ok(Next::Nothing) => left.push(name),
                // Another command may have destroyed it, which is fine.
                Err(PaymentError::Store(StoreError::NoRental(_))) => {
                    renter.step(&format!("{name}: it is rented no more"));
                }
                Err(PaymentError::Store(error @ (StoreError::File { .. } | StoreError::Damaged { .. }))) => {
                    return Err(error);
                }
                Err(error) => {
                    renter.step(&format!("{name}: not topped up now, tried again later: {error}"));
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

async fn round(
    renter: &Renter<'_>,
    name: &VmName,
    bounds: &TopUpLimits,
    spent: &mut U256,
) -> Result<Next, PaymentError> {
    let known = renter.store.rental(name)?;
    let payment = known.payment.as_ref().ok_or(PaymentError::Free)?;
    if payment.pending.is_none() {
        let (stream, now) = stream_of(renter, &known).await?.ok_or(PaymentError::Free)?;
        let next = next(&stream, now, bounds, *spent);
        if !matches!(next, Next::TopUp(_)) {
            return Ok(next);
        }
    }
    let (payments, mut rental) = Payments::of(renter, name)?;
    let before = deposit(&rental);
    let settled = payments.settle(&mut rental).await;
    *spent = spent.saturating_add(deposit(&rental).saturating_sub(before));
    settled?;
    let (stream, now) = payments.stream(&rental).await?;
    let next = next(&stream, now, bounds, *spent);
    if let Next::TopUp(amount) = next {
        // Counted before it is paid: one whose fate is not known may have been.
        *spent = spent.saturating_add(amount);
        match payments.top_up(&mut rental, amount).await {
            Ok(()) => {}
            Err(error) => {
                let under_way = rental.payment.as_ref().is_some_and(|payment| payment.pending.is_some());
                if !under_way {
                    *spent = spent.saturating_sub(amount);
                }
                return Err(error);
            }
        }
    }
    Ok(next)
}

fn deposit(rental: &super::Rental) -> U256 {
    rental.payment.as_ref().map_or(U256::ZERO, |payment| payment.deposit.0)
}

#[cfg(test)]
mod tests {
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
