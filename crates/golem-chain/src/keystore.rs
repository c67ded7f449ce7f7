//! A key encrypted with a passphrase: Web3 secret storage, version 3, as geth and eth-account write and read it.
//!
//! ```text
//!   passphrase ─► scrypt │ pbkdf2 ─► 32 bytes: 16 ─► AES-128-CTR ─► the key
//!                                              16 ─► keccak256(… ‖ ciphertext) = mac: is the passphrase right?
//! ```
//! Owns the format, and what a file of unknown origin may cost to try. Never reads or writes a file, and never says
//! a word of what is in one.

use std::fmt;

use aes::Aes128;
use alloy_primitives::hex;
use alloy_primitives::{Address, keccak256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use golem_types::Wallet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Most memory that a file may ask for, in bytes.
const MEMORY_MAXIMUM: u64 = 512 << 20;

/// Most blocks that scrypt may mix, eight times as many as geth's files ask for: half a minute on a slow machine.
const WORK_MAXIMUM: u64 = 1 << 24;

/// Most rounds of PBKDF2; eth-account takes a million.
const ROUNDS_MAXIMUM: u32 = 10_000_000;

/// Longest salt that is read, in bytes; geth writes 32, eth-account 16.
const SALT_MAXIMUM: usize = 1024;

/// A passphrase; wiped from memory when it is dropped, and never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// The passphrase `text`; `None` if it is empty, which protects nothing.
    #[must_use]
    pub fn new(text: Zeroizing<String>) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// The passphrase as text, to be handed to a process of ours.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why a key is not decrypted, or not encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// The text is no keystore.
    #[error("it is no keystore of version 3")]
    Form,
    /// It uses what none of the known programs write.
    #[error("its {0} is not supported")]
    Unsupported(&'static str),
    /// Trying a passphrase would take too much memory or time.
    #[error(
        "trying a passphrase on it would take more than 512 MiB or half a minute; it was made to do harm, or by a very cautious program"
    )]
    TooDear,
    /// The passphrase is another one.
    #[error("the passphrase is wrong, or the file is damaged")]
    Passphrase,
    /// What was encrypted is no key, or that of another address.
    #[error("it does not hold the key of the address that it names")]
    Key,
    /// There is no randomness for salt and nonce.
    #[error("the operating system gives no randomness")]
    Randomness,
}

/// How much trying a passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// The binary logarithm of scrypt's `n`.
    log_n: u8,
    r: u32,
    p: u32,
}

impl Cost {
    /// As geth's files: 256 MiB and about a second.
    pub const STANDARD: Self = Self { log_n: 18, r: 8, p: 1 };

    /// What tests can pay often.
    #[cfg(test)]
    pub(crate) const TRIVIAL: Self = Self { log_n: 4, r: 8, p: 1 };
}

/// The parts of a file that are read. Numbers and texts are checked where they are used.
#[derive(Deserialize)]
struct File {
    version: u64,
    #[serde(default)]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParameters,
    ciphertext: String,
    kdf: String,
    kdfparams: KdfParameters,
    mac: String,
}

#[derive(Deserialize)]
struct CipherParameters {
    iv: String,
}

#[derive(Serialize, Deserialize)]
struct KdfParameters {
    dklen: u64,
    salt: String,
    #[serde(default)]
    n: u64,
    #[serde(default)]
    r: u32,
    #[serde(default)]
    p: u32,
    #[serde(default)]
    c: u32,
    #[serde(default)]
    prf: String,
}

/// Whether `text` is meant to be a keystore.
#[must_use]
pub fn is_keystore(text: &str) -> bool {
    let object = serde_json::from_str::<Value>(text);
    object.is_ok_and(|object| object.get("crypto").or_else(|| object.get("Crypto")).is_some())
}

/// The address that the keystore `text` names; `None` if it names none.
#[must_use]
pub fn address_of(text: &str) -> Option<Address> {
    serde_json::from_str::<File>(text).ok()?.address()
}

/// The wallet that the keystore `text` holds.
///
/// # Errors
/// [`KeystoreError`].
pub fn decrypt(text: &str, passphrase: &Passphrase) -> Result<Wallet, KeystoreError> {
    let file: File = serde_json::from_str(text).map_err(|_| KeystoreError::Form)?;
    if file.version != 3 {
        return Err(KeystoreError::Unsupported("version"));
    }
    let crypto = &file.crypto;
    if crypto.cipher != "aes-128-ctr" {
        return Err(KeystoreError::Unsupported("cipher"));
    }
    let bytes = |text: &str| hex::decode(text).map_err(|_| KeystoreError::Form);
    let (iv, mac) = (bytes(&crypto.cipherparams.iv)?, bytes(&crypto.mac)?);
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(&crypto.ciphertext, &mut *secret).map_err(|_| KeystoreError::Form)?;
    let derived = derive(&crypto.kdf, &crypto.kdfparams, passphrase)?;
    if mac != authentication(&derived, &*secret) {
        return Err(KeystoreError::Passphrase);
    }
    apply_cipher(&derived, &iv, &mut secret)?;
    let wallet = Wallet::from_bytes(&secret).ok_or(KeystoreError::Key)?;
    if file.address.is_some() && file.address() != Some(wallet.address()) {
        return Err(KeystoreError::Key);
    }
    Ok(wallet)
}

/// The key of `wallet` as a keystore, as geth writes one.
///
/// # Errors
/// [`KeystoreError::Randomness`].
pub fn encrypt(wallet: &Wallet, passphrase: &Passphrase, cost: Cost) -> Result<String, KeystoreError> {
    let mut random = [0; 64];
    getrandom::fill(&mut random).map_err(|_| KeystoreError::Randomness)?;
    let (salt, rest) = random.split_at(32);
    let (iv, id) = rest.split_at(16);
    let kdfparams = KdfParameters {
        dklen: 32,
        salt: hex::encode(salt),
        n: 1 << cost.log_n,
        r: cost.r,
        p: cost.p,
        c: 0,
        prf: String::new(),
    };
    let derived = derive("scrypt", &kdfparams, passphrase)?;
    let mut secret = wallet.to_bytes();
    apply_cipher(&derived, iv, &mut secret)?;
    let KdfParameters { dklen, salt, n, r, p, .. } = kdfparams;
    let file = json!({
        "address": hex::encode(wallet.address()),
        "crypto": {
            "cipher": "aes-128-ctr",
            "ciphertext": hex::encode(*secret),
            "cipherparams": { "iv": hex::encode(iv) },
            "kdf": "scrypt",
            "kdfparams": { "dklen": dklen, "n": n, "p": p, "r": r, "salt": salt },
            "mac": hex::encode(authentication(&derived, &*secret)),
        },
        "id": uuid(id),
        "version": 3,
    });
    Ok(file.to_string())
}

impl File {
    fn address(&self) -> Option<Address> {
        self.address.as_deref()?.parse().ok()
    }
}

/// The 32 bytes that follow from `passphrase` by the function `kdf`.
fn derive(
    kdf: &str,
    parameters: &KdfParameters,
    passphrase: &Passphrase,
) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let KdfParameters { dklen, n, r, p, c, .. } = *parameters;
    // Of more bytes the first 32 are the same ones.
    if !(32..=1024).contains(&dklen) {
        return Err(KeystoreError::Unsupported("dklen"));
    }
    let salt = hex::decode(&parameters.salt).map_err(|_| KeystoreError::Form)?;
    if salt.len() > SALT_MAXIMUM {
        return Err(KeystoreError::Unsupported("salt"));
    }
    let mut derived = Zeroizing::new([0; 32]);
    let passphrase = passphrase.reveal().as_bytes();
    match kdf {
        "scrypt" => {
            if n < 2 || !n.is_power_of_two() || r == 0 || p == 0 {
                return Err(KeystoreError::Unsupported("scrypt"));
            }
            let blocks = n.saturating_mul(r.into());
            // Beside the table of n, scrypt holds p blocks.
            let memory = blocks.saturating_add(u64::from(p).saturating_mul(r.into())).saturating_mul(128);
            if memory > MEMORY_MAXIMUM || blocks.saturating_mul(p.into()) > WORK_MAXIMUM {
                return Err(KeystoreError::TooDear);
            }
            let log_n = u8::try_from(n.ilog2()).map_err(|_| KeystoreError::TooDear)?;
            let parameters = scrypt::Params::new(log_n, r, p);
            let parameters = parameters.map_err(|_| KeystoreError::Unsupported("scrypt"))?;
            scrypt::scrypt(passphrase, &salt, &parameters, &mut *derived)
                .map_err(|_| KeystoreError::Unsupported("scrypt"))?;
        }
        "pbkdf2" => {
            if parameters.prf != "hmac-sha256" || c == 0 {
                return Err(KeystoreError::Unsupported("pbkdf2"));
            }
            if c > ROUNDS_MAXIMUM {
                return Err(KeystoreError::TooDear);
            }
            pbkdf2::pbkdf2_hmac::<pbkdf2::sha2::Sha256>(passphrase, &salt, c, &mut *derived);
        }
        _ => return Err(KeystoreError::Unsupported("kdf")),
    }
    Ok(derived)
}

/// What tells a right passphrase from a wrong one.
fn authentication(derived: &[u8; 32], ciphertext: &[u8]) -> [u8; 32] {
    keccak256([&derived[16..], ciphertext].concat()).0
}

/// Encrypts or decrypts `secret`, which is the same.
fn apply_cipher(derived: &[u8; 32], iv: &[u8], secret: &mut [u8; 32]) -> Result<(), KeystoreError> {
    let cipher = Ctr128BE::<Aes128>::new_from_slices(&derived[..16], iv);
    cipher.map_err(|_| KeystoreError::Form)?.apply_keystream(secret);
    Ok(())
}

/// 16 random bytes as the text of a UUID of version 4.
fn uuid(random: &[u8]) -> String {
    let number = random.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let number = number & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let text = format!("{number:032x}");
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the test vectors in the definition of the format.
    const KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    const PBKDF2: &str = r#"{"crypto": {"cipher": "aes-128-ctr", "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46", "kdf": "pbkdf2",
        "kdfparams": {"c": 262144, "dklen": 32, "prf": "hmac-sha256",
        "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3}"#;

    const SCRYPT: &str = r#"{"crypto": {"cipher": "aes-128-ctr", "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c", "kdf": "scrypt",
        "kdfparams": {"dklen": 32, "n": 262144, "p": 8, "r": 1,
        "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
        "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"},
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6", "version": 3}"#;

    /// What eth-account 0.13.7 wrote, of either function: `Account.encrypt(KEY, "correct horse ⚡ battery", kdf=…, iterations=…)`,
    /// with 4096 rounds of PBKDF2 and scrypt as it is by default.
    const ETH_ACCOUNT: [&str; 2] = [
        r#"{"address": "008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b", "crypto": {"cipher": "aes-128-ctr",
        "cipherparams": {"iv": "04ac61077a06110cd895652f318135e7"},
        "ciphertext": "6ca7ba4ec58145f1b09398e7190ce3efbef1c8f5504e2ba216ca2f11c4574a65", "kdf": "scrypt",
        "kdfparams": {"dklen": 32, "n": 262144, "r": 8, "p": 1, "salt": "9e6df2080d4d13d1f6f733e81002cc67"},
        "mac": "2d84e838002fbe053f35a5990b9e8b64bf31a0d95e39c8d58284abaaa260d619"},
        "id": "0d10c7fb-e5a8-4ba6-a42a-2c7bd53c7c8e", "version": 3}"#,
        r#"{"address": "008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b", "crypto": {"cipher": "aes-128-ctr",
        "cipherparams": {"iv": "35c9f48ae15492c950e336c8909f8217"},
        "ciphertext": "82be2ed10d01687fd180c2390f9983eb8003a0092fccc240dfba3e92eddcd371", "kdf": "pbkdf2",
        "kdfparams": {"c": 4096, "dklen": 32, "prf": "hmac-sha256",
        "salt": "8136d755816a0c8f4f6d8a83381c2a97"},
        "mac": "853ff0198da7fdbb8ea45344e7be58d930df26e38e808574f8233a2d9d0357df"},
        "id": "a167ce4b-b95d-4f95-bd8e-edc1684555af", "version": 3}"#,
    ];

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    /// M-15: the definition's own vectors, of both functions.
    #[test]
    fn the_vectors_of_the_definition_are_decrypted() {
        for text in [PBKDF2, SCRYPT] {
            let wallet = decrypt(text, &passphrase("testpassword")).unwrap();
            assert_eq!(*wallet.to_hex(), KEY);
            assert_eq!(
                wallet.address().to_string().to_lowercase(),
                "0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b"
            );
            assert_eq!(decrypt(text, &passphrase("testpassworD")).unwrap_err(), KeystoreError::Passphrase);
        }
    }

    /// M-15: a key that the original's clients keep can be imported; that they read ours is shown with the published program.
    #[test]
    fn m_15_what_eth_account_wrote_is_decrypted() {
        for text in ETH_ACCOUNT {
            assert!(is_keystore(text));
            let wallet = decrypt(text, &passphrase("correct horse ⚡ battery")).unwrap();
            assert_eq!(*wallet.to_hex(), KEY);
            assert_eq!(address_of(text), Some(wallet.address()));
        }
    }

    #[test]
    fn what_is_encrypted_is_decrypted_by_its_passphrase_alone() {
        let wallet = Wallet::from_hex(KEY).unwrap();
        let right = passphrase("correct horse ⚡ battery");
        let text = encrypt(&wallet, &right, Cost::TRIVIAL).unwrap();
        assert!(is_keystore(&text) && !text.contains(KEY) && !text.contains("horse"));
        assert_eq!(address_of(&text), Some(wallet.address()));
        assert_eq!(*decrypt(&text, &right).unwrap().to_hex(), KEY);
        assert_eq!(decrypt(&text, &passphrase("another")).unwrap_err(), KeystoreError::Passphrase);
        assert_ne!(text, encrypt(&wallet, &right, Cost::TRIVIAL).unwrap(), "salt and nonce are drawn anew");
        assert!(Passphrase::new(Zeroizing::new(String::new())).is_none());
        assert!(!format!("{right:?}").contains("horse"));
        let object: Value = serde_json::from_str(&text).unwrap();
        let id = object["id"].as_str().unwrap();
        assert_eq!((id.len(), id.as_bytes()[14], id.as_bytes()[8]), (36, b'4', b'-'));
        // As some programs write it.
        let capital = text.replace("\"crypto\"", "\"Crypto\"");
        assert!(is_keystore(&capital) && decrypt(&capital, &right).is_ok());
    }

    /// A file from outside takes neither the memory nor the time of the machine.
    #[test]
    fn a_hostile_or_damaged_file_is_refused_before_it_costs_anything() {
        let scrypt = |n: &str, r: &str, p: &str| {
            let dear = SCRYPT.replace("262144", n).replace("\"r\": 1", &format!("\"r\": {r}"));
            dear.replace("\"p\": 8", &format!("\"p\": {p}"))
        };
        let rounds = |c: &str| PBKDF2.replace("262144", c);
        for (text, error) in [
            (scrypt("8388608", "8", "1"), KeystoreError::TooDear),
            (scrypt("262144", "8", "4294967295"), KeystoreError::TooDear),
            (scrypt("2", "4294967295", "4294967295"), KeystoreError::TooDear),
            (scrypt("9223372036854775808", "1", "1"), KeystoreError::TooDear),
            (scrypt("262143", "1", "8"), KeystoreError::Unsupported("scrypt")),
            (scrypt("0", "1", "8"), KeystoreError::Unsupported("scrypt")),
            (scrypt("1", "1", "8"), KeystoreError::Unsupported("scrypt")),
            (scrypt("262144", "0", "8"), KeystoreError::Unsupported("scrypt")),
            (scrypt("262144", "1", "-8"), KeystoreError::Form),
            (rounds("4294967295"), KeystoreError::TooDear),
            (rounds("0"), KeystoreError::Unsupported("pbkdf2")),
            (SCRYPT.replace("\"dklen\": 32", "\"dklen\": 16"), KeystoreError::Unsupported("dklen")),
            (SCRYPT.replace("\"dklen\": 32", "\"dklen\": 99999999"), KeystoreError::Unsupported("dklen")),
            (SCRYPT.replace("aes-128-ctr", "none"), KeystoreError::Unsupported("cipher")),
            (SCRYPT.replace("\"scrypt\"", "\"argon2\""), KeystoreError::Unsupported("kdf")),
            (SCRYPT.replace("\"version\": 3", "\"version\": 4"), KeystoreError::Unsupported("version")),
            (SCRYPT.replace("d172bf", "d172b"), KeystoreError::Form),
            (SCRYPT.replace("83dbcc02", "83db"), KeystoreError::Form),
            ("{}".to_owned(), KeystoreError::Form),
        ] {
            // What is of the right form has to be derived before its nonce is looked at.
            let cheap = text.replace("\"n\": 262144", "\"n\": 2");
            let refused = decrypt(
                if error == KeystoreError::Form { &cheap } else { &text },
                &passphrase("testpassword"),
            );
            let refused = refused.unwrap_err();
            assert!(
                refused == error || (error == KeystoreError::Form && refused == KeystoreError::Passphrase),
                "{text}: {refused}"
            );
        }
        let salt = SCRYPT.replace("ab0c7876", &"ab".repeat(2000));
        assert_eq!(decrypt(&salt, &passphrase("x")).unwrap_err(), KeystoreError::Unsupported("salt"));
    }

    #[test]
    fn a_key_under_another_address_is_refused() {
        let wallet = Wallet::from_hex(KEY).unwrap();
        let right = passphrase("right");
        let text = encrypt(&wallet, &right, Cost::TRIVIAL).unwrap();
        let address = hex::encode(wallet.address());
        let other = text.replace(&address, &"11".repeat(20));
        assert_eq!(decrypt(&other, &right).unwrap_err(), KeystoreError::Key);
        let none = text.replace(&address, "nobody");
        assert_eq!(decrypt(&none, &right).unwrap_err(), KeystoreError::Key);
    }
}
