//! Generation 4: Arkiv's native registry, written with Solidity's ABI, read with `arkiv_query`.
//!
//! Owns its bytes, its queries' options and the reading of its answers. Never decides.
//!
//! The wire format is that of the published client and node sources of mid-2026, and no live
//! network confirmed it here. Known from them: the selector, the five operations and their
//! structs, canonical encoding, attributes in strict order of their names, type ids, the shapes of
//! `arkiv_query` and of the events. **Assumed**, because nothing that was found says so: that
//! `$contentType` may be `application/octet-stream` with an empty `$payload`, and that an empty
//! text is a valid attribute.

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::{SolCall, SolEvent, SolValue, sol};
use serde::Deserialize;
use serde_json::{Value, json};

use super::event::Event;
use super::{Annotations, Entity, Operation};
use golem_chain::sender::Log;

sol! {
    /// An attribute by name.
    struct Attribute {
        bytes32 name;
        uint8 typeId;
        bytes value;
    }
    /// An operation: a tag, and the struct that it selects.
    struct Tagged {
        uint8 operation;
        bytes operationData;
    }
    struct CreateData {
        uint128 salt;
        uint64 expiresAt;
        uint64 minLifetime;
        uint8 creationFlags;
        Attribute[] attributes;
    }
    struct PatchData {
        bytes32 entityKey;
        Attribute[] mutations;
    }
    struct ExtendData {
        bytes32 entityKey;
        uint64 expiresAt;
        uint64 minLifetime;
    }
    struct DeleteData {
        bytes32 entityKey;
    }
    #[allow(missing_docs)]
    function execute(Tagged[] ops) external returns (bytes32[] keys);

    event EntityCreated(bytes32 indexed entityKey, address indexed owner, uint64 expiresAt, uint8 creationFlags);
    event EntityPatched(bytes32 indexed entityKey, address indexed owner);
    event ExpiryExtended(bytes32 indexed entityKey, address indexed owner, uint64 expiresAt);
    event EntityDeleted(bytes32 indexed entityKey, address indexed owner);
}

/// The tags of operations.
mod tag {
    pub(super) const CREATE: u8 = 1;
    pub(super) const PATCH: u8 = 2;
    pub(super) const EXTEND: u8 = 3;
    pub(super) const DELETE: u8 = 5;
}

/// The types of attributes that adverts use.
mod type_id {
    /// Unsets the attribute; valid in a patch only.
    pub(super) const TOMBSTONE: u8 = 0;
    pub(super) const U64: u8 = 3;
    pub(super) const BYTES: u8 = 7;
    pub(super) const STR: u8 = 8;
}

/// Longest name of an attribute, in bytes.
const NAME_MAXIMUM: usize = 32;

/// Most entities on a page.
const PAGE_MAXIMUM: usize = 200;

/// Most attributes that are read of an entity; the network allows 30 of a user's.
const ATTRIBUTES_MAXIMUM: usize = 256;

/// `text` left-aligned in a word; names that do not fit are cut, and the network refuses them.
fn name(text: &str) -> B256 {
    let bytes = text.as_bytes();
    B256::right_padding_from(bytes.get(..NAME_MAXIMUM).unwrap_or(bytes))
}

fn string(key: &str, text: &str) -> Attribute {
    Attribute { name: name(key), typeId: type_id::STR, value: text.as_bytes().to_vec().into() }
}

fn number(key: &str, number: u64) -> Attribute {
    let word = B256::left_padding_from(&number.to_be_bytes());
    Attribute { name: name(key), typeId: type_id::U64, value: word.to_vec().into() }
}

fn attributes(annotations: &Annotations) -> Vec<Attribute> {
    let strings = annotations.strings.iter().map(|(key, value)| string(key, value));
    strings.chain(annotations.numbers.iter().map(|(key, value)| number(key, *value))).collect()
}

fn sorted(mut attributes: Vec<Attribute>) -> Vec<Attribute> {
    attributes.sort_by_key(|attribute| attribute.name);
    attributes
}

/// What has to be set and unset so that an entity which says `before` says `after`.
fn mutations(before: &Annotations, after: &Annotations) -> Vec<Attribute> {
    let (before, after) = (attributes(before), attributes(after));
    let same = |one: &Attribute, other: &Attribute| {
        one.name == other.name && one.typeId == other.typeId && one.value == other.value
    };
    let gone = before
        .iter()
        .filter(|old| !after.iter().any(|new| new.name == old.name))
        .map(|old| Attribute { name: old.name, typeId: type_id::TOMBSTONE, value: Bytes::new() })
        .collect::<Vec<_>>();
    let set = after.into_iter().filter(|new| !before.iter().any(|old| same(old, new)));
    sorted(set.chain(gone).collect())
}

fn tagged(operation: &Operation, salt: u128) -> Tagged {
    let (tag, data) = match operation {
        Operation::Create { blocks, annotations } => {
            let mut attributes = attributes(annotations);
            attributes.push(Attribute {
                name: name("$payload"),
                typeId: type_id::BYTES,
                value: Bytes::new(),
            });
            attributes.push(string("$contentType", "application/octet-stream"));
            let data = CreateData {
                salt,
                expiresAt: 0,
                minLifetime: *blocks,
                creationFlags: 0,
                attributes: sorted(attributes),
            };
            (tag::CREATE, data.abi_encode())
        }
        Operation::Update { key, before, annotations, .. } => {
            let data = PatchData { entityKey: *key, mutations: mutations(before, annotations) };
            (tag::PATCH, data.abi_encode())
        }
        Operation::Extend { key, blocks, expires_at } => {
            let data =
                ExtendData { entityKey: *key, expiresAt: expires_at.saturating_add(*blocks), minLifetime: 0 };
            (tag::EXTEND, data.abi_encode())
        }
        Operation::Delete { key } => (tag::DELETE, DeleteData { entityKey: *key }.abi_encode()),
    };
    Tagged { operation: tag, operationData: data.into() }
}

/// The calldata of one transaction with all `operations`.
#[must_use]
pub fn encode(operations: &[Operation], salt: u128) -> Bytes {
    let ops = operations.iter().map(|operation| tagged(operation, salt)).collect();
    executeCall { ops }.abi_encode().into()
}

/// What a log of the registry says.
pub(super) fn event(log: &Log) -> Option<Event> {
    let topic = *log.topics.first()?;
    let topics = || log.topics.iter().copied();
    match topic {
        EntityCreated::SIGNATURE_HASH => {
            let event = EntityCreated::decode_raw_log(topics(), &log.data).ok()?;
            Some(Event::Created { key: event.entityKey, expires_at: event.expiresAt })
        }
        EntityPatched::SIGNATURE_HASH => {
            let event = EntityPatched::decode_raw_log(topics(), &log.data).ok()?;
            Some(Event::Updated { key: event.entityKey, expires_at: None })
        }
        ExpiryExtended::SIGNATURE_HASH => {
            let event = ExpiryExtended::decode_raw_log(topics(), &log.data).ok()?;
            Some(Event::Extended { key: event.entityKey, expires_at: event.expiresAt })
        }
        EntityDeleted::SIGNATURE_HASH => {
            let event = EntityDeleted::decode_raw_log(topics(), &log.data).ok()?;
            Some(Event::Deleted { key: event.entityKey })
        }
        _ => None,
    }
}

/// The options of a query for at most `most` entities; `after` is the block and the cursor of the
/// page before.
pub(super) fn options(most: usize, after: Option<&(u64, String)>) -> Value {
    let limit = most.clamp(1, PAGE_MAXIMUM);
    let mut options = json!({
        "select": { "key": true, "owner": true, "expiresAt": true, "attributes": true },
        "limit": format!("{limit:#x}"),
    });
    if let (Some((block, cursor)), Some(options)) = (after, options.as_object_mut()) {
        options.insert("atBlock".to_owned(), format!("{block:#x}").into());
        options.insert("cursor".to_owned(), cursor.as_str().into());
    }
    options
}

/// A page of entities.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) block: u64,
    pub(super) entities: Vec<Entity>,
    pub(super) cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPage {
    data: Vec<RawEntity>,
    block_number: Value,
    #[serde(default)]
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntity {
    key: B256,
    owner: Address,
    expires_at: Value,
    #[serde(default)]
    attributes: Vec<RawAttribute>,
}

#[derive(Deserialize)]
struct RawAttribute {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    value: Value,
}

/// A number that is written as a hexadecimal quantity, or plainly.
fn flexible(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| golem_chain::rpc::quantity(value))
}

impl RawEntity {
    fn read(self) -> Option<Entity> {
        if self.attributes.len() > ATTRIBUTES_MAXIMUM {
            return None;
        }
        let mut annotations = Annotations::default();
        for RawAttribute { name, kind, value } in self.attributes {
            // The network's own attributes, and types that no advert of ours has.
            match (name.starts_with('$'), kind.as_str()) {
                (false, "str") => annotations.strings.push((name, value.as_str()?.to_owned())),
                (false, "u64") => annotations.numbers.push((name, flexible(&value)?)),
                _ => {}
            }
        }
        Some(Entity {
            key: self.key,
            owner: self.owner,
            expires_at: flexible(&self.expires_at)?,
            annotations,
        })
    }
}

/// The page in the answer to a query.
pub(super) fn read_page(answer: &Value) -> Option<Page> {
    let page = RawPage::deserialize(answer).ok()?;
    if page.data.len() > PAGE_MAXIMUM {
        return None;
    }
    Some(Page {
        block: flexible(&page.block_number)?,
        entities: page.data.into_iter().map(RawEntity::read).collect::<Option<_>>()?,
        cursor: page.cursor,
    })
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{hex, keccak256};

    use super::*;

    fn annotations(name: &str, cpu: u64) -> Annotations {
        Annotations {
            strings: vec![
                ("golem_type".to_owned(), "provider".to_owned()),
                ("golem_provider_name".to_owned(), name.to_owned()),
            ],
            numbers: vec![("golem_cpu".to_owned(), cpu)],
        }
    }

    /// The figures that the network's own documentation gives.
    #[test]
    fn selector_and_words_are_the_documented_ones() {
        assert_eq!(executeCall::SELECTOR, [0x49, 0x65, 0x00, 0x44]);
        assert_eq!(executeCall::SELECTOR, keccak256("execute((uint8,bytes)[])")[..4]);
        assert_eq!(
            hex::encode(&number("lifetime", 1800).value),
            "0000000000000000000000000000000000000000000000000000000000000708"
        );
        assert_eq!(hex::encode(&string("name", "maker's").value), "6d616b65722773");
        for (hash, signature) in [
            (EntityCreated::SIGNATURE_HASH, "EntityCreated(bytes32,address,uint64,uint8)"),
            (EntityPatched::SIGNATURE_HASH, "EntityPatched(bytes32,address)"),
            (ExpiryExtended::SIGNATURE_HASH, "ExpiryExtended(bytes32,address,uint64)"),
            (EntityDeleted::SIGNATURE_HASH, "EntityDeleted(bytes32,address)"),
        ] {
            assert_eq!(hash, keccak256(signature), "{signature}");
        }
    }

    #[test]
    fn attributes_are_in_strict_order_of_their_names() {
        let create = Operation::Create { blocks: 7200, annotations: annotations("n", 4) };
        let call = executeCall::abi_decode(&encode(&[create], 7)).unwrap();
        assert_eq!(call.ops[0].operation, 1);
        let data = CreateData::abi_decode(&call.ops[0].operationData).unwrap();
        assert_eq!((data.salt, data.expiresAt, data.minLifetime), (7, 0, 7200));
        assert!(data.attributes.windows(2).all(|pair| pair[0].name < pair[1].name));
        let names: Vec<_> = data
            .attributes
            .iter()
            .map(|attribute| String::from_utf8_lossy(&attribute.name.0).trim_end_matches('\0').to_owned())
            .collect();
        assert_eq!(names, ["$contentType", "$payload", "golem_cpu", "golem_provider_name", "golem_type"]);
    }

    #[test]
    fn an_update_patches_only_what_changed() {
        let mut before = annotations("old", 4);
        before.strings.push(("golem_old".to_owned(), "x".to_owned()));
        let update = Operation::Update {
            key: B256::repeat_byte(2),
            blocks: 7200,
            before,
            annotations: annotations("new", 4),
        };
        let extend = Operation::Extend { key: B256::repeat_byte(2), blocks: 10, expires_at: 100 };
        let call = executeCall::abi_decode(&encode(&[update, extend], 0)).unwrap();
        let patch = PatchData::abi_decode(&call.ops[0].operationData).unwrap();
        let changed: Vec<_> = patch.mutations.iter().map(|change| (change.name, change.typeId)).collect();
        assert_eq!(changed, [(name("golem_old"), 0), (name("golem_provider_name"), 8)]);
        let extend = ExtendData::abi_decode(&call.ops[1].operationData).unwrap();
        assert_eq!((call.ops[1].operation, extend.expiresAt, extend.minLifetime), (3, 110, 0));
    }

    #[test]
    fn a_page_is_read() {
        let key = B256::repeat_byte(5);
        let owner = Address::repeat_byte(6);
        let page = json!({
            "blockNumber": "0x8e1ff",
            "data": [{
                "key": key, "owner": owner, "expiresAt": "0x8e200",
                "attributes": [
                    { "name": "golem_type", "type": "str", "value": "provider" },
                    { "name": "golem_cpu", "type": "u64", "value": "0x4" },
                    { "name": "other", "type": "i32", "value": -4 },
                    { "name": "$contentType", "type": "str", "value": "text/plain" },
                ],
            }],
        });
        let page = read_page(&page).unwrap();
        assert_eq!((page.block, page.cursor), (0x8e1ff, None));
        let entity = &page.entities[0];
        assert_eq!((entity.key, entity.owner, entity.expires_at), (key, owner, 0x8e200));
        assert_eq!(entity.annotations.number("golem_cpu"), Some(4));
        assert_eq!(entity.annotations.strings.len(), 1);
        assert!(read_page(&json!({ "data": [], "blockNumber": null })).is_none());
    }
}
