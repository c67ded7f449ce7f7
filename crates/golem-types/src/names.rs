//! Names and ids: what a renter may call a machine, and what we call it.
//!
//! Owns the syntax of every identifier that arrives from outside. Because a [`VmName`], a
//! [`VmId`] and an [`ImageName`] hold only `[a-z0-9.:-]`, they are safe in paths and argument
//! lists. Never looks anything up.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a name was refused. The text is shown to the renter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Fewer characters than allowed.
    #[error("must have at least {minimum} characters")]
    TooShort {
        /// The least number of characters.
        minimum: usize,
    },
    /// More characters than allowed.
    #[error("must have at most {maximum} characters")]
    TooLong {
        /// The greatest number of characters.
        maximum: usize,
    },
    /// A character outside the alphabet, or one that may not stand where it stands.
    #[error(
        "must contain only lowercase letters, digits and single hyphens, and start and end with a letter or digit"
    )]
    Characters,
    /// The text does not have the shape of the id it should be.
    #[error("is not a valid {what}")]
    Malformed {
        /// What the text should have been, e.g. "VM id".
        what: &'static str,
    },
}

/// What a renter calls a machine: 3 to 64 characters of `a-z0-9-`, starting and ending with a
/// letter or digit, no `--` (the rule of the original's clients).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 3, max_length = 64, pattern = "^[a-z0-9]+(-[a-z0-9]+)*$")]
pub struct VmName(String);

impl VmName {
    /// Fewest characters in a name.
    pub const MINIMUM: usize = 3;
    /// Most characters in a name.
    pub const MAXIMUM: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a DNS label for the guest: at most 63 characters, never ending in a hyphen.
    #[must_use]
    pub fn hostname(&self) -> &str {
        let cut = self.0.len().min(63);
        self.0[..cut].trim_end_matches('-')
    }
}

impl FromStr for VmName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let count = text.chars().count();
        if count < Self::MINIMUM {
            return Err(NameError::TooShort { minimum: Self::MINIMUM });
        }
        if count > Self::MAXIMUM {
            return Err(NameError::TooLong { maximum: Self::MAXIMUM });
        }
        let alphabet = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !alphabet || text.starts_with('-') || text.ends_with('-') || text.contains("--") {
            return Err(NameError::Characters);
        }
        Ok(Self(text.to_owned()))
    }
}

/// The unguessable id of a machine: `golem-<name>-<YYYYMMDD>-<HHMMSS>-<16 characters>`.
///
/// The last part carries 80 random bits: knowing an id is the right to use the machine under
/// `GOLEM_PROVIDER_API_AUTH=capability`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "golem-my-server-20250219-130424-aaaaaaaaaaaaaaaa")]
pub struct VmId(String);

/// RFC 4648 base32, lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Number of random characters at the end of a [`VmId`].
const RANDOM_CHARACTERS: usize = 16;

/// Encodes ten bytes as sixteen lower-case base32 characters.
fn base32(bytes: [u8; 10]) -> String {
    let mut out = String::with_capacity(RANDOM_CHARACTERS);
    for chunk in bytes.chunks_exact(5) {
        let word = chunk.iter().fold(0u64, |word, byte| (word << 8) | u64::from(*byte));
        for index in (0..8).rev() {
            out.push(char::from(BASE32[((word >> (index * 5)) & 31) as usize]));
        }
    }
    out
}

impl VmId {
    /// Makes the id of a machine created at `now` with ten bytes of fresh randomness.
    #[must_use]
    pub fn new(name: &VmName, now: jiff::Timestamp, random: [u8; 10]) -> Self {
        let stamp = now.strftime("%Y%m%d-%H%M%S");
        Self(format!("golem-{}-{stamp}-{}", name.as_str(), base32(random)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the machine's renter called it, and when it was made; `None` if the id holds no such time.
    #[must_use]
    pub fn parts(&self) -> Option<(VmName, jiff::Timestamp)> {
        let rest = self.redacted().strip_prefix("golem-")?;
        let (rest, time) = rest.rsplit_once('-')?;
        let (name, date) = rest.rsplit_once('-')?;
        let made = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", format!("{date}{time}")).ok()?;
        Some((name.parse().ok()?, made.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()))
    }

    /// The id with its random part hidden, for logs and other places that strangers may read.
    #[must_use]
    pub fn redacted(&self) -> &str {
        &self.0[..self.0.len() - RANDOM_CHARACTERS - 1]
    }
}

impl FromStr for VmId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let malformed = NameError::Malformed { what: "VM id" };
        let rest = text.strip_prefix("golem-").ok_or_else(|| malformed.clone())?;
        let mut parts = rest.rsplitn(4, '-');
        let (Some(random), Some(time), Some(date), Some(name)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed);
        };
        let digits = |part: &str, count| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
        let shaped = random.len() == RANDOM_CHARACTERS
            && random.bytes().all(|b| BASE32.contains(&b))
            && digits(time, 6)
            && digits(date, 8)
            && name.parse::<VmName>().is_ok();
        if shaped { Ok(Self(text.to_owned())) } else { Err(malformed) }
    }
}

/// A name in the image catalogue, e.g. `24.04`, `ubuntu:24.04` or `debian-13`.
///
/// Starts with a letter or digit, so it can never be read as an option, and holds neither a
/// slash nor a scheme, so it can never be a path or a URL (a defect of the original).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 64, pattern = "^[a-zA-Z0-9][a-z0-9.:_-]*$")]
pub struct ImageName(String);

impl ImageName {
    /// Most characters in an image name.
    pub const MAXIMUM: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > Self::MAXIMUM {
            return Err(NameError::TooLong { maximum: Self::MAXIMUM });
        }
        let first = text.bytes().next().ok_or(NameError::TooShort { minimum: 1 })?;
        let inside =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b':' | b'-' | b'_');
        if !first.is_ascii_alphanumeric() || !text.bytes().all(inside) || text.contains("..") {
            return Err(NameError::Malformed { what: "image name" });
        }
        Ok(Self(text.to_owned()))
    }
}

/// The id of an asynchronous create: 16 base32 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z2-7]{16}$")]
pub struct JobId(String);

impl JobId {
    /// Makes a job id from ten bytes of fresh randomness.
    #[must_use]
    pub fn new(random: [u8; 10]) -> Self {
        Self(base32(random))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let shaped = text.len() == RANDOM_CHARACTERS && text.bytes().all(|b| BASE32.contains(&b));
        if shaped { Ok(Self(text.to_owned())) } else { Err(NameError::Malformed { what: "job id" }) }
    }
}

crate::text::text_conversions!(VmName, VmId, ImageName, JobId: NameError);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s_144_names_outside_the_rule_are_refused() {
        for bad in ["", "ab", "-abc", "abc-", "a--b", "Abc", "a_b", "naïve", "a b", "a/b", "a.b", "..."] {
            assert!(bad.parse::<VmName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(65).parse::<VmName>().is_err());
        for good in ["abc", "a-b-c", "123", "my-webserver"] {
            assert!(good.parse::<VmName>().is_ok(), "{good:?}");
        }
        assert!("a".repeat(64).parse::<VmName>().is_ok());
    }

    #[test]
    fn s_150_id_has_the_documented_shape() {
        let name: VmName = "my-webserver".parse().unwrap();
        let now: jiff::Timestamp = "2025-02-19T13:04:24Z".parse().unwrap();
        let id = VmId::new(&name, now, [0; 10]);
        assert_eq!(id.as_str(), "golem-my-webserver-20250219-130424-aaaaaaaaaaaaaaaa");
        assert_eq!(id.redacted(), "golem-my-webserver-20250219-130424");
        // RFC 4648: "fooba" is MZXW6YTB.
        assert_eq!(base32(*b"foobafooba"), "mzxw6ytbmzxw6ytb");
    }

    #[test]
    fn image_names_are_neither_options_nor_paths_nor_urls() {
        for bad in ["", "--mount=/:/x", "-x", "file:///etc", "http://x/y", "../x", "a/b", "A", "a..b", "a b"]
        {
            assert!(bad.parse::<ImageName>().is_err(), "{bad:?}");
        }
        for good in ["24.04", "ubuntu:24.04", "debian-13", "my_image"] {
            assert!(good.parse::<ImageName>().is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn every_made_id_parses_back(
            name in "[a-z0-9]([a-z0-9]|-[a-z0-9]){2,20}",
            seconds in 0i64..4_000_000_000,
            random in any::<[u8; 10]>(),
        ) {
            let name: VmName = name.parse().unwrap();
            let id = VmId::new(&name, jiff::Timestamp::from_second(seconds).unwrap(), random);
            prop_assert_eq!(id.as_str().parse::<VmId>().unwrap(), id);
        }

        #[test]
        fn parsing_never_panics(text in ".{0,100}") {
            let _ = text.parse::<VmName>();
            let _ = text.parse::<VmId>();
            let _ = text.parse::<ImageName>();
            let _ = text.parse::<JobId>();
        }
    }
}
