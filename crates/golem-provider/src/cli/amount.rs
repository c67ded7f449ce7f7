//! Money for people.
//!
//! Owns how wei are written as coins: exactly, never by way of a float.

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
