//! What each part of the node is made with.
//!
//! Owns the way from the table of settings to the parts' own types, where several of them need the same. Never checks a
//! value: a setting that was read is good.

use golem_api::status::StatusSettings;
use golem_node::Limits;
use golem_types::Resources;

use super::{Settings, VmSettings};

impl VmSettings {
    /// What bounds new rentals.
    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            max_vms: self.max_vms.0,
            minimum: Resources::new(self.min_cpu_cores.0, self.min_memory_gb.0, self.min_storage_gb.0),
            cpu_threshold: self.cpu_threshold.0,
            memory_threshold: self.memory_threshold.0,
            storage_threshold: self.storage_threshold.0,
        }
    }
}

impl Settings {
    /// What a node is judged by.
    pub(crate) fn status(&self) -> StatusSettings {
        StatusSettings {
            installed: env!("CARGO_PKG_VERSION"),
            data_dir: self.node.data_dir.clone(),
            environment: self.node.environment.as_str(),
            network: self.node.network.as_str(),
            host: self.api.host,
            port: self.api.port.get(),
            ssh_ports: self.ports.port_range_start.get()..self.ports.port_range_end.get(),
            skip_port_verification: self.ports.skip_port_verification,
            limits: self.vms.limits(),
            withdraws: self.payments.stream_withdraw_enabled,
        }
    }
}
