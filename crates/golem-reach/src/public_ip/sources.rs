//! Servers that return their caller's public address.
//!
//! ```text
//!   ask all at once (5 s, 4 KiB) ─► read each answer ─► agreed: by two, and more than any other
//! ```
//! Owns the exchange and the vote. Every answer is untrusted: what one server says moves nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_util::future::join_all;
use golem_service::http::{Client, HttpError, Options, Url};
use golem_types::net::is_public;
use serde_json::Value;

/// Longest that a server may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Largest answer; an address has at most 39 bytes, and some servers tell more in JSON.
const ANSWER_BYTES: usize = 4096;

/// How many have to say the same.
const QUORUM: usize = 2;

/// Names under which JSON answers have the address.
const NAMES: [&str; 4] = ["ip", "ip_address", "origin", "query"];

/// The kind of address that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    const fn has(self, address: IpAddr) -> bool {
        matches!((self, address), (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)))
    }

    /// SourceOutcome from there, a server sees an address of this family.
    const fn from(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// Why one server's answer does not count.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error("it does not answer")]
    NoAnswer(#[from] HttpError),
    #[error("it answers with HTTP status {0}")]
    Status(u16),
    #[error("it answers no address: {0:?}")]
    NoAddress(String),
    #[error("it answers {0}, which is not globally routable")]
    NotPublic(IpAddr),
}

/// The servers do not tell an address.
#[derive(Debug, thiserror::Error)]
#[error("no two of the servers agree on an address ({0})")]
pub(super) struct NotAgreed(String);

/// The address of `family` on which two of `urls` agree.
///
/// # Errors
/// What each of them said instead.
pub(super) async fn ask(urls: &[String], family: Family) -> Result<IpAddr, NotAgreed> {
    let answers = join_all(urls.iter().map(async |url| (host(url), ask_one(url, family).await))).await;
    let told = |answer: &Result<IpAddr, SourceError>| match answer {
        Ok(address) => address.to_string(),
        Err(error) => error.to_string(),
    };
    let said: Vec<String> =
        answers.iter().map(|(host, answer)| format!("{host}: {}", told(answer))).collect();
    let votes = answers.into_iter().filter_map(|(host, answer)| Some((host, answer.ok()?)));
    agreed(votes).ok_or_else(|| NotAgreed(said.join("; ")))
}

/// The server of `url`: two of its pages are one witness.
fn host(url: &str) -> String {
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    host.map_or_else(|| url.to_owned(), |(host, port)| format!("{host}:{port}"))
}

/// What most say, where at least two do and no other has as many.
fn agreed(votes: impl Iterator<Item = (String, IpAddr)>) -> Option<IpAddr> {
    let by_host: BTreeMap<String, IpAddr> = votes.collect();
    let mut counts = BTreeMap::<IpAddr, usize>::new();
    for address in by_host.into_values() {
        *counts.entry(address).or_default() += 1;
    }
    let most = counts.values().copied().max().filter(|most| *most >= QUORUM)?;
    let mut first = counts.into_iter().filter(|(_, count)| *count == most).map(|(address, _)| address);
    match (first.next(), first.next()) {
        (Some(address), None) => Some(address),
        _ => None,
    }
}

async fn ask_one(url: &str, family: Family) -> Result<IpAddr, SourceError> {
    // Through a proxy it would see the proxy's address.
    let options = Options { is_direct: true, from: Some(family.from()), ..Options::within(DEADLINE) };
    let answer = Client::new(options)?.get(url).send(ANSWER_BYTES).await?;
    if !answer.status.is_success() {
        return Err(SourceError::Status(answer.status.as_u16()));
    }
    let address = read(&answer.bytes).filter(|address| family.has(*address));
    let address = address.ok_or_else(|| SourceError::NoAddress(answer.beginning()))?;
    if is_public(address) { Ok(address) } else { Err(SourceError::NotPublic(address)) }
}

/// The address in an answer: the text, or a field of a JSON object.
fn read(bytes: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let address = text.parse::<IpAddr>().ok().or_else(|| {
        let document: Value = serde_json::from_str(text).ok()?;
        NAMES.iter().find_map(|name| document.get(name)?.as_str()?.trim().parse().ok())
    });
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_113_answers_of_the_known_kinds_are_read_and_no_others() {
        for (answer, address) in [
            ("203.0.113.7", "203.0.113.7"),
            ("  203.0.113.7\r\n", "203.0.113.7"),
            ("2001:db8::7\n", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            (r#"{"ip":"203.0.113.7"}"#, "203.0.113.7"),
            (r#"{"city":"x","ip":"203.0.113.7","loc":"1,2"}"#, "203.0.113.7"),
            (r#"{"origin": "203.0.113.7"}"#, "203.0.113.7"),
        ] {
            assert_eq!(read(answer.as_bytes()), Some(address.parse().unwrap()), "{answer}");
        }
        for answer in [
            "",
            "<html>203.0.113.7</html>",
            "203.0.113.7, 203.0.113.8",
            "{}",
            r#"{"ip":7}"#,
            "[]",
            "1.2.3",
            "\u{0}",
        ] {
            assert_eq!(read(answer.as_bytes()), None, "{answer}");
        }
        assert_eq!(read(&[0xff, 0xfe]), None);
    }

    #[test]
    fn s_113_two_servers_have_to_agree_and_a_liar_alone_moves_nothing() {
        let vote = |votes: &[(&str, u8)]| {
            let votes =
                votes.iter().map(|(host, last)| ((*host).to_owned(), IpAddr::from([203, 0, 113, *last])));
            agreed(votes).map(|address| address.to_string())
        };
        assert_eq!(vote(&[]), None);
        assert_eq!(vote(&[("a", 7)]), None);
        assert_eq!(vote(&[("a", 7), ("b", 8)]), None);
        assert_eq!(vote(&[("a", 7), ("a", 7)]), None, "one server twice");
        assert_eq!(vote(&[("a", 7), ("b", 8), ("c", 7)]).as_deref(), Some("203.0.113.7"));
        assert_eq!(vote(&[("a", 7), ("b", 8), ("c", 7), ("d", 8)]), None);
    }
}
