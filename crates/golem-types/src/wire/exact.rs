//! Integers of up to 256 bits as JSON numbers, exact.
//!
//! Owns their text: the digits themselves, never a float. They pass through `serde_json`'s reader and
//! writer, and must not pass through `serde_json::Value`, which would round them.

use ruint::aliases::U256;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// A whole number of at most 256 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = u128)]
pub struct Exact(pub U256);

impl From<u128> for Exact {
    fn from(number: u128) -> Self {
        Self(U256::from(number))
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let digits = raw.get();
        let whole = (1..=78).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = whole.then(|| U256::from_str_radix(digits, 10).ok()).flatten();
        number.map(Self).ok_or_else(|| D::Error::custom("not a whole number of at most 256 bits"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn s_175_every_number_of_256_bits_survives(limbs in any::<[u64; 4]>()) {
            let number = Exact(U256::from_limbs(limbs));
            let text = serde_json::to_string(&number).unwrap();
            prop_assert_eq!(&text, &number.0.to_string());
            prop_assert_eq!(serde_json::from_str::<Exact>(&text).unwrap(), number);
        }
    }

    #[test]
    fn what_is_no_such_number_is_refused() {
        for text in ["-1", "1.0", "1e3", "\"1\"", "null", &"9".repeat(78)] {
            assert!(serde_json::from_str::<Exact>(text).is_err(), "{text}");
        }
    }
}
