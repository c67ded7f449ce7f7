//! A signed transaction, read back to what it says and who signed it.

use alloy_primitives::{Address, B256, U256, keccak256};
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

use crate::rlp::Item;

#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    pub(crate) hash: B256,
    pub(crate) from: Address,
    pub(crate) to: Option<Address>,
    pub(crate) nonce: u64,
    pub(crate) gas: u64,
    /// Most that a unit of gas may cost, in wei.
    pub(crate) price: u128,
    pub(crate) data: Vec<u8>,
    pub(crate) chain_id: u64,
}

/// The RLP of a list of `items`, which are encoded already.
fn list(items: &[u8]) -> Vec<u8> {
    let length = items.len();
    let mut bytes = Vec::with_capacity(length + 9);
    if length < 56 {
        bytes.push(0xc0 + u8::try_from(length).unwrap_or_default());
    } else {
        let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        bytes.push(0xf7 + u8::try_from(digits.len()).unwrap_or_default());
        bytes.extend(digits);
    }
    bytes.extend(items);
    bytes
}

fn string(content: &[u8]) -> Vec<u8> {
    if let [0..0x80] = content {
        return content.to_vec();
    }
    let mut bytes = list(content);
    if let Some(first) = bytes.first_mut() {
        *first -= 0x40;
    }
    bytes
}

fn encode(item: &Item) -> Vec<u8> {
    match item {
        Item::Bytes(bytes) => string(bytes),
        Item::List(items) => list(&items.iter().flat_map(encode).collect::<Vec<_>>()),
    }
}

fn recover(hash: B256, y_is_odd: bool, r: &Item, s: &Item) -> Option<Address> {
    let scalar =
        |item: &Item| -> Option<[u8; 32]> { Some(U256::try_from_be_slice(item.bytes()?)?.to_be_bytes()) };
    let signature = Signature::from_scalars(scalar(r)?, scalar(s)?).ok()?;
    // Ethereum takes only the lower of the two signatures that there are.
    if signature.normalize_s().is_some() {
        return None;
    }
    let recovery = RecoveryId::new(y_is_odd, false);
    let key = VerifyingKey::recover_from_prehash(hash.as_slice(), &signature, recovery).ok()?;
    let point = key.to_encoded_point(false);
    Some(Address::from_word(keccak256(point.as_bytes().get(1..)?)))
}

impl Transaction {
    pub(crate) fn decode(raw: &[u8]) -> Option<Self> {
        match raw.split_first()? {
            (2, rest) => Self::market(raw, rest),
            _ => Self::legacy(raw),
        }
    }

    fn market(raw: &[u8], rest: &[u8]) -> Option<Self> {
        let item = Item::decode(rest)?;
        let fields: &[Item; 12] = item.fields()?;
        let [chain, nonce, priority, maximum, gas, to, value, data, access, y, r, s] = fields;
        if !access.list()?.is_empty() || value.number()? != 0 || priority.number()? > maximum.number()? {
            return None;
        }
        let unsigned: Vec<u8> = fields.iter().take(9).flat_map(encode).collect();
        let hash = keccak256([&[2], list(&unsigned).as_slice()].concat());
        let y_is_odd = match y.u64()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self {
            hash: keccak256(raw),
            from: recover(hash, y_is_odd, r, s)?,
            to: address(to)?,
            nonce: nonce.u64()?,
            gas: gas.u64()?,
            price: maximum.number()?,
            data: data.bytes()?.to_vec(),
            chain_id: chain.u64()?,
        })
    }

    fn legacy(raw: &[u8]) -> Option<Self> {
        let item = Item::decode(raw)?;
        let fields: &[Item; 9] = item.fields()?;
        let [nonce, price, gas, to, _, data, v, r, s] = fields;
        let (chain_id, y_is_odd) = (v.u64()?.checked_sub(35)? / 2, v.u64()? % 2 == 0);
        let chain: Vec<u8> = chain_id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        let mut unsigned: Vec<u8> = fields.iter().take(6).flat_map(encode).collect();
        unsigned.extend(string(&chain));
        unsigned.extend([0x80, 0x80]);
        Some(Self {
            hash: keccak256(raw),
            from: recover(keccak256(list(&unsigned)), y_is_odd, r, s)?,
            to: address(to)?,
            nonce: nonce.u64()?,
            gas: gas.u64()?,
            price: price.number()?,
            data: data.bytes()?.to_vec(),
            chain_id,
        })
    }

    /// Gas for the calldata alone, which is all that these networks charge (EIP-2028 and EIP-7623).
    pub(crate) fn gas_of(data: &[u8]) -> u64 {
        let tokens: u64 = data.iter().map(|byte| if *byte == 0 { 1 } else { 4 }).sum();
        21_000 + 10 * tokens
    }
}

#[expect(clippy::option_option, reason = "the outer one is a mistake, the inner one a new contract")]
fn address(item: &Item) -> Option<Option<Address>> {
    match item.bytes()? {
        [] => Some(None),
        bytes => Address::try_from(bytes).ok().map(Some),
    }
}
