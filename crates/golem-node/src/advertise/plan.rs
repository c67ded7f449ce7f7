//! What has to be written so that exactly one advert says what is wanted.
//!
//! ```text
//!   own entities + wanted advert + block ─► operations, or none: then all is as it should be
//! ```
//! Owns the decision, as a pure function. Never asks a network and never sends anything.

use golem_market::arkiv::{Annotations, Entity, Generation, Operation};

/// What the decision depends on, beside what was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkRules {
    /// The network's protocol.
    pub generation: Generation,
    /// How long an advert lives without a write, in blocks.
    pub lifetime: u64,
}

/// Blocks that the shortest-lived advert has left when it is extended.
const LEFT_MINIMUM: u64 = 10;

impl NetworkRules {
    /// Blocks left at which an advert is extended: a third of its life. An extension adds to the
    /// old end, so that doing it early costs no more writes, and an endpoint may be down for that
    /// long before renters miss anything.
    #[must_use]
    pub const fn due(self) -> u64 {
        let third = self.lifetime / 3;
        if third < LEFT_MINIMUM { LEFT_MINIMUM } else { third }
    }
}

/// The name of the figure that drifts by itself: other files come and go on the host's disk.
const DRIFTS: &str = "golem_storage";

/// Whether renters would be told something wrong by `shown` in place of `wanted`. Free storage may
/// be off by a twentieth, or 2 GiB: it is told exactly with the next write. A rental changes the
/// free cores as well.
#[must_use]
pub(super) fn misleads(shown: &Annotations, wanted: &Annotations) -> bool {
    let (Some(told), Some(is)) = (shown.number(DRIFTS), wanted.number(DRIFTS)) else {
        return !shown.say_the_same(wanted);
    };
    if told.abs_diff(is) > (told / 20).max(2) {
        return true;
    }
    let mut nearly = shown.clone();
    for (name, number) in &mut nearly.numbers {
        if name == DRIFTS {
            *number = is;
        }
    }
    !nearly.say_the_same(wanted)
}

/// What one transaction has to do at `block`, where `own` are all adverts of this provider that are
/// its own, and `wanted` is what renters should read; `None` if they should not find it.
///
/// Empty when there is nothing to do, and again after it was done.
#[must_use]
pub fn plan(own: &[Entity], wanted: Option<&Annotations>, block: u64, terms: NetworkRules) -> Vec<Operation> {
    // What ends with the next block cannot be changed any more.
    let alive: Vec<&Entity> = own.iter().filter(|entity| entity.expires_at > block + 1).collect();
    let delete = |entity: &&Entity| Operation::Delete { key: entity.key };
    let Some(wanted) = wanted else { return alive.iter().map(delete).collect() };
    let create = || Operation::Create { blocks: terms.lifetime, annotations: wanted.clone() };
    let best = alive.iter().max_by_key(|entity| {
        (entity.annotations.say_the_same(wanted), entity.expires_at, std::cmp::Reverse(entity.key))
    });
    let Some(best) = best else { return vec![create()] };
    let key = best.key;
    let mut operations: Vec<_> = alive.iter().filter(|entity| entity.key != key).map(delete).collect();

    let due = best.expires_at - block <= terms.due();
    let same = best.annotations.say_the_same(wanted);
    let update = !same && (due || misleads(&best.annotations, wanted));
    if update {
        operations.push(Operation::Update {
            key,
            blocks: terms.lifetime,
            before: best.annotations.clone(),
            annotations: wanted.clone(),
        });
    }
    if due && !(update && terms.generation.update_renews()) {
        operations.push(Operation::Extend { key, blocks: terms.lifetime, expires_at: best.expires_at });
    }
    operations
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_primitives::{Address, B256};
    use proptest::prelude::*;

    use super::*;

    fn says(cpu: u64, storage: u64) -> Annotations {
        Annotations {
            strings: vec![("golem_type".to_owned(), "provider".to_owned())],
            numbers: vec![("golem_cpu".to_owned(), cpu), (DRIFTS.to_owned(), storage)],
        }
    }

    fn entity(key: u8, expires_at: u64, annotations: Annotations) -> Entity {
        Entity { key: B256::repeat_byte(key), owner: Address::ZERO, expires_at, annotations }
    }

    fn terms(generation: Generation) -> NetworkRules {
        NetworkRules { generation, lifetime: 7200 }
    }

    const GENERATIONS: [Generation; 2] = [Generation::GolemBase, Generation::Tiramisu];

    /// What a network makes of `operations` in block `block`.
    fn apply(own: &[Entity], operations: &[Operation], block: u64, generation: Generation) -> Vec<Entity> {
        let mut all: BTreeMap<B256, Entity> = own.iter().map(|entity| (entity.key, entity.clone())).collect();
        for operation in operations {
            match operation {
                Operation::Create { blocks, annotations } => {
                    let made = entity(255, block + blocks, annotations.clone());
                    assert!(all.insert(made.key, made).is_none());
                }
                Operation::Update { key, blocks, before, annotations } => {
                    let entity = all.get_mut(key).expect("it is there");
                    assert_eq!(&entity.annotations, before);
                    entity.annotations = annotations.clone();
                    if generation.update_renews() {
                        entity.expires_at = block + blocks;
                    }
                }
                Operation::Extend { key, blocks, expires_at } => {
                    let entity = all.get_mut(key).expect("it is there");
                    assert_eq!(entity.expires_at, *expires_at);
                    entity.expires_at += blocks;
                }
                Operation::Delete { key } => assert!(all.remove(key).is_some(), "it is there"),
            }
        }
        all.into_values().filter(|entity| entity.expires_at > block).collect()
    }

    fn kinds(operations: &[Operation]) -> Vec<&'static str> {
        operations.iter().map(Operation::kind).collect()
    }

    #[test]
    fn every_case_of_the_original_has_its_write() {
        let wanted = says(4, 100);
        for generation in GENERATIONS {
            let terms = terms(generation);
            let decide = |own: &[Entity]| kinds(&plan(own, Some(&wanted), 1000, terms));
            assert_eq!(decide(&[]), ["create"]);
            assert_eq!(decide(&[entity(1, 9000, says(4, 100))]), [""; 0]);
            assert_eq!(decide(&[entity(1, 9000, says(3, 90))]), ["update"]);
            assert_eq!(decide(&[entity(1, 3400, says(4, 100))]), ["extend"]);
            assert_eq!(decide(&[entity(1, 3401, says(4, 100))]), [""; 0]);
            assert_eq!(
                decide(&[entity(1, 9000, says(4, 100)), entity(2, 9500, says(3, 100))]),
                ["delete"],
                "the one that is right stays"
            );
            // What has ended, or ends before a write could reach it, is as good as gone.
            for gone in [900, 1000, 1001] {
                assert_eq!(decide(&[entity(1, gone, says(4, 100))]), ["create"]);
            }
            assert_eq!(kinds(&plan(&[entity(1, 9000, says(4, 100))], None, 1000, terms)), ["delete"]);
            assert_eq!(plan(&[], None, 1000, terms), []);
        }
        let late = [entity(1, 1100, says(3, 90))];
        assert_eq!(kinds(&plan(&late, Some(&wanted), 1000, terms(Generation::GolemBase))), ["update"]);
        assert_eq!(
            kinds(&plan(&late, Some(&wanted), 1000, terms(Generation::Tiramisu))),
            ["update", "extend"]
        );
    }

    #[test]
    fn a_drift_of_free_storage_alone_waits_for_the_next_write() {
        let terms = terms(Generation::GolemBase);
        let shown = [entity(1, 9000, says(4, 1000))];
        for (storage, cpu, wanted) in [
            (1000, 4, &[][..]),
            (1050, 4, &[]),
            (950, 4, &[]),
            (949, 4, &["update"]),
            (1051, 4, &["update"]),
            (1000, 3, &["update"]),
            (990, 3, &["update"]),
        ] {
            let operations = plan(&shown, Some(&says(cpu, storage)), 1000, terms);
            assert_eq!(kinds(&operations), wanted, "{storage} {cpu}");
        }
        // When it has to be extended anyway, it is told exactly.
        let due = [entity(1, 2000, says(4, 1000))];
        assert_eq!(kinds(&plan(&due, Some(&says(4, 990)), 1000, terms)), ["update"]);
    }

    /// A day of blocks, looked at every few minutes: the advert is always there, and no write is
    /// made that is not needed.
    #[test]
    fn s_216_an_advert_never_lapses_in_a_day_and_is_extended_no_more_than_needed() {
        let day = 24 * 3600 / 2;
        for generation in GENERATIONS {
            let terms = terms(generation);
            let mut own = Vec::new();
            let mut writes = 0;
            for block in (1..=day).step_by(150) {
                assert!(block == 1 || own.len() == 1, "lapsed at {block}");
                own.retain(|entity: &Entity| entity.expires_at > block);
                let operations = plan(&own, Some(&says(4, 100)), block, terms);
                writes += usize::from(!operations.is_empty());
                own = apply(&own, &operations, block + 1, generation);
            }
            assert_eq!(writes, usize::try_from(day / terms.lifetime).unwrap() + 1);
        }
    }

    fn annotations() -> impl Strategy<Value = Annotations> {
        (0_u64..4, prop_oneof![0_u64..200, any::<u64>()]).prop_map(|(cpu, storage)| says(cpu, storage))
    }

    proptest! {
        /// One transaction is enough, it is valid, and afterwards nothing is left of what was to do at `block`;
        /// with the next block something else may be due.
        #[test]
        fn one_transaction_makes_it_right(
            own in proptest::collection::btree_map(0_u8..250, (0_u64..20_000, annotations()), 0..6),
            wanted in proptest::option::of(annotations()),
            block in 0_u64..10_000,
            lifetime in 30_u64..10_000,
            generation in proptest::sample::select(&GENERATIONS[..]),
        ) {
            let terms = NetworkRules { generation, lifetime };
            let own: Vec<_> = own
                .into_iter()
                .map(|(key, (expires_at, annotations))| entity(key, expires_at, annotations))
                .filter(|entity| entity.expires_at > block)
                .collect();
            let operations = plan(&own, wanted.as_ref(), block, terms);
            let after = apply(&own, &operations, block + 1, generation);
            prop_assert_eq!(plan(&after, wanted.as_ref(), block, terms), []);
            match wanted {
                None => prop_assert!(after.is_empty()),
                Some(wanted) => {
                    prop_assert_eq!(after.len(), 1);
                    prop_assert!(!misleads(&after[0].annotations, &wanted));
                    prop_assert!(after[0].expires_at > block + terms.due());
                }
            }
        }

        /// What is right is left alone, in whatever order the network tells it.
        #[test]
        fn s_218_what_says_the_same_is_not_written_again(
            mut said in annotations(),
            left in 2401_u64..20_000,
            generation in proptest::sample::select(&GENERATIONS[..]),
        ) {
            let wanted = said.clone();
            said.numbers.reverse();
            let own = [entity(1, 500 + left, said)];
            prop_assert_eq!(plan(&own, Some(&wanted), 500, terms(generation)), []);
        }
    }
}
