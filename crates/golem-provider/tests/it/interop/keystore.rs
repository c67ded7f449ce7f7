//! The node's keystore and that of the original's clients, each read by the other.

use golem_test_support::Home;
use golem_test_support::peers::ETH_ACCOUNT;

use super::table::Table;
use super::world::{shown, tail};

const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const PASSPHRASE: &str = "correct horse ⚡ battery";

/// Encrypts the key that it is given with the passphrase, as it does by default; prints the keystore.
const ENCRYPT: &str = r#"
import json, sys
from eth_account import Account
print(json.dumps(Account.encrypt(sys.argv[1], sys.argv[2])))
"#;

/// Decrypts the keystore of the file that it is given; prints the key.
const DECRYPT: &str = r#"
import sys
from eth_account import Account
print(Account.decrypt(open(sys.argv[1]).read(), sys.argv[2]).hex())
"#;

/// Runs `script`, which must succeed; gives what it prints.
fn says(script: &str, arguments: &[&str]) -> String {
    let mut python = ETH_ACCOUNT.python();
    let (succeeded, text) = shown(&python.args(["-c", script]).args(arguments).output().unwrap());
    assert!(succeeded, "{}", tail(&text));
    text.trim().to_owned()
}

#[test]
fn m_15_keys_go_from_the_nodes_keystore_to_eth_account_and_back() {
    let mut table = Table::new("eth-account 0.13.7, which keeps the keys of the original's clients");
    let home = Home::new();
    let private = |name: &str, text: &str| {
        let path = home.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    private("passphrase", &format!("{PASSPHRASE}\n"));
    table.step("a keystore of its own, imported by the node", || {
        private("theirs.json", &says(ENCRYPT, &[KEY, PASSPHRASE]));
        let words = ["wallet", "import", "theirs.json", "--yes", "--passphrase-file", "passphrase", "--json"];
        home.json(&words);
        // M-15
        assert_eq!(home.json(&["wallet", "show", "--json"])["address"], ADDRESS);
        ((), "the same key".to_owned())
    });
    table.step("the node's keystore", || {
        let words = [
            "wallet",
            "export",
            "--keystore",
            "--passphrase-file",
            "passphrase",
            "--out",
            "ours.json",
            "--json",
        ];
        home.json(&words);
        let ours = home.folder.path().join("ours.json").display().to_string();
        // M-15
        assert_eq!(says(DECRYPT, &[&ours, PASSPHRASE]).trim_start_matches("0x"), KEY);
        ((), "the same key".to_owned())
    });
    table.end();
}
