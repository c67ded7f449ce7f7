//! What can be wrong, how bad that is, and for how long it must hold before anybody is told.
//!
//! Owns the defaults. Never decides whether a condition holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Costs money if it stays so.
    Warning,
    /// Costs money or safety now: told in quiet hours, too.
    Critical,
}

impl Severity {
    /// As messages have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// What a VM's stream has paid for ends soon.
    RunwayLow,
    /// A VM failed or does not do what it should.
    VmDown,
    /// A VM stands still because it is not paid for.
    VmPaused,
    /// Renters do not reach the node's ports.
    PortLost,
    /// A guest is not in a network of its own, or is not bounded.
    IsolationOff,
    /// An endpoint of a chain does not answer well.
    EndpointDown,
    /// Renters do not find the node in a market.
    AdvertGone,
    /// A withdrawal or another transaction waits for longer than usual.
    WithdrawalStuck,
    /// The certificate for https ends soon.
    CertificateEnding,
    /// The disk is nearly full, or fails.
    DiskFull,
    /// What makes the VMs does not answer.
    BackendDown,
    /// A newer version is published.
    UpdateThere,
}

const MINUTE: u64 = 60;

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 12] = [
        Self::RunwayLow,
        Self::VmDown,
        Self::VmPaused,
        Self::PortLost,
        Self::IsolationOff,
        Self::EndpointDown,
        Self::AdvertGone,
        Self::WithdrawalStuck,
        Self::CertificateEnding,
        Self::DiskFull,
        Self::BackendDown,
        Self::UpdateThere,
    ];

    /// As programs read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunwayLow => "runway_low",
            Self::VmDown => "vm_down",
            Self::VmPaused => "vm_paused",
            Self::PortLost => "port_lost",
            Self::IsolationOff => "isolation_off",
            Self::EndpointDown => "endpoint_down",
            Self::AdvertGone => "advert_gone",
            Self::WithdrawalStuck => "withdrawal_stuck",
            Self::CertificateEnding => "certificate_ending",
            Self::DiskFull => "disk_full",
            Self::BackendDown => "backend_down",
            Self::UpdateThere => "update_there",
        }
    }

    /// How bad it is. What a renter can bring about is never critical: nobody wakes an operator at will.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::PortLost | Self::IsolationOff | Self::DiskFull | Self::BackendDown => Severity::Critical,
            Self::UpdateThere => Severity::Info,
            _ => Severity::Warning,
        }
    }

    /// For how long it must have held, and must then be over, before that is told.
    #[must_use]
    pub const fn hold(self) -> Duration {
        Duration::from_secs(match self {
            Self::IsolationOff | Self::DiskFull | Self::BackendDown => MINUTE,
            Self::VmDown | Self::VmPaused | Self::RunwayLow => 2 * MINUTE,
            Self::PortLost | Self::EndpointDown | Self::AdvertGone => 5 * MINUTE,
            Self::WithdrawalStuck => 15 * MINUTE,
            Self::CertificateEnding | Self::UpdateThere => 60 * MINUTE,
        })
    }
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// By which rule.
    pub rule: Rule,
    /// With what: a VM's id, an endpoint's host, a market; empty where there is only one.
    pub subject: String,
    /// What, in a sentence without its full stop. May hold what renters wrote: messages clean it.
    pub text: String,
    /// What to do.
    pub fix: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_rule_as_it_is() {
        let page = include_str!("../../../docs/alerts.md");
        for rule in Rule::ALL {
            let minutes = rule.hold().as_secs() / MINUTE;
            let row = format!("| `{}` | {} | {minutes} min |", rule.as_str(), rule.severity().as_str());
            assert_eq!(page.matches(&row).count(), 1, "{row}");
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.as_str());
        }
    }
}
