//! Test money from a faucet behind a proof-of-work captcha.
//!
//! ```text
//!   challenge ─► solve (all cores) ─► redeem ─► ask for money ─► transaction
//! ```
//! Owns the exchange and the work, both bounded: a server that asks for too much work, or answers too
//! much, is refused. Never decides whether money is needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::{Address, hex};
use golem_service::http::{Client, HttpError, Options};
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Longest that one exchange may take; a faucet answers when its transaction is sent.
const DEADLINE: Duration = Duration::from_secs(60);

/// Longest that may be worked for one request.
const WORK: Duration = Duration::from_secs(600);

/// Most puzzles of one challenge; the known servers ask for 50.
const PUZZLES: usize = 1000;

/// Largest target, in bytes: three are 16 million hashes a puzzle.
const TARGET_BYTES: usize = 4;

/// Largest answer.
const ANSWER_BYTES: usize = 1 << 20;

/// A wallet with this much, a hundredth of a coin in wei, asks no faucet: the original's figure.
pub const ENOUGH: U256 = U256::from_limbs([10_000_000_000_000_000, 0, 0, 0]);

/// Why no test money came.
#[derive(Debug, thiserror::Error)]
pub enum FaucetError {
    /// A server did not answer, or not in time.
    #[error("the {server} does not answer{through}", server = .0, through = .1.through())]
    NoAnswer(&'static str, #[source] HttpError),
    /// A server refused.
    #[error("the {server} refused with HTTP status {status}: {text}")]
    Refused {
        /// `captcha server` or `faucet`.
        server: &'static str,
        status: u16,
        /// The beginning of what it said.
        text: String,
    },
    /// An answer that makes no sense.
    #[error("the {0}'s answer makes no sense")]
    Nonsense(&'static str),
    /// More work than is reasonable.
    #[error("the captcha server asks for too much work")]
    TooMuchWork,
    /// It was given up.
    #[error("given up")]
    Cancelled,
}

/// A faucet; in a network's profile too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faucet {
    /// The faucet, without `/api`.
    pub url: String,
    /// The captcha server.
    pub captcha_url: String,
    /// The site at the captcha server.
    pub captcha_key: String,
}

/// How far the work is, and whether it should go on. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Work {
    solved: Arc<AtomicUsize>,
    puzzles: Arc<AtomicUsize>,
    cancelled: Arc<AtomicBool>,
}

impl Work {
    /// Puzzles that are solved, and puzzles in all.
    #[must_use]
    pub fn progress(&self) -> (usize, usize) {
        (self.solved.load(Ordering::Relaxed), self.puzzles.load(Ordering::Relaxed))
    }

    /// Gives it up.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Gives the work up when whoever waits for it goes away.
struct CancelOnDrop(Work);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[derive(Deserialize)]
struct Challenge {
    challenge: Vec<(String, String)>,
    token: String,
}

#[derive(Deserialize)]
struct Redeemed {
    token: String,
}

const CAPTCHA: &str = "captcha server";
const FAUCET: &str = "faucet";

impl Faucet {
    /// Asks for money for `address`; gives the hash of the faucet's transaction.
    ///
    /// # Errors
    /// [`FaucetError`].
    pub async fn request(&self, address: Address, work: &Work) -> Result<String, FaucetError> {
        let http =
            Client::new(Options::within(DEADLINE)).map_err(|error| FaucetError::NoAnswer(FAUCET, error))?;
        let captcha = format!("{}/{}/api", self.captcha_url.trim_end_matches('/'), self.captcha_key);
        let bytes = post(&http, CAPTCHA, &format!("{captcha}/challenge"), &json!({})).await?;
        let challenge: Challenge =
            serde_json::from_slice(&bytes).map_err(|_| FaucetError::Nonsense(CAPTCHA))?;
        let solutions = solve(challenge.challenge, work).await?;
        let answer = json!({ "token": challenge.token, "solutions": solutions });
        let bytes = post(&http, CAPTCHA, &format!("{captcha}/redeem"), &answer).await?;
        let redeemed: Redeemed =
            serde_json::from_slice(&bytes).map_err(|_| FaucetError::Nonsense(CAPTCHA))?;
        let url = format!("{}/api/faucet", self.url.trim_end_matches('/'));
        let wanted = json!({ "address": address.to_string(), "captchaToken": redeemed.token });
        let bytes = post(&http, FAUCET, &url, &wanted).await?;
        let paid: Value = serde_json::from_slice(&bytes).map_err(|_| FaucetError::Nonsense(FAUCET))?;
        let hash = ["txHash", "tx", "hash"].iter().find_map(|name| paid[*name].as_str());
        let plausible =
            |hash: &&str| hash.len() <= 80 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric());
        hash.filter(plausible).map(str::to_owned).ok_or(FaucetError::Nonsense(FAUCET))
    }
}

async fn post(http: &Client, server: &'static str, url: &str, body: &Value) -> Result<Vec<u8>, FaucetError> {
    let answer = http.post(url).json(body).send(ANSWER_BYTES).await.map_err(|error| match error {
        HttpError::TooLarge(_) => FaucetError::Nonsense(server),
        error => FaucetError::NoAnswer(server, error),
    })?;
    if answer.status.is_success() {
        return Ok(answer.bytes);
    }
    Err(FaucetError::Refused { server, status: answer.status.as_u16(), text: answer.beginning() })
}

/// Solves the puzzles on every core: for each salt and target the least number whose hash, with
/// the salt before it, begins with the target.
async fn solve(
    puzzles: Vec<(String, String)>,
    work: &Work,
) -> Result<Vec<(String, String, u64)>, FaucetError> {
    if puzzles.len() > PUZZLES {
        return Err(FaucetError::TooMuchWork);
    }
    for (_, target) in &puzzles {
        let bytes = hex::decode(target).map_err(|_| FaucetError::Nonsense(CAPTCHA))?;
        if bytes.len() > TARGET_BYTES {
            return Err(FaucetError::TooMuchWork);
        }
    }
    work.puzzles.store(puzzles.len(), Ordering::Relaxed);
    let guard = CancelOnDrop(work.clone());
    let worker = work.clone();
    let solved = tokio::task::spawn_blocking(move || solve_all(&puzzles, &worker)).await;
    drop(guard);
    solved.map_err(|_| FaucetError::Cancelled)?
}

fn solve_all(puzzles: &[(String, String)], work: &Work) -> Result<Vec<(String, String, u64)>, FaucetError> {
    let next = AtomicUsize::new(0);
    let end = Instant::now() + WORK;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut found: Vec<(usize, u64)> = std::thread::scope(|scope| {
        let worker = || {
            let mut found = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((salt, target)) = puzzles.get(number) else { return found };
                let Some(nonce) = solve_one(salt, target, work, end) else { return found };
                work.solved.fetch_add(1, Ordering::Relaxed);
                found.push((number, nonce));
            }
        };
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    if found.len() < puzzles.len() {
        return Err(if Instant::now() >= end { FaucetError::TooMuchWork } else { FaucetError::Cancelled });
    }
    found.sort_unstable();
    let with = |((salt, target), (_, nonce)): (&(String, String), (usize, u64))| {
        (salt.clone(), target.clone(), nonce)
    };
    Ok(puzzles.iter().zip(found).map(with).collect())
}

fn solve_one(salt: &str, target: &str, work: &Work, end: Instant) -> Option<u64> {
    let target = hex::decode(target).ok()?;
    let start = Sha256::new_with_prefix(salt);
    for nonce in 0u64.. {
        let hash = start.clone().chain_update(nonce.to_string()).finalize();
        if hash.starts_with(&target) {
            return Some(nonce);
        }
        // Looked at now and then: it costs more than a hash.
        if nonce.is_multiple_of(4096) && (work.cancelled.load(Ordering::Relaxed) || Instant::now() >= end) {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s_222_puzzles_are_solved_in_their_order_and_each_solution_holds() {
        let puzzles: Vec<_> =
            (0..40).map(|number| (format!("salt{number}"), format!("{:02x}", number * 5))).collect();
        let work = Work::default();
        let solved = solve(puzzles.clone(), &work).await.unwrap();
        assert_eq!(work.progress(), (40, 40));
        for ((salt, target), (same_salt, same_target, nonce)) in puzzles.iter().zip(&solved) {
            assert_eq!((salt, target), (same_salt, same_target));
            let hash = Sha256::digest(format!("{salt}{nonce}"));
            assert!(hash.starts_with(&hex::decode(target).unwrap()));
        }
    }

    #[tokio::test]
    async fn too_much_work_is_refused_and_work_can_be_given_up() {
        let long = vec![("a".to_owned(), "0011223344".to_owned())];
        assert!(matches!(solve(long, &Work::default()).await, Err(FaucetError::TooMuchWork)));
        let many = vec![("a".to_owned(), "00".to_owned()); PUZZLES + 1];
        assert!(matches!(solve(many, &Work::default()).await, Err(FaucetError::TooMuchWork)));
        let odd = vec![("a".to_owned(), "zz".to_owned())];
        assert!(matches!(solve(odd, &Work::default()).await, Err(FaucetError::Nonsense(_))));
        let work = Work::default();
        work.cancel();
        let hard = vec![("a".to_owned(), "00112233".to_owned())];
        assert!(matches!(solve(hard, &work).await, Err(FaucetError::Cancelled)));
    }
}
