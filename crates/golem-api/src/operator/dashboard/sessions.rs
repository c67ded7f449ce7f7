//! Who may use the operator's page.
//!
//! ```text
//!   command line ─► link (60 s, once) ─► page ─► session: cookie (HttpOnly) + key (kept by the page's origin), 12 h
//! ```
//! Owns links and sessions: how many, how long, and which secrets open them. Of every secret only its SHA-256 is kept.
//! The cookie alone opens nothing, because a browser sends it to every port of this host; nor does the key alone, because a
//! script can read it. Hashes of sessions lie in the data directory (beside the operator's token, which opens more), so
//! that a node that starts anew, as after a change of prices, does not turn its operator away. Never looks at a request.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

/// How long a login link can be used.
pub(in crate::operator) const LINK_LIFE: Duration = Duration::from_secs(60);

/// How long a session lasts.
pub(super) const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);

/// Most links that nobody has used yet; the oldest makes way.
const LINKS: usize = 8;

/// Most sessions; the oldest makes way.
const SESSIONS: usize = 16;

/// Bytes of a secret.
const BYTES: usize = 32;

/// Where sessions are kept, in the data directory.
const FILE: &str = "dashboard.sessions";

/// Largest such file.
const FILE_BYTES: u64 = 16 << 10;

type Hash = [u8; 32];

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret).into()
}

fn secret() -> io::Result<String> {
    let mut random = [0; BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A login that was asked for and not used yet.
struct Link {
    hash: Hash,
    until: Instant,
}

/// Somebody who uses the page.
#[derive(Debug)]
pub(in crate::operator) struct Session {
    cookie: Hash,
    key: Hash,
    /// By this process's own clock, which nobody sets.
    pub(super) until: Instant,
    /// The same for people, and for the next process.
    pub(super) ends_at: Timestamp,
    /// Cancelled at its end.
    pub(super) ended: CancellationToken,
}

/// A session as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    cookie: Hash,
    key: Hash,
    ends_at: Timestamp,
}

/// What opens a session; told once, to whoever began it.
pub(super) struct Secrets {
    pub(super) cookie: String,
    pub(super) key: String,
    pub(super) ends_at: Timestamp,
}

/// Every link and session of a node.
pub(in crate::operator) struct Sessions {
    file: PathBuf,
    links: Mutex<Vec<Link>>,
    all: Mutex<Vec<Arc<Session>>>,
}

impl Sessions {
    /// Those that are kept in `data_dir`; none if the file is not there or damaged. No clock makes them last longer than
    /// [`SESSION_LIFE`] from `now`.
    pub(in crate::operator) fn open(data_dir: &Path, now: Instant) -> Self {
        let file = data_dir.join(FILE);
        let here = Timestamp::now();
        let kept: Vec<Kept> = golem_files::read(&file, FILE_BYTES)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let session = |Kept { cookie, key, ends_at }: Kept| {
            let left = Duration::try_from(ends_at.duration_since(here)).ok()?.min(SESSION_LIFE);
            let ended = CancellationToken::new();
            Some(Arc::new(Session { cookie, key, until: now + left, ends_at, ended }))
        };
        let all = kept.into_iter().filter_map(session).take(SESSIONS).collect();
        Self { file, links: Mutex::default(), all: Mutex::new(all) }
    }

    /// The secret of a new login link.
    ///
    /// # Errors
    /// Any error of the system's randomness.
    pub(in crate::operator) fn link(&self, now: Instant) -> io::Result<String> {
        let secret = secret()?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.until > now);
        if links.len() >= LINKS {
            links.remove(0);
        }
        links.push(Link { hash: hash(&secret), until: now + LINK_LIFE });
        Ok(secret)
    }

    /// Begins a session, if `link` is one that was not used before and has not expired.
    ///
    /// # Errors
    /// Any error of the system's randomness.
    pub(super) fn enter(&self, link: &str, now: Instant) -> io::Result<Option<Secrets>> {
        {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.retain(|known| known.until > now);
            let wanted = hash(link);
            let Some(place) = links.iter().position(|known| known.hash == wanted) else { return Ok(None) };
            links.remove(place);
        }
        let (cookie, key) = (secret()?, secret()?);
        let life = SignedDuration::try_from(SESSION_LIFE).unwrap_or(SignedDuration::ZERO);
        let ends_at = Timestamp::now().saturating_add(life).unwrap_or(Timestamp::MAX);
        let ended = CancellationToken::new();
        let session =
            Session { cookie: hash(&cookie), key: hash(&key), until: now + SESSION_LIFE, ends_at, ended };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        end(&mut all, |session| session.until <= now);
        if all.len() >= SESSIONS {
            all.remove(0).ended.cancel();
        }
        all.push(Arc::new(session));
        Ok(Some(Secrets { cookie, key, ends_at }))
    }

    /// The session that `cookie` and `key` open together.
    pub(super) fn of(&self, cookie: &str, key: &str, now: Instant) -> Option<Arc<Session>> {
        let (cookie, key) = (hash(cookie), hash(key));
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        // Of hashes, the time that a comparison takes tells nothing.
        all.iter().find(|held| held.cookie == cookie && held.key == key && held.until > now).cloned()
    }

    /// Ends `session`, and whatever it listens to.
    pub(super) fn leave(&self, session: &Session) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        end(&mut all, |held| held.cookie == session.cookie);
    }

    /// Writes down those that there are. Blocks on the disk.
    ///
    /// # Errors
    /// Any error of writing the file.
    pub(super) fn keep(&self) -> io::Result<()> {
        // Held while it is written: the last to write has seen every change before it.
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: Vec<Kept> = all
            .iter()
            .map(|session| Kept { cookie: session.cookie, key: session.key, ends_at: session.ends_at })
            .collect();
        golem_files::replace(&self.file, &serde_json::to_vec(&kept).map_err(io::Error::other)?)
    }
}

/// Ends those of `all` that `which` names.
fn end(all: &mut Vec<Arc<Session>>, which: impl Fn(&Session) -> bool) {
    all.retain(|session| {
        let ends = which(session);
        if ends {
            session.ended.cancel();
        }
        !ends
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> (tempfile::TempDir, Sessions) {
        let folder = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(folder.path(), Instant::now());
        (folder, sessions)
    }

    /// A link works once, within its minute; every other text works never.
    #[test]
    fn a_login_link_works_once_and_for_a_minute() {
        let (_folder, sessions) = sessions();
        let now = Instant::now();
        let link = sessions.link(now).unwrap();
        assert_eq!(link.len(), 64);
        for wrong in ["", &link[1..], &link.to_uppercase(), &"0".repeat(64)] {
            assert!(sessions.enter(wrong, now).unwrap().is_none() || wrong == link, "{wrong}");
        }
        assert!(sessions.enter(&link, now).unwrap().is_some());
        assert!(sessions.enter(&link, now).unwrap().is_none(), "used twice");
        let late = sessions.link(now).unwrap();
        assert!(sessions.enter(&late, now + LINK_LIFE).unwrap().is_none(), "expired");
        // Whoever asks for many leaves the last ones.
        let first = sessions.link(now).unwrap();
        let last = (0..LINKS).map(|_| sessions.link(now).unwrap()).last().unwrap();
        assert!(sessions.enter(&first, now).unwrap().is_none());
        assert!(sessions.enter(&last, now).unwrap().is_some());
    }

    /// Neither half opens a session, nor halves of two; it ends when its time is over, when it is left, and when there are
    /// too many.
    #[test]
    fn a_session_needs_both_of_its_secrets_and_ends() {
        let (_folder, sessions) = sessions();
        let now = Instant::now();
        let enter = || sessions.enter(&sessions.link(now).unwrap(), now).unwrap().unwrap();
        let (one, other) = (enter(), enter());
        let session = sessions.of(&one.cookie, &one.key, now).unwrap();
        for (cookie, key) in
            [(&*one.cookie, ""), ("", &*one.key), (&one.cookie, &other.key), (&one.cookie, &one.cookie)]
        {
            assert!(sessions.of(cookie, key, now).is_none());
        }
        assert!(sessions.of(&one.cookie, &one.key, now + SESSION_LIFE).is_none());
        sessions.leave(&session);
        assert!(session.ended.is_cancelled());
        assert!(sessions.of(&one.cookie, &one.key, now).is_none());
        let held = sessions.of(&other.cookie, &other.key, now).unwrap();
        for _ in 0..SESSIONS {
            enter();
        }
        assert!(held.ended.is_cancelled() && sessions.of(&other.cookie, &other.key, now).is_none());
    }

    /// The next process knows the sessions of the last, the file tells no secret, and one that is damaged is no session.
    #[test]
    fn sessions_outlive_the_process_as_hashes() {
        let (folder, sessions) = sessions();
        let now = Instant::now();
        let secrets = sessions.enter(&sessions.link(now).unwrap(), now).unwrap().unwrap();
        sessions.keep().unwrap();
        let file = folder.path().join(FILE);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&secrets.cookie) && !text.contains(&secrets.key));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        let next = Sessions::open(folder.path(), now);
        let session = next.of(&secrets.cookie, &secrets.key, now).unwrap();
        assert!(next.of(&secrets.cookie, &secrets.key, now + SESSION_LIFE).is_none());
        next.leave(&session);
        next.keep().unwrap();
        assert!(Sessions::open(folder.path(), now).of(&secrets.cookie, &secrets.key, now).is_none());
        std::fs::write(&file, "{").unwrap();
        assert!(Sessions::open(folder.path(), now).of(&secrets.cookie, &secrets.key, now).is_none());
    }
}
