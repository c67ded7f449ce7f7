//! Precedence, mistakes and warnings of the settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Settings of this environment alone.
fn with(pairs: &[(&str, &str)]) -> Result<Resolved, Mistakes> {
    resolve(&Layers::new(BTreeMap::new(), map(pairs)), Some(Path::new("/home/op")), Path::new("/here"))
}

fn variables(result: Result<Resolved, Mistakes>) -> Vec<String> {
    result.unwrap_err().0.into_iter().map(|mistake| mistake.variable).collect()
}

#[test]
fn defaults_are_the_documented_ones() {
    let settings = with(&[]).unwrap().settings;
    // S-109
    assert_eq!(settings.api.port.get(), 7466);
    assert_eq!(settings.operator.operator_port.get(), 7467);
    // S-111, S-112
    assert_eq!((settings.ports.port_range_start.get(), settings.ports.port_range_end.get()), (50800, 50900));
    // S-105
    assert_eq!(settings.vms.max_vms.0, 10);
    // S-106, S-107, S-108
    assert_eq!(
        (settings.vms.min_cpu_cores.0, settings.vms.min_memory_gb.0, settings.vms.min_storage_gb.0),
        (1, 1, 10)
    );
    assert_eq!(
        // S-082, S-083, S-084
        (settings.vms.cpu_threshold.0, settings.vms.memory_threshold.0, settings.vms.storage_threshold.0),
        (90, 85, 90)
    );
    // S-126, S-128
    assert!(settings.payments.stream_monitor_enabled && !settings.payments.stream_withdraw_enabled);
    let seconds = Duration::from_secs;
    // S-127, S-129
    assert_eq!(
        (settings.payments.stream_monitor_interval, settings.payments.stream_withdraw_interval),
        (seconds(30), seconds(1800))
    );
    // S-115
    assert_eq!(settings.market.discovery_interval, seconds(240));
    assert_eq!(settings.node.network, Network::Testnet);
    assert_eq!(settings.api.api_auth, ApiAuth::Capability);
    // S-248
    assert_eq!(settings.api.rate_limit_per_minute, 100);
    assert_eq!(settings.node.data_dir, Path::new("/home/op/.golem/provider"));
    assert_eq!(settings.node.advertised_name(), "golem-provider");
    assert!(!settings.vms.stop_vms_on_exit);
    assert!(!settings.ports.skip_port_verification);
    let servers = ["https://ports1.golem.network", "https://ports2.golem.network"];
    assert_eq!(settings.ports.port_check_servers.0, servers);
}

#[test]
fn markets_are_a_list_and_the_earlier_setting_counts_where_it_is_unset() {
    let all = [Advertiser::WebSocket, Advertiser::Arkiv, Advertiser::Http];
    let markets = |pairs: &[(&str, &str)]| {
        let market = with(pairs).unwrap().settings.marketplace();
        all.map(|advertiser| market.advertises_in(advertiser))
    };
    let (list, kind) = ("GOLEM_PROVIDER_ADVERTISERS", "GOLEM_PROVIDER_ADVERTISER_TYPE");
    // Where nothing is set, those who pay are met where they look.
    let networks = "GOLEM_PROVIDER_PAYMENTS_NETWORK";
    assert_eq!(markets(&[]), [true, false, false]);
    assert_eq!(markets(&[(networks, "l2.holesky")]), [false, true, false]);
    assert_eq!(markets(&[(networks, "hoodi,l2.holesky")]), [true, true, false]);
    for (word, expected) in [
        ("golem_base", [false, true, false]),
        ("discovery_server", [false, false, true]),
        ("both", [false, true, true]),
        ("none", [false; 3]),
    ] {
        assert_eq!(markets(&[(kind, word)]), expected, "{word}");
    }
    for (text, expected) in [
        ("websocket,arkiv,http", [true; 3]),
        ("websocket", [true, false, false]),
        ("[\"http\", \"websocket\"]", [true, false, true]),
        ("none", [false; 3]),
    ] {
        assert_eq!(markets(&[(list, text), (kind, "both")]), expected, "{text}");
    }
    for bad in ["golem_base", "none,http", "websocket;http", ","] {
        assert_eq!(variables(with(&[(list, bad)])), [list], "{bad}");
    }
    let url = "GOLEM_PROVIDER_DISCOVERY_WS_URL";
    let two = with(&[(url, "wss://a/x, ws://192.0.2.1:9001/y,wss://a/x")]).unwrap().settings;
    assert_eq!(two.marketplace().sockets, ["wss://a/x", "ws://192.0.2.1:9001/y"]);
    let by_default = with(&[]).unwrap().settings.marketplace().sockets;
    assert_eq!(by_default, golem_chain::network::shipped()["hoodi"].discovery_urls);
    assert_eq!(by_default.len(), 1);
    assert_eq!(variables(with(&[(url, "wss://a/x,https://b/y")])), [url]);
}

#[test]
fn s_110_check_servers_are_a_list_with_commas_or_in_brackets() {
    let servers = |text: &str| {
        with(&[("GOLEM_PROVIDER_PORT_CHECK_SERVERS", text)])
            .map(|all| all.settings.ports.port_check_servers.0)
    };
    for text in [
        "http://a:9000,https://b",
        r#"["http://a:9000", "https://b"]"#,
        r#"[ "http://a:9000", "https://b", ]"#,
        "[http://a:9000,https://b]",
    ] {
        assert_eq!(servers(text).unwrap(), ["http://a:9000", "https://b"], "{text}");
    }
    for text in ["[]", ",", "ports1.golem.network", r#"["http://a", "b"]"#, "[http://a"] {
        assert_eq!(
            variables(with(&[("GOLEM_PROVIDER_PORT_CHECK_SERVERS", text)])),
            ["GOLEM_PROVIDER_PORT_CHECK_SERVERS"],
            "{text}"
        );
    }
}

#[test]
fn development_changes_defaults_and_only_those() {
    let resolved = with(&[("GOLEM_ENVIRONMENT", "development")]).unwrap();
    // S-205
    assert_eq!(resolved.settings.node.network, Network::Development);
    assert_eq!(resolved.settings.api.api_auth, ApiAuth::Open);
    // S-191
    assert_eq!(resolved.settings.logs.log_level, LogLevel::Debug);
    // S-191
    assert_eq!(resolved.settings.ports.port_check_servers.0, ["http://localhost:9000"]);
    // S-193
    assert_eq!(resolved.settings.node.advertised_name(), "DEVMODE-golem-provider");
    let chosen = with(&[
        ("GOLEM_ENVIRONMENT", "development"),
        ("GOLEM_PROVIDER_NETWORK", "testnet"),
        ("GOLEM_PROVIDER_API_AUTH", "capability"),
    ])
    .unwrap();
    assert_eq!(chosen.settings.node.network, Network::Testnet);
    assert_eq!(chosen.settings.api.api_auth, ApiAuth::Capability);
}

#[test]
fn s_194_development_on_mainnet_is_honoured_with_a_closed_api() {
    let on_mainnet = [("GOLEM_ENVIRONMENT", "development"), ("GOLEM_PROVIDER_NETWORK", "mainnet")];
    let resolved = with(&on_mainnet).unwrap();
    assert_eq!(resolved.settings.node.network, Network::Mainnet);
    assert_eq!(resolved.settings.api.api_auth, ApiAuth::Capability);
    let (shown, origin) = resolved.shown(variable("GOLEM_PROVIDER_API_AUTH").unwrap());
    assert_eq!((shown.as_str(), origin), ("capability", Origin::Default));
    let opened = [on_mainnet[0], on_mainnet[1], ("GOLEM_PROVIDER_API_AUTH", "open")];
    assert_eq!(variables(with(&opened)), ["GOLEM_PROVIDER_API_AUTH"]);
}

#[test]
fn s_196_flags_win_over_environment_over_files_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("here");
    let home = folder.path().join("home/.golem/provider");
    std::fs::create_dir_all(&here).unwrap();
    std::fs::create_dir_all(&home).unwrap();
    let all = ["GOLEM_PROVIDER_NETWORK=testnet", "GOLEM_PROVIDER_MAX_VMS=1", "GOLEM_PROVIDER_NAME=home"];
    std::fs::write(home.join(".env"), all.join("\n") + "\nGOLEM_PROVIDER_COUNTRY=de").unwrap();
    std::fs::write(
        here.join(".env"),
        "GOLEM_PROVIDER_MAX_VMS=2\nGOLEM_PROVIDER_NAME=here\nGOLEM_PROVIDER_NETWORK=testnet",
    )
    .unwrap();
    let environment = map(&[
        ("HOME", &folder.path().join("home").display().to_string()),
        ("GOLEM_PROVIDER_NAME", "environment"),
        ("GOLEM_PROVIDER_NETWORK", "testnet"),
    ]);
    let flags = BTreeMap::from([("GOLEM_PROVIDER_NETWORK", "mainnet".to_owned())]);
    let resolved = load(flags, environment, &here).unwrap();
    let settings = &resolved.settings;
    assert_eq!(settings.node.network, Network::Mainnet);
    assert_eq!(settings.node.name.0, "environment");
    assert_eq!(settings.vms.max_vms.0, 2);
    assert_eq!(settings.node.country.0, "DE");
    let origin = |name| resolved.found[name].origin.clone();
    assert_eq!(origin("GOLEM_PROVIDER_NETWORK"), Origin::Flag);
    assert_eq!(origin("GOLEM_PROVIDER_NAME"), Origin::Environment("GOLEM_PROVIDER_NAME".to_owned()));
    assert_eq!(origin("GOLEM_PROVIDER_MAX_VMS"), Origin::File { path: here.join(".env"), line: 1 });
    assert_eq!(origin("GOLEM_PROVIDER_COUNTRY"), Origin::File { path: home.join(".env"), line: 4 });
    assert_eq!(origin("GOLEM_PROVIDER_PORT"), Origin::Default);
}

#[test]
fn the_names_of_the_documentation_and_of_the_original_mean_the_same() {
    let id = "0x00000000000000000000000000000000000000aB";
    for prefix in ["GOLEM_PROVIDER_", "GOLEM_PROVIDER_PROVIDER_"] {
        let settings = with(&[
            (&format!("{prefix}NAME"), "mine"),
            (&format!("{prefix}COUNTRY"), "pl"),
            (&format!("{prefix}ID"), id),
        ])
        .unwrap()
        .settings;
        assert_eq!((settings.node.name.0.as_str(), settings.node.country.0.as_str()), ("mine", "PL"));
        // S-102
        assert_eq!(settings.node.id, Some(Address(id.parse().unwrap())));
    }
}

#[test]
fn every_mistake_is_reported_in_one_run_with_its_fix() {
    let mistakes = with(&[
        ("GOLEM_PROVIDER_PORT", "0"),
        ("GOLEM_PROVIDER_MAX_VMS", "many"),
        ("GOLEM_PROVIDER_NETWORK", "goerli"),
        ("GOLEM_PROVIDER_CPU_THRESHOLD", "101"),
        ("GOLEM_PROVIDER_ID", "0x12"),
        ("GOLEM_PROVIDER_DEFAULT_VM_IMAGE", "../etc"),
    ])
    .unwrap_err();
    assert_eq!(mistakes.0.len(), 6);
    let text = mistakes.to_string();
    assert!(text.starts_with("6 settings are wrong\n"), "{text}");
    assert!(text.contains("GOLEM_PROVIDER_PORT=0 (environment) is not a port from 1 to 65535; fix: "));
    assert!(mistakes.0.iter().all(|mistake| !mistake.fix.is_empty()));
}

#[test]
fn settings_that_contradict_each_other_are_mistakes() {
    let range = |start: &'static str, end: &'static str| {
        [("GOLEM_PROVIDER_PORT_RANGE_START", start), ("GOLEM_PROVIDER_PORT_RANGE_END", end)]
    };
    assert_eq!(variables(with(&range("50900", "50800"))), ["GOLEM_PROVIDER_PORT_RANGE_END"]);
    assert_eq!(variables(with(&range("50800", "50800"))), ["GOLEM_PROVIDER_PORT_RANGE_END"]);
    assert!(with(&range("50800", "50801")).is_ok());
    assert_eq!(
        variables(with(&range("7000", "8000"))),
        ["GOLEM_PROVIDER_PORT", "GOLEM_PROVIDER_OPERATOR_PORT"]
    );
    // The end is not in the range.
    assert!(with(&range("7400", "7466")).is_ok());
    assert_eq!(
        variables(with(&[("GOLEM_PROVIDER_OPERATOR_PORT", "7466")])),
        ["GOLEM_PROVIDER_OPERATOR_PORT"]
    );
    assert_eq!(variables(with(&[("GOLEM_PROVIDER_MIN_CPU_CORES", "17")])), ["GOLEM_PROVIDER_MIN_CPU_CORES"]);
}

#[test]
fn h_20_what_is_rented_out_is_set_and_at_least_what_renters_may_ask_for() {
    let settings = with(&[]).unwrap().settings;
    assert_eq!(
        (settings.vms.rent_cpu, settings.vms.rent_memory_gb, settings.vms.rent_storage_gb),
        (None, None, None)
    );
    assert_eq!(settings.vms.cpu_overcommit.0, 100);
    let overcommit = |text: &str| {
        with(&[("GOLEM_PROVIDER_CPU_OVERCOMMIT", text)]).map(|all| all.settings.vms.cpu_overcommit.0)
    };
    for (text, percent) in [("3", 300), ("1.25", 125), ("0.1", 10), ("10", 1000), ("2.50", 250)] {
        assert_eq!(overcommit(text).unwrap(), percent, "{text}");
    }
    for text in ["0", "0.09", "10.01", "1.234", "-1", "1e2", "x", "NaN", "inf"] {
        assert_eq!(
            variables(with(&[("GOLEM_PROVIDER_CPU_OVERCOMMIT", text)])),
            ["GOLEM_PROVIDER_CPU_OVERCOMMIT"],
            "{text}"
        );
    }
    for name in ["GOLEM_PROVIDER_RENT_CPU", "GOLEM_PROVIDER_RENT_MEMORY_GB", "GOLEM_PROVIDER_RENT_STORAGE_GB"]
    {
        assert!(with(&[(name, "16")]).is_ok());
        for text in ["0", "-4", "1.5", "4294967296", "all"] {
            assert_eq!(variables(with(&[(name, text)])), [name], "{text}");
        }
    }
    let contradicted = [
        ("GOLEM_PROVIDER_RENT_MEMORY_GB", "2"),
        ("GOLEM_PROVIDER_MIN_MEMORY_GB", "4"),
        ("GOLEM_PROVIDER_RENT_STORAGE_GB", "9"),
        ("GOLEM_PROVIDER_RENT_CPU", "1"),
        ("GOLEM_PROVIDER_CPU_OVERCOMMIT", "0.5"),
    ];
    assert_eq!(
        variables(with(&contradicted)),
        ["GOLEM_PROVIDER_RENT_MEMORY_GB", "GOLEM_PROVIDER_RENT_STORAGE_GB", "GOLEM_PROVIDER_RENT_CPU"]
    );
}

#[test]
fn a_secret_is_neither_shown_nor_in_a_mistake() {
    let key = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
    let resolved = with(&[("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", key)]).unwrap();
    assert_eq!(resolved.settings.node.private_key.as_ref().unwrap().reveal(), key);
    assert_eq!(resolved.shown(variable("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY").unwrap()).0, "(secret)");
    assert!(!format!("{:?}", resolved.settings).contains(key));
    let short = &key[..60];
    let mistakes = with(&[("GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY", short)]).unwrap_err();
    assert!(!mistakes.to_string().contains(short), "{mistakes}");
}

#[test]
fn a_variable_that_nobody_reads_is_a_warning_with_a_guess() {
    let resolved =
        with(&[("GOLEM_PROVIDER_MAX_VM", "3"), ("GOLEM_PROVIDER_ZEBRA_COLOUR", "x"), ("OTHER", "y")])
            .unwrap();
    assert_eq!(resolved.warnings.len(), 2);
    assert!(
        resolved.warnings[0].ends_with("; did you mean GOLEM_PROVIDER_MAX_VMS?"),
        "{:?}",
        resolved.warnings
    );
    assert!(resolved.warnings[1].ends_with("has no effect"), "{:?}", resolved.warnings);
}

/// S-103: whoever types a name types another; a node that ran with one runs on, and renters read what is left of it.
#[test]
fn s_103_a_name_that_cannot_be_seen_is_refused_where_it_is_typed_and_cleaned_where_it_is_stored() {
    let name = "GOLEM_PROVIDER_NAME";
    for bad in ["good\u{202e}dab", "a\u{1b}[2J", &"x".repeat(65)] {
        let typed = BTreeMap::from([(name, bad.to_owned())]);
        assert_eq!(valid(&typed).unwrap_err().0[0].variable, name, "{bad:?}");
        for stored in [name, "GOLEM_PROVIDER_PROVIDER_NAME"] {
            let resolved = with(&[(stored, bad)]).unwrap();
            assert!(resolved.settings.node.name.0.chars().all(|letter| letter.is_ascii_graphic()), "{bad:?}");
            assert_eq!(
                resolved.found[name].text, resolved.settings.node.name.0,
                "what counts is what is shown"
            );
            let [warning] = &resolved.warnings[..] else { panic!("{:?}", resolved.warnings) };
            assert!(warning.contains("environment") && warning.contains("; fix: "), "{warning}");
        }
    }
    let nothing = with(&[(name, "\u{202e}\u{200b}")]).unwrap();
    assert_eq!(nothing.settings.node.name.0, "golem-provider");
    assert_eq!(with(&[(name, "Żółw 1")]).unwrap().warnings, [] as [String; 0]);
}

#[test]
fn without_a_home_the_data_directory_must_be_given() {
    let layers = |pairs: &[(&str, &str)]| Layers::new(BTreeMap::new(), map(pairs));
    let here = Path::new("/here");
    assert_eq!(variables(resolve(&layers(&[]), None, here)), ["HOME"]);
    let placed = |text| {
        resolve(&layers(&[("GOLEM_PROVIDER_DATA_DIR", text)]), None, here).unwrap().settings.node.data_dir
    };
    assert_eq!(placed("/srv/golem"), Path::new("/srv/golem"));
    assert_eq!(placed("data"), Path::new("/here/data"));
}

#[test]
fn i_03_an_env_file_that_others_wrote_or_can_write_is_refused() {
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    let environment = || map(&[("HOME", "/nowhere")]);
    let refused = || load(BTreeMap::new(), environment(), folder.path()).unwrap_err().to_string();
    std::fs::write(&file, "GOLEM_PROVIDER_MAX_VMS=2").unwrap();
    for (mode, is_good) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false), (0o602, false)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        match load(BTreeMap::new(), environment(), folder.path()) {
            Ok(resolved) => assert!(is_good && resolved.settings.vms.max_vms.0 == 2, "{mode:o}"),
            Err(mistakes) => {
                let text = mistakes.to_string();
                assert!(!is_good && text.contains("can be written by other users"), "{mode:o}: {text}");
                assert!(text.contains("`chmod go-w "), "{text}");
            }
        }
    }
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&file, "GOLEM_PROVIDER_MULTIPASS_BINARY_PATH=/bin/true").unwrap();
    let text = refused();
    assert!(
        text.contains("names a program") && text.contains("fix: set it in ~/.golem/provider/.env"),
        "{text}"
    );
    // The operator's own file may, also when it is the working directory's.
    let own = folder.path().join(".golem/provider");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::rename(&file, own.join(".env")).unwrap();
    let home = map(&[("HOME", &folder.path().display().to_string())]);
    for directory in [folder.path(), &own] {
        let resolved = load(BTreeMap::new(), home.clone(), directory).unwrap();
        assert_eq!(resolved.settings.vms.multipass_binary_path.as_deref(), Some(Path::new("/bin/true")));
    }
    for relative in ["multipass", "./multipass", "../bin/multipass"] {
        let text = with(&[("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", relative)]).unwrap_err().to_string();
        assert!(text.contains("set it to an absolute path"), "{text}");
    }
    let resolved = with(&[("GOLEM_PROVIDER_MULTIPASS_BINARY_PATH", "~/bin/multipass")]).unwrap();
    assert!(resolved.settings.vms.multipass_binary_path.unwrap().is_absolute());
    // Files of others can only be made by root.
    if !golem_test_support::as_root() {
        return;
    }
    std::fs::write(&file, "GOLEM_PROVIDER_MAX_VMS=2").unwrap();
    chown(&file, Some(4242), None).unwrap();
    let text = refused();
    assert!(text.contains("belongs to user 4242, and this process runs as user 0; fix: "), "{text}");
    chown(&file, Some(0), None).unwrap();
    load(BTreeMap::new(), environment(), folder.path()).unwrap();
    // One of the user's own files that somebody else points at.
    std::fs::rename(&file, folder.path().join("other")).unwrap();
    symlink(folder.path().join("other"), &file).unwrap();
    load(BTreeMap::new(), environment(), folder.path()).unwrap();
    lchown(&file, Some(4242), None).unwrap();
    let text = refused();
    assert!(text.contains("is a symbolic link of user 4242"), "{text}");
}

#[test]
fn an_unreadable_env_file_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "GOLEM_PROVIDER_PORT 7466\nGOLEM_PROVIDER_MAX_VMS=no")
        .unwrap();
    let mistakes = load(BTreeMap::new(), map(&[("HOME", "/nowhere")]), folder.path()).unwrap_err();
    let text = mistakes.to_string();
    assert!(text.contains(".env:1 the line has no `=`; fix: "), "{text}");
    assert!(text.contains("GOLEM_PROVIDER_MAX_VMS=no"), "{text}");
    std::fs::remove_file(folder.path().join(".env")).unwrap();
    std::fs::create_dir(folder.path().join(".env")).unwrap();
    let mistakes = load(BTreeMap::new(), map(&[("HOME", "/nowhere")]), folder.path()).unwrap_err();
    assert!(mistakes.to_string().contains("is not a file"), "{mistakes}");
}

/// U-03: what is wrong counts as not there, whatever else is; what runs a program stays refused.
#[test]
fn u_03_settings_that_are_wrong_are_left_out_where_few_are_needed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".env");
    let environment = map(&[("HOME", &folder.path().display().to_string()), ("GOLEM_PROVIDER_PORT", "0")]);
    let text = "GOLEM_PROVIDER_MAX_VMS=many\nGOLEM_PROVIDER_NAME=mine\nno line\nGOLEM_PROVIDER_PORT=7600\n\
                GOLEM_PROVIDER_PORT_RANGE_START=50900\nGOLEM_PROVIDER_MULTIPASS_BINARY_PATH=/tmp/multipass\n";
    std::fs::write(&file, text).unwrap();
    let wrong = load(BTreeMap::new(), environment.clone(), folder.path()).unwrap_err().0;
    let node = own_node(&environment, folder.path());
    let resolved = load_despite_mistakes(node.as_ref(), environment, folder.path()).unwrap();
    let Settings { node, api, vms, ports, .. } = &resolved.settings;
    assert_eq!((node.name.0.as_str(), api.port.get()), ("mine", 7600), "the next place counts");
    assert_eq!(
        (vms.max_vms, vms.multipass_binary_path.as_ref()),
        (with(&[]).unwrap().settings.vms.max_vms, None)
    );
    assert_eq!(ports.port_range_start.get(), 50_900, "what contradicts a default alone is taken as it is");
    assert!(
        wrong.iter().all(|mistake| resolved.mistakes.contains(mistake)),
        "{wrong:?} {:?}",
        resolved.mistakes
    );
    // In the user's own file a program may be named, but none in whatever is the working directory.
    let own = folder.path().join(".golem/provider");
    std::fs::create_dir_all(&own).unwrap();
    let text = "GOLEM_PROVIDER_MULTIPASS_BINARY_PATH=multipass\nGOLEM_PROVIDER_MAX_VMS=many";
    std::fs::write(own.join(".env"), text).unwrap();
    let home = map(&[("HOME", &folder.path().display().to_string())]);
    let resolved = load_despite_mistakes(own_node(&home, &own).as_ref(), home, &own).unwrap();
    assert_eq!(resolved.settings.vms.multipass_binary_path, None);
    assert_eq!(load_despite_mistakes(None, map(&[]), &own).unwrap_err().0[0].variable, "HOME");
}

#[test]
fn s_100_the_example_file_is_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let uncommented: String = env_example()
        .lines()
        .map(|line| {
            line.strip_prefix('#').filter(|rest| rest.starts_with("GOLEM_")).unwrap_or(line).to_owned() + "\n"
        })
        .collect();
    std::fs::write(folder.path().join(".env"), uncommented).unwrap();
    let resolved = load(BTreeMap::new(), map(&[("HOME", "/home/op")]), folder.path()).unwrap();
    assert_eq!(format!("{:?}", resolved.settings), format!("{:?}", with(&[]).unwrap().settings));
    assert_eq!(resolved.warnings, Vec::<String>::new());
    assert_eq!(resolved.settings.vms.boot_timeout, Duration::from_secs(600));
}

proptest! {
    #[test]
    fn any_text_for_any_variable_is_read_or_is_a_mistake_that_names_it(
        row in proptest::sample::select(TABLE.to_vec()), text in "\\PC{0,30}|[0-9]{1,20}",
    ) {
        let home = map(&[("HOME", "/home/op"), (row.name, &text)]);
        prop_assert!(load_despite_mistakes(None, home, Path::new("/nowhere")).is_ok());
        match with(&[(row.name, &text)]) {
            Ok(resolved) => prop_assert!(resolved.found.contains_key(row.name)),
            Err(mistakes) => {
                prop_assert!(!text.trim().is_empty());
                prop_assert!(mistakes.0.iter().all(|mistake| !mistake.fix.is_empty()));
                prop_assert!(mistakes.to_string().contains(row.name), "{}", mistakes);
            }
        }
    }
}
