//! What is typed after `discovery` and `port-checker`.
//!
//! Owns words and their forms. Never does what they say.

use std::collections::BTreeMap;

use clap::Args;

use super::given;

/// `discovery`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Discovery {
    /// Address to listen on.
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on.
    #[arg(long)]
    port: Option<String>,
    /// Take only adverts that their providers signed.
    #[arg(long)]
    require_signatures: bool,
}

impl Discovery {
    pub(super) fn flags(&self) -> BTreeMap<&'static str, String> {
        let signed = self.require_signatures.then(|| "true".to_owned());
        given([
            ("GOLEM_DISCOVERY_HOST", self.host.clone()),
            ("GOLEM_DISCOVERY_PORT", self.port.clone()),
            ("GOLEM_DISCOVERY_REQUIRE_SIGNATURES", signed),
        ])
    }
}

/// `port-checker`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PortChecker {
    /// Address to listen on.
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on.
    #[arg(long)]
    port: Option<String>,
    /// Dial whatever public address is asked for, and not only that of who asks. Anyone can then scan
    /// others through this server.
    #[arg(long)]
    pub allow_any_target: bool,
    /// Dial private and loopback addresses as well; development does so, too.
    #[arg(long)]
    pub allow_private_targets: bool,
}

impl PortChecker {
    pub(super) fn flags(&self) -> BTreeMap<&'static str, String> {
        given([
            ("GOLEM_PROVIDER_PORT_CHECKER_HOST", self.host.clone()),
            ("GOLEM_PROVIDER_PORT_CHECKER_PORT", self.port.clone()),
        ])
    }
}
