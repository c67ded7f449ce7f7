//! Quotes: a price that a provider promises, signed, so that neither side can say otherwise.
//!
//! ```text
//!   provider: Quote ─► digest (EIP-712) ─► SignedQuote ─► id, JSON
//!   renter:   JSON  ─► SignedQuote ─► is it the provider's? ─► pays that rate, names the id
//!   provider: id    ─► SignedQuote ─► is it mine, for this, not over? ─► holds itself to it
//! ```
//! Owns the typed data, its signature, and the text that names a quote. That text holds all of it, so
//! that nothing has to be remembered and a restart forgets nothing. Never decides a price.

use alloy_primitives::{Address, B256, FixedBytes, hex};
use alloy_sol_types::{Eip712Domain, SolStruct};
use golem_types::Resources;

use golem_types::wallet::{Wallet, signer_of_hash};

mod abi {
    #![allow(missing_docs, reason = "names and types are those of the typed data")]
    alloy_sol_types::sol! {
        /// Sizes in whole CPUs and GiB, the rate in wei of the token, the time in seconds since the epoch.
        struct Quote {
            address provider;
            uint32 cpu;
            uint32 memoryGb;
            uint32 storageGb;
            address token;
            uint128 ratePerSecond;
            uint64 expiresAt;
            bytes16 nonce;
        }
    }
}

/// Bytes of an id: three sizes, rate, time, nonce, signature.
const ID_BYTES: usize = 3 * 4 + 16 + 8 + 16 + 65;

/// What a quote is worth nothing outside of: the chain and its payment contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The chain.
    pub chain_id: u64,
    /// The payment contract.
    pub contract: Address,
}

impl Place {
    /// The domain (EIP-712) in which what is called `name`, in its version `version`, is signed.
    pub(crate) fn domain(self, name: &'static str, version: &'static str) -> Eip712Domain {
        Eip712Domain::new(
            Some(name.into()),
            Some(version.into()),
            Some(alloy_primitives::U256::from(self.chain_id)),
            Some(self.contract),
            None,
        )
    }
}

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Who promises, and who is paid.
    pub provider: Address,
    /// What for.
    pub resources: Resources,
    /// In what it is paid; zero is the chain's own money.
    pub token: Address,
    /// Wei a second.
    pub rate: u128,
    /// Until when a create may name it, in seconds since the epoch.
    pub expires_at: u64,
    /// Tells it from every other.
    pub nonce: [u8; 16],
}

/// A quote and its provider's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedQuote {
    /// The quote.
    pub quote: Quote,
    /// The 65 bytes r, s, v that wallets exchange.
    pub signature: [u8; 65],
}

/// Why a create cannot be held to the quote that it names. The texts are shown to the renter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadQuote {
    /// It is no id.
    #[error("this is not the quote_id of a quote")]
    Form,
    /// Somebody else's, for another contract or token, or made up.
    #[error("this provider did not sign it for the contract and token in which it is paid")]
    Foreign,
    /// Its time is over.
    #[error("it has expired; ask for another one")]
    Expired,
    /// It is for a VM of another size.
    #[error("it is for {} CPU, {} GB of memory and {} GB of storage, which is not what is requested", .0.cpu, .0.memory, .0.storage)]
    Resources(Resources),
}

impl Quote {
    /// What is signed.
    #[must_use]
    pub fn digest(&self, place: Place) -> B256 {
        let typed = abi::Quote {
            provider: self.provider,
            cpu: self.resources.cpu,
            memoryGb: self.resources.memory,
            storageGb: self.resources.storage,
            token: self.token,
            ratePerSecond: self.rate,
            expiresAt: self.expires_at,
            nonce: FixedBytes(self.nonce),
        };
        typed.eip712_signing_hash(&place.domain("golem-provider quote", "1"))
    }

    /// The quote with `wallet`'s signature; `None` only where [`Wallet::sign_hash`] is.
    #[must_use]
    pub fn sign(self, place: Place, wallet: &Wallet) -> Option<SignedQuote> {
        let signature = wallet.sign_hash(self.digest(place))?.to_bytes();
        Some(SignedQuote { quote: self, signature })
    }
}

impl SignedQuote {
    /// Whether its provider signed it for `place`.
    #[must_use]
    pub fn is_genuine(&self, place: Place) -> bool {
        signer_of_hash(self.quote.digest(place), &self.signature) == Some(self.quote.provider)
    }

    /// The text by which a create names it.
    #[must_use]
    pub fn id(&self) -> String {
        let Quote { resources, rate, expires_at, nonce, .. } = self.quote;
        let mut bytes = Vec::with_capacity(ID_BYTES);
        for size in [resources.cpu, resources.memory, resources.storage] {
            bytes.extend(size.to_be_bytes());
        }
        bytes.extend(rate.to_be_bytes());
        bytes.extend(expires_at.to_be_bytes());
        bytes.extend(nonce);
        bytes.extend(self.signature);
        hex::encode_prefixed(bytes)
    }

    /// The quote that `id` names, if it is one of `provider` for streams of `token`, which only its
    /// signature tells.
    #[must_use]
    pub fn read(id: &str, provider: Address, token: Address) -> Option<Self> {
        let digits = id.strip_prefix("0x").filter(|digits| digits.len() == 2 * ID_BYTES)?;
        let bytes = hex::decode(digits).ok()?;
        let (cpu, rest) = bytes.split_first_chunk()?;
        let (memory, rest) = rest.split_first_chunk()?;
        let (storage, rest) = rest.split_first_chunk()?;
        let (rate, rest) = rest.split_first_chunk()?;
        let (expires_at, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let size = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
        let quote = Quote {
            provider,
            resources: Resources::new(size(cpu), size(memory), size(storage)),
            token,
            rate: u128::from_be_bytes(*rate),
            expires_at: u64::from_be_bytes(*expires_at),
            nonce: *nonce,
        };
        Some(Self { quote, signature: rest.try_into().ok()? })
    }

    /// The quote that a create names by `id`, if `provider` is held to it at `now`, in seconds since
    /// the epoch, for a VM of `resources` that is paid in `token` at `place`.
    ///
    /// # Errors
    /// The first [`BadQuote`] that applies.
    pub fn named(
        id: &str,
        (provider, token, place): (Address, Address, Place),
        resources: Resources,
        now: u64,
    ) -> Result<Quote, BadQuote> {
        let signed = Self::read(id, provider, token).ok_or(BadQuote::Form)?;
        if !signed.is_genuine(place) {
            return Err(BadQuote::Foreign);
        }
        if signed.quote.expires_at <= now {
            return Err(BadQuote::Expired);
        }
        if signed.quote.resources != resources {
            return Err(BadQuote::Resources(signed.quote.resources));
        }
        Ok(signed.quote)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::address;
    use proptest::prelude::*;

    use super::*;

    /// The first account of the well-known development mnemonic "test test … junk".
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const NOW: u64 = 1_800_000_000;
    const PLACE: Place =
        Place { chain_id: 31_337, contract: address!("5FbDB2315678afecb367f032d93F642f64180aa3") };

    fn signed() -> SignedQuote {
        let wallet = Wallet::from_hex(KEY).unwrap();
        let quote = Quote {
            provider: wallet.address(),
            resources: Resources::new(2, 4, 20),
            token: Address::ZERO,
            rate: 15_220_700_152_207,
            expires_at: NOW + 900,
            nonce: [7; 16],
        };
        quote.sign(PLACE, &wallet).unwrap()
    }

    fn named(id: &str, resources: Resources, now: u64) -> Result<Quote, BadQuote> {
        SignedQuote::named(id, (signed().quote.provider, Address::ZERO, PLACE), resources, now)
    }

    /// Both values are eth-account's. The interop suite has it check a node's own quote.
    #[test]
    fn the_digest_and_the_signature_are_those_of_eip_712() {
        let signed = signed();
        assert_eq!(hex::encode(signed.quote.digest(PLACE)), DIGEST);
        assert_eq!(hex::encode(signed.signature), SIGNATURE);
        assert!(signed.is_genuine(PLACE));
    }

    const DIGEST: &str = "d47f44998ad752263d8cc93ac3be3f1aa2e95da2c0538b49a0d8cad911a6287a";
    const SIGNATURE: &str = "370f0cc2d2e82b7a2b99e469bf8297255f00d39ea4e3732438500d358ef38022\
                             2072e6e9a56df17252a52ae3078fda89e7a824cde3598bbce064826eb93f14b71b";

    #[test]
    fn a_quote_counts_for_its_provider_place_size_and_time_only() {
        let signed = signed();
        let (id, quote) = (signed.id(), signed.quote);
        let wanted = quote.resources;
        assert_eq!(named(&id, wanted, NOW), Ok(quote));
        assert_eq!(named(&id, wanted, NOW + 900), Err(BadQuote::Expired));
        let larger = Resources { memory: 8, ..wanted };
        assert_eq!(named(&id, larger, NOW), Err(BadQuote::Resources(wanted)));
        for bad in ["", "0x", "123", &id[2..], &id[..id.len() - 2], &format!("{id}00"), &id.replace('7', "g")]
        {
            assert_eq!(named(bad, wanted, NOW), Err(BadQuote::Form), "{bad}");
        }
        let terms = (quote.provider, quote.token, PLACE);
        let foreign = |terms| SignedQuote::named(&id, terms, wanted, NOW);
        assert_eq!(foreign(terms), Ok(quote));
        let other = address!("0000000000000000000000000000000000000001");
        for terms in [
            (other, quote.token, PLACE),
            (quote.provider, other, PLACE),
            (quote.provider, quote.token, Place { chain_id: 1, ..PLACE }),
            (quote.provider, quote.token, Place { contract: other, ..PLACE }),
        ] {
            assert_eq!(foreign(terms), Err(BadQuote::Foreign), "{terms:?}");
        }
    }

    proptest! {
        /// No byte of an id can be another and the quote still count.
        #[test]
        fn a_changed_quote_is_not_the_providers(at in 0..2 * ID_BYTES, digit in "[0-9a-f]") {
            let id = signed().id();
            let mut forged = id.clone();
            forged.replace_range(at + 2..at + 3, &digit);
            prop_assert_eq!(named(&forged, signed().quote.resources, NOW).is_ok(), forged == id);
        }

        #[test]
        fn no_text_makes_a_panic(text in "(0x)?[0-9a-f]{0,300}") {
            let _ = SignedQuote::read(&text, Address::ZERO, Address::ZERO);
        }

        #[test]
        fn an_id_reads_back(sizes in any::<[u32; 3]>(), rate in any::<u128>(), expires_at in any::<u64>(), nonce in any::<[u8; 16]>()) {
            let quote = Quote {
                resources: Resources::new(sizes[0], sizes[1], sizes[2]), rate, expires_at, nonce, ..signed().quote
            };
            let signed = SignedQuote { quote, ..signed() };
            prop_assert_eq!(SignedQuote::read(&signed.id(), quote.provider, quote.token), Some(signed));
        }
    }
}
