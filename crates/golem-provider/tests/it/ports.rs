//! Ports as the true binary verifies them, with the true check server and with one that lies.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use golem_test_support::{Feed, Home, wait_until, wanted};
use serde_json::{Value, json};

/// A check server that says of every port what it is told to, and what it was asked.
pub(crate) struct Puppet {
    pub(crate) url: String,
    /// Ports of which it says that they are open.
    pub(crate) open: Arc<Mutex<Vec<u16>>>,
    pub(crate) asked: Arc<Mutex<Vec<Value>>>,
    /// While this is held, it has made up its mind and does not say so.
    pub(crate) silence: Arc<Mutex<()>>,
}

impl Puppet {
    pub(crate) fn start(open: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let puppet =
            Self { url, open: Arc::new(Mutex::new(open)), asked: Arc::default(), silence: Arc::default() };
        let (open, asked, silence) =
            (Arc::clone(&puppet.open), Arc::clone(&puppet.asked), Arc::clone(&puppet.silence));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (open, asked, silence) = (Arc::clone(&open), Arc::clone(&asked), Arc::clone(&silence));
                std::thread::spawn(move || {
                    let request = request(&mut stream);
                    let open = open.lock().unwrap().clone();
                    let mut results = serde_json::Map::new();
                    for port in request["ports"].as_array().unwrap() {
                        let number = u16::try_from(port.as_u64().unwrap()).unwrap();
                        // As the original: it connects, so that somebody comes.
                        let _ = TcpStream::connect(("127.0.0.1", number));
                        let accessible = open.contains(&number);
                        let error = (!accessible).then_some("Connection timed out");
                        results.insert(port.to_string(), json!({ "accessible": accessible, "error": error }));
                    }
                    asked.lock().unwrap().push(request);
                    drop(silence.lock().unwrap());
                    let body = json!({ "success": true, "results": results, "message": "" }).to_string();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    // Who asked may have gone meanwhile.
                    let _ = stream.write_all((head + &body).as_bytes());
                });
            }
        });
        puppet
    }
}

pub(crate) fn request(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).unwrap();
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some(request) =
            text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok())
        {
            return request;
        }
        assert!(count > 0, "{text}");
    }
}

/// A home whose ports are verified by these check servers.
pub(crate) fn verified(servers: &[&str]) -> Home {
    Home::new()
        .set("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "false")
        .set("GOLEM_PROVIDER_PUBLIC_IP", "127.0.0.1")
        .set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", &servers.join(","))
}

fn create(home: &Home, name: &str) -> (u16, Value) {
    home.http("POST", "/api/v1/vms", &wanted(name, None).to_string())
}

/// Waits until the running node has verified its ports once more.
pub(crate) fn wait_for_round(home: &Home, rounds: u64) -> Value {
    let report = || home.json(&["ports", "list", "--json"]);
    wait_until("the verification", || report()["rounds"].as_u64().unwrap() >= rounds);
    report()
}

fn statuses(report: &Value) -> Vec<&str> {
    report["ssh"].as_array().unwrap().iter().map(|port| port["status"].as_str().unwrap()).collect()
}

#[test]
fn a_start_has_its_ports_tried_from_outside_and_rents_them_out() {
    let (_server, url) = Home::new().check_server();
    let home = verified(&[&url]);
    let mut node = home.start(&[]);
    // S-208
    node.says("all 8 SSH ports are reachable");
    let report = wait_for_round(&home, 1);
    assert_eq!(report["address"], "127.0.0.1");
    assert_eq!(
        (&report["provider"]["status"], &report["provider"]["local"]),
        (&json!("reachable"), &json!("served"))
    );
    // S-059
    assert_eq!(statuses(&report), ["reachable"; 8]);
    assert!(report["ssh"].as_array().unwrap().iter().all(|port| port["local"] == "free"), "{report}");
    // No listener is left.
    // S-060
    assert!(home.ssh_ports().all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()));
    let port = create(&home, "one").1["ssh_port"].as_u64().unwrap();
    let report = home.json(&["ports", "check", "--json"]);
    let port = report["ssh"].as_array().unwrap().iter().find(|row| row["port"] == port).unwrap();
    assert_eq!(
        (&port["status"], &port["local"], &port["in_use"]),
        (&json!("reachable"), &json!("served"), &json!(true))
    );
    let shown = home.run(&["ports", "list"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("✅ reachable"), "{}", Home::show(&shown));
}

#[test]
fn only_verified_ports_are_handed_out_and_only_the_named_servers_are_asked() {
    let puppets = [Puppet::start(Vec::new()), Puppet::start(Vec::new())];
    let unasked = Puppet::start(Vec::new());
    let home = verified(&[&puppets[0].url, &puppets[1].url, "http://127.0.0.1:1"]);
    let good = home.ssh + 2;
    for puppet in &puppets {
        *puppet.open.lock().unwrap() = vec![good, home.api];
    }
    let node = home.start(&[]);
    wait_for_round(&home, 1);
    let (status, vm) = create(&home, "one");
    // S-062
    assert_eq!((status, &vm["ssh_port"]), (200, &json!(good)), "{vm}");
    let none_left = || {
        let (status, refused) = create(&home, "another");
        assert_eq!(status, 503, "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains("SSH port"), "{refused}");
    };
    none_left();
    for puppet in &puppets {
        let asked = puppet.asked.lock().unwrap();
        let ports: Vec<u16> = std::iter::once(home.api).chain(home.ssh_ports()).collect();
        // S-110
        assert_eq!((&asked[0]["provider_ip"], &asked[0]["ports"]), (&json!("127.0.0.1"), &json!(ports)));
    }
    // S-110
    assert!(unasked.asked.lock().unwrap().is_empty());

    // A port that stops being reachable is not handed out again; its rental goes on, and tells of it.
    for puppet in &puppets {
        puppet.open.lock().unwrap().retain(|port| *port != good);
    }
    let report = home.run(&["ports", "check", "--json"]);
    assert_eq!(report.status.code(), Some(1), "{}", Home::show(&report));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!(statuses(&report), ["unreachable"; 8]);
    assert_eq!(report["ssh"][2]["reason"], "timed_out");
    let vms = home.json(&["vms", "list", "--json"]);
    assert_eq!((&vms[0]["ssh_port"], &vms[0]["status"]), (&json!(good), &json!("running")));
    home.json(&["vms", "delete", vms[0]["id"].as_str().unwrap(), "--yes", "--json"]);
    none_left();
    for puppet in &puppets {
        puppet.open.lock().unwrap().push(good);
    }
    home.json(&["ports", "check", "--json"]);

    // Without any answer, and after a restart, what is known stays known.
    drop(node);
    let home = home.set("GOLEM_PROVIDER_PORT_CHECK_SERVERS", "http://127.0.0.1:1");
    let mut node = home.start(&[]);
    node.says("no port check server answered");
    let (status, vm) = create(&home, "one");
    assert_eq!((status, &vm["ssh_port"]), (200, &json!(good)), "{vm}");
}

#[test]
fn s_062_what_nobody_could_verify_is_rented_out_in_development_only() {
    let home = verified(&["http://127.0.0.1:1"]);
    let mut node = home.start(&[]);
    node.says("no port check server answered");
    let (status, refused) = create(&home, "one");
    assert_eq!(status, 503);
    let why = refused["detail"].as_str().unwrap();
    assert!(why.contains("reachable from outside") && why.contains("golem-provider ports check"), "{why}");
    drop(node);
    for setting in [("GOLEM_ENVIRONMENT", "development"), ("GOLEM_PROVIDER_SKIP_PORT_VERIFICATION", "true")] {
        let home = verified(&["http://127.0.0.1:1"]).set(setting.0, setting.1);
        let _node = home.start(&[]);
        let (status, vm) = create(&home, "one");
        assert_eq!(status, 200, "{setting:?}: {vm}");
    }
}

#[test]
fn what_is_known_of_one_address_says_nothing_about_another() {
    let (_server, url) = Home::new().check_server();
    let home = verified(&[&url]);
    let mut node = home.start(&[]);
    node.says("all 8 SSH ports are reachable");
    drop(node);
    let home = home.set("GOLEM_PROVIDER_PUBLIC_IP", "203.0.113.7");
    let mut node = home.start(&[]);
    node.says("no port check server answered");
    let report = home.json(&["ports", "list", "--json"]);
    assert_eq!(statuses(&report), ["unknown"; 8]);
    assert_eq!(report["sources"][0]["seen_at"], "127.0.0.1");
    assert_eq!(create(&home, "one").0, 503);
}

/// The address changes while a check server is still at the old one: what it then says of that counts for
/// nothing, and the ports are tried anew at the new one.
#[test]
fn s_059_what_is_said_of_an_address_that_changes_meanwhile_counts_for_nothing() {
    let (before, now) = ("203.0.113.7", "203.0.113.8");
    let echoes = [Feed::start(before), Feed::start(before)];
    let puppet = Puppet::start(Vec::new());
    let home = verified(&[&puppet.url])
        .set("GOLEM_PROVIDER_PUBLIC_IP", "auto")
        .set("GOLEM_PROVIDER_PUBLIC_IP_SOURCES", &format!("{},{}", echoes[0].url, echoes[1].url))
        .set("GOLEM_PROVIDER_PUBLIC_IP_INTERVAL_SECONDS", "1");
    *puppet.open.lock().unwrap() = home.ssh_ports().chain([home.api]).collect();
    let silence = puppet.silence.lock().unwrap();
    let mut node = home.start(&[]);
    let asked = || -> Vec<Value> {
        puppet.asked.lock().unwrap().iter().map(|request| request["provider_ip"].clone()).collect()
    };
    wait_until("it is asked about the first address", || asked() == [before]);
    puppet.open.lock().unwrap().clear();
    echoes.iter().for_each(|echo| echo.say(now));
    wait_until("it is asked about the second", || asked() == [before, now]);
    let report = home.json(&["ports", "list", "--json"]);
    assert_eq!((&report["address"], &report["rounds"]), (&json!(now), &json!(0)), "{report}");
    drop(silence);
    let report = wait_for_round(&home, 1);
    assert_eq!(statuses(&report), ["unreachable"; 8], "{report}");
    assert_eq!(create(&home, "one").0, 503);
    node.says("0 of 8 SSH ports are reachable");
    assert!(!node.seen.iter().any(|line| line.contains("all 8")), "{:#?}", node.seen);
}

#[test]
fn s_064_ports_are_checked_without_a_node_too() {
    let (_server, url) = Home::new().check_server();
    let home = verified(&["http://127.0.0.1:1", &url]);
    let _held = TcpListener::bind(("127.0.0.1", home.ssh + 1)).unwrap();
    let report = home.json(&["ports", "check", "--json"]);
    assert_eq!(report["provider"]["status"], "reachable");
    assert_eq!(statuses(&report)[..3], ["reachable", "unknown", "reachable"]);
    assert_eq!(report["ssh"][1]["local"], "held");
    assert!(report["sources"][0]["problem"].as_str().unwrap().contains("refused"), "{report}");
    let nobody = verified(&["http://127.0.0.1:1"]).run(&["ports", "check"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", Home::show(&nobody));
}

/// One POST to the check server at `url`.
fn ask(url: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    let head = format!(
        "POST /check-ports HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap())
}

#[test]
fn the_check_server_dials_who_asks_and_nobody_else() {
    let (_server, url) = Home::new().check_server();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = open.local_addr().unwrap().port();
    let (status, answer) = ask(&url, &json!({ "provider_ip": "127.0.0.1", "ports": [port, 1] }).to_string());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["success"], true);
    assert_eq!(answer["results"][port.to_string()]["accessible"], true);
    assert_eq!(answer["results"]["1"], json!({ "accessible": false, "error": "Connection refused" }));
    // What a port says is told to those who ask as a node does; the original's clients wait for none.
    assert_eq!(answer["results"][port.to_string()]["read"], Value::Null);
    let request = json!({ "provider_ip": "127.0.0.1", "ports": [port], "nonce": "00" });
    assert_eq!(ask(&url, &request.to_string()).1["results"][port.to_string()]["read"], "");
    assert_eq!(answer["message"], "Successfully verified 1 out of 2 ports");
    assert!(answer["signature"].is_string() && answer["checker"].is_string(), "{answer}");
    let (status, empty) = ask(&url, r#"{"provider_ip": "127.0.0.1", "ports": []}"#);
    assert_eq!((status, &empty["success"]), (200, &json!(false)));
    let (status, refused) = ask(&url, &json!({ "provider_ip": "203.0.113.9", "ports": [22] }).to_string());
    assert_eq!((status, &refused["caller"]), (403, &json!("127.0.0.1")), "{refused}");
    for (body, status) in [
        (r#"{"provider_ip": "localhost", "ports": [22]}"#.to_owned(), 422),
        (r#"{"provider_ip": "127.0.0.1"}"#.to_owned(), 422),
        (r#"{"provider_ip": "127.0.0.1", "ports": [0]}"#.to_owned(), 422),
        ("nonsense".to_owned(), 422),
        (json!({ "provider_ip": "127.0.0.1", "ports": vec![22; 1025] }).to_string(), 422),
        (" ".repeat(70_000), 413),
    ] {
        let (found, answer) = ask(&url, &body);
        assert_eq!(found, status, "{answer}");
        assert!(!answer["detail"].is_null());
    }
    let many = (0..70).filter(|_| ask(&url, r#"{"provider_ip": "127.0.0.1", "ports": []}"#).0 == 429).count();
    assert!(many > 0, "a caller is limited");
    // Without leave, nothing inside is dialled.
    let home = Home::new();
    let mut command = home.command(&["port-checker", "--host", "127.0.0.1", "--allow-any-target"]);
    command.env("PORT_CHECKER_PORT", home.api.to_string());
    let _strict = golem_test_support::Running::of(command, "checking ports on");
    let (status, refused) = ask(
        &format!("http://127.0.0.1:{}", home.api),
        &json!({ "provider_ip": "127.0.0.1", "ports": [22] }).to_string(),
    );
    assert_eq!(status, 403, "{refused}");
}
