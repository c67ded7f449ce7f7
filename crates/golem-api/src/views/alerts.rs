//! What is wrong, and who is told.
//!
//! Owns the answer and its text for people. Never decides what is wrong.

use golem_alerts::{Delivery, Listed};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is wrong, and who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlertsView {
    /// What is wrong, the worst first.
    pub alerts: Vec<Listed>,
    /// Who is told; empty if nobody is, and then nothing is watched.
    pub destinations: Vec<Delivery>,
}

impl AlertsView {
    /// As people read it.
    #[must_use]
    pub fn text(&self) -> String {
        if self.destinations.is_empty() {
            return "Nobody is told when something is wrong; fix: set GOLEM_PROVIDER_ALERT_WEBHOOK, or \
                    GOLEM_PROVIDER_ALERT_SMTP for mail, then `golem-provider alerts test`"
                .to_owned();
        }
        let mut lines = Vec::new();
        for Listed { severity, state, text, fix, since, .. } in &self.alerts {
            lines.push(format!("{} ({state}): {text}, since {since:.0}", severity.as_str()));
            lines.extend(fix.iter().map(|fix| format!("  fix: {fix}")));
        }
        if lines.is_empty() {
            lines.push("Nothing is wrong.".to_owned());
        }
        lines.push(deliveries(&self.destinations));
        lines.join("\n")
    }
}

/// How it went with each destination, as people read it.
#[must_use]
pub fn deliveries(destinations: &[Delivery]) -> String {
    let line = |Delivery { to, taken_at, problem }: &Delivery| match (problem, taken_at) {
        (Some(problem), _) => format!("{to}: {problem}"),
        (None, Some(at)) => format!("{to}: took a message at {at:.0}"),
        (None, None) => format!("{to}: nothing was sent yet"),
    };
    destinations.iter().map(line).collect::<Vec<_>>().join("\n")
}
