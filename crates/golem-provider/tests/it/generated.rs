//! Files of the repository that are made from tables are up to date.

use golem_host::doctor::advice;
use golem_host::settings;

fn file(path: &str) -> std::io::Result<String> {
    std::fs::read_to_string(format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn s_100_env_example_is_made_from_the_table() {
    assert!(
        file(".env.example").unwrap() == settings::env_example(),
        "write it again: golem-provider config render env-example > .env.example"
    );
}

#[test]
fn the_configuration_page_is_made_from_the_table() {
    assert!(
        file("docs/configuration.md").unwrap() == settings::markdown(),
        "write it again: golem-provider config render markdown > docs/configuration.md"
    );
}

#[test]
fn the_troubleshooting_page_is_made_from_the_table() {
    assert!(
        file("docs/troubleshooting.md").unwrap() == advice::markdown(),
        "write it again: golem-provider config render troubleshooting > docs/troubleshooting.md"
    );
}
