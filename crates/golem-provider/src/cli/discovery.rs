//! `discovery`: the discovery service, in this terminal.
//!
//! Owns what it is started with. Never serves: [`crate::discovery`] does.

use super::{Exit, Invocation, foreground};
use crate::discovery;

/// `discovery`.
pub(super) fn discovery(invocation: &Invocation) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    foreground(
        &settings.logs,
        discovery::run(&settings.discovery_server, settings.api.trusted_proxies.clone()),
    )
}
