//! How long quotes count, and the capacity that the quote of a lease keeps for its renter.
//!
//! ```text
//!   quote ─► promised ─── create with it ─► the rental's
//!               └──────── the quote is over ─► free
//! ```
//! Owns which quotes may promise some, as one pure function. Asking for a quote costs nothing and proves nothing, so that
//! strangers must not have all capacity by it: one renter's address and one customer (an IPv4 address, an IPv6 /64) have one
//! promise at a time, the newest, one network (a /24, a /48) two, and all together at most half of the cores, of the memory, of the
//! storage and of the VMs that this node offers. A quote beyond that is as good, but keeps nothing. Never reads the ledger,
//! which keeps promises, and never says whether there is room ([`crate::admit`] does).

use std::time::Duration;

use alloy_primitives::{Address, B256};
use golem_types::Resources;
use golem_types::net::Source;
use jiff::Timestamp;

use crate::admit::{AdmissionFacts, AdmissionLimits};

/// How long a quote counts: time to have a stream mined on a slow chain, and little enough that a
/// moving rate of the coin costs nobody much.
pub const QUOTE_LIFE: Duration = Duration::from_secs(900);

/// Most promises at a time to one renter's address, and to one customer.
const OF_ONE: usize = 1;

/// Most promises at a time to one network.
const OF_NETWORK: usize = 2;

/// What a quote keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// The lease's id, which nobody can guess.
    pub lease: B256,
    /// For whom it was quoted.
    pub requestor: Address,
    /// Who asked.
    pub source: Source,
    /// The size of the VM.
    pub resources: Resources,
    /// When the quote is over.
    pub until: Timestamp,
}

impl Promise {
    /// Whether `requestor` has it, by an answer to `source`. Neither alone is enough: anybody can name an address.
    pub(crate) fn is_of(&self, requestor: Address, source: Source) -> bool {
        self.requestor == requestor && self.source.customer == source.customer
    }
}

/// Whether `wanted`, for which there is room as `facts` say, may be promised beside what is `promised`.
pub(crate) fn may_be_made<'a>(
    wanted: &Promise,
    promised: impl Iterator<Item = &'a Promise> + Clone,
    limits: &AdmissionLimits,
    facts: &AdmissionFacts,
) -> bool {
    let count = |is_it: &dyn Fn(&Promise) -> bool| promised.clone().filter(|other| is_it(other)).count();
    let half = Resources::new(facts.total.cpu / 2, facts.total.memory / 2, facts.total.storage / 2);
    let together = promised.clone().fold(wanted.resources, |sum, other| sum.plus(other.resources));
    let vms = promised.clone().count() + 1;
    count(&|other| other.requestor == wanted.requestor) < OF_ONE
        && count(&|other| other.source.customer == wanted.source.customer) < OF_ONE
        && count(&|other| other.source.network == wanted.source.network) < OF_NETWORK
        && u32::try_from(vms).is_ok_and(|vms| vms <= limits.max_vms / 2)
        && together.fits(half)
}
