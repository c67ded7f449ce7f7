//! Which ports the router forwards, by the settings.
//!
//! Owns whether a router is asked, and whether a node that starts anew wants the same. The rest is
//! [`golem_reach::mapping`]'s, and [`golem_node::port_mapping`]'s while a node runs.

use anyhow::Context;
use golem_api::operator::Token;
use golem_node::port_mapping::PortMapping;
use golem_node::port_verification::Verifier;
use golem_reach::mapping::{Mapper, MappingError};
use golem_service::tasks::Tasks;

use golem_host::settings::ReachSettings;

/// The ports that the router forwards for a running node.
#[derive(Debug)]
pub(crate) struct Kept {
    settings: ReachSettings,
    mapping: PortMapping,
}

impl Kept {
    /// Leaves them to the node that starts anew with `settings`, if it has the same forwarded.
    pub(crate) fn hand_over(&self, settings: &ReachSettings) {
        let wanted = |settings: &ReachSettings| {
            (settings.map_ports, settings.site.host, settings.site.all_ports(), settings.data_dir.clone())
        };
        self.mapping.leave(wanted(&self.settings) == wanted(settings));
    }
}

/// Who asks the router for the ports of the settings. Nothing is asked yet.
///
/// # Errors
/// [`MappingError`] where no router could forward to this host, or has to; or that the operator token, which marks
/// the mappings, cannot be read or made.
pub(crate) fn mapper(settings: &ReachSettings) -> anyhow::Result<Mapper> {
    const TOKEN: &str = "the operator token, which marks the mappings, cannot be read or made; fix: run as the user who \
                         runs the provider";
    golem_files::private_folder(&settings.data_dir).context(TOKEN)?;
    let token = Token::ensure(&settings.data_dir).context(TOKEN)?;
    Ok(Mapper::new(&settings.site, &token.bearer())?)
}

/// Keeps the ports forwarded until `tasks` stop; `verifier` hears when others are. `None` if no router is
/// asked.
pub(crate) fn keep(settings: &ReachSettings, tasks: &Tasks, verifier: Verifier) -> Option<Kept> {
    let mapper = match mapper(settings) {
        Ok(mapper) => mapper,
        Err(error) => {
            match error.downcast_ref() {
                Some(MappingError::Public(_)) => tracing::info!("no port is mapped: {error}"),
                _ => tracing::warn!("no port is mapped: {error:#}"),
            }
            return None;
        }
    };
    Some(Kept { settings: settings.clone(), mapping: PortMapping::keep(mapper, tasks, verifier) })
}
