//! Whom a node with no settings asks out there, seen by a proxy that lets nothing through.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use golem_test_support::{Home, wait_until};

/// A proxy that writes down where to, and refuses.
fn proxy() -> (String, Arc<Mutex<BTreeSet<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hosts = Arc::<Mutex<BTreeSet<String>>>::default();
    let seen = Arc::clone(&hosts);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut line = String::new();
            let _ = BufReader::new(&stream).read_line(&mut line);
            if let Some(host) = line.strip_prefix("CONNECT ").and_then(|rest| rest.split(':').next()) {
                seen.lock().unwrap().insert(host.to_owned());
            }
            let _ = stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (url, hosts)
}

/// S-008: a first start on the testnet asks test networks only, and the servers that settings name.
#[test]
fn s_008_a_first_start_on_the_testnet_touches_no_mainnet() {
    let ports = Home::new();
    let (url, hosts) = proxy();
    let mut home = Home::bare().set("HTTPS_PROXY", &url).set("GOLEM_PROVIDER_VM_BACKEND", "sim");
    for name in ["PORT", "OPERATOR_PORT", "PORT_RANGE_START", "PORT_RANGE_END"] {
        let name = format!("GOLEM_PROVIDER_{name}");
        home = home.set(&name, &ports.environment[&name]);
    }
    // Its own address, which cannot be found without a way out.
    let home = home.set("GOLEM_PROVIDER_PUBLIC_IP", "198.51.100.7");
    let _node = home.start(&["--network", "testnet"]);
    let settings = home.json(&["config", "show", "--json"]).to_string();
    let chains = || -> Vec<String> {
        let named = |host: &&String| !settings.contains(&format!("//{host}"));
        hosts.lock().unwrap().iter().filter(named).cloned().collect()
    };
    wait_until("both chains are asked", || chains().len() >= 2);
    let network = home.json(&["networks", "show", "--json"]);
    assert_eq!((&network["active"], &network["testnet"]), (&true.into(), &true.into()));
    let endpoint = network["rpc_url"].as_str().unwrap();
    assert!(chains().iter().any(|host| endpoint.contains(host)), "{:?}", chains());
    let is_test = |host: &String| ["holesky", "hoodi"].iter().any(|network| host.contains(network));
    assert!(chains().iter().all(is_test), "{:?}", chains());
}

/// S-200: the network chooses the market and nothing else.
#[test]
fn s_200_the_network_changes_no_other_setting() {
    let shown = |network: &str| {
        let home = Home::bare().set("GOLEM_PROVIDER_NETWORK", network);
        let mut rows = home.json(&["config", "show", "--json"])["settings"].as_array().unwrap().clone();
        let before = rows.len();
        rows.retain(|row| row["name"] != "GOLEM_PROVIDER_NETWORK");
        assert_eq!(rows.len(), before - 1);
        // Each home has a folder of its own.
        let folder = home.folder.path().display().to_string();
        rows.retain(|row| !row["value"].as_str().is_some_and(|value| value.starts_with(&folder)));
        rows
    };
    assert_eq!(shown("testnet"), shown("mainnet"));
    assert_eq!(shown("testnet"), shown("development"));
}

/// H-19: with a proxy in the environment, what lies on this machine is asked directly, what does not goes through
/// the proxy, and an error names it. What `rent` asks, too.
#[test]
fn h_19_a_proxy_is_used_for_what_is_elsewhere_and_named() {
    let (url, _) = proxy();
    let home = Home::new().set("HTTP_PROXY", &url.replace("://", "://someone:hidden@"));
    let (_service, discovery) = home.discovery_service(&[]);
    let home = home
        .set("GOLEM_PROVIDER_ADVERTISER_TYPE", "discovery_server")
        .set("GOLEM_PROVIDER_DISCOVERY_URL", &discovery)
        .set("GOLEM_PROVIDER_PUBLIC_IP", "198.51.100.7");
    let _node = home.start(&[]);
    let providers = ["rent", "providers", "--discovery", &discovery, "--json"];
    wait_until("the node is found by the service on this machine", || {
        let found = home.run(&providers);
        String::from_utf8_lossy(&found.stdout).contains("198.51.100.7")
    });

    let there = ["rent", "quote", "--provider", "http://192.0.2.7:7466"];
    let said = Home::show(&home.run(&there));
    assert!(said.contains(&format!("through the proxy {url} (HTTP_PROXY)")), "{said}");
    assert!(!said.contains("hidden") && said.contains("exit: Some(1)"), "{said}");
    let outside = home.set("NO_PROXY", "192.0.2.0/24").set("HTTP_PROXY", "::::");
    let said = Home::show(&outside.run(&there));
    assert!(said.contains("HTTP_PROXY in the environment does not name a proxy"), "{said}");
}
