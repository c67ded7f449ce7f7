//! A renter's public SSH key, parsed.
//!
//! Owns the rule which keys are taken: one line, no options, of a type that today's SSH servers take: RSA, Ed25519,
//! ECDSA, and the two that security keys have. What is kept is our own spelling of the parsed key, so that no
//! byte of the renter's text reaches a guest's configuration unparsed. Never sees a private key.

use std::fmt;
use std::str::FromStr;

use ssh_key::{Algorithm, PublicKey};

/// Why a key was refused. The text is shown to the renter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Longer than any real key.
    #[error("SSH key is longer than {} bytes", AuthorizedKey::MAXIMUM)]
    TooLong,
    /// More than one line, or control characters.
    #[error("SSH key must be a single line without control characters")]
    NotOneLine,
    /// None that is taken.
    #[error("SSH key must start with one of {}", AuthorizedKey::TYPES.join(", "))]
    Type,
    /// The base64 part does not hold a key of the named type.
    #[error("SSH key cannot be decoded")]
    Undecodable,
    /// An RSA key that sshd itself would refuse.
    #[error("RSA key has {0} bits; at least {min} are needed", min = AuthorizedKey::RSA_MINIMUM_BITS)]
    Weak(usize),
}

/// A public key as it goes into `authorized_keys`: type and base64, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AuthorizedKey(String);

impl AuthorizedKey {
    /// Most bytes of text: an RSA-16384 key with a comment is about 3 kB.
    pub const MAXIMUM: usize = 8192;
    /// The words with which a key may begin: what OpenSSH takes by default since 8.2 (2020), which guests have.
    pub const TYPES: [&'static str; 7] = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    /// OpenSSH's `RequiredRSASize` default is 1024; we ask for what is thought safe today.
    pub const RSA_MINIMUM_BITS: usize = 2048;

    /// The key as a line of `authorized_keys`, without newline.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AuthorizedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > Self::MAXIMUM {
            return Err(KeyError::TooLong);
        }
        // One trailing newline is what `cat id_rsa.pub` gives; clients send it.
        let line = text.strip_suffix('\n').unwrap_or(text).trim_end_matches([' ', '\r']);
        if line.chars().any(char::is_control) {
            return Err(KeyError::NotOneLine);
        }
        if !Self::TYPES.iter().any(|kind| line.strip_prefix(kind).is_some_and(|rest| rest.starts_with(' '))) {
            return Err(KeyError::Type);
        }
        // The comment is dropped before parsing: it is free text, and nobody needs it.
        let mut words = line.split(' ').filter(|word| !word.is_empty());
        let (Some(kind), Some(data)) = (words.next(), words.next()) else {
            return Err(KeyError::Undecodable);
        };
        let key = PublicKey::from_openssh(&format!("{kind} {data}")).map_err(|_| KeyError::Undecodable)?;
        match key.algorithm() {
            Algorithm::Ed25519
            | Algorithm::Ecdsa { .. }
            | Algorithm::SkEd25519
            | Algorithm::SkEcdsaSha2NistP256 => {}
            Algorithm::Rsa { .. } => {
                let bits =
                    key.key_data().rsa().and_then(|rsa| rsa.n.as_positive_bytes()).map_or(0, |n| {
                        n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize)
                    });
                if bits < Self::RSA_MINIMUM_BITS {
                    return Err(KeyError::Weak(bits));
                }
            }
            _ => return Err(KeyError::Type),
        }
        key.to_openssh().map(Self).map_err(|_| KeyError::Undecodable)
    }
}

impl fmt::Display for AuthorizedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    const SK_ED25519: &str = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJAAAABHNzaDo=";

    const SK_ECDSA: &str = "sk-ecdsa-sha2-nistp256@openssh.com AAAAInNrLWVjZHNhLXNoYTItbmlzdHAyNTZAb3BlbnNzaC5jb20AAAAIbmlzdHAyNTYAAABBBM2GQSaDwBDejWtv8JhRQ5DVjkjf/u1/8vwicmi89+Rh5indan4UjccxYKI/d3fcX1iiSRluR2gVcnAggsg3kfQAAAAEc3NoOg==";

    #[test]
    fn s_246_comment_and_trailing_newline_are_dropped() {
        let key: AuthorizedKey = format!("{ED25519} renter@home #!$(id)\n").parse().unwrap();
        assert_eq!(key.as_str(), ED25519);
    }

    #[test]
    fn s_246_keys_that_could_carry_more_than_a_key_are_refused() {
        let two = format!("{ED25519}\n{ED25519}");
        let options = format!("command=\"sh\" {ED25519}");
        let nul = format!("{ED25519} a\0b");
        assert_eq!(two.parse::<AuthorizedKey>(), Err(KeyError::NotOneLine));
        assert_eq!(options.parse::<AuthorizedKey>(), Err(KeyError::Type));
        assert_eq!(nul.parse::<AuthorizedKey>(), Err(KeyError::NotOneLine));
        assert_eq!("ssh-ed25519 AAAA".parse::<AuthorizedKey>(), Err(KeyError::Undecodable));
        assert_eq!("ssh-dss AAAA".parse::<AuthorizedKey>(), Err(KeyError::Type));
        let mislabelled = ED25519.replacen("ssh-ed25519", "ssh-rsa", 1);
        assert_eq!(mislabelled.parse::<AuthorizedKey>(), Err(KeyError::Undecodable));
        assert_eq!("a".repeat(20_000).parse::<AuthorizedKey>(), Err(KeyError::TooLong));
        let unknown_curve = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAAAA";
        assert_eq!(unknown_curve.parse::<AuthorizedKey>(), Err(KeyError::Undecodable));
    }

    /// Made by ssh-keygen 9.2, those of security keys by hand: such a key is a point, and what it is for.
    #[test]
    fn every_type_that_servers_take_is_taken() {
        for kind in ["ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "ed25519", "rsa -b 2048"] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("key");
            let mut keygen = std::process::Command::new("ssh-keygen");
            keygen.args(["-q", "-N", "", "-t"]).args(kind.split(' ')).arg("-f").arg(&file);
            assert!(keygen.status().unwrap().success());
            let text = std::fs::read_to_string(file.with_extension("pub")).unwrap();
            let key: AuthorizedKey = text.parse().unwrap();
            assert!(text.starts_with(key.as_str()) && key.as_str().split(' ').count() == 2, "{text}");
        }
        let taken = [SK_ED25519, SK_ECDSA].map(|key| key.parse::<AuthorizedKey>().unwrap());
        assert_eq!(taken.each_ref().map(AuthorizedKey::as_str), [SK_ED25519, SK_ECDSA]);
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_one_clean_line(text in "(ssh-rsa |ssh-ed25519 )?.{0,200}") {
            if let Ok(key) = text.parse::<AuthorizedKey>() {
                prop_assert!(key.as_str().is_ascii() && !key.as_str().contains('\n'));
            }
        }
    }
}
