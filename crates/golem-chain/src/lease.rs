//! Lease quotes: what a provider signs so that a stream of contract version 4 can be opened with it.
//!
//! ```text
//!   provider: what is asked for ─► LeaseTerms ─► terms hash ─► LeaseQuote ─► digest (EIP-712) ─► signature
//!   renter:   createStream(quote, signature): the contract recovers the signer, and burns the lease id
//!   provider: create ─► the same terms hash from what is requested? ─► the stream's
//! ```
//! Owns the two hashes, which equal those that version 4's clients and contract compute. Nothing has to be remembered: the
//! stream holds both. Never decides a price, and never reads a stream.

use alloy_primitives::{Address, B256, Keccak256, U256};
use alloy_sol_types::SolStruct;
use golem_types::Resources;
use golem_types::wallet::Wallet;

use crate::quote::Place;

mod abi {
    #![allow(missing_docs, reason = "names and types are those of the typed data")]
    alloy_sol_types::sol! {
        struct LeaseQuote {
            address recipient;
            uint256 providerDeposit;
            uint128 providerRatePerSecond;
            bytes32 leaseId;
            bytes32 termsHash;
            uint128 quoteExpiresAt;
        }
    }
}

/// What a lease is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms<'a> {
    /// Who rents out, and is paid.
    pub provider: Address,
    /// Who rents.
    pub requestor: Address,
    /// The name of the VM.
    pub name: &'a str,
    /// The image as it was asked for; the provider's default where none was.
    pub image: &'a str,
    /// The size of the VM.
    pub resources: Resources,
    /// The price in the token's smallest unit a second.
    pub rate: u128,
    /// How long it is paid for, in seconds.
    pub duration: u64,
    /// In what it is paid.
    pub token: Address,
    /// The chain and its payment contract.
    pub place: Place,
    /// Tells the lease from every other, and opens one stream.
    pub lease_id: B256,
}

impl LeaseTerms<'_> {
    /// The hash that the quote and the stream hold: Keccak-256 of the values in Solidity's packed form, numbers as 32 bytes.
    #[must_use]
    pub fn hash(&self) -> B256 {
        let Self { resources, place, .. } = self;
        let mut hash = Keccak256::new();
        hash.update("golem-vm-lease-v4");
        hash.update(self.provider);
        hash.update(self.requestor);
        // One after the other without a length, as the clients have it.
        hash.update(self.name);
        hash.update(self.image);
        for size in [resources.cpu, resources.memory, resources.storage] {
            hash.update(U256::from(size).to_be_bytes::<32>());
        }
        hash.update(U256::from(self.rate).to_be_bytes::<32>());
        hash.update(U256::from(self.duration).to_be_bytes::<32>());
        hash.update(place.contract);
        hash.update(self.token);
        hash.update(U256::from(place.chain_id).to_be_bytes::<32>());
        hash.update(self.lease_id);
        hash.finalize()
    }
}

/// What the provider signs. It binds deposit and rate exactly, and neither who pays nor what is donated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseQuote {
    /// Who is paid, and signs.
    pub recipient: Address,
    /// What has to be paid in, in the token's smallest unit.
    pub deposit: U256,
    /// The price in the token's smallest unit a second.
    pub rate: u128,
    /// Tells the lease from every other.
    pub lease_id: B256,
    /// What the lease is for: [`LeaseTerms::hash`].
    pub terms_hash: B256,
    /// Until when a stream may be opened with it, in seconds since the epoch, by the chain's time.
    pub expires_at: u64,
}

impl LeaseQuote {
    /// What is signed.
    #[must_use]
    pub fn digest(&self, place: Place) -> B256 {
        let typed = abi::LeaseQuote {
            recipient: self.recipient,
            providerDeposit: self.deposit,
            providerRatePerSecond: self.rate,
            leaseId: self.lease_id,
            termsHash: self.terms_hash,
            quoteExpiresAt: u128::from(self.expires_at),
        };
        typed.eip712_signing_hash(&place.domain("GolemStreamPayment", "4"))
    }

    /// `wallet`'s signature, as the contract takes it: the 65 bytes r, s, v. `None` only where [`Wallet::sign_hash`] is.
    #[must_use]
    pub fn sign(&self, place: Place, wallet: &Wallet) -> Option<[u8; 65]> {
        Some(wallet.sign_hash(self.digest(place))?.to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, b256, hex};
    use golem_types::wallet::signer_of_hash;
    use proptest::prelude::*;

    use super::*;

    /// The first account of the well-known development mnemonic "test test … junk".
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const PLACE: Place =
        Place { chain_id: 560_048, contract: address!("b5a225b2f82D3eFe743D95bA7Fe3BbC475C0a12E") };

    fn terms() -> LeaseTerms<'static> {
        LeaseTerms {
            provider: address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            requestor: address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            name: "my-vm",
            image: "24.04",
            resources: Resources::new(1, 1, 10),
            rate: 2_000_000_000_000,
            duration: 3600,
            token: address!("55555555555556AcFf9C332Ed151758858bd7a26"),
            place: PLACE,
            lease_id: B256::repeat_byte(0x11),
        }
    }

    fn quote() -> LeaseQuote {
        let terms = terms();
        LeaseQuote {
            recipient: terms.provider,
            deposit: U256::from(terms.rate) * U256::from(terms.duration),
            rate: terms.rate,
            lease_id: terms.lease_id,
            terms_hash: terms.hash(),
            expires_at: 1_780_000_000,
        }
    }

    /// The values are eth-account's and web3.py's, and ethers 6 gives the same.
    #[test]
    fn the_hashes_and_the_signature_are_those_of_other_libraries() {
        assert_eq!(terms().hash(), b256!("2de657d07a06f2b9355a6dfa91b3690801fefbe27ddb0bf979dacdb6c17bbcaa"));
        let second = LeaseTerms {
            name: "web-01",
            resources: Resources::new(4, 8, 80),
            rate: 22_162_410_309_280_001,
            duration: 2_592_000,
            ..terms()
        };
        assert_eq!(second.hash(), b256!("fd943ed43e8ba6c6a9956e66617624d8597a627911c554c27048abfab24aff5e"));
        assert_eq!(
            quote().digest(PLACE),
            b256!("65c8bb7d85d9aaa2b7f5e3db32ee846c5a551c2f5c3af05df399506d36b4b015")
        );
        let signature = quote().sign(PLACE, &Wallet::from_hex(KEY).unwrap()).unwrap();
        assert_eq!(
            hex::encode(signature),
            "c550ef7e8ac57933482e43c278920df7a409b8945435c05f5da20b101f604423\
             57146c80f5adea4c451d846869994a2e6729790d0e185eb4288e39a1a3a54a841c"
        );
        assert_eq!(signer_of_hash(quote().digest(PLACE), &signature), Some(terms().provider));
    }

    proptest! {
        /// A lease with one value changed is another one, and its quote has another signer.
        #[test]
        fn no_value_can_be_another(place in 0usize..11) {
            let mut other = terms();
            match place {
                0 => other.provider = Address::repeat_byte(1),
                1 => other.requestor = Address::repeat_byte(1),
                2 => other.name = "my-vn",
                3 => other.image = "24.05",
                4 => other.resources.cpu += 1,
                5 => other.resources.memory += 1,
                6 => other.resources.storage += 1,
                7 => other.rate += 1,
                8 => other.duration += 1,
                9 => other.token = Address::repeat_byte(1),
                _ => other.lease_id = B256::repeat_byte(1),
            }
            prop_assert_ne!(other.hash(), terms().hash());
            let changed = LeaseQuote { terms_hash: other.hash(), ..quote() };
            prop_assert_ne!(changed.digest(PLACE), quote().digest(PLACE));
        }
    }
}
