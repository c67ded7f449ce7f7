//! Sessions: a wallet's word that whoever holds a token may act as it, for a while.
//!
//! ```text
//!   typed data (EIP-712), as clients of contract version 4 sign it ──┐
//!   a sign-in message (EIP-4361), as any wallet shows it             ├─► whose, of what, until when, which nonce
//! ```
//! Owns what is signed and whether it is for this provider and time. Never remembers a nonce, and never makes a token.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{Eip712Domain, SolStruct, eip712_domain};
use golem_types::wallet::{signer_of, signer_of_hash};
use jiff::Timestamp;

mod provider_scope {
    #![allow(missing_docs, reason = "names and types are those of the typed data")]
    alloy_sol_types::sol! {
        struct ProviderSession {
            address provider;
            address requestor;
            string scope;
            string nonce;
            uint256 deadline;
        }
    }
}

mod vm_scope {
    #![allow(missing_docs, reason = "names and types are those of the typed data")]
    alloy_sol_types::sol! {
        struct ProviderSession {
            address provider;
            address requestor;
            string vmId;
            string scope;
            string nonce;
            uint256 deadline;
        }
    }
}

/// Latest that a signature may count, in seconds from now: a week, so that a nonce need not be remembered for longer.
pub const LONGEST: u64 = 7 * 86_400;

/// Characters of a nonce.
const NONCE: std::ops::RangeInclusive<usize> = 8..=128;

/// Most bytes of a sign-in message.
const MESSAGE: usize = 4096;

/// Longest VM id that is looked at, in bytes.
const VM_ID: usize = 128;

/// Whose session, of what, and until when; the signature is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionClaim {
    /// The wallet.
    pub wallet: Address,
    /// The one VM that it is for; `None` for all of the wallet's.
    pub vm: Option<String>,
    /// Tells the signature from every other of the wallet.
    pub nonce: String,
    /// Until when the signature counts, in seconds since the epoch.
    pub deadline: u64,
}

/// Why a signature opens no session. The texts are shown to the renter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSession {
    /// It is not one that this provider understands.
    #[error("{0}")]
    Form(&'static str),
    /// Its time is over.
    #[error("the session's deadline is over; sign another one (and check the clock)")]
    Expired,
    /// It would count for longer than a week.
    #[error("the session's deadline is more than a week away; sign one that ends earlier")]
    TooLong,
    /// It is for a later time.
    #[error("the session does not count yet")]
    Early,
    /// It is for somebody else.
    #[error("the message was signed for another provider")]
    OtherProvider,
    /// The wallet did not sign it, or signed something else.
    #[error("this wallet did not sign that session for this provider")]
    Signature,
}

impl SessionClaim {
    /// What a wallet signs (EIP-712).
    #[must_use]
    pub fn digest(&self, provider: Address) -> B256 {
        let domain: Eip712Domain = eip712_domain! { name: "GolemProviderSession", version: "1", };
        let (requestor, nonce, deadline) = (self.wallet, self.nonce.clone(), U256::from(self.deadline));
        match &self.vm {
            None => {
                let scope = "provider".to_owned();
                provider_scope::ProviderSession { provider, requestor, scope, nonce, deadline }
                    .eip712_signing_hash(&domain)
            }
            Some(vm) => {
                let (scope, vm_id) = ("vm".to_owned(), vm.clone());
                vm_scope::ProviderSession { provider, requestor, vmId: vm_id, scope, nonce, deadline }
                    .eip712_signing_hash(&domain)
            }
        }
    }

    /// The claim, if its wallet signed it for `provider` and it counts at `now`, in seconds since the epoch.
    ///
    /// # Errors
    /// The first [`BadSession`] that applies.
    pub fn check(self, provider: Address, signature: &[u8], now: u64) -> Result<Self, BadSession> {
        self.check_time(now)?;
        self.check_nonce()?;
        if self.vm.as_ref().is_some_and(|vm| vm.is_empty() || vm.len() > VM_ID) {
            return Err(BadSession::Form("vm_id is no id of a VM"));
        }
        let signer = signer_of_hash(self.digest(provider), signature);
        self.signed_by(signer)
    }

    /// The claim, if `signer` is its wallet.
    fn signed_by(self, signer: Option<Address>) -> Result<Self, BadSession> {
        let is_signed = signer == Some(self.wallet) && !self.wallet.is_zero();
        if is_signed { Ok(self) } else { Err(BadSession::Signature) }
    }

    fn check_nonce(&self) -> Result<(), BadSession> {
        if NONCE.contains(&self.nonce.chars().count()) {
            Ok(())
        } else {
            Err(BadSession::Form("the nonce must have 8 to 128 characters"))
        }
    }

    fn check_time(&self, now: u64) -> Result<(), BadSession> {
        if self.deadline <= now {
            return Err(BadSession::Expired);
        }
        if self.deadline - now > LONGEST { Err(BadSession::TooLong) } else { Ok(()) }
    }

    /// The claim of a sign-in message (EIP-4361) that its wallet signed, for `provider`, at `now`. Pages sign for their own
    /// domain, so that this says nothing here: the message has to name the provider among its resources, as
    /// `golem-provider:<address>`.
    ///
    /// # Errors
    /// The first [`BadSession`] that applies.
    pub fn of_message(
        message: &str,
        provider: Address,
        signature: &[u8],
        now: Timestamp,
    ) -> Result<Self, BadSession> {
        let read = SignIn::read(message).ok_or(BadSession::Form("this is no sign-in message (EIP-4361)"))?;
        let seconds = |time: Timestamp| u64::try_from(time.as_second()).unwrap_or_default();
        let expires = read.expires.ok_or(BadSession::Form("the sign-in message has no Expiration Time"))?;
        let claim =
            Self { wallet: read.wallet, vm: None, nonce: read.nonce.to_owned(), deadline: seconds(expires) };
        claim.check_time(seconds(now))?;
        if read.not_before.is_some_and(|from| from > now) {
            return Err(BadSession::Early);
        }
        claim.check_nonce()?;
        let own = |resource: &&str| {
            resource.strip_prefix("golem-provider:").and_then(|text| text.parse().ok()) == Some(provider)
        };
        if !read.resources.iter().any(own) {
            return Err(BadSession::OtherProvider);
        }
        claim.signed_by(signer_of(message.as_bytes(), signature))
    }
}

/// What a sign-in message says.
struct SignIn<'a> {
    wallet: Address,
    nonce: &'a str,
    expires: Option<Timestamp>,
    not_before: Option<Timestamp>,
    resources: Vec<&'a str>,
}

impl<'a> SignIn<'a> {
    /// Reads the message line by line, in the order of EIP-4361.
    fn read(message: &'a str) -> Option<Self> {
        if message.len() > MESSAGE {
            return None;
        }
        let mut lines = message.split('\n');
        lines.next()?.strip_suffix(" wants you to sign in with your Ethereum account:")?;
        let wallet = Address::parse_checksummed(lines.next()?, None).ok()?;
        if !lines.next()?.is_empty() {
            return None;
        }
        // A statement of one line, and an empty line, or the empty line alone.
        if !lines.next()?.is_empty() && !lines.next()?.is_empty() {
            return None;
        }
        lines.next()?.strip_prefix("URI: ")?;
        if lines.next()? != "Version: 1" {
            return None;
        }
        lines.next()?.strip_prefix("Chain ID: ")?.parse::<u64>().ok()?;
        let nonce = lines.next()?.strip_prefix("Nonce: ")?;
        nonce.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(())?;
        lines.next()?.strip_prefix("Issued At: ")?.parse::<Timestamp>().ok()?;
        let mut read = Self { wallet, nonce, expires: None, not_before: None, resources: Vec::new() };
        let mut rest = lines.peekable();
        if let Some(text) = rest.peek().and_then(|line| line.strip_prefix("Expiration Time: ")) {
            read.expires = Some(text.parse().ok()?);
            rest.next();
        }
        if let Some(text) = rest.peek().and_then(|line| line.strip_prefix("Not Before: ")) {
            read.not_before = Some(text.parse().ok()?);
            rest.next();
        }
        if rest.peek().is_some_and(|line| line.starts_with("Request ID: ")) {
            rest.next();
        }
        if rest.peek() == Some(&"Resources:") {
            rest.next();
            for line in rest.by_ref() {
                read.resources.push(line.strip_prefix("- ")?);
            }
        }
        rest.next().is_none().then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{address, b256};
    use golem_types::Wallet;
    use proptest::prelude::*;

    use super::*;

    /// The second account of the well-known development mnemonic "test test … junk".
    const KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
    const PROVIDER: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    const NOW: u64 = 1_780_000_000 - 3600;

    fn wallet() -> Wallet {
        Wallet::from_hex(KEY).unwrap()
    }

    fn claim() -> SessionClaim {
        SessionClaim {
            wallet: wallet().address(),
            vm: None,
            nonce: "nonce-0001".to_owned(),
            deadline: 1_780_000_000,
        }
    }

    fn signed(claim: &SessionClaim, provider: Address) -> [u8; 65] {
        wallet().sign_hash(claim.digest(provider)).unwrap().to_bytes()
    }

    /// The value is eth-account's, and ethers 6 gives the same.
    #[test]
    fn the_digest_is_that_of_other_libraries() {
        let digest = b256!("d9c88799a4bbf0c3a89786c29ac4aabc326c71ada88687baf6bedafa2cfcc03e");
        assert_eq!(claim().digest(PROVIDER), digest);
        assert_ne!(SessionClaim { vm: Some("web".to_owned()), ..claim() }.digest(PROVIDER), digest);
    }

    #[test]
    fn a_session_counts_for_its_wallet_provider_scope_and_time_only() {
        let signature = signed(&claim(), PROVIDER);
        let check = |claim: SessionClaim, provider, now| claim.check(provider, &signature, now);
        assert_eq!(check(claim(), PROVIDER, NOW), Ok(claim()));
        assert_eq!(check(claim(), PROVIDER, 1_780_000_000), Err(BadSession::Expired));
        assert_eq!(check(claim(), PROVIDER, 1_780_000_000 - LONGEST - 1), Err(BadSession::TooLong));
        assert_eq!(check(claim(), Address::ZERO, NOW), Err(BadSession::Signature));
        for other in [
            SessionClaim { wallet: Address::repeat_byte(1), ..claim() },
            SessionClaim { vm: Some("web".to_owned()), ..claim() },
            SessionClaim { nonce: "nonce-0002".to_owned(), ..claim() },
            SessionClaim { deadline: 1_780_000_001, ..claim() },
        ] {
            assert_eq!(check(other, PROVIDER, NOW), Err(BadSession::Signature));
        }
        for nonce in ["short", &"n".repeat(129)] {
            let other = SessionClaim { nonce: nonce.to_owned(), ..claim() };
            let signature = signed(&other, PROVIDER);
            assert!(matches!(other.check(PROVIDER, &signature, NOW), Err(BadSession::Form(_))), "{nonce}");
        }
        let vm = SessionClaim { vm: Some("web".to_owned()), ..claim() };
        let signature = signed(&vm, PROVIDER);
        assert_eq!(vm.clone().check(PROVIDER, &signature, NOW), Ok(vm));
    }

    fn message(change: impl Fn(String) -> String) -> String {
        change(format!(
            "rent.example wants you to sign in with your Ethereum account:\n{}\n\nRent a machine\n\n\
             URI: https://rent.example/login\nVersion: 1\nChain ID: 560048\nNonce: abcdefgh12345678\n\
             Issued At: 2026-05-28T19:00:00Z\nExpiration Time: 2026-05-28T20:26:40.000Z\n\
             Resources:\n- https://rent.example/terms\n- golem-provider:{PROVIDER}",
            wallet().address()
        ))
    }

    fn of_message(text: &str) -> Result<SessionClaim, BadSession> {
        let signature = wallet().sign_message(text.as_bytes()).unwrap().to_bytes();
        let now = Timestamp::from_second(i64::try_from(NOW).unwrap()).unwrap();
        SessionClaim::of_message(text, PROVIDER, &signature, now)
    }

    #[test]
    fn a_sign_in_message_opens_a_session_of_its_provider() {
        let read = of_message(&message(|text| text)).unwrap();
        assert_eq!((read.wallet, read.deadline), (wallet().address(), 1_780_000_000));
        assert!(of_message(&message(|text| text.replace("Rent a machine\n", ""))).is_ok(), "no statement");
        for (wrong, why) in [
            ("Version: 1", "Version: 2"),
            ("wants you", "wants him"),
            ("Nonce: abcdefgh", "Nonce: abc-efgh"),
            ("Chain ID: 560048", "Chain ID: x"),
            ("Issued At: 2026", "Issued At: x"),
            ("Resources:\n- ", "Resources:\n* "),
            ("Expiration Time: 2026-05-28T20:26:40.000Z\n", ""),
            ("Nonce: abcdefgh12345678", "Nonce: abc"),
        ] {
            let text = message(|text| text.replace(wrong, why));
            assert!(matches!(of_message(&text), Err(BadSession::Form(_))), "{text}");
        }
        let with = |from: &str, to: &str| of_message(&message(|text| text.replace(from, to)));
        assert_eq!(with(&PROVIDER.to_string(), &Address::ZERO.to_string()), Err(BadSession::OtherProvider));
        assert_eq!(with("Time: 2026-05-28T20", "Time: 2026-05-28T19"), Err(BadSession::Expired));
        assert_eq!(with("Time: 2026-05-28T20", "Time: 2027-05-28T20"), Err(BadSession::TooLong));
        assert_eq!(
            with("Resources:", "Not Before: 2026-05-28T20:00:00Z\nResources:"),
            Err(BadSession::Early)
        );
        let foreign = message(|text| text.replace(&wallet().address().to_string(), &PROVIDER.to_string()));
        assert_eq!(of_message(&foreign), Err(BadSession::Signature));
    }

    proptest! {
        #[test]
        fn no_message_makes_a_panic(text in "[ -~\n]{0,300}") {
            let _ = SignIn::read(&text);
        }
    }
}
