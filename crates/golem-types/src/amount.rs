//! Money and spans of time for people.
//!
//! Owns how wei are written as coins, exactly and never by way of a float, and how seconds are. Never asks what a coin is
//! worth: a rate is given.

use crate::Decimal;
use crate::wire::Exact;

/// Digits after the point of a coin.
const DECIMALS: u8 = 18;

/// Digits that people are shown, not counting zeros before them; the whole part is always shown.
const SIGNIFICANT: usize = 6;

/// `wei` as coins, without needless zeros: `1.05`.
#[must_use]
pub fn coins(wei: Exact) -> String {
    units(wei, DECIMALS)
}

/// `wei` as coins for people.
#[must_use]
pub fn coin(wei: Exact) -> String {
    significant(&coins(wei))
}

/// So many of the smallest units of money with `decimals` digits after the point, exactly, without needless zeros.
#[must_use]
pub fn units(wei: Exact, decimals: u8) -> String {
    let decimals = usize::from(decimals);
    let digits = format!("{:0>width$}", wei.0.to_string(), width = decimals + 1);
    let (whole, rest) = digits.split_at(digits.len() - decimals);
    match rest.trim_end_matches('0') {
        "" => whole.to_owned(),
        rest => format!("{whole}.{rest}"),
    }
}

/// The number `text` with six significant digits, the rest cut off.
fn significant(text: &str) -> String {
    let Some((whole, rest)) = text.split_once('.') else { return text.to_owned() };
    let whole_digits = if whole == "0" { 0 } else { whole.len() };
    let zeros = if whole == "0" { rest.len() - rest.trim_start_matches('0').len() } else { 0 };
    let kept = SIGNIFICANT.saturating_sub(whole_digits) + zeros;
    match rest.get(..kept).unwrap_or(rest).trim_end_matches('0') {
        "" => whole.to_owned(),
        rest => format!("{whole}.{rest}"),
    }
}

/// What amounts of one money are called, and what they are worth.
#[derive(Debug, Clone, Copy)]
pub struct Money<'a> {
    /// What it is called.
    pub symbol: &'a str,
    /// Digits after its point.
    pub decimals: u8,
    /// US dollars for a coin, where that is known.
    pub usd: Option<Decimal>,
}

impl Money<'_> {
    /// `wei` as `1.05 ETH (3150.00 USD)`.
    #[must_use]
    pub fn show(&self, wei: Exact) -> String {
        let Self { symbol, decimals, .. } = self;
        let amount = significant(&units(wei, *decimals));
        match self.worth(wei) {
            Some(usd) => format!("{amount} {symbol} ({usd} USD)"),
            None => format!("{amount} {symbol}"),
        }
    }

    /// What `wei` are worth in US dollars, to the cent, the rest cut off.
    #[must_use]
    pub fn worth(&self, wei: Exact) -> Option<String> {
        let text = Decimal::from_units(wei.0, self.decimals).times(self.usd?).short(2);
        let (whole, cents) = text.split_once('.').unwrap_or((&text, ""));
        Some(format!("{whole}.{cents:0<2}"))
    }
}

/// `seconds` as `2 d 3 h`, `3 h 5 min`, `5 min` or `40 s`.
#[must_use]
pub fn span(seconds: Exact) -> String {
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
    use ruint::aliases::U256;

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

    /// M-16, M-13
    #[test]
    fn people_are_shown_six_digits_of_any_money() {
        for (wei, decimals, text) in [
            (13_200_000_000_123_456u128, 18, "0.0132 X"),
            (1_234_567_890_123_456_789, 18, "1.23456 X"),
            (12_345_678_901_234_567_890_123, 18, "12345.6 X"),
            (1_234_567_000_000_000_000_000_000, 18, "1234567 X"),
            (1, 18, "0.000000000000000001 X"),
            (1_500_000, 6, "1.5 X"),
            (42, 0, "42 X"),
        ] {
            let money = Money { symbol: "X", decimals, usd: None };
            assert_eq!(money.show(wei.into()), text);
        }
        assert!(units(Exact(U256::MAX), 255).starts_with("0.000"));
    }

    #[test]
    fn worth_is_told_to_the_cent_where_it_is_known() {
        let ether = Money { symbol: "ETH", decimals: 18, usd: "3000.5".parse().ok() };
        assert_eq!(ether.show(1_050_000_000_000_000_000u128.into()), "1.05 ETH (3150.52 USD)");
        assert_eq!(ether.show(0u128.into()), "0 ETH (0.00 USD)");
        assert_eq!(ether.worth(200_000_000_000_000_000u128.into()).as_deref(), Some("600.10"));
        let test = Money { symbol: "tETH", decimals: 18, usd: None };
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
