//! Asking a network for entities.
//!
//! Owns the questions and the reading of answers, none of which is trusted: an owner is compared
//! here again, and what makes no sense is an error, never an empty market.

use alloy_primitives::{Address, B256, hex};
use serde::Deserialize;
use serde_json::{Value, json};

use super::advert::names;
use super::{Annotations, Entity, Generation, Profile, tiramisu};
use golem_chain::rpc::{ChainError, Rpc, quantity};

/// Most entities of one's own that are looked at in one go; there should be one.
const OWN_MAXIMUM: usize = 100;

/// Most annotations of an entity. The networks' own limits are far below.
const ANNOTATIONS_MAXIMUM: usize = 256;

/// Reads a network.
#[derive(Debug, Clone)]
pub struct Client {
    rpc: Rpc,
    generation: Generation,
    chain_id: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryResult {
    /// The block at which the network was asked, or an earlier one.
    pub block: u64,
    /// What was found, by key.
    pub entities: Vec<Entity>,
    /// Whether there is more than was asked for.
    pub more: bool,
}

impl Client {
    /// A client of the network `profile` at the endpoint `rpc`.
    #[must_use]
    pub const fn new(rpc: Rpc, profile: &Profile) -> Self {
        Self { rpc, generation: profile.generation, chain_id: profile.chain_id }
    }

    /// The protocol of the network.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// The adverts of the provider `id` that are `owner`'s. Anyone can write an advert with
    /// another's id; such adverts are left out.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn own(&self, id: Address, owner: Address) -> Result<QueryResult, ChainError> {
        let name = names::PROVIDER_ID;
        let id = id.to_checksum(None);
        let lower = hex::encode_prefixed(owner);
        let query = match self.generation {
            // In which case nodes keep an owner is not promised.
            Generation::GolemBase => {
                format!("{name}=\"{id}\" && ($owner=\"{lower}\" || $owner=\"{}\")", owner.to_checksum(None))
            }
            Generation::Tiramisu => format!("{name} = str('{id}') AND $creator = addr({lower})"),
        };
        let mut seen = self.find(&query, OWN_MAXIMUM).await?;
        seen.entities
            .retain(|entity| entity.owner == owner && entity.annotations.string(name) == Some(id.as_str()));
        Ok(seen)
    }

    /// At most `most` of the entities that `query` finds.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn find(&self, query: &str, most: usize) -> Result<QueryResult, ChainError> {
        match self.generation {
            Generation::GolemBase => self.find_golem_base(query, most).await,
            Generation::Tiramisu => self.find_tiramisu(query, most).await,
        }
    }

    fn check_chain(&self, answer: Option<&Value>) -> Result<(), ChainError> {
        let found = answer.and_then(quantity).ok_or(ChainError::Nonsense("no chain id"))?;
        if found != self.chain_id {
            return Err(ChainError::WrongChain { found, expected: self.chain_id });
        }
        Ok(())
    }

    async fn find_golem_base(&self, query: &str, most: usize) -> Result<QueryResult, ChainError> {
        // The block first: what is found is then at least as new as it.
        let answers = self
            .rpc
            .calls(&[
                ("eth_chainId", json!([])),
                ("eth_blockNumber", json!([])),
                ("golembase_queryEntities", json!([query])),
            ])
            .await?;
        self.check_chain(answers.first())?;
        let block = answers.get(1).and_then(quantity).ok_or(ChainError::Nonsense("no block number"))?;
        let (keys, more) = answers
            .get(2)
            .and_then(|found| keys(found, most))
            .ok_or(ChainError::Nonsense("no list of entities"))?;
        let calls: Vec<_> = keys.iter().map(|key| ("golembase_getEntityMetaData", json!([key]))).collect();
        let answers = self.rpc.calls(&calls).await?;
        let entities = keys
            .into_iter()
            .zip(&answers)
            .map(|(key, metadata)| read_metadata(key, metadata))
            .collect::<Option<_>>()
            .ok_or(ChainError::Nonsense("an entity's metadata that is none"))?;
        Ok(QueryResult { block, entities, more })
    }

    async fn find_tiramisu(&self, query: &str, most: usize) -> Result<QueryResult, ChainError> {
        let mut entities = Vec::new();
        let mut at: Option<(u64, String)> = None;
        loop {
            let options = tiramisu::options(most - entities.len(), at.as_ref());
            let answers = self
                .rpc
                .calls(&[("eth_chainId", json!([])), ("arkiv_query", json!([query, options]))])
                .await?;
            self.check_chain(answers.first())?;
            let page = answers
                .get(1)
                .and_then(tiramisu::read_page)
                .ok_or(ChainError::Nonsense("no page of entities"))?;
            let found = page.entities.len();
            entities.extend(page.entities);
            let full = entities.len() >= most;
            match page.cursor {
                // A page without entities that promises another could go on for ever.
                Some(cursor) if !full && found > 0 => at = Some((page.block, cursor)),
                cursor => {
                    entities.truncate(most);
                    return Ok(QueryResult { block: page.block, entities, more: cursor.is_some() });
                }
            }
        }
    }
}

/// At most `most` of the keys in the answer to a query, and whether there are more.
fn keys(found: &Value, most: usize) -> Option<(Vec<B256>, bool)> {
    // Older nodes say null for none.
    if found.is_null() {
        return Some((Vec::new(), false));
    }
    let found = found.as_array()?;
    let keys = found
        .iter()
        .take(most)
        .map(|entity| entity.get("key")?.as_str()?.parse().ok())
        .collect::<Option<_>>()?;
    Some((keys, found.len() > most))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    expires_at_block: u64,
    owner: Address,
    #[serde(default)]
    string_annotations: Option<Vec<Pair<String>>>,
    #[serde(default)]
    numeric_annotations: Option<Vec<Pair<u64>>>,
}

#[derive(Deserialize)]
struct Pair<T> {
    key: String,
    value: T,
}

fn pairs<T>(list: Option<Vec<Pair<T>>>) -> Option<Vec<(String, T)>> {
    let list = list.unwrap_or_default();
    (list.len() <= ANNOTATIONS_MAXIMUM)
        .then(|| list.into_iter().map(|Pair { key, value }| (key, value)).collect())
}

fn read_metadata(key: B256, metadata: &Value) -> Option<Entity> {
    let metadata = Metadata::deserialize(metadata).ok()?;
    Some(Entity {
        key,
        owner: metadata.owner,
        expires_at: metadata.expires_at_block,
        annotations: Annotations {
            strings: pairs(metadata.string_annotations)?,
            numbers: pairs(metadata.numeric_annotations)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_may_be_null_and_numbers_fill_64_bits() {
        let metadata = json!({
            "expiresAtBlock": 7201, "owner": "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f",
            "stringAnnotations": null, "numericAnnotations": [{ "key": "n", "value": u64::MAX }],
        });
        let entity = read_metadata(B256::ZERO, &metadata).unwrap();
        assert_eq!((entity.expires_at, entity.annotations.number("n")), (7201, Some(u64::MAX)));
        assert_eq!(keys(&Value::Null, 5), Some((vec![], false)));
        assert_eq!(keys(&json!([{ "key": B256::ZERO, "value": null }]), 0), Some((vec![], true)));
        assert_eq!(keys(&json!([{ "key": "0x12" }]), 5), None);
    }

    /// Any JSON, with the names that are looked for.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,70}".prop_map(Value::from),
            "0x[0-9a-f]{0,70}".prop_map(Value::from),
            Just(json!(B256::repeat_byte(7))),
            Just(json!(Address::repeat_byte(7))),
        ];
        let name = "key|value|name|type|owner|data|cursor|blockNumber|expiresAt|expiresAtBlock\
                    |attributes|stringAnnotations|numericAnnotations|str|u64";
        leaf.prop_recursive(5, 60, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                proptest::collection::btree_map(name, inner, 0..8)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_makes_a_panic(value in any_json()) {
            let _ = keys(&value, 3);
            let _ = read_metadata(B256::ZERO, &value);
            let _ = tiramisu::read_page(&value);
        }
    }
}
