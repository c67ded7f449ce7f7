//! The true binary moves in where a Python provider was, on a stand-in for Multipass.
use std::path::Path;
use std::process::Command;

use golem_test_support::{Home, wait_until};
use serde_json::{Value, json};

pub(crate) const WEB: &str = "golem-11111111-2222-3333-4444-555555555555";
const OFF: &str = "golem-66666666-7777-8888-9999-000000000000";

/// Runs the stand-in as an operator would.
pub(crate) fn multipass(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", Home::show(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn launch(program: &Path, name: &str) {
    multipass(
        program,
        &["launch", "24.04", "--name", name, "--cpus", "2", "--memory", "2G", "--disk", "12G"],
    );
}

fn write(home: &Home, place: &str, text: &str) {
    let path = home.data().join(place);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A home that a Python provider left, with two machines of its own and one of somebody else.
pub(crate) fn left(folder: &Path) -> (Home, std::path::PathBuf) {
    let program = fake_multipass::install(folder).unwrap();
    for name in [WEB, OFF, "primary"] {
        launch(&program, name);
    }
    multipass(&program, &["stop", OFF]);
    let home = Home::new()
        .set("GOLEM_PROVIDER_VM_BACKEND", "auto")
        .set("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", program.to_str().unwrap());
    let names = json!({ "web": WEB, "offline": OFF });
    write(&home, "vms/vm_names.json", &json!({ "name_map": names, "reverse_map": {} }).to_string());
    write(&home, "proxy/ports.json", &json!({ WEB: home.ssh + 3, OFF: home.ssh + 5 }).to_string());
    write(&home, "vms/streams.json", "{\"web\": 7}");
    write(&home, "vms/jobs.sqlite", "");
    (home, program)
}

fn vms(home: &Home) -> Vec<Value> {
    let mut vms = home.json(&["vms", "list", "--json"]).as_array().unwrap().clone();
    vms.sort_by_key(|vm| vm["name"].to_string());
    vms
}

/// A first start takes everything over, once, and nobody else's machine.
#[test]
fn a_first_start_takes_the_python_providers_vms_over() {
    let folder = tempfile::tempdir().unwrap();
    let (home, program) = left(folder.path());
    let before = multipass(&program, &["list", "--format", "json"]);
    let tried = home.json(&["import", "--dry-run", "--json"]);
    assert_eq!(tried["vms"].as_array().unwrap().len(), 2, "{tried}");
    assert!(home.data().join("vms/vm_names.json").exists() && !home.data().join("provider.db").exists());

    for start in 0..2 {
        let _node = home.start(&[]);
        let vms = vms(&home);
        // S-217, S-219
        assert_eq!(vms.len(), 2, "start {start}: {vms:?}");
        let (offline, web) = (&vms[0], &vms[1]);
        // S-220
        assert_eq!((&web["name"], &web["status"]), (&json!("web"), &json!("running")));
        assert_eq!(web["ssh_port"], home.ssh + 3);
        assert_eq!(web["resources"], json!({ "cpu": 2, "memory": 2, "storage": 12 }));
        assert_eq!((&offline["status"], &offline["ssh_port"]), (&json!("stopped"), &json!(home.ssh + 5)));
        wait_until("the port is served", || home.reaches(home.ssh + 3));
    }
    assert_eq!(multipass(&program, &["list", "--format", "json"]), before, "no machine was touched");
    let backup = home.data().join("python-provider-backup");
    for file in ["vms/vm_names.json", "vms/streams.json", "vms/jobs.sqlite", "proxy/ports.json"] {
        assert!(backup.join(file).exists() && !home.data().join(file).exists(), "{file}");
    }

    let _node = home.start(&[]);
    home.json(&["vms", "delete", "web", "--yes", "--json"]);
    let list: Value = serde_json::from_str(&multipass(&program, &["list", "--format", "json"])).unwrap();
    let names: Vec<_> = list["list"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, [json!(OFF), json!("primary")], "only what was asked for is gone");
}

/// Damaged files lose nothing: nothing is taken from them, and they are kept.
#[test]
fn a_damaged_file_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (home, program) = left(folder.path());
    write(&home, "proxy/ports.json", "[1,2");
    write(&home, "vms/streams.json", "{\"web\": \"many\"}");
    let done = home.json(&["import", "--json"]);
    assert_eq!(done["vms"].as_array().unwrap().len(), 2, "{done}");
    let notes = done["notes"].to_string();
    assert!(notes.contains("proxy/ports.json is damaged") && notes.contains("no port is known"), "{notes}");
    let backup = home.data().join("python-provider-backup/proxy/ports.json");
    assert_eq!(std::fs::read_to_string(backup).unwrap(), "[1,2");

    let folder = tempfile::tempdir().unwrap();
    let (home, _) = left(folder.path());
    write(&home, "vms/vm_names.json", "{garb");
    let done = home.json(&["import", "--json"]);
    assert_eq!(done["vms"], json!([]), "whose they are is not known");
    assert!(done["notes"].to_string().contains("is on this host and no VM of the files"), "{done}");
    assert!(multipass(&program, &["list", "--format", "json"]).contains(WEB));
}

/// S-034: with the daemon down nothing is imported, nothing is lost, and the next try works.
#[test]
fn s_034_a_daemon_that_is_down_is_told_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (home, _) = left(folder.path());
    fake_multipass::Mode { down: true, ..Default::default() }.set(folder.path()).unwrap();
    for arguments in [&["import"][..], &["start"]] {
        let output = home.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{}", Home::show(&output));
        assert!(home.data().join("vms/vm_names.json").exists());
    }
    fake_multipass::Mode::default().set(folder.path()).unwrap();
    let _node = home.start(&[]);
    assert_eq!(vms(&home).len(), 2);
}
