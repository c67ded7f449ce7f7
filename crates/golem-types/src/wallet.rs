//! An Ethereum key, and what it signs.
//!
//! Owns the key in memory: no method gives it away but [`Wallet::to_hex`] and [`Wallet::to_bytes`], for the
//! one who writes the key file. Never reads or writes a file, and never logs.

use std::fmt;

use alloy_primitives::{Address, B256, eip191_hash_message, keccak256};
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use ruint::aliases::U256;
use zeroize::Zeroizing;

/// A key and the Ethereum address that follows from it.
#[derive(Clone)]
pub struct Wallet {
    key: SigningKey,
    address: Address,
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A signature that tells its signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// Whether the curve point's y is odd.
    pub y_is_odd: bool,
    /// The signature's r.
    pub r: U256,
    /// The signature's s, in the lower half as Ethereum wants it.
    pub s: U256,
}

impl Signed {
    /// The 65 bytes r, s, v that wallets exchange; v is 27 or 28.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 65] {
        let mut bytes = [0; 65];
        bytes[..32].copy_from_slice(&self.r.to_be_bytes::<32>());
        bytes[32..64].copy_from_slice(&self.s.to_be_bytes::<32>());
        bytes[64] = 27 + u8::from(self.y_is_odd);
        bytes
    }
}

impl Wallet {
    /// The wallet of the key `text`: 64 hexadecimal digits, with or without `0x`.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let text = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = Zeroizing::new([0; 32]);
        alloy_primitives::hex::decode_to_slice(text, &mut *bytes).ok()?;
        Self::from_bytes(&bytes)
    }

    /// The wallet of the key `bytes`; `None` for the few numbers that are no key.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let key = SigningKey::from_slice(bytes).ok()?;
        let address = address_of(key.verifying_key());
        Some(Self { key, address })
    }

    /// The key as 64 hexadecimal digits, to be written where only its owner can read it.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(alloy_primitives::hex::encode(*self.to_bytes()))
    }

    /// The key itself, to be encrypted.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes().into())
    }

    /// The address.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs the hash of a transaction or of typed data. None only for a key for which the
    /// arithmetic has no solution, which nobody has ever seen.
    #[must_use]
    pub fn sign_hash(&self, hash: B256) -> Option<Signed> {
        let (signature, recovery) = self.key.sign_prehash_recoverable(hash.as_slice()).ok()?;
        let (r, s) = signature.split_bytes();
        Some(Signed { y_is_odd: recovery.is_y_odd(), r: U256::from_be_slice(&r), s: U256::from_be_slice(&s) })
    }

    /// Signs `message` as wallets do for people (EIP-191).
    #[must_use]
    pub fn sign_message(&self, message: &[u8]) -> Option<Signed> {
        self.sign_hash(eip191_hash_message(message))
    }
}

/// Who signed `message` (EIP-191) with the 65 bytes `signature`; `None` if that is no signature.
#[must_use]
pub fn signer_of(message: &[u8], signature: &[u8]) -> Option<Address> {
    signer_of_hash(eip191_hash_message(message), signature)
}

/// Who signed `hash`, one of typed data, with the 65 bytes `signature`; `None` if that is no signature.
#[must_use]
pub fn signer_of_hash(hash: B256, signature: &[u8]) -> Option<Address> {
    let (rs, v) = signature.split_at_checked(64)?;
    let &[v] = v else { return None };
    let y_is_odd = match v {
        0 | 27 => false,
        1 | 28 => true,
        _ => return None,
    };
    let signature = Signature::from_slice(rs).ok()?;
    // Its mirror image in the upper half is valid arithmetic and a second signature of one text.
    if signature.normalize_s().is_some() {
        return None;
    }
    let key =
        VerifyingKey::recover_from_prehash(hash.as_slice(), &signature, RecoveryId::new(y_is_odd, false));
    key.ok().map(|key| address_of(&key))
}

fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_encoded_point(false);
    // The first byte of an uncompressed point tells that it is one.
    let hash = keccak256(point.as_bytes().get(1..).unwrap_or_default());
    Address::from_word(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first account of the well-known development mnemonic "test test … junk".
    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn the_address_is_that_of_ethereum_with_its_checksum() {
        let wallet = Wallet::from_hex(KEY).unwrap();
        assert_eq!(wallet.address().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        assert_eq!(*wallet.to_hex(), KEY);
        assert!(!format!("{wallet:?}").contains(&KEY[..8]));
        for bad in ["", "0x", &KEY[1..], &"0".repeat(64), &"f".repeat(64), &format!("{KEY}00")] {
            assert!(Wallet::from_hex(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_signed_message_tells_its_signer_and_no_other() {
        let wallet = Wallet::from_hex(KEY).unwrap();
        let bytes = wallet.sign_message(b"hello").unwrap().to_bytes();
        assert_eq!(signer_of(b"hello", &bytes), Some(wallet.address()));
        assert_ne!(signer_of(b"hullo", &bytes), Some(wallet.address()));
        for length in [0, 1, 64, 66] {
            assert_eq!(signer_of(b"hello", &vec![1; length]), None);
        }
        let mut other = bytes;
        other[64] = 29;
        assert_eq!(signer_of(b"hello", &other), None);
    }
}
