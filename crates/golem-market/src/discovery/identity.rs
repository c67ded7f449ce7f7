//! Who says something, and whether that is proven.
//!
//! Owns what a provider's id and a signature are. A signature is that of Ethereum wallets (EIP-191)
//! over the body's bytes as they are sent; the original's clients send the word `signature`, which
//! proves nothing. Never decides whether proof is needed: the store does.

use std::fmt;
use std::str::FromStr;

use alloy_primitives::{Address, hex};
use golem_types::wallet::{Wallet, signer_of};

/// Longest id, in bytes; an address has 42.
const ID_BYTES: usize = 128;

/// The id of a provider. One that is an Ethereum address is kept with its checksum, whatever way it
/// was written, so that nobody takes another spelling of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(String);

/// A text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a provider id has 1 to {ID_BYTES} visible ASCII characters")]
pub struct NoId;

impl FromStr for ProviderId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        if text.is_empty() || text.len() > ID_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NoId);
        }
        let address = address(text);
        Ok(Self(address.map_or_else(|| text.to_owned(), |address| address.to_checksum(None))))
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ProviderId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn address(text: &str) -> Option<Address> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    hex::decode_to_array::<_, 20>(digits).ok().map(Address::from)
}

/// What a request's two headers claim, and whether it is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The owner of the id's key said this.
    Proven,
    /// Somebody did.
    Unproven,
    /// There is a signature, and it is not the owner's.
    False,
}

impl Claim {
    /// Judges `signature` over `body`, said to be of `id`.
    #[must_use]
    pub fn judge(id: &ProviderId, signature: &str, body: &[u8]) -> Self {
        let digits = signature.strip_prefix("0x").unwrap_or(signature);
        let Ok(bytes) = hex::decode(digits) else { return Self::Unproven };
        if bytes.len() != 65 {
            return Self::Unproven;
        }
        let signer = signer_of(body, &bytes);
        if signer.is_some() && signer == address(id.as_str()) { Self::Proven } else { Self::False }
    }
}

/// The signature of `wallet` over `body`, as its header has it; `None` only for a key that nobody has
/// ever seen.
#[must_use]
pub fn sign(wallet: &Wallet, body: &[u8]) -> Option<String> {
    wallet.sign_message(body).map(|signed| hex::encode_prefixed(signed.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_proves_one_id_and_one_body() {
        let wallet = Wallet::from_hex(&"46".repeat(32)).unwrap();
        let id: ProviderId = wallet.address().to_string().parse().unwrap();
        let signature = sign(&wallet, b"body").unwrap();
        assert_eq!(Claim::judge(&id, &signature, b"body"), Claim::Proven);
        assert_eq!(Claim::judge(&id, &signature[2..], b"body"), Claim::Proven);
        assert_eq!(Claim::judge(&id, &signature, b"other"), Claim::False);
        let other: ProviderId = Address::repeat_byte(1).to_string().parse().unwrap();
        assert_eq!(Claim::judge(&other, &signature, b"body"), Claim::False);
        let named: ProviderId = "a-name".parse().unwrap();
        assert_eq!(Claim::judge(&named, &signature, b"body"), Claim::False);
        for text in ["signature", "0x", "", "0x00", &"0".repeat(128), "ä"] {
            assert_eq!(Claim::judge(&id, text, b"body"), Claim::Unproven, "{text}");
        }
    }

    #[test]
    fn an_address_is_one_id_however_it_is_written() {
        let checksum = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        for spelling in [checksum, &checksum.to_lowercase(), &checksum.to_uppercase()] {
            assert_eq!(spelling.parse::<ProviderId>().unwrap().as_str(), checksum);
        }
        assert_eq!("0xabc".parse::<ProviderId>().unwrap().as_str(), "0xabc");
        for bad in ["", "a b", "a\n", "ä", &"a".repeat(129)] {
            assert!(bad.parse::<ProviderId>().is_err(), "{bad:?}");
        }
    }
}
