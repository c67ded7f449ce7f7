//! Sessions: what a wallet that has proven itself may do, with a token in place of a signature.
//!
//! ```text
//!   a signed claim ─► nonce used up ─► session ─► token (shown once)
//!                                         └─► narrower ones: one VM, read only, until a time ─► …
//!   ended: by its time, by its wallet, with the session that it was minted from
//! ```
//! Owns who holds which session; the ledger keeps them over a restart, tokens as their hashes alone. Never verifies a signature
//! ([`golem_chain::session`] does), and never decides what a route needs.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256, hex, keccak256};
use golem_chain::session::SessionClaim;
use golem_types::stream::timestamp;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::ledger::{Ledger, LedgerError};
use crate::vm::owner_of;

/// Longest that a session for all of a wallet's VMs lasts, in seconds: as the clients of contract version 4 expect.
const WALLET_LIFE: i64 = 86_400;

/// The same of one that was signed for a single VM.
const VM_LIFE: i64 = 900;

/// Most sessions of a wallet.
const MOST_OF_WALLET: usize = 100;

/// Most of all: 1 KB each, about. Wallets cost nothing, so those that rent nothing give way.
const MOST: usize = 20_000;

/// How every token begins, so that people and scanners know one.
const PREFIX: &str = "golem-session-";

/// Who acts, on what, until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Names it, and gives no right.
    pub id: String,
    /// The wallet that it acts as.
    pub wallet: Address,
    /// The one VM that it is for, by name or id; `None` for all of the wallet's.
    pub vm: Option<String>,
    /// Whether it changes nothing.
    pub read_only: bool,
    /// The session that it was minted from.
    pub parent: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a narrower session is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrower {
    /// The one VM that it is for, by name or id.
    pub vm: Option<String>,
    /// Whether it changes nothing.
    pub read_only: bool,
    /// How long it lasts at most, in seconds; as long as the one that it is minted from if `None`.
    pub seconds: Option<u64>,
}

/// Why there is no session. The texts are shown to the renter.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The signature was used before.
    #[error("this nonce was used before; sign another one")]
    NonceUsed,
    /// There are as many as are kept.
    #[error("too many sessions; end some, or try again later")]
    TooMany,
    /// It would reach further than the one that it is minted from.
    #[error("a token can only be minted for what its holder may do")]
    Wider,
    /// No randomness can be had.
    #[error("no token can be made")]
    Random,
    /// The ledger failed.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
}

/// The sessions of a node; clones share them.
#[derive(Clone)]
pub struct Sessions {
    ledger: Ledger,
    /// By the hash of the token.
    open: Arc<Mutex<HashMap<B256, Session>>>,
    /// Told whenever one ended before its time.
    ended: Arc<watch::Sender<()>>,
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], SessionError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|_| SessionError::Random)?;
    Ok(bytes)
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

impl Sessions {
    /// The sessions that `ledger` keeps.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub(crate) async fn load(ledger: Ledger, now: Timestamp) -> Result<Self, LedgerError> {
        let open = ledger.sessions(now).await?.into_iter().collect();
        Ok(Self { ledger, open: Arc::new(Mutex::new(open)), ended: Arc::new(watch::channel(()).0) })
    }

    /// Tells whenever a session ended before its time, but not which.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<()> {
        self.ended.subscribe()
    }

    fn open<T>(&self, use_them: impl FnOnce(&mut HashMap<B256, Session>) -> T) -> T {
        use_them(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The session of a claim whose signature was verified, and its token.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn begin(
        &self,
        claim: SessionClaim,
        now: Timestamp,
    ) -> Result<(String, Session), SessionError> {
        let SessionClaim { wallet, vm, nonce, deadline } = claim;
        let deadline = timestamp(deadline.into()).unwrap_or(Timestamp::MAX);
        self.ledger.use_nonce(wallet, nonce, deadline, now).await??;
        let life = if vm.is_some() { VM_LIFE } else { WALLET_LIFE };
        self.add(wallet, vm, false, None, deadline.min(after(now, life)), now).await
    }

    /// A session that may do no more than `holder`, and its token.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn mint(
        &self,
        holder: &Session,
        narrower: Narrower,
        now: Timestamp,
    ) -> Result<(String, Session), SessionError> {
        let Narrower { vm, read_only, seconds } = narrower;
        let is_wider = holder.vm.is_some() && vm.is_some() && vm != holder.vm;
        if is_wider || (holder.read_only && !read_only) {
            return Err(SessionError::Wider);
        }
        let wanted = seconds.map(|seconds| after(now, i64::try_from(seconds).unwrap_or(WALLET_LIFE)));
        let expires_at = wanted.map_or(holder.expires_at, |wanted| wanted.min(holder.expires_at));
        let vm = vm.or_else(|| holder.vm.clone());
        self.add(holder.wallet, vm, read_only, Some(holder.id.clone()), expires_at, now).await
    }

    async fn add(
        &self,
        wallet: Address,
        vm: Option<String>,
        read_only: bool,
        parent: Option<String>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(String, Session), SessionError> {
        self.make_room(wallet, parent.as_deref(), now).await?;
        let token = format!("{PREFIX}{}", hex::encode(random::<32>()?));
        let id = hex::encode(random::<8>()?);
        let session = Session { id, wallet, vm, read_only, parent, created_at: now, expires_at };
        let hash = keccak256(&token);
        self.ledger.keep_session(hash, session.clone(), now).await?;
        // What it is minted from may have ended meanwhile.
        let is_kept = self.open(|open| {
            let counts = |parent: &String| open.values().any(|session| session.id == *parent);
            let is_kept = session.parent.as_ref().is_none_or(counts);
            if is_kept {
                open.insert(hash, session.clone());
            }
            is_kept
        });
        if !is_kept {
            self.ledger.end_sessions(vec![session.id]).await?;
            return Err(SessionError::Wider);
        }
        Ok((token, session))
    }

    /// Ends what is over. Where there are too many, the oldest of those that rent nothing end; a wallet that signs again is kept
    /// out by no token that was minted: its oldest of those ends.
    async fn make_room(
        &self,
        wallet: Address,
        parent: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        let (of_wallet, all) = self.open(|open| {
            open.retain(|_, session| session.expires_at > now);
            (open.values().filter(|session| session.wallet == wallet).count(), open.len())
        });
        if of_wallet >= MOST_OF_WALLET {
            let minted = self.open(|open| {
                let of_wallet =
                    open.iter().filter(|(_, session)| session.wallet == wallet && session.parent.is_some());
                let oldest = of_wallet.min_by_key(|(_, session)| session.created_at).map(|(hash, _)| *hash);
                oldest.filter(|_| parent.is_none()).and_then(|hash| open.remove(&hash))
            });
            let ended = minted.ok_or(SessionError::TooMany)?;
            self.ended.send_replace(());
            self.ledger.end_sessions(vec![ended.id]).await?;
        }
        if all < MOST {
            return Ok(());
        }
        let rentals = self.ledger.now();
        let renters: BTreeSet<&str> = rentals.iter().map(|rental| rental.vm.owner.as_str()).collect();
        let surplus = self.open(|open| {
            let idle =
                open.iter().filter(|(_, session)| !renters.contains(owner_of(session.wallet).as_str()));
            let mut idle: Vec<_> =
                idle.map(|(hash, session)| (session.created_at, *hash, session.id.clone())).collect();
            idle.sort();
            idle.truncate(MOST / 8);
            idle.iter().for_each(|(_, hash, _)| drop(open.remove(hash)));
            idle
        });
        if surplus.is_empty() {
            return Err(SessionError::TooMany);
        }
        self.ended.send_replace(());
        Ok(self.ledger.end_sessions(surplus.into_iter().map(|(.., id)| id).collect()).await?)
    }

    /// The session of `token` that counts at `now`.
    #[must_use]
    pub fn of(&self, token: &str, now: Timestamp) -> Option<Session> {
        let hash = keccak256(token);
        self.open(|open| open.get(&hash).filter(|session| session.expires_at > now).cloned())
    }

    /// Sessions of the wallet of `holder` that count at `now`, oldest first; those that `holder` minted, if it is not for all
    /// that the wallet has.
    #[must_use]
    pub fn seen_by(&self, holder: &Session, now: Timestamp) -> Vec<Session> {
        let all = holder.vm.is_none() && !holder.read_only;
        let is_seen = |session: &&Session| {
            session.wallet == holder.wallet
                && session.expires_at > now
                && (all || session.id == holder.id || session.parent.as_ref() == Some(&holder.id))
        };
        let mut seen: Vec<Session> = self.open(|open| open.values().filter(is_seen).cloned().collect());
        seen.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        seen
    }

    /// Ends the session `id` that `holder` sees, and all that were minted from it; says whether there was one.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub async fn end(&self, holder: &Session, id: &str, now: Timestamp) -> Result<bool, LedgerError> {
        if !self.seen_by(holder, now).iter().any(|session| session.id == id) {
            return Ok(false);
        }
        let ended = self.open(|open| {
            let mut ended = BTreeSet::from([id.to_owned()]);
            // Those that were minted from one that ends, until there are no more.
            loop {
                let more: Vec<String> = open
                    .values()
                    .filter(|session| session.parent.as_ref().is_some_and(|parent| ended.contains(parent)))
                    .map(|session| session.id.clone())
                    .filter(|id| !ended.contains(id))
                    .collect();
                if more.is_empty() {
                    break;
                }
                ended.extend(more);
            }
            open.retain(|_, session| !ended.contains(&session.id));
            ended
        });
        self.ended.send_replace(());
        self.ledger.end_sessions(ended.into_iter().collect()).await?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sessions() -> (tempfile::TempDir, Sessions) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.db")).unwrap();
        (folder, Sessions::load(ledger, Timestamp::now()).await.unwrap())
    }

    fn claim(nonce: &str) -> SessionClaim {
        let deadline = u64::try_from(Timestamp::now().as_second()).unwrap() + 3600;
        SessionClaim { wallet: Address::repeat_byte(7), vm: None, nonce: nonce.to_owned(), deadline }
    }

    #[tokio::test]
    async fn no_minted_token_keeps_its_wallet_out_and_none_is_minted_from_one_that_ended() {
        let ((_folder, sessions), now) = (sessions().await, Timestamp::now());
        let (_, first) = sessions.begin(claim("nonce-0001"), now).await.unwrap();
        let narrow = Narrower { vm: Some("one".to_owned()), read_only: true, seconds: None };
        let (_, looker) = sessions.mint(&first, narrow.clone(), now).await.unwrap();
        while sessions.mint(&looker, narrow.clone(), now).await.is_ok() {}
        assert_eq!(sessions.seen_by(&first, now).len(), MOST_OF_WALLET);
        assert!(sessions.begin(claim("nonce-0002"), now).await.is_ok(), "a signature gets in");
        assert_eq!(sessions.seen_by(&first, now).len(), MOST_OF_WALLET);
        sessions.end(&first, &first.id, now).await.unwrap();
        assert!(matches!(sessions.mint(&looker, narrow, now).await, Err(SessionError::Wider)));
    }
}
