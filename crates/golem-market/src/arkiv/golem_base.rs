//! Generation 1's calldata: RLP of four lists, with nothing before or around it.
//!
//! Owns the bytes. Never judges them: a lifetime of 0 encodes, and the network refuses it.

use alloy_primitives::{B256, Bytes};
use alloy_rlp::{Encodable, RlpEncodable};

use super::{Annotations, Operation};

/// All operations of a transaction, in the network's order.
#[derive(Debug, Clone, PartialEq, Eq, Default, RlpEncodable)]
pub struct Storage {
    /// What is made.
    pub creates: Vec<Create>,
    /// What is changed.
    pub updates: Vec<Update>,
    /// Keys of what is ended.
    pub deletes: Vec<B256>,
    /// What lives longer.
    pub extends: Vec<Extend>,
}

/// A new entity.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable)]
pub struct Create {
    /// How many blocks it lives.
    pub blocks: u64,
    /// Its content.
    pub payload: Bytes,
    /// Texts by name.
    pub strings: Vec<StringAnnotation>,
    /// Numbers by name.
    pub numbers: Vec<NumericAnnotation>,
}

/// An entity's new content.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable)]
pub struct Update {
    /// Which.
    pub key: B256,
    /// How many blocks it lives from now on.
    pub blocks: u64,
    /// Its content.
    pub payload: Bytes,
    /// Texts by name.
    pub strings: Vec<StringAnnotation>,
    /// Numbers by name.
    pub numbers: Vec<NumericAnnotation>,
}

/// More time for an entity.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable)]
pub struct Extend {
    /// Which.
    pub key: B256,
    /// How many blocks longer it lives.
    pub blocks: u64,
}

/// A text by name.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable)]
pub struct StringAnnotation {
    pub key: String,
    /// The text.
    pub value: String,
}

/// A number by name.
#[derive(Debug, Clone, PartialEq, Eq, RlpEncodable)]
pub struct NumericAnnotation {
    pub key: String,
    /// The number.
    pub value: u64,
}

fn strings(annotations: &Annotations) -> Vec<StringAnnotation> {
    let pairs = annotations.strings.iter().cloned();
    pairs.map(|(key, value)| StringAnnotation { key, value }).collect()
}

fn numbers(annotations: &Annotations) -> Vec<NumericAnnotation> {
    let pairs = annotations.numbers.iter().cloned();
    pairs.map(|(key, value)| NumericAnnotation { key, value }).collect()
}

impl Storage {
    /// The four lists of `operations`.
    #[must_use]
    pub fn of(operations: &[Operation]) -> Self {
        let mut storage = Self::default();
        for operation in operations {
            match operation {
                Operation::Create { blocks, annotations } => storage.creates.push(Create {
                    blocks: *blocks,
                    payload: Bytes::new(),
                    strings: strings(annotations),
                    numbers: numbers(annotations),
                }),
                Operation::Update { key, blocks, annotations, .. } => storage.updates.push(Update {
                    key: *key,
                    blocks: *blocks,
                    payload: Bytes::new(),
                    strings: strings(annotations),
                    numbers: numbers(annotations),
                }),
                Operation::Extend { key, blocks, .. } => {
                    storage.extends.push(Extend { key: *key, blocks: *blocks });
                }
                Operation::Delete { key } => storage.deletes.push(*key),
            }
        }
        storage
    }

    /// The bytes.
    #[must_use]
    pub fn encoded(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(self.length());
        self.encode(&mut bytes);
        bytes.into()
    }
}

/// The calldata of one transaction with all `operations`.
#[must_use]
pub fn encode(operations: &[Operation]) -> Bytes {
    Storage::of(operations).encoded()
}
