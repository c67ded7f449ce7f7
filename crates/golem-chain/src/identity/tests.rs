use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use zeroize::Zeroizing;

use super::*;
use crate::key_file::PassphraseError;

/// The first account of the well-known development mnemonic "test test … junk".
const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// No passphrase is known.
const LOCKED: Unlock<'_> = &|_| Err(PassphraseError::Absent);

fn keys(folder: &Path) -> KeyFolder {
    KeyFolder { cost: Cost::TRIVIAL, ..KeyFolder::new(folder, "provider_key.json") }
}

fn load(folder: &Path) -> Result<Identity, IdentityError> {
    keys(folder).load(None, LOCKED)
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_key_is_private_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let made = load(folder.path()).unwrap();
    let file = folder.path().join("keys/provider_key.json");
    assert_eq!((mode(&file), mode(&folder.path().join("keys"))), (0o600, 0o700));
    let read = load(folder.path()).unwrap();
    assert_eq!(made.address(), read.address());
    let text: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(text["address"], made.address());
    assert_eq!(text["private_key"].as_str().unwrap().len(), 64);
    assert!(!format!("{made:?}").contains(text["private_key"].as_str().unwrap()));
}

#[test]
fn all_that_begin_at_once_have_the_one_key_that_is_kept() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let made = std::thread::scope(|scope| {
            let begin = || load(folder.path()).unwrap();
            let all: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
        });
        let kept = load(folder.path()).unwrap();
        assert!(made.iter().all(|one| one.address() == kept.address()));
    }
}

#[test]
fn the_originals_file_is_taken_over_and_closed_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    let file = keys.join("provider_key.json");
    for private_key in [KEY.to_owned(), format!("0x{KEY}")] {
        std::fs::write(&file, format!(r#"{{"address": "{ADDRESS}", "private_key": "{private_key}"}}"#))
            .unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        std::fs::set_permissions(&keys, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(load(folder.path()).unwrap().address(), ADDRESS);
        assert_eq!((mode(&file), mode(&keys)), (0o600, 0o700));
    }
}

#[test]
fn a_damaged_file_is_neither_used_nor_replaced_nor_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let file = folder.path().join("keys/provider_key.json");
    let zero = "0".repeat(64);
    let other = "0x0000000000000000000000000000000000000001";
    for text in [
        String::new(),
        "{".to_owned(),
        format!(r#"{{"private_key": "{KEY}"}}"#),
        format!(r#"{{"address": "{ADDRESS}", "private_key": "{}"}}"#, &KEY[1..]),
        format!(r#"{{"address": "{ADDRESS}", "private_key": "{zero}"}}"#),
        format!(r#"{{"address": "{other}", "private_key": "{KEY}"}}"#),
    ] {
        std::fs::write(&file, &text).unwrap();
        let error = load(folder.path()).unwrap_err();
        assert!(matches!(error, IdentityError::File(KeyFileError::Content { .. })), "{text}");
        assert!(!format!("{error} {error:?}").contains(&KEY[1..]));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    }
}

/// M-15: a key that is replaced is kept, and goes on being the node's.
#[test]
fn a_key_that_is_replaced_is_kept_under_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let next = Wallet::from_hex(KEY).unwrap();
    let first = load(folder.path()).unwrap();
    assert!(first.former().is_empty());
    let before = std::fs::read(keys.path()).unwrap();
    let kept = keys.replace(&next, None, LOCKED).unwrap().unwrap();
    assert_eq!((std::fs::read(&kept).unwrap(), mode(&kept)), (before, 0o600));
    assert_eq!(mode(kept.parent().unwrap()), 0o700);
    let now = load(folder.path()).unwrap();
    assert_eq!(now.address(), ADDRESS);
    let [former] = now.former() else { panic!("one former key") };
    assert_eq!(former.wallet.as_ref().unwrap().address(), first.wallet().address());
    assert!(matches!(keys.replace(&next, None, LOCKED).unwrap_err(), IdentityError::Same(_)));
    // Back again: the key that is in use is no former one.
    keys.replace(first.wallet(), None, LOCKED).unwrap();
    let again = load(folder.path()).unwrap();
    assert_eq!(again.address(), first.address());
    assert_eq!(again.former().iter().map(|former| former.address.to_string()).collect::<Vec<_>>(), [ADDRESS]);
}

/// A crash between the two writes leaves the key as it was and its copy; the next try is as the first.
#[test]
fn a_crash_between_the_copy_and_the_new_key_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let first = load(folder.path()).unwrap();
    let copy = keys.former_path(first.wallet().address());
    golem_files::private_subfolder(copy.parent().unwrap()).unwrap();
    std::fs::copy(keys.path(), &copy).unwrap();
    // What was being written of either file.
    std::fs::write(folder.path().join("keys/provider_key.json.new"), "{").unwrap();
    std::fs::write(folder.path().join("keys/former/0x00.json.new"), "{").unwrap();
    let after = load(folder.path()).unwrap();
    assert_eq!((after.address(), after.former().len()), (first.address(), 0));
    keys.replace(&Wallet::from_hex(KEY).unwrap(), None, LOCKED).unwrap();
    let now = load(folder.path()).unwrap();
    assert_eq!((now.address(), now.former().len()), (ADDRESS, 1));
}

/// M-15
#[test]
fn an_encrypted_key_needs_its_passphrase_and_is_left_alone_without() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path());
    let first = load(folder.path()).unwrap();
    keys.replace(&Wallet::from_hex(KEY).unwrap(), None, LOCKED).unwrap();
    let right = passphrase("right");
    let written = keys.rewrite(Some(&right), LOCKED).unwrap();
    assert_eq!(written.len(), 2, "former keys too");
    assert!(keys.is_encrypted().unwrap() && written.iter().all(|path| mode(path) == 0o600));
    let bytes = std::fs::read(keys.path()).unwrap();
    assert!(matches!(load(folder.path()).unwrap_err(), IdentityError::File(KeyFileError::Locked { .. })));
    let wrong = keys.load(None, &|_| Ok(passphrase("wrong"))).unwrap_err();
    assert!(matches!(wrong, IdentityError::File(KeyFileError::Encrypted { .. })), "{wrong}");
    assert_eq!(std::fs::read(keys.path()).unwrap(), bytes);
    let open = keys.load(None, &|_| Ok(right.clone())).unwrap();
    assert_eq!(open.address(), ADDRESS);
    assert_eq!(open.former()[0].wallet.as_ref().unwrap().address(), first.wallet().address());
    // One whose passphrase is another one keeps nobody from starting.
    let other = key_file::text(first.wallet(), Some(&passphrase("other")), Cost::TRIVIAL).unwrap();
    key_file::write(&open.former()[0].path, &other).unwrap();
    let open = keys.load(None, &|_| Ok(right.clone())).unwrap();
    assert!(open.former()[0].wallet.as_ref().unwrap_err().contains("passphrase is wrong"));
    key_file::write(&open.former()[0].path, &key_file::text(first.wallet(), None, Cost::TRIVIAL).unwrap())
        .unwrap();
    keys.rewrite(None, &|_| Ok(right.clone())).unwrap();
    assert_eq!(load(folder.path()).unwrap().address(), ADDRESS);
}

#[test]
fn a_first_key_replaces_none() {
    let folder = tempfile::tempdir().unwrap();
    let next = Wallet::from_hex(KEY).unwrap();
    assert_eq!(keys(folder.path()).replace(&next, None, LOCKED).unwrap(), None);
    assert_eq!(load(folder.path()).unwrap().address(), ADDRESS);
    assert_eq!(mode(keys(folder.path()).path()), 0o600);
}
