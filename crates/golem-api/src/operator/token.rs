//! The secret that lets the operator's own programs use the operator API.
//!
//! Owns the file `<data directory>/operator.token`: 32 random bytes in hexadecimal, readable by
//! its owner only. Never logs it.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The secret.
#[derive(Clone)]
pub struct Token(String);

fn place(data_dir: &Path) -> PathBuf {
    data_dir.join("operator.token")
}

const BYTES: usize = 32;

impl Token {
    /// Reads the token of `data_dir`.
    ///
    /// # Errors
    /// `NotFound` before the first start; `InvalidData` when it is damaged.
    pub fn read(data_dir: &Path) -> io::Result<Self> {
        let text = std::fs::read_to_string(place(data_dir))?;
        let text = text.trim();
        let whole = text.len() == 2 * BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        whole.then(|| Self(text.to_owned())).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Reads the token of `data_dir`, or makes one. A file that others could read is replaced.
    ///
    /// # Errors
    /// Any error of reading or writing the file, or of the system's randomness.
    pub fn ensure(data_dir: &Path) -> io::Result<Self> {
        let path = place(data_dir);
        // Two commands that begin at once would else each hold a token, of which only one is kept.
        let turn = std::fs::File::open(data_dir)?;
        turn.lock()?;
        let private = std::fs::metadata(&path).is_ok_and(|file| file.permissions().mode() & 0o077 == 0);
        if private && let Ok(token) = Self::read(data_dir) {
            return Ok(token);
        }
        let mut random = [0; BYTES];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        golem_files::replace(&path, text.as_bytes())?;
        Ok(Self(text))
    }

    /// The token as a header's value.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether `header` carries the token; takes the same time wherever it differs.
    #[must_use]
    pub fn is_in(&self, header: &[u8]) -> bool {
        let wanted = self.bearer();
        let wanted = wanted.as_bytes();
        let same = wanted.iter().zip(header).fold(0, |difference, (a, b)| difference | (a ^ b));
        wanted.len() == header.len() && same == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_private_stable_and_replaced_when_others_could_have_read_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Token::read(folder.path()).err().unwrap().kind(), io::ErrorKind::NotFound);
        let first = Token::ensure(folder.path()).unwrap();
        let mode = std::fs::metadata(place(folder.path())).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Token::ensure(folder.path()).unwrap().bearer(), first.bearer());
        assert_eq!(Token::read(folder.path()).unwrap().bearer(), first.bearer());
        std::fs::set_permissions(place(folder.path()), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(Token::ensure(folder.path()).unwrap().bearer(), first.bearer());
    }

    #[test]
    fn all_that_begin_at_once_have_the_one_token_that_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let begin = || Token::ensure(folder.path()).unwrap().bearer();
        let made: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let kept = Token::read(folder.path()).unwrap().bearer();
        assert!(made.iter().all(|one| *one == kept));
    }

    #[test]
    fn only_the_whole_token_opens() {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::ensure(folder.path()).unwrap();
        let bearer = token.bearer();
        assert!(token.is_in(bearer.as_bytes()));
        for wrong in ["", "Bearer ", &bearer[..bearer.len() - 1], &format!("{bearer}0"), &bearer[7..]] {
            assert!(!token.is_in(wrong.as_bytes()), "{wrong:?}");
        }
    }
}
