//! Transactions: their bytes, as Ethereum has them.
//!
//! Owns encoding and signing, for chains with EIP-1559 fees and for those without. Never sends
//! anything: [`crate::sender`] does.

use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_rlp::{Encodable, Header};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use golem_types::wallet::{Signed, Wallet};

/// What a unit of gas may cost, in wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fee {
    /// On a chain with a base fee (EIP-1559).
    Market {
        /// Most in all.
        maximum: u128,
        /// Most above the base fee.
        priority: u128,
    },
    /// On a chain with one price (EIP-155).
    Legacy {
        /// The price.
        price: u128,
    },
}

impl Fee {
    /// Most that a unit of gas can cost, in wei.
    #[must_use]
    pub const fn most(self) -> u128 {
        match self {
            Self::Market { maximum, .. } => maximum,
            Self::Legacy { price } => price,
        }
    }

    /// This fee, or `other` where that is more; each of its parts.
    #[must_use]
    pub fn at_least(self, other: Self) -> Self {
        match (self, other) {
            (Self::Market { maximum, priority }, Self::Market { maximum: most, priority: tip }) => {
                Self::Market { maximum: maximum.max(most), priority: priority.max(tip) }
            }
            (Self::Legacy { price }, Self::Legacy { price: other }) => {
                Self::Legacy { price: price.max(other) }
            }
            // A chain does not change its kind; what replaces must be of the kind that was sent.
            (_, other) => other,
        }
    }

    /// A fee with which nodes let a transaction replace one of this fee: an eighth more, where
    /// they ask for a tenth.
    #[must_use]
    pub fn replacing(self) -> Self {
        let more = |fee: u128| fee.saturating_add(fee / 8).saturating_add(1);
        match self {
            Self::Market { maximum, priority } => {
                Self::Market { maximum: more(maximum), priority: more(priority) }
            }
            Self::Legacy { price } => Self::Legacy { price: more(price) },
        }
    }
}

/// A transaction before it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The chain that it is for; it is worth nothing on another.
    pub chain_id: u64,
    /// Its number among those of its sender.
    pub nonce: u64,
    /// What a unit of gas may cost.
    pub fee: Fee,
    /// Most gas that it may use.
    pub gas: u64,
    /// Whom it calls; `None` makes a contract.
    pub to: Option<Address>,
    /// Wei that it carries.
    pub value: U256,
    /// What it says.
    pub data: Bytes,
}

/// A transaction that can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// Its bytes.
    pub raw: Bytes,
    /// Its hash, by which its receipt is asked for.
    pub hash: B256,
}

impl Transaction {
    /// Most that its gas can cost, in wei.
    #[must_use]
    pub fn most_gas_cost(&self) -> U256 {
        U256::from(self.gas).saturating_mul(U256::from(self.fee.most()))
    }

    /// Signs it; `None` only where [`Wallet::sign_hash`] is.
    #[must_use]
    pub fn sign(&self, wallet: &Wallet) -> Option<SignedTransaction> {
        let signed = wallet.sign_hash(keccak256(self.encode(None)))?;
        let raw = self.encode(Some(signed));
        let hash = keccak256(&raw);
        Some(SignedTransaction { raw: raw.into(), hash })
    }

    /// The bytes: those to be signed, or those with the signature.
    fn encode(&self, signed: Option<Signed>) -> Vec<u8> {
        let mut fields = Vec::with_capacity(self.data.len() + 256);
        match self.fee {
            Fee::Market { maximum, priority } => {
                self.chain_id.encode(&mut fields);
                self.nonce.encode(&mut fields);
                priority.encode(&mut fields);
                maximum.encode(&mut fields);
                self.common(&mut fields);
                // No access list.
                Header { list: true, payload_length: 0 }.encode(&mut fields);
                if let Some(Signed { y_is_odd, r, s }) = signed {
                    y_is_odd.encode(&mut fields);
                    r.encode(&mut fields);
                    s.encode(&mut fields);
                }
            }
            Fee::Legacy { price } => {
                self.nonce.encode(&mut fields);
                price.encode(&mut fields);
                self.common(&mut fields);
                // EIP-155: the chain id is signed, and goes into the signature's v.
                match signed {
                    None => {
                        self.chain_id.encode(&mut fields);
                        0u8.encode(&mut fields);
                        0u8.encode(&mut fields);
                    }
                    Some(Signed { y_is_odd, r, s }) => {
                        let v = u128::from(self.chain_id) * 2 + 35 + u128::from(y_is_odd);
                        v.encode(&mut fields);
                        r.encode(&mut fields);
                        s.encode(&mut fields);
                    }
                }
            }
        }
        let mut bytes = Vec::with_capacity(fields.len() + 8);
        if matches!(self.fee, Fee::Market { .. }) {
            bytes.push(2);
        }
        Header { list: true, payload_length: fields.len() }.encode(&mut bytes);
        bytes.extend(fields);
        bytes
    }

    fn common(&self, fields: &mut Vec<u8>) {
        self.gas.encode(fields);
        match self.to {
            Some(to) => to.encode(fields),
            None => Bytes::new().encode(fields),
        }
        self.value.encode(fields);
        self.data.encode(fields);
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, hex};

    use super::*;

    /// The example of EIP-155 itself.
    #[test]
    fn a_legacy_transaction_has_the_bytes_of_eip_155() {
        let wallet = Wallet::from_hex(&"46".repeat(32)).unwrap();
        let transaction = Transaction {
            chain_id: 1,
            nonce: 9,
            fee: Fee::Legacy { price: 20_000_000_000 },
            gas: 21_000,
            to: Some(address!("3535353535353535353535353535353535353535")),
            value: U256::from(1_000_000_000_000_000_000u64),
            data: Bytes::new(),
        };
        let wanted = "f86c098504a817c800825208943535353535353535353535353535353535353535880\
                      de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276\
                      a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83";
        assert_eq!(hex::encode(transaction.sign(&wallet).unwrap().raw), wanted);
    }

    #[test]
    fn a_replacement_pays_at_least_a_tenth_more() {
        for fee in [0u128, 1, 7, 1_000_000_000, u128::MAX - 3] {
            let tenth = fee.saturating_add(fee / 10);
            assert!(Fee::Legacy { price: fee }.replacing().most() >= tenth);
            let Fee::Market { priority, .. } = (Fee::Market { maximum: fee, priority: fee }).replacing()
            else {
                panic!("another kind")
            };
            assert!(priority >= tenth);
        }
    }
}
