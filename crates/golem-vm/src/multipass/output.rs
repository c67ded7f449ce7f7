//! What `multipass` answers, as values.
//!
//! Owns the names of its states, the units of its sizes and the shape of its JSON, of versions up
//! to 1.16 and of what follows: fields are found by name, and what is missing or blank is none.
//! Never runs anything.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::Deserialize;
use serde_json::Value;

/// What Multipass calls an instance: a letter, then letters, digits and hyphens, not ending in one.
/// It is safe in an argument list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceName(String);

/// A text that no instance can be called.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} cannot be the name of a Multipass instance")]
pub struct NotAName(String);

impl InstanceName {
    /// Most characters; our own names have at most 103, the original's 42.
    const MAXIMUM: usize = 128;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let shaped = text.len() <= Self::MAXIMUM
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && !text.ends_with('-')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if shaped { Ok(Self(text.to_owned())) } else { Err(NotAName(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Running,
    /// It is off.
    Stopped,
    /// It was deleted and can be recovered; its name stays taken.
    Deleted,
    /// Its memory is on disk; a start goes on from there.
    Suspended,
    /// It is about to stand otherwise: starting, restarting, suspending, shutting down.
    Changing,
    /// Multipass does not know, or says something that this version does not.
    Unknown,
}

impl State {
    fn read(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "running" => Self::Running,
            "stopped" => Self::Stopped,
            "deleted" => Self::Deleted,
            "suspended" => Self::Suspended,
            "starting" | "restarting" | "suspending" | "delayed shutdown" => Self::Changing,
            // "Unknown", "Unavailable" and whatever comes.
            _ => Self::Unknown,
        }
    }
}

/// One instance, as `multipass list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// What Multipass calls it.
    pub name: InstanceName,
    /// How it stands.
    pub state: State,
    /// Its first address.
    pub ip: Option<IpAddr>,
    /// What runs in it, e.g. `Ubuntu 24.04 LTS`.
    pub release: String,
}

#[derive(Deserialize)]
struct List {
    list: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    state: String,
    #[serde(default)]
    ipv4: Vec<String>,
    #[serde(default)]
    release: String,
}

/// Reads the answer of `multipass list --format json`. `None` if it is not one: half an answer is
/// none, because an instance that is missing from it would count as gone.
#[must_use]
pub(super) fn list(answer: &[u8]) -> Option<Vec<Instance>> {
    let read = |item: Item| {
        Some(Instance {
            name: item.name.parse().ok()?,
            state: State::read(&item.state),
            ip: item.ipv4.iter().find_map(|text| text.trim().parse::<Ipv4Addr>().ok()).map(IpAddr::V4),
            release: item.release,
        })
    };
    serde_json::from_slice::<List>(answer).ok()?.list.into_iter().map(read).collect()
}

/// What an instance was made of, as far as Multipass says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Virtual CPUs.
    pub cpus: Option<u32>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Disk in bytes.
    pub disk: Option<u64>,
}

#[derive(Deserialize)]
struct Info {
    info: BTreeMap<String, Value>,
}

/// Reads the sizes of `name` from the answer of `multipass info --format json`. They are what the
/// guest itself counts, which is a little less than it was given; blank while it does not run.
#[must_use]
pub(super) fn info(answer: &[u8], name: &InstanceName) -> Option<Sizes> {
    let info: Info = serde_json::from_slice(answer).ok()?;
    let one = info.info.get(name.as_str())?;
    let disks = one["disks"].as_object().into_iter().flat_map(|disks| disks.values());
    Some(Sizes {
        cpus: number(&one["cpu_count"]).and_then(|cpus| cpus.try_into().ok()),
        memory: number(&one["memory"]["total"]),
        disk: disks.filter_map(|disk| number(&disk["total"])).reduce(u64::saturating_add),
    })
}

/// A count that is a number here and a text there; blank, zero and nonsense are none.
fn number(value: &Value) -> Option<u64> {
    let count = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (count > 0).then_some(count)
}

/// Bytes of a size as `multipass get` prints it and `multipass launch` takes it: `1073741824`,
/// `1G`, `1.5GiB`, `512MB`. All units are powers of 1024, whatever their letters.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "one decimal at most, and the result is within 64 bits"
)]
pub fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let size = digits.parse::<f64>().ok()? * (1u64 << shift) as f64;
    (size >= 1.0 && size < u64::MAX as f64).then_some(size as u64)
}

/// Versions of the program and of its daemon, from `multipass version --format json`; the daemon's
/// is missing when it does not answer.
#[derive(Debug, Deserialize)]
pub(super) struct Versions {
    /// Of the program.
    pub(super) multipass: String,
    /// Of the daemon.
    pub(super) multipassd: Option<String>,
}

/// Major and minor number of a version like `1.16.3` or `1.17.0-dev.2+g1234`.
#[must_use]
pub(super) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(['.', '-', '+']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn s_091_every_state_is_read_and_an_unknown_one_is_no_error() {
        let states = [
            ("Running", State::Running),
            ("Stopped", State::Stopped),
            ("Deleted", State::Deleted),
            ("Suspended", State::Suspended),
            ("Starting", State::Changing),
            ("Restarting", State::Changing),
            ("Suspending", State::Changing),
            ("Delayed Shutdown", State::Changing),
            ("Unavailable", State::Unknown),
            ("Unknown", State::Unknown),
            ("Levitating", State::Unknown),
        ];
        for (text, state) in states {
            let answer = format!(r#"{{"list":[{{"name":"a","state":"{text}","ipv4":[],"zone":"z"}}]}}"#);
            assert_eq!(list(answer.as_bytes()).unwrap()[0].state, state, "{text}");
        }
    }

    #[test]
    fn half_a_list_is_none() {
        assert_eq!(list(b"{\"list\": [\n    ]\n}\n").unwrap(), []);
        for text in
            ["", "{", "[]", "{}", r#"{"list":[{"name":"a"}]}"#, r#"{"list":[{"name":"-","state":"x"}]}"#]
        {
            assert_eq!(list(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn sizes_come_as_texts_numbers_and_blanks() {
        let name: InstanceName = "golem-x".parse().unwrap();
        let running =
            br#"{"errors":[],"info":{"golem-x":{"cpu_count":"2","memory":{"total":996544512,"used":1},
            "disks":{"sda1":{"total":"10213466112","used":"1"}}}}}"#;
        let sizes = Sizes { cpus: Some(2), memory: Some(996_544_512), disk: Some(10_213_466_112) };
        assert_eq!(info(running, &name), Some(sizes));
        let stopped = br#"{"errors":[],"info":{"golem-x":{"cpu_count":"","memory":{},"disks":{"sda1":{}}}}}"#;
        assert_eq!(info(stopped, &name), Some(Sizes::default()));
        assert_eq!(info(br#"{"info":{}}"#, &name), None);
    }

    #[test]
    fn units_are_powers_of_1024() {
        for (text, expected) in [
            ("1073741824", 1 << 30),
            ("1G", 1 << 30),
            ("1.5GiB", 3 << 29),
            ("512MB", 1 << 29),
            ("4.0 KiB", 4096),
            ("2T", 2 << 40),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in ["", "G", "1X", "-1G", "1..5G", "0", "99999999999T"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(major_minor("1.16.3"), Some((1, 16)));
        assert_eq!(major_minor("1.17.0-dev.2+g12"), Some((1, 17)));
        assert_eq!(major_minor("edge"), None);
    }

    proptest! {
        #[test]
        fn nothing_that_multipass_says_is_a_panic(text in ".{0,200}") {
            let _ = (list(text.as_bytes()), bytes(&text), major_minor(&text));
            let _ = info(text.as_bytes(), &"a".parse().unwrap());
        }

        #[test]
        fn s_246_a_name_is_never_an_option_or_a_path(text in "[-a-zA-Z0-9./ =:]{0,20}") {
            if let Ok(name) = text.parse::<InstanceName>() {
                prop_assert!(!name.as_str().starts_with('-'));
                prop_assert!(!name.as_str().contains(['/', '.', ' ', '=', ':']));
            }
        }
    }
}
