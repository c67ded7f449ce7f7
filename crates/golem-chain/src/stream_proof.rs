//! A stream sender's word for what the stream is to pay.
//!
//! ```text
//!   sender: StreamUse ─► digest (EIP-712) ─► StreamProof ─► text in a create
//!   provider: text ─► StreamProof ─► whose signature is it? ─► is that the stream's sender?
//! ```
//! Owns the typed data and its text. A proof names the VM and the key that may log in, so that whoever sees one can do
//! nothing with it but the same again. Never knows who a stream's sender is.

use alloy_primitives::{Address, B256, hex};
use alloy_sol_types::SolStruct;
use golem_types::StreamId;
use golem_types::wallet::{Wallet, signer_of_hash};

use crate::quote::Place;

mod abi {
    #![allow(missing_docs, reason = "names and types are those of the typed data")]
    alloy_sol_types::sol! {
        struct StreamCreate {
            address provider;
            uint256 streamId;
            string name;
            string sshKey;
            uint64 expiresAt;
        }
        struct StreamAttach {
            address provider;
            uint256 streamId;
            string vmId;
            uint64 expiresAt;
        }
    }
}

/// Bytes of a proof: a time and a signature.
const BYTES: usize = 8 + 65;

/// Longest that a proof counts, in seconds: a day, and some for clocks that differ.
const LONGEST: u64 = 25 * 3600;

/// What a stream is to pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamUse<'a> {
    /// A new VM.
    Create {
        /// What its renter calls it.
        name: &'a str,
        /// The key that may log in, as the create has it.
        ssh_key: &'a str,
    },
    /// A VM that there is.
    Attach {
        /// Its id.
        vm_id: &'a str,
    },
}

/// Which stream, and to whom it pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvenStream {
    /// The chain and its payment contract.
    pub place: Place,
    /// The provider.
    pub provider: Address,
    /// The stream.
    pub id: StreamId,
}

/// Why a text proves nothing. The texts are shown to the renter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// It is no proof.
    #[error("this is not the stream_proof of a stream's use")]
    Form,
    /// Its time is over, or too far away.
    #[error("it has expired, or counts for longer than a day; sign another one")]
    Expired,
    /// It is somebody else's, or for another use.
    #[error("the stream's sender did not sign it for this VM, key, provider and stream")]
    Foreign,
}

/// What is signed.
fn digest(stream: &ProvenStream, wanted: StreamUse<'_>, expires_at: u64) -> B256 {
    let ProvenStream { place, provider, id } = *stream;
    let domain = place.domain("golem-provider stream", "1");
    match wanted {
        StreamUse::Create { name, ssh_key } => abi::StreamCreate {
            provider,
            streamId: id.0,
            name: name.to_owned(),
            sshKey: ssh_key.to_owned(),
            expiresAt: expires_at,
        }
        .eip712_signing_hash(&domain),
        StreamUse::Attach { vm_id } => {
            abi::StreamAttach { provider, streamId: id.0, vmId: vm_id.to_owned(), expiresAt: expires_at }
                .eip712_signing_hash(&domain)
        }
    }
}

/// The text by which `wallet` says that `stream` is to pay `wanted`, until `expires_at`, in seconds since the epoch;
/// `None` only where [`Wallet::sign_hash`] is.
#[must_use]
pub fn sign(
    stream: &ProvenStream,
    wanted: StreamUse<'_>,
    expires_at: u64,
    wallet: &Wallet,
) -> Option<String> {
    let signature = wallet.sign_hash(digest(stream, wanted, expires_at))?.to_bytes();
    let mut bytes = expires_at.to_be_bytes().to_vec();
    bytes.extend(signature);
    Some(hex::encode_prefixed(bytes))
}

/// Whether `text` is the word of `sender` that `stream` is to pay `wanted`, at `now`, in seconds since the epoch.
///
/// # Errors
/// The first [`BadProof`] that applies.
pub fn check(
    text: &str,
    stream: &ProvenStream,
    wanted: StreamUse<'_>,
    sender: Address,
    now: u64,
) -> Result<(), BadProof> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 2 * BYTES).ok_or(BadProof::Form)?;
    let bytes = hex::decode(digits).map_err(|_| BadProof::Form)?;
    let (expires_at, signature) = bytes.split_first_chunk().ok_or(BadProof::Form)?;
    let signature: [u8; 65] = signature.try_into().map_err(|_| BadProof::Form)?;
    let expires_at = u64::from_be_bytes(*expires_at);
    if expires_at <= now || expires_at - now > LONGEST {
        return Err(BadProof::Expired);
    }
    let signer = signer_of_hash(digest(stream, wanted, expires_at), &signature);
    if signer != Some(sender) || sender.is_zero() { Err(BadProof::Foreign) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruint::aliases::U256;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const USE: StreamUse<'_> = StreamUse::Create { name: "web", ssh_key: "ssh-ed25519 AAAA" };

    fn stream() -> ProvenStream {
        ProvenStream {
            place: Place { chain_id: 5, contract: Address::repeat_byte(1) },
            provider: Address::repeat_byte(2),
            id: StreamId(U256::from(7)),
        }
    }

    fn wallet() -> Wallet {
        Wallet::from_bytes(&[3; 32]).unwrap()
    }

    #[test]
    fn a_proof_counts_for_its_sender_use_and_time_only() {
        let (stream, sender) = (stream(), wallet().address());
        let text = sign(&stream, USE, NOW + 3600, &wallet()).unwrap();
        let of = |stream, wanted, sender, now| check(&text, &stream, wanted, sender, now);
        assert_eq!(of(stream, USE, sender, NOW), Ok(()));
        assert_eq!(of(stream, USE, sender, NOW + 3600), Err(BadProof::Expired));
        assert_eq!(of(stream, USE, sender, NOW - LONGEST), Err(BadProof::Expired));
        // M-05
        assert_eq!(of(stream, USE, Address::repeat_byte(9), NOW), Err(BadProof::Foreign));
        let other_key = StreamUse::Create { name: "web", ssh_key: "ssh-ed25519 BBBB" };
        let other_name = StreamUse::Create { name: "db", ssh_key: "ssh-ed25519 AAAA" };
        for wanted in [other_key, other_name, StreamUse::Attach { vm_id: "web" }] {
            assert_eq!(of(stream, wanted, sender, NOW), Err(BadProof::Foreign), "{wanted:?}");
        }
        for other in [
            ProvenStream { id: StreamId(U256::from(8)), ..stream },
            ProvenStream { provider: Address::ZERO, ..stream },
            ProvenStream { place: Place { chain_id: 6, ..stream.place }, ..stream },
        ] {
            assert_eq!(of(other, USE, sender, NOW), Err(BadProof::Foreign), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_panic_or_a_proof(text in "(0x)?[0-9a-fg]{0,150}") {
            prop_assert!(check(&text, &stream(), USE, wallet().address(), NOW).is_err());
        }
    }
}
