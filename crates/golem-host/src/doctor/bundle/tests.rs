use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use flate2::read::GzDecoder;

use super::*;

/// Everything in the bundle, as text.
fn opened(path: &Path) -> BTreeMap<String, String> {
    let mut tar = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        assert_eq!(entry.header().mode().unwrap(), 0o600);
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    });
    entries.collect()
}

/// Secrets are planted wherever one may be: none is in the bundle.
#[tokio::test]
async fn no_planted_secret_is_in_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    let planted: Vec<(&str, &str)> = vec![
        ("setting", "4c0883a69102937d6231471b5dbb6204fe512961708279feb1be6ae5538da033"),
        ("variable", "plantedinvariable"),
        ("token", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ("key file", "cGxhbnRlZC1pbi1hLWtleS1maWxl"),
        ("former key", "dGhlLWZvcm1lci1rZXktb2YtaXQ"),
        ("certificate", "UExBTlRFRElOQUNFUlRJRklDQVRF"),
        ("passphrase", "planted, correct horse"),
        ("env file", "plantedinenvfile"),
        ("session", "c2Vzc2lvbi1vZi10aGUtZGFzaGJvYXJk"),
        ("endpoint", "plantedinendpoint"),
        ("proxy", "plantedinproxy"),
        ("phrase", "planted abandon ability able"),
    ];
    let secret = |name: &str| planted.iter().find(|(known, _)| *known == name).unwrap().1;
    let files = [
        ("operator.token", secret("token").to_owned()),
        ("passphrase", format!("{}\n", secret("passphrase"))),
        ("dashboard.sessions", format!("{{\"one\":\"{}\"}}", secret("session"))),
        ("keys/provider_key.json", format!("{{\"ciphertext\":\"{}\"}}", secret("key file"))),
        ("keys/former/1.json", format!("{{\"ciphertext\":\"{}\"}}", secret("former key"))),
        (
            "certificates/key.pem",
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", secret("certificate")),
        ),
        (".env", format!("MY_API_TOKEN={}\nGOLEM_PROVIDER_PORT=7466\n", secret("env file"))),
    ];
    for (name, text) in files {
        let path = data_dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    let environment = BTreeMap::from([
        ("HOME".to_owned(), folder.path().display().to_string()),
        ("GOLEM_PROVIDER_DATA_DIR".to_owned(), data_dir.display().to_string()),
        ("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY".to_owned(), format!("0x{}", secret("setting"))),
        ("GOLEM_PROVIDER_KEY_PASSPHRASE_FILE".to_owned(), data_dir.join("passphrase").display().to_string()),
        ("SOME_PASSWORD".to_owned(), secret("variable").to_owned()),
        ("GOLEM_PROVIDER_L2_RPC_URL".to_owned(), format!("https://rpc.example/v3/{}", secret("endpoint"))),
    ]);
    let resolved = crate::settings::load(BTreeMap::new(), environment.clone(), folder.path()).unwrap();
    let node = Node::named(data_dir.clone(), &environment);
    let all: String = planted.iter().map(|(_, secret)| format!("it is {secret} here\n")).collect();
    // Those that are in no file of the node are known by where they stand.
    let known = all
        .lines()
        .filter(|line| !["endpoint", "proxy", "phrase"].iter().any(|name| line.contains(secret(name))));
    let log: String = known.map(|line| format!("{line}\n")).collect::<String>()
        + &format!(
            "WARN asked https://rpc.example/v3/{} through http://ada:{}@proxy.example\n",
            secret("endpoint"),
            secret("proxy")
        )
        + &format!("mnemonic: {}\n", secret("phrase"));
    std::fs::create_dir(data_dir.join("logs")).unwrap();
    std::fs::write(data_dir.join("logs/provider.log"), &log).unwrap();
    let seen = Seen {
        rows: json!([{ "seen": log }]),
        status: json!({ "a": { "b": [log] } }),
        program_version: "1.2.3",
        settings: settings(&resolved),
        log: super::log(&node).await,
    };
    let redactor = Redactor::of(&node, &resolved, &environment, folder.path());
    let path = folder.path().join("bundle.tar.gz");
    let names = write(&path, &seen, &redactor, Timestamp::now()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let members = opened(&path);
    assert_eq!(members.len(), names.len());
    for (name, text) in &members {
        for (what, secret) in &planted {
            assert!(!text.contains(secret), "{what} is in {name}: {text}");
        }
    }
    // It is of use all the same.
    let member = |name: &str| &members[&format!("golem-provider-doctor/{name}")];
    assert!(
        member("settings.txt").contains("GOLEM_PROVIDER_L2_RPC_URL=https://rpc.example/…"),
        "{}",
        member("settings.txt")
    );
    assert!(member("log.txt").contains("WARN asked https://rpc.example/…"), "{}", member("log.txt"));
    assert!(member("versions.json").contains("\"golem_provider\": \"1.2.3\""));
}

#[test]
fn a_file_that_is_there_is_not_replaced_and_half_of_one_is_not_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("taken");
    std::fs::write(&path, "mine").unwrap();
    let seen = Seen {
        rows: Value::Null,
        status: Value::Null,
        program_version: "1",
        settings: String::new(),
        log: String::new(),
    };
    let refused = write(&path, &seen, &Redactor::default(), Timestamp::now()).unwrap_err();
    assert!(matches!(refused, BundleError::Exists(_)), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let nowhere = folder.path().join("no/such/folder");
    assert!(matches!(
        write(&nowhere, &seen, &Redactor::default(), Timestamp::now()),
        Err(BundleError::Write { .. })
    ));
}
