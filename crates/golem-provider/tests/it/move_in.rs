//! A node run from source that moves to the service's place.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use golem_host::move_in::{self, Move};
use golem_test_support::Home;
use jiff::Timestamp;
use serde_json::Value;

use crate::backup::{address, stop};

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
    let folder = home.folder.path();
    let program = home.command(&["setup", "--yes", "--image", "none"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", MACHINE]).arg(folder);
    command.arg(program.get_program()).args(program.get_args()).args(arguments).env_clear();
    let path = format!("{}:{}", folder.join("bin").display(), std::env::var("PATH").unwrap());
    command.env("HOME", folder).env("PATH", path).current_dir("/").output().unwrap()
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
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let environment: String =
        home.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    write("env", &environment);
    write(".golem/provider/.env", &format!("{environment}GOLEM_PROVIDER_NAME=mine\n"));
    write(".golem/provider/keys/provider_key.json", "the key");
    write(".golem/provider/vms/a/disk", "a disk");
    write("bin/systemctl", SYSTEMCTL);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.join("bin/systemctl"), mode).unwrap();
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
