//! What is told, in words and in the shapes that receivers take.
//!
//! Owns the texts, and that nothing in them is more than text to its receiver: no mention of everybody, no markup, no second line of a
//! header. Never sends.

use std::fmt::Write;

use golem_types::visible::line_of;
use serde::Serialize;
use serde_json::{Value, json};

use super::settings::Shape;
use super::watch::{Alert, News, Severity};

/// Most characters of one line of a message.
const LINE: usize = 300;

/// Most characters of a text below its title: Discord takes 2,000 in all, ntfy 4,096 bytes.
const TEXT: usize = 1_600;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The node's name.
    node: String,
    /// The node's address.
    provider_id: String,
    begun: Vec<Alert>,
    still: Vec<Alert>,
    over: Vec<Alert>,
    /// Whether nothing happened: the operator tries whether messages arrive.
    test: bool,
}

/// A request of HTTP, but for where it goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

fn clean(mut alert: Alert) -> Alert {
    alert.text = line_of(&alert.text, LINE);
    alert.fix = alert.fix.map(|fix| line_of(&fix, LINE));
    alert
}

impl Message {
    /// What there is to tell of the node `node` with the address `provider_id`.
    #[must_use]
    pub fn new(node: &str, provider_id: &str, news: News) -> Self {
        let all = |alerts: Vec<Alert>| alerts.into_iter().map(clean).collect();
        Self {
            node: line_of(node, LINE),
            provider_id: provider_id.to_owned(),
            begun: all(news.begun),
            still: all(news.still),
            over: all(news.over),
            test: false,
        }
    }

    /// A message that says that messages arrive.
    #[must_use]
    pub fn test(node: &str, provider_id: &str) -> Self {
        Self { test: true, ..Self::new(node, provider_id, News::default()) }
    }

    /// The most that matters of it; of what is over, nothing does.
    pub(super) fn severity(&self) -> Severity {
        let alerts = self.begun.iter().chain(&self.still);
        alerts.map(|alert| alert.severity).max().unwrap_or(Severity::Info)
    }

    /// In a line.
    pub(super) fn title(&self) -> String {
        if self.test {
            return format!("{}: alerts arrive here", self.node);
        }
        let now = self.begun.len() + self.still.len();
        match (self.begun.first().or(self.still.first()), self.over.first()) {
            (Some(first), _) if now == 1 => format!("{}: {}", self.node, first.text),
            (Some(_), _) => format!("{}: {now} alerts", self.node),
            (None, Some(first)) if self.over.len() == 1 => format!("{}: over: {}", self.node, first.text),
            (None, _) => format!("{}: {} alerts are over", self.node, self.over.len()),
        }
    }

    /// Everything, as plain text of lines; what does not fit is counted.
    pub(super) fn text(&self) -> String {
        if self.test {
            return "This is a test: `golem-provider alerts test` sent it, and nothing is wrong.".to_owned();
        }
        let mut parts = Vec::new();
        for (word, alerts) in [("", &self.begun), ("still, ", &self.still)] {
            let mut alerts: Vec<&Alert> = alerts.iter().collect();
            alerts.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
            for alert in alerts {
                let Alert { severity, text, fix, since, .. } = alert;
                let since = since.strftime("%Y-%m-%d %H:%M UTC");
                let fix = fix.as_ref().map(|fix| format!("\n  fix: {fix}")).unwrap_or_default();
                parts.push(format!("{}: {text} ({word}since {since}){fix}\n", severity.as_str()));
            }
        }
        parts.extend(self.over.iter().map(|alert| format!("over: {}\n", alert.text)));
        let mut all = String::new();
        for (number, part) in parts.iter().enumerate() {
            if all.chars().count() + part.chars().count() > TEXT {
                let _ = writeln!(all, "… and {} more: golem-provider alerts list", parts.len() - number);
                break;
            }
            all.push_str(part);
        }
        all.trim_end().to_owned()
    }

    /// As `shape` has it.
    pub(super) fn post(&self, shape: Shape) -> Post {
        let (title, text) = (self.title(), self.text());
        let json = |body: Value| Post {
            headers: vec![("content-type", "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        };
        match shape {
            Shape::Generic => {
                let mut body = json!(self);
                body["severity"] = json!(self.severity());
                body["title"] = json!(title);
                body["text"] = json!(text);
                json(body)
            }
            Shape::Ntfy => {
                let priority = match self.severity() {
                    Severity::Info => "default",
                    Severity::Warning => "high",
                    Severity::Critical => "urgent",
                };
                Post {
                    headers: vec![
                        ("content-type", "text/plain; charset=utf-8".to_owned()),
                        // A header is ASCII; the whole stands in the text.
                        ("title", "golem-provider".to_owned()),
                        ("priority", priority.to_owned()),
                    ],
                    body: format!("{title}\n{text}").into_bytes(),
                }
            }
            Shape::Slack => json(json!({ "text": escaped(&format!("*{title}*\n{text}")) })),
            Shape::Discord => json(json!({
                "content": format!("{title}\n{text}").chars().take(2_000).collect::<String>(),
                // Nobody is called, whatever a text says.
                "allowed_mentions": { "parse": [] },
            })),
            Shape::Matrix => json(json!({ "msgtype": "m.text", "body": format!("{title}\n{text}") })),
        }
    }
}

/// For Slack, where these three begin links and mentions.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
