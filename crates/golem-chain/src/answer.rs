//! Answers over HTTP, in bounded memory.
//!
//! Owns the reading of a body from a server that nobody vouches for. Never looks at what it says.

use reqwest::Response;

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The connection broke, or took too long.
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
    /// There is more than was asked for.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
}

/// The body of `response`, which has at most `most` bytes.
///
/// # Errors
/// [`AnswerError`]; the rest of a body that is too large is not read.
pub async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, AnswerError> {
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(|error| AnswerError::Broken(error.without_url()))? {
        if bytes.len() + part.len() > most {
            return Err(AnswerError::TooLarge(most));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// The beginning of `bytes` as text that a log and a terminal can show.
#[must_use]
pub fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(200).collect()
}
