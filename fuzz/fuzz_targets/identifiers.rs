//! Names, ids and keys: whatever is taken is safe in a path, an argument and a line.
#![no_main]

use golem_types::{AuthorizedKey, ImageName, JobId, VmId, VmName};
use libfuzzer_sys::fuzz_target;

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte)) && !text.starts_with('-')
}

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<VmName>() {
        assert!(is_plain(name.as_str()) && is_plain(name.hostname()));
    }
    if let Ok(id) = text.parse::<VmId>() {
        assert!(is_plain(id.as_str()) && is_plain(id.redacted()));
    }
    if let Ok(name) = text.parse::<ImageName>() {
        assert!(is_plain(name.as_str()) && !name.as_str().contains(".."));
    }
    if let Ok(id) = text.parse::<JobId>() {
        assert!(is_plain(id.as_str()));
    }
    if let Ok(key) = text.parse::<AuthorizedKey>() {
        assert!(key.as_str().is_ascii() && !key.as_str().contains(['\n', '\r', '\0', '"']));
    }
});
