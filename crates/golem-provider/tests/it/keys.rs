//! The node's key as the true binary keeps it: exported, imported, rotated, encrypted.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use golem_test_support::{Home, StopAtEnd, wait_until};
use serde_json::Value;

const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A file in the home with `text`, which only its owner can read.
fn file(home: &Home, name: &str, text: &str) -> PathBuf {
    let path = home.folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn key_file(home: &Home) -> PathBuf {
    home.data().join("keys/provider_key.json")
}

fn refused(home: &Home, arguments: &[&str], says: &str) -> Output {
    let output = home.run(arguments);
    let text = Home::show(&output);
    assert!(!output.status.success() && text.contains(says), "{arguments:?}: {text}");
    assert!(!text.contains(KEY) && !text.contains("correct horse"), "{text}");
    output
}

/// M-15: what is exported can be imported, in each form, and nothing is lost by it.
#[test]
fn a_key_is_exported_and_imported_and_the_one_before_is_kept() {
    let home = Home::new();
    let first = home.make_key();
    let out = home.folder.path().join("backup.json");
    let words = ["wallet", "export", "--out", "backup.json", "--json"];
    let exported = home.json(&words);
    assert_eq!((&exported["address"], mode(&out)), (&Value::from(&*first), 0o600));
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(key_file(&home)).unwrap());
    refused(&home, &words, "fix: name a file that is not there yet");

    // Digits on standard input; nobody is asked where there is no terminal.
    let import = |more: &[&str]| {
        let words = [&["wallet", "import", "-", "--json"], more].concat();
        let mut command = home.command(&words);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("0x{KEY}\n").as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = import(&[]);
    assert!(Home::show(&output).contains("add --yes"), "{}", Home::show(&output));
    let output = import(&["--yes"]);
    assert!(output.status.success() && !Home::show(&output).contains(KEY), "{}", Home::show(&output));
    let imported: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kept = PathBuf::from(imported["backup"].as_str().unwrap());
    assert_eq!(std::fs::read(&kept).unwrap(), std::fs::read(&out).unwrap());
    let shown = home.json(&["wallet", "show", "--json"]);
    assert_eq!((&shown["address"], &shown["former"][0]["address"]), (&ADDRESS.into(), &first.clone().into()));
    let again = import(&["--yes"]);
    assert!(Home::show(&again).contains("is the node's key already"), "{}", Home::show(&again));

    // Back, as a keystore, which needs its passphrase.
    let passphrase = file(&home, "passphrase", "correct horse\n");
    let wrong = file(&home, "wrong", "wrong\n");
    let before = std::fs::read(key_file(&home)).unwrap();
    home.json(&["wallet", "export", "--keystore", "--passphrase-file", "passphrase", "--out", "k", "--json"]);
    let keystore = std::fs::read_to_string(home.folder.path().join("k")).unwrap();
    assert!(keystore.contains("aes-128-ctr") && !keystore.contains(KEY));
    assert_eq!(mode(&home.folder.path().join("k")), 0o600);
    home.json(&["wallet", "import", "backup.json", "--yes", "--json"]);
    let words = ["wallet", "import", "k", "--yes", "--passphrase-file"];
    refused(&home, &[&words[..], &["wrong"]].concat(), "the passphrase is wrong, or the file is damaged");
    refused(&home, &["wallet", "import", "k", "--yes"], "is encrypted, and its passphrase cannot be had");
    refused(&home, &["wallet", "import", "missing", "--yes"], "cannot be read");
    refused(
        &home,
        &["wallet", "import", "passphrase", "--yes"],
        "holds neither a key of 64 hexadecimal digits",
    );
    home.json(&[&words[..], &["passphrase", "--json"]].concat());
    assert_eq!(home.json(&["wallet", "show", "--json"])["address"], ADDRESS);
    assert_eq!(std::fs::read(key_file(&home)).unwrap(), before);
    std::fs::set_permissions(&passphrase, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&home, &[&words[..], &["passphrase"]].concat(), "fix: `chmod 600");
    std::fs::remove_file(wrong).unwrap();
}

/// M-15: files are private from their first byte, under the most careless umask too.
#[test]
fn what_is_exported_is_private_under_any_umask() {
    let home = Home::new();
    home.make_key();
    let command = home.command(&["wallet", "export", "--out", "backup.json"]);
    let mut careless = std::process::Command::new("sh");
    careless
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args());
    careless.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(careless.current_dir(home.folder.path()).status().unwrap().success());
    assert_eq!(mode(&home.folder.path().join("backup.json")), 0o600);
    assert_eq!((mode(&key_file(&home)), mode(key_file(&home).parent().unwrap())), (0o600, 0o700));
    // Where it is a link to another's file, nothing is written through it.
    std::os::unix::fs::symlink("elsewhere", home.folder.path().join("link")).unwrap();
    refused(&home, &["wallet", "export", "--out", "link"], "cannot be made");
    assert!(!home.folder.path().join("elsewhere").exists());
}

/// M-15: a node that runs takes the new key, its VMs run on, and the old key is kept.
#[test]
fn a_rotation_reaches_the_node_that_runs_and_its_vms_run_on() {
    let home = Home::new();
    let _stop = StopAtEnd(&home);
    refused(&home, &["wallet", "rotate", "--yes"], "there is no key yet");
    home.json(&["start", "--daemon", "--json"]);
    let id = home.rent("web-server");
    let provider = || home.json(&["status", "--json"])["wallet"].clone();
    let before = home.json(&["wallet", "show", "--json"])["address"].clone();
    refused(&home, &["wallet", "rotate"], "add --yes");
    refused(&home, &["wallet", "import", "x", "--yes"], "a provider runs already");
    assert_eq!(home.json(&["wallet", "show", "--json"])["address"], before, "{:?}", provider());
    let rotated = home.json(&["wallet", "rotate", "--yes", "--json"]);
    assert_eq!((&rotated["former_address"], &rotated["node_has_it"]), (&before, &true.into()), "{rotated}");
    assert_ne!(rotated["address"], before);
    let (_, info) = home.http("GET", "/api/v1/provider/info", "");
    assert_eq!(info["provider_id"], rotated["address"]);
    assert_eq!(home.json(&["vms", "show", &id, "--json"])["status"], "running");
    let shown = home.json(&["wallet", "show", "--json"]);
    assert_eq!(shown["former"][0]["address"], before);
    let log = std::fs::read_to_string(home.data().join("logs/provider.log")).unwrap();
    let key: Value = serde_json::from_slice(&std::fs::read(key_file(&home)).unwrap()).unwrap();
    assert!(!log.contains(key["private_key"].as_str().unwrap()));
}

/// M-15: killed at any instant of a rotation, a home has a key, and every key it ever had.
#[test]
fn a_rotation_that_is_killed_loses_no_key() {
    let home = Home::new();
    home.make_key();
    let addresses = || {
        let shown = home.json(&["wallet", "show", "--json"]);
        let former = shown["former"].as_array().unwrap().iter().map(|former| former["address"].clone());
        let mut all: Vec<_> = former.chain([shown["address"].clone()]).collect();
        all.sort_by_key(Value::to_string);
        all
    };
    let mut known = addresses();
    for pause in 0..24 {
        let mut child = home
            .command(&["wallet", "rotate", "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let instant = std::time::Instant::now() + std::time::Duration::from_millis(pause * 2);
        while std::time::Instant::now() < instant {
            std::hint::spin_loop();
        }
        let _ = child.kill();
        child.wait().unwrap();
        let now = addresses();
        assert!(known.iter().all(|address| now.contains(address)), "{known:?} {now:?}");
        known = now;
    }
}

/// M-15, I8: an encrypted key needs its passphrase at the start; a wrong one changes nothing.
#[test]
fn an_encrypted_key_is_opened_by_a_file_or_a_credential_alone() {
    let home = Home::new();
    let address = Value::from(home.make_key());
    let plain = std::fs::read_to_string(key_file(&home)).unwrap();
    let key = serde_json::from_str::<Value>(&plain).unwrap()["private_key"].as_str().unwrap().to_owned();
    refused(&home, &["wallet", "encrypt"], "fix: put it into a file of mode 0600");
    assert_eq!(std::fs::read_to_string(key_file(&home)).unwrap(), plain);
    let passphrase = file(&home, "passphrase", "correct horse battery");
    let home = home.set("GOLEM_PROVIDER_KEY_PASSPHRASE_FILE", "~/passphrase");
    home.json(&["wallet", "encrypt", "--json"]);
    let encrypted = std::fs::read_to_string(key_file(&home)).unwrap();
    assert!(!encrypted.contains(&key) && encrypted.contains("scrypt"));
    refused(&home, &["wallet", "encrypt"], "is encrypted already");
    // The address is told without it.
    std::fs::write(&passphrase, "wrong").unwrap();
    let shown = home.json(&["wallet", "show", "--json"]);
    assert_eq!((&shown["address"], &shown["encrypted"]), (&address, &true.into()));
    for words in [&["start", "--daemon"][..], &["start"], &["wallet", "export", "--out", "x"]] {
        refused(&home, words, "the passphrase is wrong, or the file is damaged");
    }
    assert_eq!(std::fs::read_to_string(key_file(&home)).unwrap(), encrypted);
    // As systemd gives it, and from nowhere else.
    let home = home.set("GOLEM_PROVIDER_KEY_PASSPHRASE_FILE", "");
    refused(&home, &["start", "--daemon"], "GOLEM_PROVIDER_KEY_PASSPHRASE_FILE");
    let credentials = home.folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("golem-provider-passphrase"), "correct horse battery\n").unwrap();
    let home = home.set("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    let _stop = StopAtEnd(&home);
    home.json(&["start", "--daemon", "--json"]);
    let (_, info) = home.http("GET", "/api/v1/provider/info", "");
    assert_eq!(info["provider_id"], address);
    // Rotated while it runs: the new key is encrypted, too.
    let rotated = home.json(&["wallet", "rotate", "--yes", "--json"]);
    assert_eq!(rotated["node_has_it"], true, "{rotated}");
    assert!(std::fs::read_to_string(key_file(&home)).unwrap().contains("scrypt"));
    // What the node cannot have again ends no node.
    std::fs::write(credentials.join("golem-provider-passphrase"), "wrong").unwrap();
    refused(&home, &["wallet", "rotate", "--yes"], "could not start anew");
    let pid = home.json(&["status", "--json"])["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let log = || std::fs::read_to_string(home.data().join("logs/provider.log")).unwrap();
    wait_until("the refusal", || log().contains("the node would start without its key"));
    assert_eq!(home.http("GET", "/health", "").0, 200);
    assert!(!log().contains("correct horse") && !log().contains(&key));
    std::fs::write(credentials.join("golem-provider-passphrase"), "correct horse battery").unwrap();
    home.json(&["wallet", "decrypt", "--json"]);
    let kept = home.data().join(format!("keys/former/{}.json", address.as_str().unwrap()));
    assert!(std::fs::read_to_string(kept).unwrap().contains(&key));
}

/// M-15: money is sent nowhere by a slip of the finger, nor to where nobody gets it.
#[test]
fn a_payout_address_that_is_wrong_is_refused_before_anything_is_sent() {
    let home = Home::new();
    let own = home.make_key();
    let contract = "0x1111111111111111111111111111111111111111";
    let refused_at_start = |address: &str, says: &str| {
        let mut command = home.command(&["start"]);
        command.env("GOLEM_PROVIDER_PAYOUT_ADDRESS", address);
        let output = command
            .env("GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS", contract)
            .env("GOLEM_PROVIDER_L2_RPC_URL", "http://127.0.0.1:9")
            .output()
            .unwrap();
        assert!(!output.status.success() && Home::show(&output).contains(says), "{}", Home::show(&output));
    };
    refused_at_start(&own, "is an address of the node itself; fix:");
    refused_at_start(contract, "is a payment contract or a token");
    // One wrong capital, too short, zero.
    for wrong in [&ADDRESS.replace("f39Fd6", "f39fd6"), &ADDRESS[..41], "0x0", &format!("0x{:040}", 0)] {
        refused_at_start(wrong, "GOLEM_PROVIDER_PAYOUT_ADDRESS");
        refused(&home, &["config", "payout", "--address", wrong], "whose capitals are its checksum");
    }
    refused(&home, &["config", "payout", "--float", "much"], "a number from 0 to 1000000000");
    home.json(&["config", "payout", "--address", ADDRESS, "--float", "0.05", "--json"]);
    let lower = ADDRESS.to_lowercase();
    home.json(&["config", "payout", "--address", &lower, "--json"]);
    assert_eq!(home.json(&["wallet", "show", "--json"])["payout_address"], ADDRESS);
    // What a rotation leaves is no place for money either.
    home.json(&["wallet", "rotate", "--yes", "--json"]);
    refused_at_start(&own, "is an address of the node itself");
}
