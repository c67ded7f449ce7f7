//! Prices as exact decimals.
//!
//! Owns their text and their arithmetic: eighteen digits after the point, integers underneath. Floats
//! never hold money; the one way out to them is for a wire that wants their spelling.

use std::fmt;
use std::str::FromStr;

use ruint::aliases::U256;

/// Digits after the point: those of a coin in wei.
const DIGITS: usize = 18;

/// The largest whole part that is read: nothing costs more, and products stay far inside 256 bits.
const WHOLE_DIGITS: usize = 18;

/// A number of at least 0 with eighteen digits after the point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(U256);

/// A text that is no such number.
#[derive(Debug, thiserror::Error)]
#[error("not a number of at least 0 such as 2.5")]
pub struct NoDecimal;

fn unit() -> U256 {
    U256::from(10).pow(U256::from(DIGITS))
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self(U256::ZERO);

    /// The number of 10^-18 that it is.
    #[must_use]
    pub const fn atto(self) -> U256 {
        self.0
    }

    /// So many 10^-18.
    #[must_use]
    pub const fn from_atto(atto: U256) -> Self {
        Self(atto)
    }

    /// So many of the smallest units of a coin with `decimals` digits after the point; what is finer than 10^-18 is
    /// cut off.
    #[must_use]
    pub fn from_units(units: U256, decimals: u8) -> Self {
        let decimals = usize::from(decimals);
        let power = |digits: usize| U256::from(10).saturating_pow(U256::from(digits));
        Self(match DIGITS.checked_sub(decimals) {
            Some(missing) => units.saturating_mul(power(missing)),
            None => units / power(decimals - DIGITS),
        })
    }

    /// The number of smallest units that it is, in a coin with `decimals` digits after the point; the rest is cut off.
    #[must_use]
    pub fn units(self, decimals: u8) -> U256 {
        let decimals = usize::from(decimals);
        let power = |digits: usize| U256::from(10).saturating_pow(U256::from(digits));
        match DIGITS.checked_sub(decimals) {
            Some(surplus) => self.0 / power(surplus),
            None => self.0.saturating_mul(power(decimals - DIGITS)),
        }
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// This divided by `other`, to eight digits, the half away from zero: as the original converts
    /// money. `None` if `other` is zero.
    #[must_use]
    pub fn per(self, other: Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let step = U256::from(10).pow(U256::from(DIGITS - 8));
        let exact = self.0.saturating_mul(unit());
        // Rounded at once, because rounding twice can go the wrong way.
        let divisor = other.0.saturating_mul(step);
        let half = divisor / U256::from(2);
        Some(Self((exact.saturating_add(half) / divisor).saturating_mul(step)))
    }

    /// This times `other`, the rest cut off.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self(self.0.saturating_mul(other.0) / unit())
    }

    /// The nearest float, for a wire that wants one.
    #[must_use]
    pub fn to_float(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::MAX)
    }

    /// With at most `digits` after the point, the rest cut off: for people.
    #[must_use]
    pub fn short(self, digits: usize) -> String {
        let text = self.to_string();
        match text.split_once('.') {
            Some((whole, rest)) => format!("{whole}.{}", rest.get(..digits).unwrap_or(rest)),
            None => text,
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = self.0.div_rem(unit());
        let rest = format!("{:0>DIGITS$}", rest.to_string());
        match rest.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            digits => write!(f, "{whole}.{digits}"),
        }
    }
}

impl FromStr for Decimal {
    type Err = NoDecimal;

    /// Reads `2`, `2.5`, `.5` and `1e-05`, as JSON and people write numbers. Digits beyond the
    /// eighteenth are cut off.
    fn from_str(text: &str) -> Result<Self, NoDecimal> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| NoDecimal)?),
            None => (text, 0),
        };
        let (whole, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{rest}");
        let plain = digits.len() <= 100 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if digits.is_empty() || !plain || !(-60..=60).contains(&exponent) {
            return Err(NoDecimal);
        }
        // Where the point is, counted in digits from the left.
        let point = i32::try_from(whole.len()).map_err(|_| NoDecimal)? + exponent;
        let kept = point + i32::try_from(DIGITS).map_err(|_| NoDecimal)?;
        let significant = digits.trim_start_matches('0');
        let leading = digits.len() - significant.len();
        let whole_digits = usize::try_from(point).unwrap_or(0).saturating_sub(leading);
        if !significant.is_empty() && whole_digits > WHOLE_DIGITS {
            return Err(NoDecimal);
        }
        let kept = usize::try_from(kept).unwrap_or(0);
        let mut shifted: String = digits.chars().take(kept).collect();
        shifted.extend(std::iter::repeat_n('0', kept.saturating_sub(digits.len())));
        let shifted = shifted.trim_start_matches('0');
        if shifted.is_empty() {
            return Ok(Self::ZERO);
        }
        U256::from_str_radix(shifted, 10).map(Self).map_err(|_| NoDecimal)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    /// What coins with few, as many and more digits count, there and back; what a side cannot hold is cut off.
    #[test]
    fn a_coins_smallest_units_are_counted_by_its_own_digits() {
        for (units, decimals, amount, back) in [
            (2_500_000, 6, "2.5", 2_500_000),
            (7, 0, "7", 7),
            (15, 18, "0.000000000000000015", 15),
            (1_239, 20, "0.000000000000000012", 1_200),
        ] {
            let decimal = Decimal::from_units(U256::from(units), decimals);
            assert_eq!(decimal.to_string(), amount, "{decimals}");
            assert_eq!(decimal.units(decimals), U256::from(back), "{decimals}");
        }
        assert_eq!(decimal("0.0000019").units(6), U256::ONE);
        assert_eq!(Decimal::from_units(U256::MAX, 0).atto(), U256::MAX, "what is too much stays too much");
    }

    #[test]
    fn numbers_are_read_as_json_and_people_write_them() {
        for (text, same) in [
            ("0", "0"),
            ("2", "2"),
            ("2.50", "2.5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e-05", "0.00001"),
            ("1.25E2", "125"),
            ("000012", "12"),
            ("0.1234567890123456789", "0.123456789012345678"),
            ("1e-40", "0"),
            ("999999999999999999", "999999999999999999"),
        ] {
            assert_eq!(decimal(text).to_string(), same, "{text}");
        }
        for bad in [
            "",
            ".",
            "-1",
            "+1",
            "nan",
            "inf",
            "1e",
            "1e99",
            "0x1",
            "1 ",
            "1e18",
            "1000000000000000000",
            "1.2.3",
        ] {
            assert!(bad.parse::<Decimal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_that_nobody_means_are_refused() {
        for bad in [format!("0.{}", "1".repeat(101)), "1e-61".to_owned(), "1e61".to_owned(), "1x".to_owned()]
        {
            assert!(bad.parse::<Decimal>().is_err(), "{bad}");
        }
        assert_eq!(decimal("1e-60"), Decimal::ZERO);
        assert_eq!(decimal(&format!("0.{}", "1".repeat(99))).to_string(), "0.111111111111111111");
    }

    #[test]
    fn s_015_twelve_dollars_at_a_quarter_are_forty_eight() {
        assert_eq!(decimal("12").per(decimal("0.25")), Some(decimal("48")));
        assert_eq!(decimal("5").per(decimal("0.3")).unwrap().to_string(), "16.66666667");
        assert_eq!(decimal("1").per(Decimal::ZERO), None);
        assert_eq!(decimal("2.5").times(decimal("4")), decimal("10"));
        assert_eq!(decimal("16.66666667").short(2), "16.66");
        assert_eq!(decimal("0.1").to_float(), 0.1);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(limbs in any::<[u64; 2]>()) {
            let number = Decimal::from_atto(U256::from_limbs([limbs[0], limbs[1] >> 10, 0, 0]));
            prop_assert_eq!(number.to_string().parse::<Decimal>().unwrap(), number);
        }

        #[test]
        fn no_text_makes_a_panic(text in "[0-9eE.+-]{0,40}") {
            let _ = text.parse::<Decimal>();
        }
    }
}
