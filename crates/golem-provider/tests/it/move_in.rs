//! A node run from source that moves to the service's place.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use golem_host::move_in::{self, Move};
use golem_test_support::Home;
use jiff::Timestamp;
use serde_json::Value;

use crate::backup::{address, stop};
use crate::import::{self, multipass};

fn vms(home: &Home) -> Vec<(Value, Value, Value)> {
    let vms = home.json(&["vms", "list", "--json"]);
    vms.as_array()
        .unwrap()
        .iter()
        .map(|vm| (vm["id"].clone(), vm["status"].clone(), vm["ssh_port"].clone()))
        .collect()
}

/// Real guests do the same, which name no place either; only a simulated one can be looked at here.
#[test]
fn h_11_a_node_goes_on_at_another_place_with_its_vms() {
    let mut home = Home::new();
    let mut node = home.start(&[]);
    home.rent("one");
    let (id, before) = (address(&home), vms(&home));
    stop(&mut node);
    let to = home.folder.path().join("var/lib/golem-provider");
    let wanted = Move { from: home.data(), to: to.clone(), owner: None, replace: false };
    let plan = move_in::run(&wanted, Timestamp::now()).unwrap().unwrap();
    assert!(plan.renamed && plan.kept.join("keys/provider_key.json").exists(), "{plan:?}");

    home.environment.insert("GOLEM_PROVIDER_DATA_DIR".into(), to.display().to_string());
    let mut node = home.start(&[]);
    assert_eq!((address(&home), vms(&home)), (id, before));
    assert!(node.seen.iter().any(|line| line.contains("VM adopted")), "it ran on: {:#?}", node.seen);
    assert!(!home.data().exists(), "there is nothing left to start a second node with");
    stop(&mut node);
}

/// Has the machine's folders be some in `$0`, where the service's unit is installed and its data directory is not there.
const MACHINE: &str = r#"
set -e
if [ ! -e "$0/etc" ]; then
    cp -a /etc "$0/etc"
    mkdir -p "$0/etc/systemd/system" "$0/etc/golem-provider" "$0/lib" "$0/run/systemd/system"
    cp "$0/env" "$0/etc/golem-provider/env"
    : > "$0/etc/systemd/system/golem-provider.service"
fi
for folder in etc run; do mount --bind "$0/$folder" "/$folder"; done
mount --bind "$0/lib" /var/lib
exec "$@"
"#;

/// A systemctl that says what it was told, and starts nothing.
const SYSTEMCTL: &str =
    "#!/bin/sh\necho \"$@\" >> \"$HOME/told\"\ncase $1 in is-active | start) exit 3;; esac\n";

fn setup(home: &Home, arguments: &[&str]) -> Output {
    let program = home.command(&["setup", "--yes", "--image", "none"]);
    let mut words = vec![program.get_program()];
    words.extend(program.get_args());
    words.extend(arguments.iter().map(OsStr::new));
    on_machine(home, &words)
}

/// Runs `words` on the machine whose folders are in `home`.
fn on_machine(home: &Home, words: &[&OsStr]) -> Output {
    let folder = home.folder.path();
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", MACHINE]).arg(folder).args(words).env_clear();
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap());
    command.env("HOME", folder).env("PATH", path).current_dir("/").output().unwrap()
}

fn write(home: &Home, name: &str, text: &str) {
    let path = home.folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Has systemctl be `script`.
fn systemctl(home: &Home, script: &str) {
    write(home, "bin/systemctl", script);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.folder.path().join("bin/systemctl"), mode).unwrap();
}

/// The settings of `home`, as a file of environment has them.
fn environment(home: &Home) -> String {
    home.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// What is wrong is found before anything is moved; what was moved is started, and a second setup finishes what is left.
#[test]
fn h_11_a_setup_moves_a_node_after_all_is_decided_and_starts_it_then() {
    // Who else may not mount.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new();
    let folder = home.folder.path();
    let environment = environment(&home);
    write(&home, "env", &environment);
    write(&home, ".golem/provider/.env", &format!("{environment}GOLEM_PROVIDER_NAME=mine\n"));
    write(&home, ".golem/provider/keys/provider_key.json", "the key");
    write(&home, ".golem/provider/vms/a/disk", "a disk");
    systemctl(&home, SYSTEMCTL);
    let is_there = |name: &str| Path::new(&folder.join(name)).exists();

    let refused = setup(&home, &["--country", "Poland"]);
    let said = Home::show(&refused);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("a country as two letters"), "{said}");
    assert!(is_there(".golem/provider/keys/provider_key.json") && !is_there("lib/golem-provider"), "{said}");
    assert!(!is_there("told"), "nothing was asked of systemd");

    let said = Home::show(&setup(&home, &["--country", "PL"]));
    assert!(said.contains("The node was moved to /var/lib/golem-provider"), "{said}");
    assert!(
        !is_there(".golem/provider/keys") && is_there("lib/golem-provider/keys/provider_key.json"),
        "{said}"
    );
    let settings = std::fs::read_to_string(folder.join("lib/golem-provider/.env")).unwrap();
    assert!(settings.contains("NAME=mine\n") && settings.contains("COUNTRY=PL\n"), "{settings}");
    let mode = std::fs::metadata(folder.join("lib/golem-provider")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let told = || std::fs::read_to_string(folder.join("told")).unwrap();
    assert!(told().contains("start --no-block golem-provider.service"), "{}", told());

    let unit = "etc/systemd/system/golem-provider.service.d/vms.conf";
    let bound = format!("BindPaths=\"{}\"\n", folder.join(".golem/provider/vms").display());
    assert!(std::fs::read_to_string(folder.join(unit)).unwrap().ends_with(&bound), "{said}");
    std::fs::remove_file(folder.join(unit)).unwrap();
    let said = Home::show(&setup(&home, &[]));
    assert!(is_there(unit), "{said}");
}

/// A systemctl that starts the node as the unit does, until it serves.
const STARTS: &str = r#"#!/bin/sh
case $1 in
    is-active) exit 3 ;;
    show) echo ActiveState=active ;;
    start)
        set -a
        . /etc/golem-provider/env
        HOME=/var/lib/golem-provider GOLEM_PROVIDER_DATA_DIR=/var/lib/golem-provider
        exec "$PROGRAM" start --daemon >/dev/null 2>&1 ;;
esac
"#;

/// Sets the node up, and tells what it has; it is ended before its machine is gone.
const TAKEN_OVER: &str = r#"
"$0" setup --yes --json --image none >"$HOME/done" 2>"$HOME/said"
code=$?
"$0" vms list --json >"$HOME/vms" 2>/dev/null
"$0" wallet show --json >"$HOME/wallet" 2>/dev/null
"$0" stop >/dev/null 2>&1
cat "$HOME/done" "$HOME/said"
exit $code
"#;

/// The Python provider's folder goes to the service's place, where the first start takes its VMs over; what it wrote stays where it
/// was, too. The two places are on two file systems.
#[test]
fn s_217_a_setup_takes_the_python_providers_node_over_and_keeps_the_old_place() {
    // Who else may not mount.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (home, program) = import::left(folder.path());
    let address = home.make_key();
    let before = multipass(&program, &["list", "--format", "json"]);
    // As the original leaves it: no database, and no token of an operator API that it does not have.
    let entries: Vec<_> =
        std::fs::read_dir(home.data()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        entries.iter().all(|name| ["keys", "vms", "proxy"].iter().any(|left| name == left)),
        "{entries:?}"
    );
    let old = |place: &str| std::fs::read(home.data().join(place)).unwrap();
    let files = [
        "vms/vm_names.json",
        "vms/streams.json",
        "vms/jobs.sqlite",
        "proxy/ports.json",
        "keys/provider_key.json",
    ]
    .map(|place| (place, old(place)));
    write(&home, "env", &environment(&home));
    let binary = golem_test_support::program();
    systemctl(&home, &STARTS.replace("$PROGRAM", &binary.display().to_string()));

    let output = on_machine(
        &home,
        &["sh", "-c", TAKEN_OVER].map(OsStr::new).into_iter().chain([binary.as_os_str()]).collect::<Vec<_>>(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", Home::show(&output));
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(home.folder.path().join(name)).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{name}: {text}"))
    };
    let (done, vms) = (read("done"), read("vms"));
    assert_eq!((&done["running"], &done["move_in"]["renamed"]), (&true.into(), &false.into()), "{done}");
    let mut taken: Vec<_> =
        vms.as_array().unwrap().iter().map(|vm| (vm["name"].as_str(), vm["ssh_port"].as_u64())).collect();
    taken.sort_unstable();
    let port = |nth: u16| Some(u64::from(home.ssh + nth));
    assert_eq!(taken, [(Some("offline"), port(5)), (Some("web"), port(3))], "{vms}");
    assert_eq!(read("wallet")["address"], address);
    assert_eq!(multipass(&program, &["list", "--format", "json"]), before, "no machine was touched");

    let kept = Path::new(done["move_in"]["kept"].as_str().unwrap());
    let now = home.folder.path().join("lib/golem-provider");
    for (place, text) in files {
        assert_eq!(std::fs::read(kept.join(place)).unwrap(), text, "{place} at the old place");
        let new = if place.starts_with("keys") { now.clone() } else { now.join("python-provider-backup") };
        assert_eq!(std::fs::read(new.join(place)).unwrap(), text, "{place} at the new place");
    }
    assert!(!home.data().join("keys").exists(), "nobody starts a second node with this key");
}
