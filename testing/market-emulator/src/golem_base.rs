//! Generation 1's storage rules, as its node had them in September 2025.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, address, b256, keccak256};

use crate::entity::{Entities, Line, Stored, word};
use crate::rlp::Item;

pub(crate) const ADDRESS: Address = address!("0000000000000000000000000000000060138453");

const CREATED: B256 = b256!("ce4b4ad6891d716d0b1fba2b4aeb05ec20edadb01df512263d0dde423736bbb9");
const UPDATED: B256 = b256!("f371f40aa6932ad9dacbee236e5f3b93d478afe3934b5cfec5ea0d800a41d165");
const DELETED: B256 = b256!("0297b0e6eaf1bc2289906a8123b8ff5b19e568a60d002d47df44f8294422af93");
const EXTENDED: B256 = b256!("835bfca6df78ffac92635dcc105a6a8c4fd715e054e18ef60448b0a6dce30c8d");

const BAD: &str = "failed to run storage transaction: failed to decode";

/// Annotations of one type: no key twice, and each an identifier.
fn annotations<T>(item: &Item, value: impl Fn(&Item) -> Option<T>) -> Result<BTreeMap<String, T>, String> {
    let mut all = BTreeMap::new();
    for pair in item.list().ok_or(BAD)? {
        let [key, of] = pair.fields().ok_or(BAD)?;
        let key = key.text().ok_or(BAD)?;
        let is_name = key
            .chars()
            .enumerate()
            .all(|(at, c)| c == '_' || c.is_alphabetic() || (at > 0 && c.is_numeric()));
        if key.is_empty() || !is_name {
            return Err(format!("failed to run storage transaction: Invalid annotation identifier: {key}"));
        }
        let of = value(of).ok_or(BAD)?;
        if all.insert(key.clone(), of).is_some() {
            return Err(format!("failed to run storage transaction: annotation key {key} is duplicated"));
        }
    }
    Ok(all)
}

fn entity(
    owner: Address,
    block: u64,
    [blocks, payload, strings, numbers]: [&Item; 4],
) -> Result<Stored, String> {
    let blocks = blocks.u64().ok_or(BAD)?;
    if blocks == 0 {
        return Err("failed to run storage transaction: BTL is 0".to_owned());
    }
    Ok(Stored {
        owner,
        creator: owner,
        expires_at: block.checked_add(blocks).ok_or(BAD)?,
        strings: annotations(strings, Item::text)?,
        numbers: annotations(numbers, Item::u64)?,
        payload: payload.bytes().ok_or(BAD)?.to_vec(),
    })
}

fn key(item: &Item) -> Result<B256, String> {
    Ok(item.word().ok_or(BAD)?.into())
}

fn owned(entities: &Entities, key: B256, sender: Address, what: &str) -> Result<(), String> {
    let entity = entities.get(&key).ok_or_else(|| format!("failed to {what}: entity {key} not found"))?;
    if entity.owner != sender {
        return Err(format!("failed to {what} entity {key}: {sender} is not the owner"));
    }
    Ok(())
}

/// Does all of it, in the node's order, or fails.
pub(crate) fn run(
    entities: &mut Entities,
    block: u64,
    sender: Address,
    hash: B256,
    data: &[u8],
) -> Result<Vec<Line>, String> {
    let storage = Item::decode(data).ok_or(BAD)?;
    let [creates, updates, deletes, extends] = storage.fields().ok_or(BAD)?;
    let mut lines = Vec::new();
    for (index, create) in (0_u64..).zip(creates.list().ok_or(BAD)?) {
        let [blocks, payload, strings, numbers] = create.fields().ok_or(BAD)?;
        let made = entity(sender, block, [blocks, payload, strings, numbers])?;
        let key = keccak256([hash.as_slice(), &made.payload, &word(index)].concat());
        lines.push((vec![CREATED, key], word(made.expires_at).to_vec()));
        entities.insert(key, made);
    }
    for delete in deletes.list().ok_or(BAD)? {
        let key = key(delete)?;
        owned(entities, key, sender, "delete")?;
        entities.remove(&key);
        lines.push((vec![DELETED, key], Vec::new()));
    }
    for update in updates.list().ok_or(BAD)? {
        let [of, blocks, payload, strings, numbers] = update.fields().ok_or(BAD)?;
        let key = key(of)?;
        owned(entities, key, sender, "update")?;
        let made = entity(sender, block, [blocks, payload, strings, numbers])?;
        lines.push((vec![UPDATED, key], word(made.expires_at).to_vec()));
        entities.insert(key, made);
    }
    for extend in extends.list().ok_or(BAD)? {
        let [of, blocks] = extend.fields().ok_or(BAD)?;
        let key = key(of)?;
        let blocks = blocks.u64().filter(|blocks| *blocks > 0).ok_or("extend: number of blocks is 0")?;
        // This generation lets anyone extend anything.
        let entity = entities.get_mut(&key).ok_or_else(|| format!("extend: entity {key} not found"))?;
        let before = entity.expires_at;
        entity.expires_at = before.checked_add(blocks).ok_or(BAD)?;
        lines.push((vec![EXTENDED, key], [word(before), word(entity.expires_at)].concat()));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;

    /// The bytes, the transaction and the key of the original's own library.
    #[test]
    fn a_golden_create_is_run_and_gets_its_golden_key() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../crates/golem-market/tests/data/golem-base.json"))
                .unwrap();
        let mut checked = 0;
        for transaction in vectors["signed_transactions"].as_array().unwrap() {
            let raw = hex::decode(transaction["raw"].as_str().unwrap()).unwrap();
            let read = crate::transaction::Transaction::decode(&raw).unwrap();
            assert_eq!(read.from.to_string(), transaction["sender"]);
            assert_eq!(read.to, Some(ADDRESS));
            let keys = transaction["node_derived_entity_keys"].as_array().unwrap();
            if keys.is_empty() || transaction["name"] == "legacy_eip155_mixed" {
                continue;
            }
            let mut entities = Entities::new();
            let lines = run(&mut entities, 5, read.from, read.hash, &read.data).unwrap();
            let made: Vec<_> = lines.iter().map(|(topics, _)| topics[1].to_string()).collect();
            assert_eq!(made, keys.iter().map(|key| key.as_str().unwrap()).collect::<Vec<_>>());
            checked += made.len();
        }
        assert_eq!(checked, 4);
    }

    #[test]
    fn what_the_network_refuses_changes_nothing() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../crates/golem-market/tests/data/golem-base.json"))
                .unwrap();
        for (name, refusal) in [
            ("create_btl_zero", "BTL is 0"),
            ("create_duplicate_annotation_keys", "duplicated"),
            ("ints_beyond_u64_encoder_only", "decode"),
            ("provider_update", "not found"),
            ("delete_one", "not found"),
        ] {
            let vector =
                vectors["rlp_vectors"].as_array().unwrap().iter().find(|vector| vector["name"] == name);
            let data = hex::decode(vector.unwrap()["rlp"].as_str().unwrap()).unwrap();
            let error = run(&mut Entities::new(), 5, Address::ZERO, B256::ZERO, &data).unwrap_err();
            assert!(error.contains(refusal), "{name}: {error}");
        }
    }
}
