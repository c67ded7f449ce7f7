//! Whether a newer version of this program exists.
//!
//! Owns asking the release index that the operator names, rarely and briefly, and remembering its answer. The
//! answer is untrusted: a version is a few numbers, or nothing. Never fetches or installs one.

use std::path::Path;
use std::time::Duration;

use crate::http::{Client, HttpError, Options};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Longest that the index may take.
const DEADLINE: Duration = Duration::from_secs(1);

/// Largest answer: an index tells of every release, some kilobytes each.
const ANSWER_BYTES: usize = 4 << 20;

/// How long an answer is remembered.
const LIFE: SignedDuration = SignedDuration::from_hours(6);

/// Where it is remembered.
const FILE: &str = "update.json";

/// Largest file of ours that is read.
const FILE_BYTES: u64 = 4 << 10;

/// Most numbers in a version.
const PARTS: usize = 6;

/// What the index said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    url: String,
    latest: String,
    at: Timestamp,
}

/// The index, in the shape of those of Python packages.
#[derive(Deserialize)]
struct Index {
    info: Info,
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

/// The numbers of the version `text`; `None` if it is a preview, or otherwise no plain version.
fn numbers(text: &str) -> Option<Vec<u64>> {
    let numbers: Vec<u64> =
        text.trim().splitn(PARTS + 1, '.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    (numbers.len() <= PARTS).then_some(numbers)
}

/// Whether `latest` is newer than `installed`; versions that cannot be compared are not.
#[must_use]
pub fn is_newer(latest: &str, installed: &str) -> bool {
    let parts = |text| {
        let mut parts = numbers(text)?;
        parts.resize(PARTS, 0);
        Some(parts)
    };
    matches!((parts(latest), parts(installed)), (Some(latest), Some(installed)) if latest > installed)
}

/// The latest version that the index at `url` tells of; `None` if it does not answer and nobody remembers. What
/// was asked for within 6 hours is remembered in `folder`; an index that does not answer changes nothing.
pub async fn latest(url: &str, folder: &Path) -> Option<String> {
    let file = folder.join(FILE);
    let known = remembered(&file).filter(|known| known.url == url);
    let is_fresh = |known: &Remembered| {
        let age = Timestamp::now().duration_since(known.at);
        (SignedDuration::ZERO..LIFE).contains(&age)
    };
    if let Some(known) = known.as_ref().filter(|known| is_fresh(known)) {
        return Some(known.latest.clone());
    }
    match ask(url).await {
        Ok(latest) => {
            remember(&file, Remembered { url: url.to_owned(), latest: latest.clone(), at: Timestamp::now() });
            Some(latest)
        }
        Err(error) => {
            tracing::debug!(%error, "the release index does not tell the latest version");
            known.map(|known| known.latest)
        }
    }
}

/// Why the index tells nothing.
#[derive(Debug, thiserror::Error)]
enum IndexError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("it answers with HTTP status {0}")]
    Status(u16),
    #[error("its answer makes no sense")]
    Nonsense,
}

async fn ask(url: &str) -> Result<String, IndexError> {
    let answer = Client::new(Options::within(DEADLINE))?.get(url).send(ANSWER_BYTES).await?;
    if !answer.status.is_success() {
        return Err(IndexError::Status(answer.status.as_u16()));
    }
    let index: Index = answer.json().map_err(|_| IndexError::Nonsense)?;
    let numbers = numbers(&index.info.version).ok_or(IndexError::Nonsense)?;
    // Written anew: the text is a stranger's.
    Ok(numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
}

fn remembered(file: &Path) -> Option<Remembered> {
    serde_json::from_slice(&golem_files::read(file, FILE_BYTES).ok()?).ok()
}

/// A look makes no folder; what cannot be remembered is asked for again.
fn remember(file: &Path, answer: Remembered) {
    if let Ok(text) = serde_json::to_vec(&answer)
        && let Err(error) = golem_files::replace(file, &text)
    {
        tracing::debug!(%error, "the latest version cannot be remembered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (latest, installed) in
            [("0.1.64", "0.1.63"), ("0.2", "0.1.99"), ("0.1.10", "0.1.9"), ("1", "0.9.9")]
        {
            assert!(is_newer(latest, installed) && !is_newer(installed, latest), "{latest} {installed}");
        }
        for (latest, installed) in [
            ("0.1.63", "0.1.63"),
            ("1.0", "1"),
            ("1.0rc1", "0.9"),
            ("", "0.1"),
            ("1.2.3.4.5.6.7", "0.1"),
            ("-1", "0"),
        ] {
            assert!(!is_newer(latest, installed), "{latest} {installed}");
        }
    }
}
