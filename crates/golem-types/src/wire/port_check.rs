//! The check of ports from outside: what is asked of a checker, and what it says.
//!
//! ```text
//!   {"provider_ip", "ports", "nonce"?}  ──►  {"success", "results": {"<port>": {"accessible", "error", "read"?}},
//!                                             "message", "provider_ip"?, "checked_at"?, "nonce"?, "checker"?,
//!                                             "signature"?}
//! ```
//! Owns both shapes. Those without `?` are the original's; the others are ours, and old servers and
//! clients ignore them. Never dials and never judges: every byte of an answer is a claim.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fields::{Fields, field, object};
use super::problem::{Problem, Problems};

/// Most ports in one request to our own checker. A usual range has a hundred.
pub const PORTS_MAXIMUM: usize = 1024;

/// Longest nonce, and longest piece of what a port said, in bytes.
pub const TEXT_MAXIMUM: usize = 64;

/// What every listener of a node says while its ports are verified; a token of its port follows.
pub const BANNER: &str = "golem-port-check ";

/// Where the node's API says the same, because HTTP is not spoken first by a server.
pub const BANNER_PATH: &str = "/port-check";

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CheckRequest {
    /// The address to dial. The original takes names too.
    pub provider_ip: String,
    /// The ports to dial.
    pub ports: Vec<u16>,
    /// Comes back in a signed answer, so that an old one cannot stand for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// What was found at one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortResult {
    /// Whether it accepted a connection.
    pub accessible: bool,
    /// Why it did not, in the original's words.
    #[serde(default)]
    pub error: Option<String>,
    /// What it said, if it is asked for that; empty when it said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<String>,
}

/// What a checker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CheckAnswer {
    /// Whether any port accepted a connection.
    pub success: bool,
    /// What was found, by port.
    pub results: BTreeMap<u16, PortResult>,
    /// In words.
    #[serde(default)]
    pub message: String,
    /// The address that was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_ip: Option<String>,
    /// When, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<u64>,
    /// The request's nonce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The Ethereum address of who says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checker: Option<String>,
    /// Its signature (EIP-191, 65 bytes in hexadecimal) of [`CheckAnswer::signed_text`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

impl CheckAnswer {
    /// The answer that follows from `results`, unsigned.
    #[must_use]
    pub fn of(results: BTreeMap<u16, PortResult>) -> Self {
        let open = results.values().filter(|result| result.accessible).count();
        Self {
            success: open > 0,
            message: format!("Successfully verified {open} out of {} ports", results.len()),
            results,
            provider_ip: None,
            checked_at: None,
            nonce: None,
            checker: None,
            signature: None,
        }
    }

    /// The text that is signed: everything that counts, one way of writing it.
    #[must_use]
    pub fn signed_text(&self) -> String {
        let mut text = format!(
            "golem-port-check v1\naddress: {}\nnonce: {}\ntime: {}\n",
            self.provider_ip.as_deref().unwrap_or_default(),
            self.nonce.as_deref().unwrap_or_default(),
            self.checked_at.unwrap_or_default(),
        );
        for (port, result) in &self.results {
            let (state, said) = match &result.error {
                _ if result.accessible => ("open", result.read.as_deref()),
                error => ("closed", error.as_deref()),
            };
            // A line break in what a port said would begin another port's line.
            let said = printable(said.unwrap_or_default());
            let _ = writeln!(text, "{port} {state} {said}");
        }
        text
    }
}

/// The start of `text` as far as it is printable ASCII on one line, at most [`TEXT_MAXIMUM`] bytes.
#[must_use]
pub fn printable(text: &str) -> &str {
    let end = text.bytes().position(|byte| !is_plain(byte)).unwrap_or(text.len()).min(TEXT_MAXIMUM);
    text.get(..end).unwrap_or_default()
}

const fn is_plain(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

/// Reads a request, as a checker gets it.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_check(body: &[u8]) -> Result<CheckRequest, Problems> {
    let fields = object(body)?;
    let mut mistakes = Vec::new();
    let provider_ip = text(&fields, "provider_ip", 253, &mut mistakes);
    let nonce = field(&fields, "nonce").map(|_| text(&fields, "nonce", TEXT_MAXIMUM, &mut mistakes));
    let ports = ports(&fields, &mut mistakes);
    if mistakes.is_empty() {
        Ok(CheckRequest { provider_ip, ports, nonce })
    } else {
        Err(Problems { detail: mistakes })
    }
}

/// The text in `name`; empty with a mistake.
fn text(fields: &Fields, name: &'static str, longest: usize, mistakes: &mut Vec<Problem>) -> String {
    let Some(raw) = fields.get(name) else {
        mistakes.push(Problem::missing(&[name]));
        return String::new();
    };
    let text: Option<String> = serde_json::from_str(raw.get()).ok();
    match text.filter(|text| text.len() <= longest && text.bytes().all(is_plain)) {
        Some(text) => text,
        None => {
            let wanted = format!("Input should be a valid string of at most {longest} characters");
            mistakes.push(Problem::new("string_type", &[name], wanted, Some(raw)));
            String::new()
        }
    }
}

/// The ports, each once.
fn ports(fields: &Fields, mistakes: &mut Vec<Problem>) -> Vec<u16> {
    const NAME: &str = "ports";
    let Some(raw) = fields.get(NAME) else {
        mistakes.push(Problem::missing(&[NAME]));
        return Vec::new();
    };
    let mut refuse = |kind, text: String| {
        mistakes.push(Problem::new(kind, &[NAME], text, Some(raw)));
        Vec::new()
    };
    let Ok(numbers) = serde_json::from_str::<Vec<i64>>(raw.get()) else {
        return refuse("list_type", "Input should be a valid list of integers".to_owned());
    };
    if numbers.len() > PORTS_MAXIMUM {
        let text = format!("List should have at most {PORTS_MAXIMUM} items, not {}", numbers.len());
        return refuse("too_long", text);
    }
    let ports: Option<Vec<u16>> =
        numbers.iter().map(|number| u16::try_from(*number).ok().filter(|port| *port > 0)).collect();
    match ports {
        Some(mut ports) => {
            ports.sort_unstable();
            ports.dedup();
            ports
        }
        None => refuse("value_error", "Value error, ports should be from 1 to 65535".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn result(accessible: bool, said: &str) -> PortResult {
        PortResult {
            accessible,
            error: (!accessible).then(|| said.to_owned()),
            read: accessible.then(|| said.to_owned()),
        }
    }

    #[test]
    fn the_originals_request_and_answer_are_read() {
        let request =
            parse_check(br#"{"provider_ip": "203.0.113.7", "ports": [7466, 50800, 7466]}"#).unwrap();
        assert_eq!((request.ports.as_slice(), request.nonce), ([7466, 50800].as_slice(), None));
        let answer: CheckAnswer = serde_json::from_str(
            r#"{"success": true, "results": {"7466": {"accessible": true, "error": null},
                "50800": {"accessible": false, "error": "Connection refused"}},
                "message": "Successfully verified 1 out of 2 ports"}"#,
        )
        .unwrap();
        assert_eq!(answer.results[&50800].error.as_deref(), Some("Connection refused"));
        let own = CheckAnswer::of(answer.results.clone());
        assert_eq!(own, answer);
        assert_eq!(
            serde_json::to_string(&own).unwrap(),
            r#"{"success":true,"results":{"7466":{"accessible":true,"error":null},"50800":{"accessible":false,"error":"Connection refused"}},"message":"Successfully verified 1 out of 2 ports"}"#
        );
    }

    #[test]
    fn bad_requests_are_refused_with_every_mistake() {
        let kinds = |body: &[u8]| -> Vec<&str> {
            parse_check(body).unwrap_err().detail.iter().map(|problem| problem.kind).collect()
        };
        assert_eq!(kinds(b"{}"), ["missing", "missing"]);
        assert_eq!(kinds(b"[1]"), ["model_attributes_type"]);
        assert_eq!(kinds(b"{"), ["json_invalid"]);
        assert_eq!(kinds(br#"{"provider_ip": 7, "ports": [0]}"#), ["string_type", "value_error"]);
        assert_eq!(kinds(br#"{"provider_ip": "a", "ports": [65536]}"#), ["value_error"]);
        assert_eq!(kinds(br#"{"provider_ip": "a", "ports": "80"}"#), ["list_type"]);
        let many = format!(r#"{{"provider_ip": "a", "ports": {:?}}}"#, vec![1; PORTS_MAXIMUM + 1]);
        assert_eq!(kinds(many.as_bytes()), ["too_long"]);
        let long = format!(r#"{{"provider_ip": "a", "ports": [], "nonce": "{}"}}"#, "n".repeat(65));
        assert_eq!(kinds(long.as_bytes()), ["string_type"]);
    }

    #[test]
    fn the_signed_text_holds_everything_that_counts() {
        let mut answer =
            CheckAnswer::of(BTreeMap::from([(1, result(true, "SSH-2.0")), (2, result(false, "no"))]));
        let mut texts = vec![answer.signed_text()];
        answer.nonce = Some("n".to_owned());
        texts.push(answer.signed_text());
        answer.checked_at = Some(5);
        texts.push(answer.signed_text());
        answer.provider_ip = Some("203.0.113.7".to_owned());
        texts.push(answer.signed_text());
        answer.results.insert(2, result(true, "no"));
        texts.push(answer.signed_text());
        answer.results.insert(3, result(true, ""));
        texts.push(answer.signed_text());
        let different: std::collections::BTreeSet<_> = texts.iter().collect();
        assert_eq!(different.len(), texts.len(), "{texts:#?}");
    }

    proptest! {
        #[test]
        fn what_a_port_said_cannot_speak_for_another(said in "(?s).{0,80}", open: bool) {
            let answer = CheckAnswer::of(BTreeMap::from([(80, result(open, &said))]));
            prop_assert_eq!(answer.signed_text().lines().count(), 5);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(request) = parse_check(&bytes) {
                prop_assert!(request.ports.len() <= PORTS_MAXIMUM);
            }
            let _: Result<CheckAnswer, _> = serde_json::from_slice(&bytes);
        }
    }
}
