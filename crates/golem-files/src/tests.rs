use std::os::unix::fs::symlink;

use super::*;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn open_up(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn refusal(result: io::Result<()>) -> FileError {
    *result.unwrap_err().into_inner().unwrap().downcast().unwrap()
}

#[test]
fn i_02_folders_and_files_are_private_from_the_start_and_closed_when_they_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (above, root) = (folder.path().join("a"), folder.path().join("a/b"));
    private_root(&root, &["provider.db"], &["file"]).unwrap();
    assert_eq!((mode(&above), mode(&root)), (0o700, 0o700));
    let file = root.join("file");
    drop(private_file(&file, OpenOptions::new().append(true)).unwrap());
    assert_eq!(mode(&file), 0o600);
    replace(&root.join("text"), b"words").unwrap();
    assert_eq!((mode(&root.join("text")), read(&root.join("text"), 5).unwrap()), (0o600, b"words".to_vec()));

    let inner = root.join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(root.join("provider.db"), "").unwrap();
    let image = root.join("image");
    std::fs::write(&image, "").unwrap();
    for (path, mode) in [(&root, 0o777), (&inner, 0o755), (&file, 0o644), (&image, 0o444)] {
        open_up(path, mode);
    }
    drop(private_file(&file, OpenOptions::new().append(true)).unwrap());
    assert_eq!(mode(&file), 0o600);
    open_up(&file, 0o666);
    private_root(&root, &["provider.db"], &["file"]).unwrap();
    assert_eq!(
        [&root, &inner, &file, &image].map(|path| mode(path)),
        [0o700, 0o700, 0o600, 0o400],
        "closed, and never opened wider"
    );
}

#[test]
fn i_02_a_folder_that_others_use_is_not_closed_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("srv");
    std::fs::create_dir(&root).unwrap();
    open_up(&root, 0o755);
    private_root(&root, &["provider.db"], &["file"]).unwrap();
    assert_eq!(mode(&root), 0o700, "an empty folder is nobody's");
    std::fs::write(root.join("file"), "").unwrap();
    open_up(&root, 0o755);
    private_root(&root, &["provider.db"], &["file"]).unwrap();
    assert_eq!(mode(&root), 0o700, "it holds nothing but ours");
    std::fs::create_dir(root.join("www")).unwrap();
    private_root(&root, &["provider.db"], &["file"]).unwrap();
    open_up(&root, 0o755);
    assert!(matches!(refusal(private_root(&root, &["provider.db"], &["file"])), FileError::Shared(_)));
    assert_eq!(mode(&root), 0o755);
    std::fs::write(root.join("provider.db"), "").unwrap();
    private_root(&root, &["provider.db"], &["file"]).unwrap();
    assert_eq!(mode(&root), 0o700);
    open_up(&root, 0o1777);
    assert!(matches!(refusal(private_root(&root, &["provider.db"], &["file"])), FileError::Shared(_)));
}

/// Needs root, as the tests of the whole project do: another user's files are made by it.
#[test]
fn i_02_what_others_own_or_planted_is_refused() {
    if user() != 0 {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let other = Some(4242);
    let root = folder.path().join("data");
    private_root(&root, &["provider.db"], &["file"]).unwrap();
    let victim = folder.path().join("victim");
    std::fs::write(&victim, "mine").unwrap();
    let planted = root.join("provider.db");
    symlink(&victim, &planted).unwrap();
    // A link of the operator's own: to another disk, say.
    private_root(&root, &["provider.db"], &["file"]).unwrap();
    std::os::unix::fs::lchown(&planted, other, other).unwrap();
    let append = OpenOptions::new().append(true).clone();
    let refused = refusal(private_file(&planted, &append).map(drop));
    assert!(matches!(refused, FileError::Link { owner: 4242, .. }), "{refused}");
    assert!(matches!(refusal(private_root(&root, &["provider.db"], &["file"])), FileError::Link { .. }));
    // It is replaced, not followed.
    replace(&planted, b"new").unwrap();
    assert_eq!(std::fs::read(&victim).unwrap(), b"mine");
    private_root(&root, &["provider.db"], &["file"]).unwrap();
    std::os::unix::fs::chown(&planted, other, None).unwrap();
    let refused = refusal(private_root(&root, &["provider.db"], &["file"]));
    assert!(refused.to_string().contains("fix: run as user 4242, or `chown 0 "), "{refused}");
    std::fs::remove_file(&planted).unwrap();
    std::os::unix::fs::chown(&root, other, None).unwrap();
    assert!(matches!(refusal(private_subfolder(&root.join("inner"))), FileError::Foreign { .. }));
    assert!(!root.join("inner").exists());
    assert!(matches!(refusal(private_folder(&root)), FileError::Foreign { owner: 4242, user: 0, .. }));
    std::os::unix::fs::chown(&root, Some(0), None).unwrap();
    private_root(&root, &["provider.db"], &["file"]).unwrap();
}

#[test]
fn h_16_a_file_that_cannot_be_replaced_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    replace(&path, b"before").unwrap();
    // Nothing can be renamed over a folder.
    let other = folder.path().join("other");
    std::fs::create_dir_all(other.join("full")).unwrap();
    replace(&other, b"after").unwrap_err();
    replace(&path, b"after").unwrap();
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing half is left: {names:?}");
    assert_eq!(read(&path, 5).unwrap(), b"after");
    assert_eq!(read(&path, 4).unwrap_err().kind(), ErrorKind::FileTooLarge);
    for (errno, text) in [
        (rustix::io::Errno::NOSPC, Some("the provider's disk is full")),
        (rustix::io::Errno::DQUOT, Some("the provider's disk is full")),
        (rustix::io::Errno::ROFS, Some("the provider's disk is read-only")),
        (rustix::io::Errno::IO, Some("the provider's disk is failing")),
        (rustix::io::Errno::NOENT, None),
    ] {
        assert_eq!(disk_trouble(&errno.into()), text);
    }
}

#[test]
fn h_05_a_value_of_the_kernel_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("value");
    for length in [0, 31, 32, 33, 4096, FIRST_SIZE - 1, FIRST_SIZE, FIRST_SIZE + 1, 1 << 20] {
        std::fs::write(&path, vec![b'7'; length]).unwrap();
        assert_eq!(kernel_value(&path).unwrap().len(), length);
    }
    std::fs::write(&path, vec![b'7'; 3 << 20]).unwrap();
    assert_eq!(kernel_value(&path).unwrap_err().kind(), ErrorKind::InvalidData);
}

const FIRST_SIZE: usize = 256 << 10;

/// I-02: who can change a folder on the way could put another in the place of ours.
#[test]
fn i_02_a_folder_on_a_way_that_others_can_change_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = |path: &Path| private_root(path, &[], &[]).map_err(|error| error.to_string());
    let way = folder.path().join("home");
    std::fs::create_dir(&way).unwrap();
    let data = way.join("a/data");
    assert_eq!(root(&data), Ok(()));
    // Through a link of our own it is as good; what comes after it is looked at as well.
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("home/../home", &link).unwrap();
    assert_eq!(root(&link.join("a/data")), Ok(()));
    std::fs::set_permissions(way.join("a"), Permissions::from_mode(0o777)).unwrap();
    for path in [&data, &link.join("a/data")] {
        assert!(
            root(path).unwrap_err().contains("can be written by every user; fix: `chmod o-w"),
            "{path:?}"
        );
    }
    // Where nobody moves what is another's, as in /tmp.
    std::fs::set_permissions(way.join("a"), Permissions::from_mode(0o1777)).unwrap();
    assert_eq!(root(&data), Ok(()));
    std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
    assert!(root(&folder.path().join("loop/data")).is_err());
    if user() != 0 {
        return;
    }
    std::os::unix::fs::chown(&way, Some(65534), None).unwrap();
    assert!(root(&data).unwrap_err().contains("belongs to user 65534"));
    assert!(root(&way.join("new/data")).unwrap_err().contains("belongs to user 65534"));
    assert!(!way.join("new").exists(), "nothing is made there");
    std::os::unix::fs::chown(&way, Some(0), None).unwrap();
    std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
    assert!(root(&link.join("a/data")).unwrap_err().contains("is a symbolic link that user 65534 made"));
}

/// H-07: a folder on a disk that is not mounted.
#[test]
fn h_07_a_link_to_nowhere_is_told_by_both_its_ends() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("images");
    symlink("/nowhere/images", &link).unwrap();
    for refused in [private_folder(&link), private_subfolder(&link.join("of"))] {
        assert!(matches!(refusal(refused), FileError::Nowhere { path, .. } if path == link));
    }
    assert!(!link.exists());
}

/// What is no file is not waited for.
#[test]
fn a_fifo_in_the_place_of_a_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    assert!(read(&path, 10).unwrap_err().to_string().contains("is no file; fix: remove it"));
    assert!(read(folder.path(), 10).is_err());
}
