//! Moves on one file system and across two, and those that were cut short.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;

const SMALL_FILES: &[(&str, &str)] = &[
    (".env", "A=1\nCERTIFICATE=~/certificate.pem\n"),
    ("keys/former/0x1.json", "an older key"),
    ("keys/provider_key.json", "the key"),
    ("networks/own.toml", "a network"),
    ("provider.db", "rows"),
];

const LARGE_FILES: &[(&str, &str)] =
    &[("images/x", "an image"), ("vms/a/disk", "a disk"), ("logs/x", "logs")];

fn fill(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        golem_files::private_subfolder(path.parent().unwrap()).unwrap();
        golem_files::replace(&path, text.as_bytes()).unwrap();
    }
}

/// Every file below `folder`, through links, and what it holds.
fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                all.insert(path.strip_prefix(folder).unwrap().to_owned(), text);
            }
        }
    }
    all
}

fn files(lists: &[&[(&str, &str)]]) -> BTreeMap<PathBuf, String> {
    lists.concat().into_iter().map(|(name, text)| (name.into(), text.to_owned())).collect()
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

/// The user whose the service's folder is.
fn user() -> u32 {
    if rustix::process::geteuid().is_root() { 12_345 } else { rustix::process::geteuid().as_raw() }
}

/// A node in a folder of its own, with a disk that a process has open, and where it goes.
struct World {
    old: tempfile::TempDir,
    new: tempfile::TempDir,
    disk: File,
}

impl World {
    fn new(new: tempfile::TempDir) -> Self {
        let old = tempfile::tempdir().unwrap();
        let from = old.path().join("provider");
        fill(&from, SMALL_FILES);
        fill(&from, LARGE_FILES);
        fill(old.path(), &[("volume/x", "elsewhere")]);
        symlink("../volume", from.join("sim")).unwrap();
        let disk = File::open(from.join("vms/a/disk")).unwrap();
        let to = new.path().join("golem-provider");
        std::fs::create_dir(&to).unwrap();
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o700)).unwrap();
        chown(&to, Some(user()), None).unwrap();
        Self { old, new, disk }
    }

    fn same() -> Self {
        Self::new(tempfile::tempdir().unwrap())
    }

    fn wanted(&self) -> Move {
        Move {
            from: self.old.path().join("provider"),
            to: self.new.path().join("golem-provider"),
            owner: None,
            replace: false,
        }
    }

    fn kept(&self) -> PathBuf {
        self.old.path().join("provider-before-service-20260102T030405Z")
    }

    /// That everything is at the new place, the service's, and as it was.
    fn has_moved(&self) {
        let to = self.wanted().to;
        assert_eq!(tree(&to), files(&[SMALL_FILES, LARGE_FILES, &[("sim/x", "elsewhere")]]));
        let disk = std::fs::metadata(to.join("vms/a/disk")).unwrap();
        assert_eq!(disk.ino(), self.disk.metadata().unwrap().ino(), "what a guest has open");
        for name in ["", "keys/provider_key.json", "provider.db", "vms/a/disk"] {
            assert_eq!(std::fs::metadata(to.join(name)).unwrap().uid(), user(), "{name}");
        }
        assert!(!is_node(&self.wanted().from), "nobody starts a second node with this key");
        assert_eq!(look(&self.wanted(), now()).unwrap(), None, "once is enough");
    }
}

#[test]
fn h_11_on_one_file_system_everything_is_renamed_and_small_files_are_kept() {
    let world = World::same();
    let plan = look(&world.wanted(), now()).unwrap().unwrap();
    assert!(plan.renamed && plan.linked.is_empty() && plan.aside.is_none(), "{plan:?}");
    assert!(plan.notes.iter().any(|note| note.contains("CERTIFICATE in line 2")), "{:?}", plan.notes);
    assert_eq!(tree(&world.wanted().to).len(), 0, "looking changes nothing");
    assert_eq!(run(&world.wanted(), now()).unwrap(), Some(plan));
    world.has_moved();
    assert_eq!(tree(&world.kept()), files(&[SMALL_FILES]));
    assert_eq!(std::fs::metadata(world.kept()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn h_11_a_move_that_is_cut_short_anywhere_goes_on() {
    type Cut = fn(&World, &Mark);
    let cuts: [Cut; 5] = [
        |world, _| {
            // In the middle of the copy.
            fill(
                world.old.path(),
                &[(".provider.keeping/keys/half", "ha"), (&format!(".provider.keeping/{MARK}"), "{}")],
            );
        },
        |world, mark| {
            keep_copies(&world.wanted().from, &mark.kept).unwrap();
            write_mark(&world.wanted().from, mark).unwrap();
        },
        |world, mark| {
            keep_copies(&world.wanted().from, &mark.kept).unwrap();
            write_mark(&world.wanted().from, mark).unwrap();
            clear(&world.wanted().to, &mark.aside).unwrap();
        },
        |world, mark| {
            keep_copies(&world.wanted().from, &mark.kept).unwrap();
            keep_links(&world.wanted().from).unwrap();
            write_mark(&world.wanted().from, mark).unwrap();
            clear(&world.wanted().to, &mark.aside).unwrap();
            rename(&world.wanted().from, &world.wanted().to).unwrap();
        },
        |world, _| {
            run(&world.wanted(), now()).unwrap();
        },
    ];
    for (number, cut) in cuts.into_iter().enumerate() {
        let world = World::same();
        let before = std::fs::metadata(world.wanted().from).unwrap().uid();
        let to = world.wanted().to;
        let group = std::fs::metadata(&to).unwrap().gid();
        let owner = (before, user(), group);
        let mark = Mark {
            from: world.wanted().from,
            kept: world.kept(),
            aside: beside(&to, "", "-x"),
            owner,
            copied: false,
        };
        cut(&world, &mark);
        let later = now() + jiff::SignedDuration::from_secs(60);
        run(&world.wanted(), if number == 0 { now() } else { later }).unwrap();
        world.has_moved();
        assert_eq!(tree(&world.kept()), files(&[SMALL_FILES]), "cut {number}");
        // Nothing but the volume that a link leads to, and what is kept.
        assert_eq!(std::fs::read_dir(world.old.path()).unwrap().count(), 2, "cut {number}");
    }
}

#[test]
fn h_11_two_nodes_are_not_made_one_unless_somebody_says_which() {
    let world = World::same();
    // Not by `fill`, which refuses the service's folder, as the node does where it is not that user.
    std::fs::create_dir(world.wanted().to.join("keys")).unwrap();
    std::fs::write(world.wanted().to.join("keys/provider_key.json"), "another key").unwrap();
    let refused = run(&world.wanted(), now()).unwrap_err();
    assert!(matches!(refused, MoveInError::Occupied(_)), "{refused}");
    assert_eq!(tree(&world.wanted().to).len(), 1);
    let wanted = Move { replace: true, ..world.wanted() };
    let aside = run(&wanted, now()).unwrap().unwrap().aside.unwrap();
    assert_eq!(tree(&aside), files(&[&[("keys/provider_key.json", "another key")]]));
    world.has_moved();
    let nothing = Move { from: world.old.path().join("volume"), ..world.wanted() };
    assert_eq!(run(&nothing, now()).unwrap(), None, "no node is there");
}

/// The other file system is the one in memory that every Linux has.
#[test]
fn h_11_across_file_systems_disks_stay_and_the_rest_is_copied() {
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    let memory = Path::new("/dev/shm");
    assert_ne!(device(memory), device(&std::env::temp_dir()), "the test needs two file systems");
    for is_cut in [false, true] {
        let world = World::new(tempfile::tempdir_in(memory).unwrap());
        let plan = look(&world.wanted(), now()).unwrap().unwrap();
        let vms = real(&world.wanted().from.join("vms")).unwrap();
        assert_eq!((plan.renamed, &plan.linked), (false, &vec![vms.clone()]));
        assert!(plan.notes.iter().any(|note| note.contains("BindPaths=")), "{:?}", plan.notes);
        if is_cut {
            // Copied to its middle, and put in its place with the small files still at the old one.
            fill(world.new.path(), &[(".golem-provider.moving-in/keys/half", "ha")]);
            assert!(matches!(run(&world.wanted(), now()), Err(MoveInError::Stranger(_))));
            fill(world.new.path(), &[(&format!(".golem-provider.moving-in/{MARK}"), "{}")]);
        }
        run(&world.wanted(), now()).unwrap();
        if is_cut {
            let kept = world.kept();
            std::fs::rename(kept.join("keys"), world.wanted().from.join("keys")).unwrap();
            let owner = (rustix::process::geteuid().as_raw(), user(), rustix::process::getegid().as_raw());
            let mark = Mark { from: world.wanted().from, kept, aside: "/none".into(), owner, copied: true };
            write_mark(&world.wanted().to, &mark).unwrap();
            assert!(run(&world.wanted(), now()).unwrap().is_some());
        }
        world.has_moved();
        assert_eq!(std::fs::read_link(world.wanted().to.join("vms")).unwrap(), vms);
        let mut kept = files(&[SMALL_FILES, LARGE_FILES]);
        kept.remove(Path::new("vms/a/disk"));
        let found = tree(&world.kept());
        assert!(kept.iter().all(|(name, text)| found.get(name) == Some(text)), "{found:?}");
    }
}

/// One device, and nothing to rename between: where a folder is bound to another place.
#[test]
fn h_11_a_folder_that_is_bound_elsewhere_is_copied_though_it_is_on_the_same_device() {
    const INSIDE: &str = "GOLEM_TEST_MOVE_IN_BOUND";
    if let Some(folder) = std::env::var_os(INSIDE) {
        let folder = Path::new(&folder);
        let wanted =
            Move { from: folder.join("old/provider"), to: folder.join("new/x"), owner: None, replace: false };
        let plan = look(&wanted, now()).unwrap().unwrap();
        assert_eq!(mounted(&folder.join("old")).unwrap().0, mounted(&folder.join("new")).unwrap().0);
        assert!(!plan.renamed && !plan.linked.is_empty(), "{plan:?}");
        run(&wanted, now()).unwrap();
        assert_eq!(std::fs::read_to_string(wanted.to.join("vms/a/disk")).unwrap(), "a disk");
        assert!(!is_node(&wanted.from) && !is_unfinished(&wanted.to));
        return;
    }
    // Who else may not mount.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fill(&folder.path().join("old/provider"), SMALL_FILES);
    fill(&folder.path().join("old/provider"), LARGE_FILES);
    std::fs::create_dir(folder.path().join("new")).unwrap();
    let mut again = std::process::Command::new("unshare");
    again
        .args(["--mount", "sh", "-c", r#"mount --bind "$0/new" "$0/new" && exec "$@""#])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .arg("a_folder_that_is_bound_elsewhere")
        .env(INSIDE, folder.path());
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{output:?}");
}

#[test]
fn h_11_a_rename_that_the_kernel_refuses_leaves_the_node_where_it_was() {
    let world = World::same();
    let Move { from, to, .. } = world.wanted();
    let mark = Mark {
        from: from.clone(),
        kept: world.kept(),
        aside: beside(&to, "", "-x"),
        owner: (0, user(), 0),
        copied: false,
    };
    std::fs::write(to.join("image"), "theirs").unwrap();
    write_mark(&from, &mark).unwrap();
    clear(&to, &mark.aside).unwrap();
    as_before(&from, &to, &mark.aside);
    assert!(!is_unfinished(&from), "it can start");
    assert_eq!(std::fs::read_to_string(to.join("image")).unwrap(), "theirs");
}

/// The folder is the package's, also where somebody has removed it.
#[test]
fn h_11_where_there_is_no_folder_the_node_becomes_the_services() {
    let world = World::same();
    let Move { from, to, .. } = world.wanted();
    std::fs::remove_dir(&to).unwrap();
    if rustix::process::geteuid().is_root() {
        for path in [from.clone(), from.join("keys"), from.join("keys/provider_key.json")] {
            chown(&path, Some(12_345), Some(12_345)).unwrap();
        }
    }
    run(&world.wanted(), now()).unwrap();
    let key = std::fs::metadata(to.join("keys/provider_key.json")).unwrap();
    assert_eq!((key.uid(), key.gid()), of_service());
}

/// Whoever goes back to the Python provider finds its files as they were; the first start takes those that moved.
#[test]
fn h_11_what_a_python_provider_wrote_is_kept_at_the_old_place() {
    const ORIGINAL: &[(&str, &str)] =
        &[("proxy/ports.json", "ports"), ("vms/jobs.sqlite", "jobs"), ("vms/vm_names.json", "names")];
    for world in [World::same(), World::new(tempfile::tempdir_in("/dev/shm").unwrap())] {
        fill(&world.wanted().from, ORIGINAL);
        let plan = run(&world.wanted(), now()).unwrap().unwrap();
        for folder in [&plan.kept, &plan.to] {
            let found = tree(folder);
            assert!(files(&[ORIGINAL]).iter().all(|(name, text)| found.get(name) == Some(text)), "{found:?}");
        }
        let mode = std::fs::metadata(plan.kept.join("vms/vm_names.json")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
