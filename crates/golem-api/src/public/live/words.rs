//! The words of the protocol `vm-live.v1`, of both ends.
//!
//! ```text
//!   client ─► auth (first, within 10 s), refresh, set_history_range, ping
//!   server ─► hello, snapshot, update of one scope, error, heartbeat: {type, generated_at, scope, data, error}
//! ```
//! Owns their JSON. Never knows what a scope shows.

use golem_node::{HistoryRange, UnknownRange};
use golem_service::web_socket::Utf8Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The protocol's name.
pub(super) const PROTOCOL: &str = "vm-live.v1";

/// What the scope of measurements shows: what the VM uses now, and what it used.
pub(super) const METRICS_KEYS: [&str; 2] = ["metrics_live", "metrics_history"];

/// A part of what is shown of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    ProviderInfo,
    Lifecycle,
    Access,
    Job,
    Snapshots,
    Stream,
    Metrics,
}

impl Scope {
    pub(super) const ALL: [Self; 7] = [
        Self::ProviderInfo,
        Self::Lifecycle,
        Self::Access,
        Self::Job,
        Self::Snapshots,
        Self::Stream,
        Self::Metrics,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::ProviderInfo => "provider_info",
            Self::Lifecycle => "lifecycle",
            Self::Access => "access",
            Self::Job => "job",
            Self::Snapshots => "snapshots",
            Self::Stream => "stream",
            Self::Metrics => "metrics",
        }
    }

    fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// What a scope shows, or why it cannot be shown.
pub(super) type Part = Result<Value, String>;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FromClient {
    /// Who it is; `None` for anybody.
    Auth(Option<String>),
    /// That it wants to see these scopes anew.
    Refresh(Vec<Scope>),
    /// How much of the past it wants to see measurements of.
    HistoryRange(HistoryRange),
    /// That it wants a sign of life.
    Ping,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Raw {
    Auth { token: Option<String> },
    Refresh { scopes: Option<Vec<String>> },
    SetHistoryRange { history_range: String },
    Ping,
}

/// What is wrong with a message, and with which scope.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadMessage(pub(super) Option<Scope>, pub(super) String);

impl FromClient {
    pub(super) fn read(text: &str) -> Result<Self, BadMessage> {
        let raw = serde_json::from_str(text).map_err(|error| {
            BadMessage(None, format!("unsupported live event: {}", without_place(&error.to_string())))
        })?;
        Ok(match raw {
            Raw::Auth { token } => Self::Auth(token.filter(|token| !token.is_empty())),
            Raw::Ping => Self::Ping,
            Raw::SetHistoryRange { history_range } => Self::HistoryRange(read_range(&history_range)?),
            Raw::Refresh { scopes: None } => Self::Refresh(Scope::ALL.to_vec()),
            Raw::Refresh { scopes: Some(names) } => {
                let mut scopes = Vec::new();
                for name in names {
                    let scope = Scope::named(&name)
                        .ok_or_else(|| BadMessage(None, format!("unsupported scope: {}", short(&name))))?;
                    if !scopes.contains(&scope) {
                        scopes.push(scope);
                    }
                }
                Self::Refresh(scopes)
            }
        })
    }
}

/// How much of the past `text` names.
pub(super) fn read_range(text: &str) -> Result<HistoryRange, BadMessage> {
    text.parse().map_err(|error: UnknownRange| {
        BadMessage(Some(Scope::Metrics), format!("history_range {:?}: {error}", short(text)))
    })
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// What serde says of a message, without the line and column, which say nothing of a message in one line.
fn without_place(text: &str) -> String {
    text.rsplit_once(" at line ").map_or(text, |(what, _)| what).chars().take(200).collect()
}

#[derive(Serialize)]
struct Message<'a> {
    r#type: &'static str,
    generated_at: Timestamp,
    scope: Option<&'static str>,
    data: &'a Value,
    error: Option<&'a str>,
}

fn message(kind: &'static str, scope: Option<Scope>, data: &Value, error: Option<&str>) -> Utf8Bytes {
    let scope = scope.map(Scope::as_str);
    let message = Message { r#type: kind, generated_at: Timestamp::now(), scope, data, error };
    // Every part is a JSON value already: there is nothing that could not be written.
    serde_json::to_string(&message).unwrap_or_default().into()
}

pub(super) fn hello() -> Utf8Bytes {
    let data = json!({
        "protocol": PROTOCOL,
        "capabilities": {
            "scopes": Scope::ALL.map(Scope::as_str),
            "client_events": ["set_history_range", "refresh", "ping"],
        },
        "server_time": Timestamp::now().to_string(),
    });
    message("hello", None, &data, None)
}

pub(super) fn heartbeat() -> Utf8Bytes {
    message("heartbeat", None, &json!({ "server_time": Timestamp::now().to_string() }), None)
}

/// Everything at once; what cannot be shown has its reason among `errors`.
pub(super) fn snapshot(parts: Vec<(Scope, Part)>) -> Utf8Bytes {
    let (mut data, mut errors) = (Map::new(), Map::new());
    for (scope, part) in parts {
        let empty = if scope == Scope::Snapshots { json!([]) } else { Value::Null };
        let shown = part.unwrap_or_else(|why| {
            errors.insert(scope.as_str().to_owned(), why.into());
            empty
        });
        if scope == Scope::Metrics {
            for key in METRICS_KEYS {
                data.insert(key.to_owned(), shown.get(key).cloned().unwrap_or_default());
            }
        } else {
            data.insert(scope.as_str().to_owned(), shown);
        }
    }
    data.insert("errors".to_owned(), Value::Object(errors));
    message("snapshot", None, &Value::Object(data), None)
}

/// One scope as it is now, or why it cannot be shown.
pub(super) fn update(scope: Scope, part: &Part) -> Utf8Bytes {
    match part {
        Ok(data) => message("update", Some(scope), data, None),
        Err(why) => error(Some(scope), why),
    }
}

pub(super) fn error(scope: Option<Scope>, why: &str) -> Utf8Bytes {
    message("error", scope, &Value::Null, Some(why))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_clients_say_is_read_and_what_makes_no_sense_is_told() {
        let read = FromClient::read;
        for anybody in
            [r#"{"type":"auth"}"#, r#"{"type":"auth","token":null}"#, r#"{"type":"auth","token":""}"#]
        {
            assert_eq!(read(anybody), Ok(FromClient::Auth(None)));
        }
        assert_eq!(
            read(r#"{"type":"auth","token":"x","more":1}"#),
            Ok(FromClient::Auth(Some("x".to_owned())))
        );
        assert_eq!(read(r#"{"type":"ping"}"#), Ok(FromClient::Ping));
        assert_eq!(read(r#"{"type":"refresh"}"#), Ok(FromClient::Refresh(Scope::ALL.to_vec())));
        let twice = r#"{"type":"refresh","scopes":["stream","job","stream"]}"#;
        assert_eq!(read(twice), Ok(FromClient::Refresh(vec![Scope::Stream, Scope::Job])));
        for range in HistoryRange::ALL {
            let text = json!({ "type": "set_history_range", "history_range": range.as_str() }).to_string();
            assert_eq!(read(&text), Ok(FromClient::HistoryRange(range)));
        }
        for (bad, word) in [
            ("", "EOF"),
            ("{", "EOF"),
            ("[]", "type"),
            (r#"{"type":"dance"}"#, "dance"),
            (r#"{"type":"refresh","scopes":["all"]}"#, "unsupported scope: all"),
            (r#"{"type":"refresh","scopes":[1]}"#, "string"),
            (r#"{"type":"set_history_range","history_range":"2h"}"#, "known: 1h, 6h, 24h, 7d, 30d"),
            (r#"{"type":"set_history_range"}"#, "history_range"),
        ] {
            let BadMessage(_, text) = read(bad).unwrap_err();
            assert!(text.contains(word) && !text.contains(" at line "), "{bad}: {text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_answered_shortly(text in ".{0,600}") {
            if let Err(BadMessage(_, why)) = FromClient::read(&text) {
                prop_assert!(why.len() < 1200);
            }
        }
    }
}
