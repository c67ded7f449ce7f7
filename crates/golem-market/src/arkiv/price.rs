//! Prices as the original writes them: Python's `str(float(x))`.
//!
//! Owns that spelling, which is part of the market: requestors parse it, and an advert that reads
//! the same is not written again. Never decides a price.

/// `number` as Python spells it: the shortest digits that read back as the same number, with an
/// exponent below 1e-4 and from 1e16 on, and otherwise always with a point.
#[must_use]
pub fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    // Rust's exponent form has the same shortest digits: `-1.25e-7`, `0e0`.
    let short = format!("{number:e}");
    let Some((digits, exponent)) = short.split_once('e') else { return short };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    let plain = format!("{number}");
    if plain.contains('.') { plain } else { format!("{plain}.0") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_exponent_begins_where_pythons_does() {
        for (number, text) in [
            (0.0001, "0.0001"),
            (0.000_099_999, "9.9999e-05"),
            (1e16, "1e+16"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (-0.0, "-0.0"),
            (1e-300, "1e-300"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(python_float(number), text);
        }
    }

    proptest! {
        #[test]
        fn every_number_reads_back_as_itself(number in any::<f64>()) {
            prop_assume!(!number.is_nan());
            prop_assert_eq!(python_float(number).parse::<f64>().unwrap().to_bits(), number.to_bits());
        }
    }
}
