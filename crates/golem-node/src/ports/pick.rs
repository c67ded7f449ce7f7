//! Which SSH port a new rental gets.
//!
//! Owns the choice, as a pure function. Never binds a port and never records a choice: the
//! ledger does, in the reservation's transaction.

use std::collections::{BTreeMap, BTreeSet};

/// Picks one of `ports` that is neither in `taken` nor in `blocked`.
///
/// Prefers ports never used, lowest first; then the one whose last rental ended longest ago
/// (`last_used`, microseconds since the epoch): a renter's late reconnect or stored host key
/// should not meet the next renter's machine.
#[must_use]
pub fn pick(
    ports: impl IntoIterator<Item = u16>,
    taken: &BTreeSet<u16>,
    blocked: &BTreeSet<u16>,
    last_used: &BTreeMap<u16, i64>,
) -> Option<u16> {
    ports
        .into_iter()
        .filter(|port| !taken.contains(port) && !blocked.contains(port))
        .min_by_key(|port| (last_used.get(port).copied().unwrap_or(i64::MIN), *port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn s_094_the_lowest_unused_port_comes_first_then_the_longest_free() {
        let none = BTreeSet::new();
        let last = BTreeMap::from([(50800, 20), (50801, 10)]);
        assert_eq!(pick(50800..50803, &none, &none, &BTreeMap::new()), Some(50800));
        assert_eq!(pick(50800..50803, &none, &none, &last), Some(50802));
        assert_eq!(pick(50800..50802, &none, &none, &last), Some(50801));
        assert_eq!(pick(50800..50802, &BTreeSet::from([50801]), &BTreeSet::from([50800]), &last), None);
    }

    proptest! {
        #[test]
        fn s_112_a_picked_port_is_in_the_half_open_range_and_free(
            start in 1u16..60_000, length in 0u16..50,
            taken in proptest::collection::btree_set(1u16..60_050, 0..100),
        ) {
            let range = start..start + length;
            match pick(range.clone(), &taken, &BTreeSet::new(), &BTreeMap::new()) {
                Some(port) => prop_assert!(range.contains(&port) && !taken.contains(&port)),
                None => prop_assert!(range.clone().all(|port| taken.contains(&port))),
            }
        }
    }
}
