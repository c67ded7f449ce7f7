//! A bounded number of something that nobody has to give back early.
//!
//! Owns who holds how many. Where holders can be made to give way, [`places`](crate::places) is fairer.

use std::collections::HashMap;
use std::net::IpAddr;

use golem_types::net::Source;

use crate::places::Limits;

/// How many each source holds.
#[derive(Debug, Default)]
pub struct Shares {
    held: usize,
    customers: HashMap<IpAddr, usize>,
    networks: HashMap<IpAddr, usize>,
}

impl Shares {
    /// Counts one more for `source`, if all, its network and its customer stay within `limits`.
    pub fn take(&mut self, source: Source, limits: Limits) -> bool {
        let room = self.held < limits.total
            && self.networks.get(&source.network).is_none_or(|held| *held < limits.per_network)
            && self.customers.get(&source.customer).is_none_or(|held| *held < limits.per_customer);
        if room {
            self.held += 1;
            *self.networks.entry(source.network).or_default() += 1;
            *self.customers.entry(source.customer).or_default() += 1;
        }
        room
    }

    /// Counts one less for `source`, which took one.
    pub fn give(&mut self, source: Source) {
        self.held = self.held.saturating_sub(1);
        for (counts, group) in [(&mut self.networks, source.network), (&mut self.customers, source.customer)]
        {
            if let Some(held) = counts.get_mut(&group) {
                *held -= 1;
                if *held == 0 {
                    counts.remove(&group);
                }
            }
        }
    }

    /// How many are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }
}
