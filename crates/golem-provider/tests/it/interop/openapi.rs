//! Schemathesis asks the true node, on both listeners, whatever their descriptions allow and more: it answers nothing that is not
//! described, and never fails.

use std::fs;
use std::path::Path;
use std::process::Command;

use golem_test_support::Home;
use golem_test_support::peers::SCHEMATHESIS;

/// Examples that are made up for each route, beside those that follow from the bounds of its parameters.
const EXAMPLES: &str = "8";

/// What is looked at. That bodies which the description allows are taken is not: whether a stream pays, no description tells.
const CHECKS: &str =
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// Asks the listener on `port`; `settings` is a file of schemathesis.
fn ask(folder: &Path, port: u16, settings: &str, more: &[&str]) {
    let file = folder.join("schemathesis.toml");
    // Two are answers and no failures: there is no room now, and this provider does not offer that.
    let expected =
        "[checks]\nnot_a_server_error.expected-statuses = [\"2xx\", \"3xx\", \"4xx\", \"501\", \"503\"]\n";
    fs::write(&file, format!("{settings}{expected}")).unwrap();
    let mut command = Command::new(SCHEMATHESIS.program());
    command
        .arg("--config-file")
        .arg(&file)
        .args(["run", &format!("http://127.0.0.1:{port}/openapi.json")])
        .args(["--phases", "examples,coverage,fuzzing", "--checks", CHECKS, "--max-examples", EXAMPLES])
        .args(["--generation-deterministic", "--no-color", "--no-shrink"])
        .args(["--request-timeout", "30", "--warnings", "off", "--continue-on-failure"])
        .args(more)
        .current_dir(folder);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn schemathesis_finds_nothing_in_the_public_api() {
    let home =
        Home::new().set("GOLEM_PROVIDER_API_AUTH", "open").set("GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE", "0");
    let _node = home.start(&[]);
    let id = home.rent("first");
    let settings = format!("[parameters]\n\"path.id\" = \"{id}\"\n");
    // Neither is the node stopped, nor the VM deleted that the other routes are about.
    let kept = ["--exclude-path", "/api/v1/admin/shutdown", "--exclude-operation-id", "delete_api_v1_vms_id"];
    ask(home.folder.path(), home.api, &settings, &kept);
    ask(home.folder.path(), home.api, "", &kept[..2]);
}

#[test]
fn schemathesis_finds_nothing_in_the_operator_api() {
    let home = Home::new();
    let _node = home.start(&[]);
    let id = home.rent("first");
    let token = fs::read_to_string(home.data().join("operator.token")).unwrap();
    let settings = format!(
        "headers = {{ Authorization = \"Bearer {}\" }}\n[parameters]\n\"path.id\" = \"{id}\"\n",
        token.trim()
    );
    let kept = ["--exclude-path", "/v1/shutdown", "--exclude-operation-id", "delete_v1_vms_id"];
    ask(home.folder.path(), home.operator, &settings, &kept);
}
