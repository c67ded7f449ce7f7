//! The words of the protocol `vm-console.v1`, of both ends, beside the bytes.
//!
//! ```text
//!   client ─► auth (first, within 10 s, where no header says it), ping, resize
//!   server ─► opened, dropped (how many bytes were not taken in time), error, closed (why), pong
//! ```
//! Owns their JSON.

use golem_node::console::ConsoleEnd;
use golem_service::web_socket::Utf8Bytes;
use golem_service::web_socket::talk::Said;
use serde::Deserialize;
use serde_json::json;

/// The protocol's name.
const PROTOCOL: &str = "vm-console.v1";

/// What a client says.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromClient {
    /// Who it is; no token for anybody.
    Auth { token: Option<String> },
    /// That it wants a sign of life.
    Ping,
    /// How large its window is now.
    Resize,
}

impl FromClient {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| {
            let why = error.to_string();
            let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(what, _)| what);
            format!("unsupported console event: {}", why.chars().take(200).collect::<String>())
        })
    }
}

/// The token in the first message.
///
/// # Errors
/// What is wrong with it.
pub(super) fn token(said: &Said) -> Result<Option<String>, String> {
    match said {
        Said::Text(text) => match FromClient::read(text) {
            Ok(FromClient::Auth { token }) => Ok(token.filter(|token| !token.is_empty())),
            _ => Err(r#"the first message has to be {"type":"auth","token":…}"#.to_owned()),
        },
        Said::Bytes(_) => Err(r#"the first message has to be {"type":"auth","token":…}"#.to_owned()),
    }
}

pub(super) fn opened() -> Utf8Bytes {
    json!({ "type": "opened", "protocol": PROTOCOL }).to_string().into()
}

pub(super) fn dropped(bytes: u64) -> Utf8Bytes {
    json!({ "type": "dropped", "bytes": bytes }).to_string().into()
}

pub(super) fn error(why: &str) -> Utf8Bytes {
    json!({ "type": "error", "error": why }).to_string().into()
}

pub(super) fn closed(end: ConsoleEnd) -> Utf8Bytes {
    json!({ "type": "closed", "reason": end.to_string() }).to_string().into()
}

pub(super) fn pong() -> Utf8Bytes {
    json!({ "type": "pong" }).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_is_read_and_what_makes_no_sense_is_told() {
        assert_eq!(FromClient::read(r#"{"type":"resize","columns":80,"rows":24}"#), Ok(FromClient::Resize));
        assert_eq!(FromClient::read(r#"{"type":"ping"}"#), Ok(FromClient::Ping));
        assert_eq!(token(&Said::Text(r#"{"type":"auth","token":"x"}"#.into())), Ok(Some("x".to_owned())));
        for anybody in
            [r#"{"type":"auth"}"#, r#"{"type":"auth","token":null}"#, r#"{"type":"auth","token":""}"#]
        {
            assert_eq!(token(&Said::Text(anybody.into())), Ok(None));
        }
        assert!(token(&Said::Bytes(b"{\"type\":\"auth\"}"[..].into())).is_err());
        for bad in ["", "{", "[]", r#"{"type":"dance"}"#, &"x".repeat(10_000)] {
            let why = FromClient::read(bad).unwrap_err();
            assert!(why.len() < 300 && !why.contains(" at line "), "{why}");
            assert!(token(&Said::Text(bad.into())).is_err());
        }
    }
}
