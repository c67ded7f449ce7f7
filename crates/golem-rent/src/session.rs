//! The renter's session with one provider: a token, for which the wallet signs.
//!
//! Owns what is signed and where the token is kept: closed to others, and for one wallet, provider and address alone, so that
//! it never goes to another server. Whether it still counts is the provider's to say: this machine's clock may be wrong. Never
//! asks anybody.

use std::io::ErrorKind;
use std::path::PathBuf;

use alloy_primitives::{Address, hex, keccak256};
use golem_chain::session::SessionClaim;
use golem_types::Wallet;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::store::{Store, StoreError};

/// How long a signature counts, in seconds: a day, which leaves hours where the clocks differ by one.
const LIFE: i64 = 24 * 3600;

/// Most bytes of a token.
const TOKEN_BYTES: usize = 4096;

/// A session, as the renter keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    wallet: Wallet,
    provider: Address,
    file: PathBuf,
}

/// `text`, if a header can hold it.
fn token(text: &str) -> Option<String> {
    let fits =
        !text.is_empty() && text.len() <= TOKEN_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
}

impl Session {
    /// The session of `wallet` with `provider`, whose API is at `url`.
    pub(crate) fn new(store: &Store, wallet: &Wallet, provider: Address, url: &str) -> Self {
        let whose = keccak256(format!("{} {provider} {url}", wallet.address()));
        let name = hex::encode(whose.get(..16).unwrap_or_default());
        Self { wallet: wallet.clone(), provider, file: store.path("sessions").join(name) }
    }

    /// The token of the last one; `None` if there was none.
    pub(crate) fn token(&self) -> Option<String> {
        let bytes = golem_files::read(&self.file, TOKEN_BYTES as u64).ok()?;
        token(std::str::from_utf8(&bytes).ok()?)
    }

    /// What asks for a new one; `None` if the key cannot sign it.
    pub(crate) fn request(&self) -> Option<Value> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).ok()?;
        let claim = SessionClaim {
            wallet: self.wallet.address(),
            vm: None,
            nonce: hex::encode(nonce),
            deadline: u64::try_from(Timestamp::now().as_second() + LIFE).ok()?,
        };
        let signature = self.wallet.sign_hash(claim.digest(self.provider))?.to_bytes();
        Some(json!({
            "requestor_address": claim.wallet.to_string(),
            "scope": "provider",
            "nonce": claim.nonce,
            "deadline": claim.deadline,
            "signature": hex::encode_prefixed(signature),
        }))
    }

    /// Keeps the token in `answer`, and gives it; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::File`].
    pub(crate) fn accept(&self, answer: &Value) -> Result<Option<String>, StoreError> {
        let Some(text) = answer["access_token"].as_str().and_then(token) else { return Ok(None) };
        let kept = match self.file.parent() {
            Some(folder) => golem_files::private_folder(folder)
                .and_then(|()| golem_files::replace(&self.file, text.as_bytes())),
            None => Err(ErrorKind::NotFound.into()),
        };
        kept.map_err(|source| StoreError::File { path: self.file.clone(), source })?;
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use golem_types::wire::{OpenSession, parse_session};

    use super::*;

    const PROVIDER: Address = Address::repeat_byte(2);

    /// What asks for a session is what a provider takes, also one whose clock is an hour before or after ours; and a token is
    /// kept for that provider at that address, closed to others.
    #[test]
    fn a_session_is_asked_for_as_providers_take_it_and_its_token_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("renter")).unwrap();
        let wallet = Wallet::from_bytes(&[3; 32]).unwrap();
        let session = Session::new(&store, &wallet, PROVIDER, "https://a.example");
        let asked = session.request().unwrap();
        let OpenSession::TypedData { requestor, nonce, deadline, signature, .. } =
            parse_session(asked.to_string().as_bytes()).unwrap()
        else {
            panic!("{asked}")
        };
        let claim = SessionClaim { wallet: requestor, vm: None, nonce, deadline };
        let now = u64::try_from(Timestamp::now().as_second()).unwrap();
        let signature = hex::decode(signature).unwrap();
        for theirs in [now - 3600, now, now + 3600] {
            assert!(claim.clone().check(PROVIDER, &signature, theirs).is_ok(), "{theirs}");
        }
        assert!(claim.check(Address::repeat_byte(1), &signature, now).is_err());

        assert_eq!(session.token(), None);
        for bad in [json!({}), json!({ "access_token": 7 }), json!({ "access_token": "a\r\nb: c" })] {
            assert_eq!(session.accept(&bad).unwrap(), None, "{bad}");
        }
        session.accept(&json!({ "access_token": "secret" })).unwrap();
        assert_eq!(session.token().as_deref(), Some("secret"));
        let mode = std::fs::metadata(&session.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let others = [
            Session::new(&store, &wallet, PROVIDER, "https://b.example"),
            Session::new(&store, &wallet, Address::repeat_byte(1), "https://a.example"),
        ];
        assert!(others.iter().all(|other| other.token().is_none()));
    }
}
