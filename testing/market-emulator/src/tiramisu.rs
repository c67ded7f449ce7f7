//! Generation 4's rules, as far as its published sources tell them.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, address, keccak256};
use alloy_sol_types::{SolCall, SolValue, sol};

use crate::entity::{Entities, Line, Stored, word};

pub(crate) const ADDRESS: Address = address!("4400000000000000000000000000000000000044");

sol! {
    #[derive(Debug)]
    struct Cell { bytes32 name; uint8 kind; bytes value; }
    struct Op { uint8 tag; bytes data; }
    struct Create { uint128 salt; uint64 expiresAt; uint64 minLifetime; uint8 flags; Cell[] cells; }
    struct Patch { bytes32 key; Cell[] cells; }
    struct Extend { bytes32 key; uint64 expiresAt; uint64 minLifetime; }
    struct Delete { bytes32 key; }
    function execute(Op[] ops) external returns (bytes32[]);
}

/// Most attributes of a user on an entity.
const ATTRIBUTES: usize = 30;

/// The struct in `data`, if that is its only spelling.
macro_rules! canonical {
    ($kind:ty, $data:expr) => {{
        let decoded = <$kind>::abi_decode(&$data).map_err(|error| error.to_string())?;
        if decoded.abi_encode() != $data.as_ref() {
            return Err("NonCanonicalOperationData".to_owned());
        }
        decoded
    }};
}

fn name(word: B256) -> Result<String, String> {
    let text = word.0.split(|byte| *byte == 0).next().unwrap_or_default();
    if word.0.iter().skip(text.len()).any(|byte| *byte != 0) {
        return Err("Ident32InvalidByte".to_owned());
    }
    let text = String::from_utf8(text.to_vec()).map_err(|_| "Ident32InvalidByte")?;
    let user = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !user && text != "$payload" && text != "$contentType" {
        return Err(format!("Ident32InvalidByte {text}"));
    }
    Ok(text)
}

/// Sets and unsets attributes, each in its only spelling and in strict order.
fn apply(entity: &mut Stored, cells: &[Cell], is_create: bool) -> Result<(), String> {
    if !cells.windows(2).all(|pair| pair[0].name < pair[1].name) {
        return Err("AttributesNotSorted".to_owned());
    }
    for cell in cells {
        let name = name(cell.name)?;
        entity.strings.remove(&name);
        entity.numbers.remove(&name);
        match cell.kind {
            0 if !is_create && cell.value.is_empty() => {}
            3 => {
                let word: [u8; 32] =
                    cell.value.as_ref().try_into().map_err(|_| "a word of another length")?;
                let number = u64::try_from(U256::from_be_bytes(word)).map_err(|_| "dirty padding")?;
                entity.numbers.insert(name, number);
            }
            7 if name == "$payload" => entity.payload = cell.value.to_vec(),
            8 if cell.value.len() <= 128 => {
                let text = String::from_utf8(cell.value.to_vec()).map_err(|_| "not UTF-8")?;
                entity.strings.insert(name, text);
            }
            kind => return Err(format!("InvalidValueType {name} {kind}")),
        }
    }
    if entity.strings.len() + entity.numbers.len() > ATTRIBUTES + 1 {
        return Err("TooManyAttributes".to_owned());
    }
    Ok(())
}

fn owned(entities: &mut Entities, key: B256, sender: Address) -> Result<&mut Stored, String> {
    let entity = entities.get_mut(&key).ok_or_else(|| format!("EntityNotFound {key}"))?;
    if entity.owner != sender {
        return Err(format!("NotOwner {key}"));
    }
    Ok(entity)
}

/// Does all of it, or fails.
pub(crate) fn run(
    entities: &mut Entities,
    block: u64,
    sender: Address,
    hash: B256,
    data: &[u8],
) -> Result<Vec<Line>, String> {
    let call = executeCall::abi_decode(data).map_err(|error| error.to_string())?;
    if call.ops.is_empty() {
        return Err("EmptyBatch".to_owned());
    }
    let owner = sender.into_word();
    let line = |signature: &str, key: B256, words: &[[u8; 32]]| {
        (vec![keccak256(signature), key, owner], words.concat())
    };
    let mut lines = Vec::new();
    for (index, op) in (0_u64..).zip(call.ops) {
        match op.tag {
            1 => {
                let create = canonical!(Create, op.data);
                let expires_at = create.expiresAt.max(block.saturating_add(create.minLifetime));
                if expires_at <= block {
                    return Err("ExpiryDeadOnArrival".to_owned());
                }
                let mut entity = Stored {
                    owner: sender,
                    creator: sender,
                    expires_at,
                    strings: BTreeMap::new(),
                    numbers: BTreeMap::new(),
                    payload: Vec::new(),
                };
                apply(&mut entity, &create.cells, true)?;
                if !entity.strings.contains_key("$contentType") {
                    return Err("no content type".to_owned());
                }
                let salt: [u8; 16] = create.salt.to_be_bytes();
                let key = keccak256([hash.as_slice(), &word(index), &salt].concat());
                let words = [word(expires_at), word(u64::from(create.flags))];
                lines.push(line("EntityCreated(bytes32,address,uint64,uint8)", key, &words));
                entities.insert(key, entity);
            }
            2 => {
                let patch = canonical!(Patch, op.data);
                if patch.cells.is_empty() {
                    return Err("EmptyMutations".to_owned());
                }
                apply(owned(entities, patch.key, sender)?, &patch.cells, false)?;
                lines.push(line("EntityPatched(bytes32,address)", patch.key, &[]));
            }
            3 => {
                let extend = canonical!(Extend, op.data);
                let expires_at = extend.expiresAt.max(block.saturating_add(extend.minLifetime));
                let entity = owned(entities, extend.key, sender)?;
                if expires_at < entity.expires_at {
                    return Err("ExpiryNotExtended".to_owned());
                }
                entity.expires_at = expires_at;
                lines.push(line("ExpiryExtended(bytes32,address,uint64)", extend.key, &[word(expires_at)]));
            }
            5 => {
                let delete = canonical!(Delete, op.data);
                owned(entities, delete.key, sender)?;
                entities.remove(&delete.key);
                lines.push(line("EntityDeleted(bytes32,address)", delete.key, &[]));
            }
            tag => return Err(format!("InvalidOpType {tag}")),
        }
    }
    Ok(lines)
}
