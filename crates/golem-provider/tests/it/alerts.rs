//! Alerts of the true binary: a webhook of the test is told, what is wrong is listed, and nothing secret is shown.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use golem_test_support::Home;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(20);

/// A webhook that takes everything: its address, and the bodies that it got.
fn webhook() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}/very-secret-path", listener.local_addr().unwrap());
    let (told, hear) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).is_ok_and(|count| count > 2) {
                if let Some(count) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = count.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .unwrap();
            if told.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (address, hear)
}

/// `alerts test` arrives, and neither the list nor the settings show where that is whole.
#[test]
fn a_test_arrives_and_its_address_stays_secret() {
    let (address, hear) = webhook();
    let home = Home::new()
        .set("GOLEM_PROVIDER_ALERT_WEBHOOK", &address)
        .set("GOLEM_PROVIDER_ALERT_TOKEN", "very-secret-token")
        .set("GOLEM_PROVIDER_ALERT_ALLOW_PRIVATE", "true");
    let mut node = home.start(&[]);
    let tried = home.json(&["alerts", "test", "--json"]);
    assert!(tried[0]["problem"].is_null() && tried[0]["taken_at"].is_string(), "{tried}");
    let told = hear.recv_timeout(DEADLINE).unwrap();
    assert!(told["alerts"][0]["text"].as_str().unwrap().starts_with("This is a test"), "{told}");
    let listed = home.json(&["alerts", "list", "--json"]);
    assert_eq!(listed["destinations"], tried);
    assert!(listed["alerts"].is_array(), "{listed}");
    let shown = home.run(&["config", "show"]);
    node.child.kill().unwrap();
    node.end();
    let all = format!("{listed} {} {:?}", String::from_utf8_lossy(&shown.stdout), node.seen);
    assert!(!all.contains("very-secret"), "{all}");
}

/// What is on this machine is told nothing unless that is set; without a destination, the fix is named.
#[test]
fn this_machine_is_not_told_unless_that_is_set() {
    let home = Home::new().set("GOLEM_PROVIDER_ALERT_WEBHOOK", "https://127.0.0.1:1/very-secret-path");
    let _node = home.start(&[]);
    let output = home.run(&["alerts", "test"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        error.contains("GOLEM_PROVIDER_ALERT_ALLOW_PRIVATE=true") && !error.contains("secret"),
        "{error}"
    );

    let home = Home::new();
    let _node = home.start(&[]);
    let output = home.run(&["alerts", "test"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("fix: set GOLEM_PROVIDER_ALERT_WEBHOOK"), "{error}");
    let listed = String::from_utf8_lossy(&home.run(&["alerts", "list"]).stdout).into_owned();
    assert!(listed.contains("Nobody is told"), "{listed}");
}

/// A mistake between settings names the fix, and not the secret.
#[test]
fn a_webhook_without_tls_is_refused_and_not_shown() {
    let home = Home::new().set("GOLEM_PROVIDER_ALERT_WEBHOOK", "http://hooks.example/very-secret-path");
    let output = home.run(&["start"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        error.contains("without TLS") && error.contains("fix:") && !error.contains("very-secret"),
        "{error}"
    );
}
