//! How much of a bounded resource each client holds, where none has to give it back early.
//!
//! Owns who holds how much. Where holders can be made to give way, [`places`](crate::places) is fairer.

use std::collections::HashMap;
use std::net::IpAddr;

use golem_types::net::Source;

/// How much each source holds.
#[derive(Debug, Default)]
pub struct Shares {
    all: usize,
    customers: HashMap<IpAddr, usize>,
    networks: HashMap<IpAddr, usize>,
}

/// How much is held: in all, by a source's network, and by its customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// All sources together.
    pub all: usize,
    /// Those of its network.
    pub network: usize,
    /// Its customer.
    pub customer: usize,
}

impl Shares {
    /// How much is held, as far as it concerns `source`.
    #[must_use]
    pub fn held(&self, source: Source) -> Held {
        Held {
            all: self.all,
            network: self.networks.get(&source.network).copied().unwrap_or_default(),
            customer: self.customers.get(&source.customer).copied().unwrap_or_default(),
        }
    }

    /// Counts `amount` more for `source`.
    pub fn take(&mut self, source: Source, amount: usize) {
        self.all += amount;
        *self.networks.entry(source.network).or_default() += amount;
        *self.customers.entry(source.customer).or_default() += amount;
    }

    /// Counts `amount` less for `source`, which took it.
    pub fn give(&mut self, source: Source, amount: usize) {
        self.all = self.all.saturating_sub(amount);
        for (held, group) in [(&mut self.networks, source.network), (&mut self.customers, source.customer)] {
            let left = held.get(&group).map_or(0, |held| held.saturating_sub(amount));
            if left == 0 {
                held.remove(&group);
            } else {
                held.insert(group, left);
            }
        }
    }
}
