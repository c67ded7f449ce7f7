//! Backups that are whole, and everything else that a file may be.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;

const PASSPHRASE: &str = "correct horse battery staple";

/// Everything below `folder` that is no folder: what a file holds, where a link leads, by the way to it.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            let found = std::fs::symlink_metadata(&path).unwrap();
            let inside = path.strip_prefix(folder).unwrap().to_owned();
            if found.is_dir() {
                folders.push(path);
            } else if found.is_symlink() {
                all.insert(inside, std::fs::read_link(&path).unwrap().to_str().unwrap().into());
            } else {
                assert_eq!(found.permissions().mode() & 0o077, 0, "{} is open to others", path.display());
                all.insert(inside, std::fs::read(&path).unwrap());
            }
        }
    }
    all
}

fn fill(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        golem_files::private_subfolder(path.parent().unwrap()).unwrap();
        golem_files::replace(&path, text.as_bytes()).unwrap();
    }
}

/// A folder with a node's data in `node`, and a backup of it.
struct Made {
    folder: tempfile::TempDir,
    manifest: Manifest,
}

const KEPT: &[(&str, &str)] = &[
    (".env", "GOLEM_PROVIDER_NAME=abc\n"),
    ("certificates/account.json", "{}"),
    ("keys/former/0x1.json", "an older key"),
    ("keys/provider_key.json", "the key"),
    ("markets/own.toml", "a market"),
    ("networks/own.toml", "a network"),
];

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("node");
        fill(&data_dir, KEPT);
        let other = [
            ("vms/a/disk", "a disk"),
            ("images/x", "an image"),
            ("logs/x", "logs"),
            ("keys/x.json.new", "half"),
        ];
        fill(&data_dir, &other);
        fill(
            folder.path(),
            &[("ledger", &"a row. ".repeat(20_000)), ("user.env", "A=1\n"), ("etc/env", "B=2\n")],
        );
        let source = Self::source(folder.path());
        let manifest =
            write(&source, &folder.path().join("backup"), false, PASSPHRASE, Cost::LEAST, now()).unwrap();
        let made = Self { folder, manifest };
        assert!(matches!(
            write(&source, &made.file(), false, PASSPHRASE, Cost::LEAST, now()),
            Err(BackupError::Exists(_))
        ));
        made
    }

    /// What a backup in `folder` is made of.
    fn source(folder: &Path) -> Source {
        Source {
            data_dir: folder.join("node"),
            ledger: Some(LedgerCopy { path: folder.join("ledger"), version: 7 }),
            service_settings: Some(folder.join("etc/env")),
            user_settings: Some(folder.join("user.env")),
            provider_id: Some("0xabc".to_owned()),
            program_version: "1",
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("backup")
    }

    fn open(&self) -> Backup {
        Backup::open(&self.file(), PASSPHRASE).unwrap()
    }

    /// What the data directory of a restored node holds.
    fn restored() -> BTreeMap<PathBuf, Vec<u8>> {
        let small = KEPT.iter().map(|(name, text)| (PathBuf::from(name), text.as_bytes().to_vec()));
        small.chain([("provider.db".into(), "a row. ".repeat(20_000).into_bytes())]).collect()
    }
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn destination(folder: &Path) -> Destination {
    Destination {
        data_dir: folder.join("data"),
        service_settings: Some(folder.join("service/env")),
        user_settings: None,
        ledger_version: 7,
        program_version: "1",
    }
}

#[test]
fn h_11_a_backup_comes_back_on_a_fresh_machine() {
    let made = Made::new();
    let names: Vec<_> = made.manifest.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names[0], LEDGER, "before the keys: one that is replaced meanwhile is among the former ones");
    assert_eq!(names.len(), KEPT.len() + 3, "{names:?}");
    let key = names.iter().position(|name| *name == "data/keys/provider_key.json");
    assert!(key < names.iter().position(|name| name.contains("former")), "{names:?}");
    assert_eq!(std::fs::metadata(made.file()).unwrap().permissions().mode() & 0o777, 0o600);
    let bytes = std::fs::read(made.file()).unwrap();
    for secret in [&b"the key"[..], b"provider_key", b"a row", b"0xabc"] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "encrypted");
    }

    let fresh = tempfile::tempdir().unwrap();
    let to = destination(&fresh.path().join("a/b"));
    let mut backup = made.open();
    let plan = look(&backup, &to, now()).unwrap();
    assert!(tree(fresh.path()).is_empty(), "looking writes nothing");
    assert_eq!(run(&mut backup, &to, now()).unwrap(), plan);
    let (places, notes) = (vec![to.service_settings.clone().unwrap()], plan.notes.join("\n"));
    assert_eq!((plan.kept, plan.settings), (None, places));
    let mut expected = Made::restored();
    expected.insert("settings-user.env".into(), b"A=1\n".to_vec());
    assert_eq!(tree(&to.data_dir), expected);
    assert!(notes.contains("settings-user.env; nothing reads them there"), "{notes}");
    assert_eq!(std::fs::read(to.service_settings.unwrap()).unwrap(), b"B=2\n");
    assert_eq!(
        std::fs::read_dir(to.data_dir.parent().unwrap()).unwrap().count(),
        2,
        "nothing is left beside"
    );
}

#[test]
fn h_11_what_is_replaced_is_kept_beside_and_disks_stay() {
    let made = Made::new();
    let home = tempfile::tempdir().unwrap();
    let to = destination(home.path());
    let old = [
        ("keys/provider_key.json", "another key"),
        ("keys/former/0x2.json", "older"),
        ("provider.db-wal", "rows"),
    ];
    fill(&to.data_dir, &old);
    let stays = [
        ("vms/a/disk", "its disk"),
        ("images/x", "its image"),
        ("logs/x", "its logs"),
        ("operator.token", "t"),
    ];
    fill(&to.data_dir, &stays);
    fill(home.path(), &[("volume/x", "elsewhere"), ("service/env", "C=3\n")]);
    std::os::unix::fs::symlink("../volume", to.data_dir.join("sim")).unwrap();
    // A file that a process has open, as QEMU has a disk.
    let open = std::fs::File::open(to.data_dir.join("vms/a/disk")).unwrap();
    let user =
        if rustix::process::geteuid().is_root() { 12_345 } else { rustix::process::geteuid().as_raw() };
    chown(&to.data_dir, Some(user), None).unwrap();

    let plan = run(&mut made.open(), &to, now()).unwrap();
    let kept = home.path().join("data-before-restore-20260102T030405Z");
    assert_eq!(plan.kept.as_deref(), Some(&*std::fs::canonicalize(&kept).unwrap()));
    let text = |list: &[(&str, &str)]| -> BTreeMap<PathBuf, Vec<u8>> {
        list.iter().map(|(name, text)| (name.into(), text.as_bytes().to_vec())).collect()
    };
    assert_eq!(tree(&kept), text(&old));
    let mut expected = Made::restored();
    expected.extend(text(&stays));
    expected.extend(text(&[("settings-user.env", "A=1\n"), ("sim", "../volume")]));
    assert_eq!(tree(&to.data_dir), expected);
    let found = std::fs::metadata(to.data_dir.join("vms/a/disk")).unwrap();
    assert_eq!(found.ino(), open.metadata().unwrap().ino(), "the same file, and no copy");
    for name in ["", "keys", "keys/provider_key.json", "provider.db"] {
        assert_eq!(std::fs::metadata(to.data_dir.join(name)).unwrap().uid(), user, "{name}");
    }
    let before = home.path().join("service/env.before-restore-20260102T030405Z");
    assert_eq!(std::fs::read(before).unwrap(), b"C=3\n");
    assert_eq!(std::fs::read(home.path().join("service/env")).unwrap(), b"B=2\n");
}

#[test]
fn h_11_what_cannot_be_restored_is_refused_before_anything_is_written() {
    let made = Made::new();
    let home = tempfile::tempdir().unwrap();
    let to = destination(home.path());
    let wrong = Backup::open(&made.file(), "wrong").err().unwrap();
    assert!(matches!(wrong, BackupError::Passphrase), "{wrong}");
    let older = Destination { ledger_version: 6, ..to.clone() };
    let newer = run(&mut made.open(), &older, now()).unwrap_err();
    assert!(matches!(newer, BackupError::NewerLedger { found: 7, known: 6 }), "{newer}");
    // The clock of one of the machines is wrong.
    let plan = look(&made.open(), &to, now() - SignedDuration::from_secs(1)).unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("clock")), "{:?}", plan.notes);
    if rustix::process::geteuid().is_root() {
        let mounted = Destination { data_dir: "/proc".into(), ..to.clone() };
        assert!(matches!(look(&made.open(), &mounted, now()), Err(BackupError::MountPoint(_))));
    }
    assert!(tree(home.path()).is_empty());
    // Not of a restore: left alone.
    fill(home.path(), &[(".data.restoring/x", "somebody's")]);
    assert!(matches!(run(&mut made.open(), &to, now()), Err(BackupError::Stranger(_))));
    assert_eq!(tree(home.path()).len(), 1);
    for other in [&b""[..], b"age-encryption.org/v1\n", &[0; 4096]] {
        std::fs::write(home.path().join("other"), other).unwrap();
        let refused = Backup::open(&home.path().join("other"), PASSPHRASE).err().unwrap();
        assert!(matches!(refused, BackupError::NotOne), "{refused}");
    }
}

#[test]
fn h_11_two_backups_at_once_are_whole_and_nobodys_file_goes() {
    let made = Made::new();
    let source = Made::source(made.folder.path());
    // Of somebody; and of a backup that was killed.
    let mut gone = std::process::Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    let left = format!("backup.new-{}-0123456789abcdef", gone.id());
    fill(made.folder.path(), &[("backup.new", "somebody's"), (&left, "half")]);
    let work = || write(&source, &made.file(), true, PASSPHRASE, Cost::LEAST, now());
    for _ in 0..10 {
        std::thread::scope(|scope| {
            let both = [scope.spawn(work), scope.spawn(work)];
            both.into_iter().for_each(|one| assert_eq!(one.join().unwrap().unwrap(), made.manifest));
        });
        assert_eq!(made.open().manifest, made.manifest);
    }
    let names: Vec<_> = tree(made.folder.path()).into_keys().collect();
    let new = names.iter().filter(|name| name.to_string_lossy().starts_with("backup."));
    assert_eq!(new.collect::<Vec<_>>(), [Path::new("backup.new")]);
}

#[test]
fn h_11_restores_of_one_second_keep_each_what_it_replaced() {
    let made = Made::new();
    let home = tempfile::tempdir().unwrap();
    let to = destination(home.path());
    fill(home.path(), &[("data/.env", "first"), ("service/env", "FIRST=1\n")]);
    run(&mut made.open(), &to, now()).unwrap();
    fill(home.path(), &[("data/.env", "second"), ("service/env", "SECOND=1\n")]);
    let plan = run(&mut made.open(), &to, now()).unwrap();
    let kept = home.path().join("data-before-restore-20260102T030405Z-2");
    assert_eq!(plan.kept.as_deref(), Some(&*std::fs::canonicalize(&kept).unwrap()));
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
    assert_eq!(read("data-before-restore-20260102T030405Z/.env"), "first");
    assert_eq!(read("data-before-restore-20260102T030405Z-2/.env"), "second");
    assert_eq!(read("service/env.before-restore-20260102T030405Z"), "FIRST=1\n");
    assert_eq!(read("service/env.before-restore-20260102T030405Z-2"), "SECOND=1\n");
}

#[test]
fn h_11_what_is_restored_has_the_group_of_what_was_there() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let made = Made::new();
    let home = tempfile::tempdir().unwrap();
    let to = destination(home.path());
    fill(&to.data_dir, &[("keys/provider_key.json", "another key")]);
    chown(&to.data_dir, None, Some(12_345)).unwrap();
    run(&mut made.open(), &to, now()).unwrap();
    for name in ["", "keys", "keys/provider_key.json", "provider.db"] {
        let found = std::fs::metadata(to.data_dir.join(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (0, 12_345), "{name}");
    }
}

#[test]
fn a_file_that_changes_between_check_and_use_changes_nothing() {
    let (made, other) = (Made::new(), tempfile::tempdir().unwrap());
    let to = destination(other.path());
    let mut backup = made.open();
    let length = std::fs::metadata(made.file()).unwrap().len();
    std::fs::File::options().write(true).open(made.file()).unwrap().set_len(length / 2).unwrap();
    assert!(run(&mut backup, &to, now()).is_err());
    assert!(tree(other.path()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever becomes of the file, it is refused as it is opened.
    #[test]
    fn h_11_a_bit_that_flipped_or_an_end_that_is_missing_is_refused(at in 0.0..1.0f64, bit in 0u8..8, is_header: bool) {
        use std::sync::LazyLock;
        static MADE: LazyLock<(Made, Vec<u8>)> = LazyLock::new(|| {
            let made = Made::new();
            let bytes = std::fs::read(made.file()).unwrap();
            (made, bytes)
        });
        let (made, bytes) = &*MADE;
        let length = if is_header { 200 } else { bytes.len() };
        #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let at = (at * length as f64) as usize;
        let path = made.folder.path().join("spoilt");
        let mut spoilt = bytes.clone();
        spoilt[at] ^= 1 << bit;
        for spoilt in [&spoilt[..], &bytes[..at], &[&bytes[..], &bytes[..at + 1]].concat()] {
            std::fs::write(&path, spoilt).unwrap();
            prop_assert!(Backup::open(&path, PASSPHRASE).is_err(), "byte {at} of {}", bytes.len());
        }
    }
}

/// A tar of a manifest of `named` and of `members`, each as `header` makes it.
fn tar_of(named: &[Member], members: &[(tar::Header, &[u8])]) -> Vec<u8> {
    let manifest = Manifest {
        format: 1,
        program_version: "1".into(),
        provider_id: None,
        ledger_version: named.iter().any(|one| one.name == LEDGER).then_some(1),
        created_at: now(),
        members: named.to_vec(),
    };
    let text = serde_json::to_vec(&manifest).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let first = header("manifest.json", text.len() as u64, tar::EntryType::Regular);
    for (header, bytes) in std::iter::once(&(first, &text[..])).chain(members) {
        tar.append(header, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn header(name: &str, bytes: u64, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    // As it is: `set_path` refuses what a stranger would write.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(bytes);
    header.set_cksum();
    header
}

fn member(name: &str, content: &[u8]) -> Member {
    use sha2::Digest;
    let sha256 = super::write::hex(&sha2::Sha256::digest(content));
    Member { name: name.into(), bytes: content.len() as u64, sha256 }
}

fn check(tar: &[u8]) -> Result<Manifest, BackupError> {
    check_members(tar, &mut |_, _| Ok(()))
}

#[test]
fn h_11_a_member_that_leads_elsewhere_or_is_no_file_is_refused() {
    use tar::EntryType;
    let good = "data/keys/a";
    let file = |name: &str| (header(name, 1, EntryType::Regular), &b"x"[..]);
    assert!(check(&tar_of(&[member(good, b"x")], &[file(good)])).is_ok());
    for name in [
        "../x",
        "/etc/passwd",
        "data/../x",
        "data/keys/../../x",
        "data/keys//x",
        "data/keys/.",
        "data/vms/a/disk",
        "data/keys",
        "data/keys/\u{7}",
        "data/operator.token",
        "settings/other",
        "data",
        "",
        "manifest.json",
    ] {
        let refused = check(&tar_of(&[member(name, b"x")], &[file(name)])).unwrap_err();
        assert!(
            matches!(refused, BackupError::Member(_, "is none of a provider's files")),
            "{name}: {refused}"
        );
    }
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::Continuous,
    ] {
        let refused = check(&tar_of(&[member(good, b"x")], &[(header(good, 1, kind), b"x")])).unwrap_err();
        assert!(matches!(refused, BackupError::Member(_, "is no file")), "{kind:?}: {refused}");
    }
    let twice = [member(good, b"x"), member(good, b"x")];
    assert!(matches!(
        check(&tar_of(&twice, &[file(good), file(good)])),
        Err(BackupError::Member(_, "is there twice"))
    ));
    let inside = [member(good, b"x"), member("data/keys/a/b", b"x")];
    assert!(matches!(check(&tar_of(&inside, &[])), Err(BackupError::Member(_, "lies inside of a file"))));
}

#[test]
fn h_11_what_does_not_fit_its_manifest_or_its_bounds_is_refused() {
    let kind = tar::EntryType::Regular;
    let (good, other) = ("data/keys/a", "data/keys/b");
    let file = |name: &str, bytes: &'static [u8]| (header(name, bytes.len() as u64, kind), bytes);
    let named = [member(good, b"x")];
    for (members, why) in [
        (vec![], "is missing"),
        (vec![file(other, b"x")], "another"),
        (vec![file(good, b"y")], "another content"),
        (vec![file(good, b"xx")], "another size"),
        (vec![file(good, b"x"), file(other, b"x")], "one more"),
        (vec![(header(good, 10 << 30, kind), &b"x"[..])], "ten gigabytes"),
    ] {
        assert!(check(&tar_of(&named, &members)).is_err(), "{why}");
    }
    let big = Member { bytes: 10 << 30, ..member(good, b"") };
    assert!(matches!(
        check(&tar_of(&[big], &[])),
        Err(BackupError::Member(_, "is larger than any such file"))
    ));
    let long = (0..5000).map(|number| member(&format!("data/keys/{number}"), b"")).collect::<Vec<_>>();
    assert!(matches!(check(&tar_of(&long, &[])), Err(BackupError::Damaged("it has too many members"))));
    let mut followed = tar_of(&named, &[file(good, b"x")]);
    followed.extend([0; 512]);
    assert!(check(&followed).is_ok());
    followed.extend(b"more");
    assert!(check(&followed).is_err());
    let newer = br#"{"format":2,"and":"whatever"}"#;
    assert!(matches!(Manifest::parse(newer), Err(BackupError::NewerFormat(2))));
}
