//! What a receipt says was done to entities.
//!
//! Owns the meaning of both generations' logs. Logs of others are passed over: networks in
//! transition emit two protocols' at once.

use alloy_primitives::{B256, b256};
use ruint::aliases::U256;

use super::event::Event;
use super::{Generation, tiramisu};
use golem_chain::sender::Log;

/// `GolemBaseStorageEntityCreated(uint256,uint256)`
const CREATED: B256 = b256!("ce4b4ad6891d716d0b1fba2b4aeb05ec20edadb01df512263d0dde423736bbb9");
/// `GolemBaseStorageEntityUpdated(uint256,uint256)`
const UPDATED: B256 = b256!("f371f40aa6932ad9dacbee236e5f3b93d478afe3934b5cfec5ea0d800a41d165");
/// `GolemBaseStorageEntityDeleted(uint256)`
const DELETED: B256 = b256!("0297b0e6eaf1bc2289906a8123b8ff5b19e568a60d002d47df44f8294422af93");
/// `GolemBaseStorageEntityBTLExtended(uint256,uint256,uint256)`
const EXTENDED: B256 = b256!("835bfca6df78ffac92635dcc105a6a8c4fd715e054e18ef60448b0a6dce30c8d");

/// What `logs` say was done on a network of `generation`.
#[must_use]
pub fn events(generation: Generation, logs: &[Log]) -> Vec<Event> {
    let ours = logs.iter().filter(|log| log.address == generation.address());
    match generation {
        Generation::GolemBase => ours.filter_map(golem_base).collect(),
        Generation::Tiramisu => ours.filter_map(tiramisu::event).collect(),
    }
}

fn golem_base(log: &Log) -> Option<Event> {
    let &[topic, key] = log.topics.as_slice() else { return None };
    let word = |index: usize| -> Option<u64> {
        let bytes = log.data.get(index * 32..(index + 1) * 32)?;
        u64::try_from(U256::try_from_be_slice(bytes)?).ok()
    };
    match topic {
        CREATED => Some(Event::Created { key, expires_at: word(0)? }),
        UPDATED => Some(Event::Updated { key, expires_at: Some(word(0)?) }),
        EXTENDED => Some(Event::Extended { key, expires_at: word(1)? }),
        DELETED => Some(Event::Deleted { key }),
        _ => None,
    }
}

impl Event {
    /// Which entity it is about.
    #[must_use]
    pub const fn key(&self) -> B256 {
        match self {
            Self::Created { key, .. }
            | Self::Updated { key, .. }
            | Self::Extended { key, .. }
            | Self::Deleted { key } => *key,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, keccak256};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_topics_are_those_of_their_signatures() {
        for (topic, signature) in [
            (CREATED, "GolemBaseStorageEntityCreated(uint256,uint256)"),
            (UPDATED, "GolemBaseStorageEntityUpdated(uint256,uint256)"),
            (DELETED, "GolemBaseStorageEntityDeleted(uint256)"),
            (EXTENDED, "GolemBaseStorageEntityBTLExtended(uint256,uint256,uint256)"),
        ] {
            assert_eq!(topic, keccak256(signature), "{signature}");
        }
    }

    #[test]
    fn logs_of_others_and_of_other_kinds_are_passed_over() {
        let generation = Generation::GolemBase;
        let key = B256::repeat_byte(1);
        let data = |words: &[u64]| -> alloy_primitives::Bytes {
            words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect()
        };
        let log = |topic, data| Log { address: generation.address(), topics: vec![topic, key], data };
        let foreign = Log { address: Address::repeat_byte(9), ..log(CREATED, data(&[7])) };
        let logs = [
            foreign,
            log(B256::repeat_byte(3), data(&[7])),
            log(CREATED, data(&[])),
            log(CREATED, data(&[7])),
            log(UPDATED, data(&[8])),
            log(EXTENDED, data(&[8, 9])),
            log(DELETED, data(&[])),
        ];
        assert_eq!(
            events(generation, &logs),
            [
                Event::Created { key, expires_at: 7 },
                Event::Updated { key, expires_at: Some(8) },
                Event::Extended { key, expires_at: 9 },
                Event::Deleted { key },
            ]
        );
    }

    proptest! {
        #[test]
        fn no_log_makes_a_panic(
            topics in proptest::collection::vec(prop_oneof![
                Just(CREATED), Just(UPDATED), Just(DELETED), Just(EXTENDED), any::<[u8; 32]>().prop_map(B256::from)
            ], 0..4),
            data in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            for generation in [Generation::GolemBase, Generation::Tiramisu] {
                let log =
                    Log { address: generation.address(), topics: topics.clone(), data: data.clone().into() };
                let _ = events(generation, &[log]);
            }
        }
    }
}
