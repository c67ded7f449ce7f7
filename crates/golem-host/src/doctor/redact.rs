//! Secrets taken out of text that leaves this machine.
//!
//! Owns what counts as one: every secret that this node is known to have, by its letters, and whatever looks like one. Takes out
//! too much rather than too little. Never writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use crate::node::Node;
use crate::settings::{self, Resolved, TABLE};

/// What stands in the place of a secret.
const REMOVED: &str = "[removed]";

/// Letters of a secret that is looked for by them: fewer are in many words.
const LEAST: usize = 6;

/// Most that is read of a file that holds secrets, in bytes.
const MOST: u64 = 1 << 20;

/// Letters in a row, digits among them, from which they look like a secret.
const LONG: usize = 24;

/// Words of a name whose value is a secret up to the next space, and of one whose value may have spaces.
const NAMES: &str = "secret|private[_-]?key|api[_-]?key|access[_-]?key|token|credential|signature|webhook";
const NAMES_OF_LINES: &str = "passwords?|passwd|passphrase|mnemonic|seed[_ -]?phrase|authorization|cookie";

/// A pattern of this file, which a test compiles.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

static KEY_BLOCK: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"(?s)-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|$)"));
static USER_INFO: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(r#"(://)[^\s"'<>]*@"#));
static URL: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r#"([A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>/?#\\,;)`]+)([/?#][^\s"'<>\\,;)`]*)"#));
static NAMED_LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)((?:{NAMES_OF_LINES})[A-Z0-9_-]*\\?["']?\s*[:=]\s*)(\\?"(?:[^"\\]|\\[^"])*\\?"|'[^']*'|[^\n"']+)"#
    ))
});
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)((?:{NAMES})[A-Z0-9_-]*\\?["']?\s*[:=]\s*)(\(secret\)|\\?"(?:[^"\\]|\\[^"])*\\?"|'[^']*'|[^\s,;)}}\]"']+)"#
    ))
});
static BEARER: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"(?i)\b(bearer|basic|auth (?:plain|login))\s+[A-Z0-9._~+/=-]{6,}"));
static EMAIL: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"));
/// Words in a row as mnemonics have them: twelve or more of three to eight letters.
static MNEMONIC: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"\b[a-z]{3,8}(?:[ ,]+[a-z]{3,8}\b){11,}"));
/// A VM's id, whose last part is what lets its renter use it; what stands before that is in every log.
static VM_ID: LazyLock<Option<Regex>> =
    LazyLock::new(|| pattern(r"\b(golem-[a-z0-9-]+-[0-9]{8}-[0-9]{6})-[a-z2-7]{16}"));
static LONG_WORD: LazyLock<Option<Regex>> = LazyLock::new(|| pattern(&format!("[A-Za-z0-9+_]{{{LONG},}}")));

/// What takes secrets out.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// The longest first, so that one that is in another leaves nothing of it.
    known: Vec<String>,
}

impl Redactor {
    /// Takes `secrets` out by their letters, and what looks like a secret.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let secrets: BTreeSet<String> = secrets
            .into_iter()
            .flat_map(|secret| {
                let plain = secret.trim().trim_matches(['"', '\'']).to_owned();
                let bare = plain.strip_prefix("0x").map(str::to_owned);
                bare.into_iter().chain([plain])
            })
            .filter(|secret| secret.len() >= LEAST)
            .collect();
        let mut known: Vec<_> = secrets.into_iter().collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { known }
    }

    /// Takes out what `node` has: the values of secret settings and of variables that are named like secrets, its tokens, and
    /// what is in its keys. What cannot be read is not known, and taken out only if it looks like a secret.
    #[must_use]
    pub fn of(
        node: &Node,
        resolved: &Resolved,
        environment: &BTreeMap<String, String>,
        directory: &Path,
    ) -> Self {
        let mut secrets = Vec::new();
        let of_settings = TABLE.iter().filter(|row| row.secret);
        secrets.extend(of_settings.filter_map(|row| Some(resolved.found.get(row.name)?.text.clone())));
        let named = environment.iter().filter(|(name, _)| is_secret_name(name));
        secrets.extend(named.map(|(_, value)| value.clone()));
        for file in settings::files(Some(node), environment, directory) {
            let text = text_of(&file);
            let lines = text.lines().filter_map(|line| line.split_once('='));
            secrets.extend(lines.filter(|(name, _)| is_secret_name(name)).map(|(_, value)| value.to_owned()));
        }
        let passphrase = resolved.settings.node.key_passphrase_file.as_ref();
        secrets.extend(passphrase.map(|file| text_of(file)));
        for file in ["operator.token", "dashboard.sessions"].map(|name| node.data_dir.join(name)) {
            secrets.extend(words(&text_of(&file)));
        }
        for folder in ["keys", "certificates"].map(|name| node.data_dir.join(name)) {
            files_below(&folder).iter().for_each(|file| secrets.extend(words(&text_of(file))));
        }
        Self::new(secrets)
    }

    /// `text` without secrets.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), REMOVED);
            }
        }
        for (pattern, put) in [
            (&KEY_BLOCK, REMOVED),
            (&USER_INFO, "${1}[removed]@"),
            (&URL, "${1}/…"),
            (&NAMED_LINE, "${1}[removed]"),
            (&NAMED, "${1}[removed]"),
            (&BEARER, "${1} [removed]"),
            (&EMAIL, "[e-mail]"),
            (&VM_ID, "${1}"),
            (&MNEMONIC, REMOVED),
        ] {
            let Some(pattern) = pattern.as_ref() else { return REMOVED.to_owned() };
            text = pattern.replace_all(&text, put).into_owned();
        }
        let Some(long) = LONG_WORD.as_ref() else { return REMOVED.to_owned() };
        let long = long.replace_all(&text, |found: &Captures<'_>| {
            let word = &found[0];
            if is_telling(word) { REMOVED.to_owned() } else { word.to_owned() }
        });
        long.into_owned()
    }

    /// `document` without secrets: in every text of it, and in what is named like one.
    #[must_use]
    pub fn document(&self, document: Value) -> Value {
        match document {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.document(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(name, value)| {
                    let value = match value {
                        Value::String(_) if is_secret_name(&name) => Value::String(REMOVED.to_owned()),
                        value => self.document(value),
                    };
                    (name, value)
                })
                .collect(),
            other => other,
        }
    }
}

/// Whether what has this name is a secret. A file or an address is none, whatever it is of.
fn is_secret_name(name: &str) -> bool {
    let name = name.trim().to_lowercase();
    let is_place =
        ["_file", "_path", "_dir", "_address", "_url", "_decimals"].iter().any(|end| name.ends_with(end));
    let words = [
        "secret",
        "password",
        "passwd",
        "passphrase",
        "private_key",
        "privatekey",
        "api_key",
        "apikey",
        "access_key",
        "token",
        "mnemonic",
        "credential",
        "seed_phrase",
        "cookie",
        "authorization",
    ];
    !is_place && words.iter().any(|word| name.contains(word))
}

/// Whether a long word may be a secret: an address, a number, a word of letters or a name as programs have them is none.
fn is_telling(word: &str) -> bool {
    let is_address = word
        .strip_prefix("0x")
        .is_some_and(|rest| rest.len() == 40 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let has = |is: fn(&u8) -> bool| word.bytes().any(|byte| is(&byte));
    let one_case = !has(u8::is_ascii_lowercase) || !has(u8::is_ascii_uppercase);
    let is_name = one_case && word.contains('_') && word.split('_').all(|part| part.len() < LONG / 2);
    !is_address && !is_name && has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic)
}

/// The words of a file of secrets that may be one; addresses stand beside keys, and are none.
fn words(text: &str) -> Vec<String> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || "+/=_-".contains(c));
    let is_secret = |word: &&str| {
        let bare = word.strip_prefix("0x").unwrap_or(word);
        word.len() >= 16 && bare.len() != 40
    };
    text.split(ends).filter(is_secret).map(str::to_owned).collect()
}

fn text_of(file: &Path) -> String {
    golem_files::read(file, MOST)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// The files in `folder` and in the folders of it.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_below(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_known_and_what_looks_like_a_secret_is_taken_out() {
        let redactor = Redactor::new(["0xfeedbeef".to_owned(), "correct horse battery".to_owned()]);
        for (text, secret) in [
            ("the key is 0xfeedbeef here", "feedbeef"),
            ("the key is feedbeef here", "feedbeef"),
            ("tried correct horse battery", "horse"),
            ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----", "MHcC"),
            ("-----BEGIN PRIVATE KEY-----\nMHcCAQEE", "MHcC"),
            ("via http://ada:pa/ss@proxy.example:3128/x", "pa/ss"),
            ("via socks5h://ada:s3cr3t@10.0.0.1:1080", "s3cr3t"),
            ("asked https://polygon.example/v3/9aa3d95b3bc", "9aa3d95b3bc"),
            ("asked https://rpc.example?apikey=zzz", "zzz"),
            ("GOLEM_PASSPHRASE=open sesame now", "sesame"),
            ("{\"password\":\"open sesame\",\"port\":1}", "sesame"),
            ("{\\\"password\\\":\\\"open sesame\\\"}", "sesame"),
            ("mnemonic: abandon ability able about", "ability"),
            ("api_key = abc123, then", "abc123"),
            ("x-api-key: abc123", "abc123"),
            ("Authorization: Bearer abc.def-123456", "abc.def"),
            ("said bearer abcdef123", "abcdef123"),
            ("webhook=https://discord.example/api/webhooks/1/tok", "tok"),
            ("mail to ada@example.org failed", "ada@"),
            ("key 4c0883a69102937d6231471b5dbb6204fe512961708279feb1be6ae5538da033", "4c0883a6"),
            (
                "/var/lib/golem-provider/vms/golem-web-20261127-191859-wx3xkplqv7d2hmwc/disk.qcow2: no room",
                "wx3x",
            ),
            ("AUTH PLAIN AG1lAFNFQ1JFVA==", "AG1l"),
            (
                "seed abandon ability able about above absent absorb abstract absurd abuse access accident",
                "absurd",
            ),
            ("AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQS4UU3XC", "QYQSZ"),
            ("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.x", "eyJh"),
        ] {
            let left = redactor.text(text);
            assert!(!left.contains(secret), "{text} -> {left}");
        }
    }

    #[test]
    fn what_tells_of_a_fault_stays() {
        let redactor = Redactor::default();
        for text in [
            "TCP 7466 is held by nginx (pid 4711)",
            "0x71C7656EC7ab88b098defB751B7401B5f6d8976F has 0.5 ETH",
            "2026-11-27T12:00:00.123456Z WARN golem_node::payment::reader: no answer from https://rpc.example:8545",
            "set GOLEM_PROVIDER_PORT_RANGE_START and GOLEM_PROVIDER_PORT_RANGE_END",
            "/var/lib/golem-provider/vms/web-01/disk.qcow2",
            "VM state changed vm=\"golem-web-20261127-191859\" from=creating to=running",
        ] {
            assert_eq!(redactor.text(text), text);
        }
        assert_eq!(redactor.text("curl https://a.example/health"), "curl https://a.example/…");
        let document =
            json!({ "token": "x", "token_decimals": "y", "list": [{ "text": "password=p" }], "port": 1 });
        let left = json!({ "token": REMOVED, "token_decimals": "y", "list": [{ "text": "password=[removed]" }], "port": 1 });
        assert_eq!(redactor.document(document), left);
    }

    proptest! {
        /// Whatever stands around it, a known secret is gone.
        #[test]
        fn a_known_secret_is_never_left(before in ".{0,40}", secret in "[A-Za-z0-9+/=]{6,60}", after in ".{0,40}") {
            let redactor = Redactor::new([secret.clone()]);
            let left = redactor.text(&format!("{before}{secret}{after}"));
            // What stands in its place is no secret.
            prop_assume!(!REMOVED.contains(&secret) && !"[e-mail]".contains(&secret));
            prop_assert!(!left.contains(&secret), "{left}");
        }

        /// Twice is as once.
        #[test]
        fn what_was_taken_out_is_not_taken_out_again(text in "[a-z0-9:/@?=., -]{0,80}") {
            let redactor = Redactor::default();
            let once = redactor.text(&text);
            prop_assert_eq!(redactor.text(&once), once);
        }
    }
}
