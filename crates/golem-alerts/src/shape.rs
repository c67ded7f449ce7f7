//! How a message looks to each service.
//!
//! Owns the bodies, and that a text of others neither calls people (`@everyone`) nor becomes a link. Never sends.

use golem_service::http::{Method, Url};
use serde_json::{Value, json};

use crate::message::Message;
use crate::rule::Severity;

/// Most characters that Discord takes; the others take more.
const DISCORD: usize = 2000;

/// Most bytes of a message that ntfy surely takes: of more than 4 KiB it makes a file, or refuses them.
const NTFY: usize = 3000;

/// What a webhook speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// Every field, for programs.
    #[default]
    Json,
    /// ntfy: the address is the topic's.
    Ntfy,
    /// Slack's incoming webhook, and what takes the same.
    Slack,
    /// Discord's webhook.
    Discord,
    /// A Matrix home server and a room: `https://matrix.example/!room:example`.
    Matrix,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// POST, or PUT.
    pub method: Method,
    /// Where.
    pub url: Url,
    /// What.
    pub body: Value,
}

impl Shape {
    /// The shape that is called `text`.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Some(match text {
            "json" => Self::Json,
            "ntfy" => Self::Ntfy,
            "slack" => Self::Slack,
            "discord" => Self::Discord,
            "matrix" => Self::Matrix,
            _ => return None,
        })
    }

    /// Whether `url` says all that a message needs: the topic or the room, where there is one.
    #[must_use]
    pub fn takes(self, url: &Url) -> bool {
        match self {
            Self::Ntfy => last(url).is_some(),
            Self::Matrix => last(url).is_some_and(|room| room.starts_with('!') || room.starts_with("%21")),
            Self::Json | Self::Slack | Self::Discord => true,
        }
    }

    /// How `message` is sent to `url`.
    #[must_use]
    pub fn post(self, url: &Url, message: &Message) -> Post {
        let as_is = |text: &str| text.to_owned();
        let post = |body: Value| Post { method: Method::POST, url: url.clone(), body };
        match self {
            Self::Json => post(json!({
                "version": 1,
                "id": message.id,
                "node": message.node,
                "at": message.at,
                "status": if message.resolved { "resolved" } else { "firing" },
                "severity": message.severity,
                "title": message.title(),
                "alerts": message.entries,
                "more": message.more,
            })),
            Self::Ntfy => {
                // What is posted to the server itself is JSON, in which a title can have any letter.
                let mut server = url.clone();
                let topic = last(url).unwrap_or_default().to_owned();
                if let Ok(mut path) = server.path_segments_mut() {
                    path.pop();
                }
                let (priority, tag) = match (message.resolved, message.severity) {
                    (true, _) => (3, "white_check_mark"),
                    (false, Severity::Critical) => (5, "rotating_light"),
                    (false, Severity::Warning) => (4, "warning"),
                    (false, Severity::Info) => (3, "information_source"),
                };
                let body = json!({
                    "topic": topic,
                    "title": message.title(),
                    "message": beginning(&message.body(as_is), NTFY),
                    "priority": priority,
                    "tags": [tag],
                });
                Post { method: Method::POST, url: server, body }
            }
            Self::Slack => {
                // The three that are Slack's own; without them nothing is a link or calls anybody.
                let escaped =
                    |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                post(json!({ "text": format!("{}\n{}", escaped(&message.title()), message.body(escaped)) }))
            }
            Self::Discord => {
                let text =
                    format!("{}\n{}", escape_markdown(&message.title()), message.body(escape_markdown));
                let text: String = text.chars().take(DISCORD).collect();
                // 4: no preview of what an address leads to.
                post(json!({ "content": text, "allowed_mentions": { "parse": [] }, "flags": 4 }))
            }
            Self::Matrix => {
                let mut at = url.clone();
                let room = last(url).unwrap_or_default().replace("%21", "!").replace("%3A", ":");
                if let Ok(mut path) = at.path_segments_mut() {
                    let rest = ["_matrix", "client", "v3", "rooms", room.as_str(), "send", "m.room.message"];
                    path.pop().extend(rest).push(&message.id);
                }
                let text = format!("{}\n{}", message.title(), message.body(as_is));
                let body = json!({ "msgtype": "m.text", "body": text, "m.mentions": {} });
                Post { method: Method::PUT, url: at, body }
            }
        }
    }
}

/// The last part of the path of `url`.
fn last(url: &Url) -> Option<&str> {
    url.path_segments()?.next_back().filter(|part| !part.is_empty())
}

/// The beginning of `text`, at most `most` bytes.
fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// `text` without Markdown's meaning.
fn escape_markdown(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        if "\\*_~`|>#[]()<@:-".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests;
