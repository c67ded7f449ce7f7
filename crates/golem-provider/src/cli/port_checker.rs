//! `port-checker`: the check server, in this terminal.
//!
//! Owns what it is started with. Never dials: [`crate::port_checker`] has it done.

use golem_reach::port_checker::Targets;

use super::{Exit, Invocation, arguments, foreground};
use crate::port_checker;

/// `port-checker`.
pub(super) fn port_checker(invocation: &Invocation, typed: &arguments::PortChecker) -> anyhow::Result<Exit> {
    let settings = &invocation.resolved.settings;
    let targets = Targets { any: typed.allow_any_target, private: typed.allow_private_targets };
    foreground(
        &settings.logs,
        port_checker::run(
            &settings.port_checker,
            &settings.node,
            settings.api.trusted_proxies.clone(),
            targets,
        ),
    )
}
