//! What other users of the machine can see and plant: nothing, whichever command is the first.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use golem_test_support::{Home, Running, StopAtEnd, wanted};
use rustix::process::Signal;

/// `command` for a user whose files are everybody's by default.
fn careless(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

/// Everything in `folder`, itself too, that other users have a right to.
fn open_to_others(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        // An image is a guest's base too, which reads it as another user by a link in its own folder.
        let image = path.extension().is_some_and(|suffix| suffix == "img");
        if metadata.mode() & 0o077 != 0 && !image {
            found.push((path.clone(), format!("{:o}", metadata.mode())));
        }
        if metadata.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

/// Every file in `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] })
        .collect()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A disk image's first bytes, which is all that is looked at.
fn image(home: &Home) -> PathBuf {
    let file = home.folder.path().join("disk.qcow2");
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(b"QFI\xfb");
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    bytes[24..32].copy_from_slice(&(1u64 << 30).to_be_bytes());
    std::fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn i_02_whatever_command_is_the_first_others_see_nothing() {
    let commands: [(&[&str], bool); 9] = [
        (&["images", "add", "mine", "disk.qcow2"], true),
        (&["pricing", "set", "--usd-per-core", "5"], true),
        (&["config", "monitor", "--enable", "true"], true),
        (&["wallet", "import", "key"], true),
        (&["wallet", "show"], false),
        (&["rent", "wallet"], true),
        (&["status"], false),
        (&["import"], false),
        (&["vms", "list"], false),
    ];
    for (words, writes) in commands {
        let home = Home::new();
        image(&home);
        let key = home.folder.path().join("key");
        std::fs::write(&key, "1".repeat(64)).unwrap();
        std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let output = careless(&home.command(words)).output().unwrap();
        let golem = home.folder.path().join(".golem");
        assert_eq!(golem.exists(), writes, "{words:?}: {}", Home::show(&output));
        if writes {
            assert_eq!(open_to_others(&golem), [], "{words:?}: {}", Home::show(&output));
        }
    }
}

#[test]
fn i_02_a_node_and_the_services_keep_their_files_from_others() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    let output = careless(&home.command(&["start", "--daemon"])).output().unwrap();
    assert!(output.status.success(), "{}", Home::show(&output));
    home.rent("web-server");
    for name in ["provider.db", "provider.db-wal", "provider.db-shm", "operator.token", "logs/provider.log"] {
        assert!(home.data().join(name).exists(), "{name}");
    }
    // S-090: folders 0700 and files 0600, at most, and below them what is known of renters' keys.
    assert_eq!(open_to_others(&home.folder.path().join(".golem")), []);
    assert_eq!(open_to_others(&home.folder.path().join(".local")), []);
    // A renter who sends the wrong half of the key.
    let secret = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ";
    let pem = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{secret}\n-----END OPENSSH PRIVATE KEY-----\n");
    let mut body = wanted("careless", None);
    body["ssh_key"] = pem.into();
    assert_eq!(home.http("POST", "/api/v1/vms", &body.to_string()).0, 422);
    let holding = files(home.folder.path()).into_iter().filter(|file| {
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(secret.len()).any(|part| part == secret.as_bytes())
    });
    // S-090: is kept nowhere, the log included.
    assert_eq!(holding.collect::<Vec<_>>(), Vec::<PathBuf>::new());

    let port = golem_test_support::ports(1).to_string();
    for (words, says) in [
        (["discovery", "--host", "127.0.0.1", "--port", &port], "discovery service on"),
        (["port-checker", "--host", "127.0.0.1", "--port", &port], "checking ports on"),
    ] {
        let other = Home::new();
        let mut service = Running::of(careless(&other.command(&words)), says);
        assert_eq!(open_to_others(&other.folder.path().join(".golem")), [], "{words:?}");
        service.signal(Signal::TERM);
        assert_eq!(service.end(), Some(0));
    }
}

#[test]
fn i_02_what_an_older_version_left_open_is_closed_with_a_warning() {
    let home = Home::new();
    let mut node = home.start(&[]);
    home.rent("web-server");
    // As a kill leaves it: with the files that SQLite keeps beside the ledger.
    node.signal(Signal::KILL);
    node.end();
    let data = home.data();
    let opened = ["", "provider.db", "provider.db-wal", "provider.db-shm", "streams.json", "sim", "keys"];
    std::fs::write(data.join("streams.json"), "{}").unwrap();
    for name in opened {
        let path = data.join(name);
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        set_mode(&path, mode);
    }
    let node = home.start(&[]);
    assert_eq!(open_to_others(&data), []);
    for name in opened {
        let path = data.join(name).display().to_string();
        let told = |line: &String| line.contains("other users of this machine") && line.contains(&path);
        assert!(node.seen.iter().any(told), "{name}: {:#?}", node.seen);
    }
    // A command repairs too, and a second one has nothing to tell.
    set_mode(&data, 0o755);
    for told in [true, false] {
        let output = home.run(&["vms", "list"]);
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(words.contains("other users of this machine"), told, "{words}");
    }
}

/// Needs root, as whole runs of the suite have: another user's files are made by it.
#[test]
fn i_03_nothing_that_others_left_in_the_working_directory_is_run_or_believed() {
    let home = Home::bare();
    let folder = home.folder.path();
    let (program, ran) = (folder.join("theirs"), folder.join("ran"));
    std::fs::write(&program, format!("#!/bin/sh\ntouch {}\n", ran.display())).unwrap();
    set_mode(&program, 0o755);
    let env = folder.join(".env");
    std::fs::write(&env, format!("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH={}\n", program.display())).unwrap();
    let refused = |says: &str| {
        // U-03: what needs no settings goes on without those.
        for (command, code) in [("start", 2), ("status", 3)] {
            let output = home.run(&[command]);
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(words.contains(says), "{command}: {words}");
            assert_eq!(output.status.code(), Some(code), "{}", Home::show(&output));
            assert!(!ran.exists());
        }
    };
    refused("names a program, which a `.env` of the working directory may not");
    set_mode(&env, 0o664);
    refused("can be written by other users (664); fix: look at what it says, then `chmod go-w ");
    set_mode(&env, 0o644);
    if golem_test_support::as_root() {
        std::os::unix::fs::chown(&env, Some(4242), None).unwrap();
        refused("belongs to user 4242, and this process runs as user 0; fix: ");
    }
    std::fs::remove_file(&env).unwrap();

    // Programs by name, with the working directory on the search path.
    for name in ["multipass", "qemu-img", "nft", "setsid"] {
        std::fs::copy(&program, folder.join(name)).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    for path in [format!(".:{path}"), format!(":{path}"), format!("{path}:"), format!("bin/..:{path}")] {
        let output = home.command(&["status"]).env("PATH", &path).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(words.contains("PATH names folders that are not absolute"), "{}", Home::show(&output));
        assert!(!ran.exists(), "{path}");
    }
    let output = home.command(&["status"]).env("PATH", ".").output().unwrap();
    assert!(!ran.exists(), "{}", Home::show(&output));
}

/// Needs root, as whole runs of the suite have.
#[test]
fn i_02_another_users_data_directory_is_refused_and_left_as_it_is() {
    if !golem_test_support::as_root() {
        return;
    }
    let home = Home::new();
    let data = home.data();
    std::fs::create_dir_all(&data).unwrap();
    let ledger = home.folder.path().join("elsewhere");
    std::os::unix::fs::symlink(&ledger, data.join("provider.db")).unwrap();
    std::os::unix::fs::lchown(data.join("provider.db"), Some(4242), None).unwrap();
    let output = home.run(&["start"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("is a symbolic link that user 4242 made; fix: remove it"), "{words}");
    assert!(!ledger.exists());
    std::fs::remove_file(data.join("provider.db")).unwrap();

    std::os::unix::fs::chown(&data, Some(4242), Some(4242)).unwrap();
    let file = image(&home);
    for words in [&["start"][..], &["start", "--daemon"], &["images", "add", "mine", file.to_str().unwrap()]]
    {
        let output = home.run(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(said.contains("belongs to user 4242, and this process runs as user 0; fix: "), "{said}");
    }
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);

    // Whoever comes by sees nothing of a node's, and can lock nothing.
    std::os::unix::fs::chown(&data, Some(0), Some(0)).unwrap();
    set_mode(home.folder.path(), 0o755);
    let _node = home.start(&[]);
    for program in ["ls", "cat"] {
        let target = if program == "ls" { data.clone() } else { data.join("provider.db") };
        let output = Command::new(program).arg(target).uid(4242).gid(4242).output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{program}");
    }
    let shared = Home::new().set("GOLEM_PROVIDER_DATA_DIR", "/tmp");
    let output = shared.run(&["start"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/tmp holds files of others; fix: name a folder of its own"), "{said}");
    assert_eq!(std::fs::metadata("/tmp").unwrap().mode() & 0o7777, 0o1777);
}
