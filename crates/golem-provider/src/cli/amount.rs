//! Money for people.
//!
//! Owns how wei are written as coins: exactly, never by way of a float.

use golem_types::Decimal;
use golem_types::wire::Exact;
use ruint::aliases::U256;

/// Digits after the point of a coin.
const DECIMALS: usize = 18;

/// `wei` as coins, without needless zeros: `1.05`.
pub(super) fn coins(wei: Exact) -> String {
    let unit = U256::from(10).pow(U256::from(DECIMALS));
    let (whole, rest) = wei.0.div_rem(unit);
    let rest = format!("{:0>DECIMALS$}", rest.to_string());
    match rest.trim_end_matches('0') {
        "" => whole.to_string(),
        digits => format!("{whole}.{digits}"),
    }
}

/// What amounts of one money are called, and what they are worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Money<'a> {
    /// What it is called.
    pub(super) symbol: &'a str,
    /// US dollars for a coin, where that is known.
    pub(super) usd: Option<Decimal>,
}

impl Money<'_> {
    /// `wei` as `1.05 ETH (3150.00 USD)`.
    pub(super) fn show(&self, wei: Exact) -> String {
        let Self { symbol, .. } = self;
        match self.worth(wei) {
            Some(usd) => format!("{} {symbol} ({usd} USD)", coins(wei)),
            None => format!("{} {symbol}", coins(wei)),
        }
    }

    /// What `wei` are worth in US dollars, to the cent, the rest cut off.
    pub(super) fn worth(&self, wei: Exact) -> Option<String> {
        let text = Decimal::from_atto(wei.0).times(self.usd?).short(2);
        let (whole, cents) = text.split_once('.').unwrap_or((&text, ""));
        Some(format!("{whole}.{cents:0<2}"))
    }
}

/// `seconds` as `2 d 3 h`, `3 h 5 min`, `5 min` or `40 s`.
pub(super) fn span(seconds: Exact) -> String {
    let Ok(seconds) = u64::try_from(seconds.0) else { return "for ever".to_owned() };
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (36_500.., _, _) => "for ever".to_owned(),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_short() {
        for (wei, text) in [
            (0u128, "0"),
            (1, "0.000000000000000001"),
            (1_050_000_000_000_000_000, "1.05"),
            (1_000_000_000_000_000_000, "1"),
            (12_345, "0.000000000000012345"),
        ] {
            assert_eq!(coins(wei.into()), text);
        }
        assert!(
            coins(Exact(U256::MAX))
                .starts_with("115792089237316195423570985008687907853269984665640564039457.")
        );
    }

    #[test]
    fn worth_is_told_to_the_cent_where_it_is_known() {
        let ether = Money { symbol: "ETH", usd: "3000.5".parse().ok() };
        assert_eq!(ether.show(1_050_000_000_000_000_000u128.into()), "1.05 ETH (3150.52 USD)");
        assert_eq!(ether.show(0u128.into()), "0 ETH (0.00 USD)");
        assert_eq!(ether.worth(200_000_000_000_000_000u128.into()).as_deref(), Some("600.10"));
        let test = Money { symbol: "tETH", usd: None };
        assert_eq!(test.show(1_000_000_000_000_000_000u128.into()), "1 tETH");
    }

    #[test]
    fn spans_are_readable() {
        for (seconds, text) in [
            (0u128, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3661, "1 h 1 min"),
            (90_000, "1 d 1 h"),
            (u128::MAX, "for ever"),
        ] {
            assert_eq!(span(seconds.into()), text);
        }
    }
}
