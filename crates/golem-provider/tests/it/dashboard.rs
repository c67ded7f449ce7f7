//! `dashboard` of the true binary: its link, and what the page changes.

use std::io::{Read, Write};
use std::net::TcpStream;

use golem_test_support::{Home, wait_until};
use serde_json::{Value, json};

/// A session of the page.
struct Page<'a> {
    home: &'a Home,
    headers: String,
}

/// One request to the operator's port: status, head and body.
fn ask(home: &Home, method: &str, path: &str, headers: &str, body: &str) -> Option<(u16, String, Value)> {
    let mut stream = TcpStream::connect(("127.0.0.1", home.operator)).ok()?;
    let port = home.operator;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nConnection: close\r\n\
         {headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, head.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null)))
}

impl<'a> Page<'a> {
    fn open(home: &'a Home) -> Self {
        let told = home.json(&["dashboard", "--json"]);
        let url = told["url"].as_str().unwrap();
        let (place, link) = url.split_once('#').unwrap();
        assert_eq!(place, format!("http://127.0.0.1:{}/dashboard/", home.operator));
        assert_eq!((&told["seconds"], &told["opened"]), (&json!(60), &json!(false)));
        let tunnel = told["tunnel"].as_str().unwrap();
        assert!(tunnel.starts_with(&format!("ssh -L {0}:127.0.0.1:{0} ", home.operator)), "{tunnel}");
        let body = json!({ "link": link }).to_string();
        let (status, head, begun) = ask(home, "POST", "/dashboard/api/login", "", &body).unwrap();
        assert_eq!(status, 200, "{begun}");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        let cookie = cookie.split(';').next().unwrap();
        let headers = format!("Cookie: {cookie}\r\nX-Dashboard-Key: {}\r\n", begun["key"].as_str().unwrap());
        Self { home, headers }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, _, body) =
            ask(self.home, method, &format!("/dashboard/api{path}"), &self.headers, body).unwrap();
        (status, body)
    }
}

/// U-01: the link is the running node's, whatever the settings of who asks; without a node there is none.
#[test]
fn u_01_the_command_gives_a_link_of_the_node_that_runs() {
    let home = Home::new();
    assert_eq!(home.run(&["dashboard"]).status.code(), Some(3));
    let _node = home.start(&[]);
    let mut command = home.command(&["dashboard"]);
    let output = command.env("GOLEM_PROVIDER_OPERATOR_PORT", "1").output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    // U-01
    assert!(shown.contains(&format!("  http://127.0.0.1:{}/dashboard/#", home.operator)), "{shown}");
    assert!(shown.contains("  ssh -L ") && shown.contains("works once"), "{shown}");
    let output = home.run(&["dashboard", "--open"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("fix: open the link by hand"));
}

/// What the page changes is done, kept, and told by an audit line that names nobody's secret; a change of prices starts the
/// node anew, and the session goes on.
#[test]
fn what_the_page_changes_is_done_and_audited() {
    let home = Home::new();
    let mut node = home.start_with(&[], &[("RUST_BACKTRACE", "0")]);
    let id = home.rent("web-server");
    let page = Page::open(&home);
    node.says("somebody logged in to the dashboard");
    let (_, stopped) = page.ask("POST", &format!("/vms/{id}/stop"), "");
    assert_eq!(stopped["status"], "stopped", "{stopped}");
    node.says("a VM is started, stopped or restarted");
    let line = node.seen.last().unwrap();
    assert!(line.contains("by=the dashboard") && line.contains("stop") && !line.contains(&id), "{line}");
    assert_eq!(page.ask("PUT", "/drain", r#"{"draining": true}"#).0, 200);
    assert_eq!(home.json(&["status", "--json"])["draining"], true);
    assert_eq!(page.ask("POST", "/withdrawals", r#"{"vm": null}"#).0, 400, "rentals are free");
    // The simulated backend has no images.
    assert_eq!(page.ask("POST", "/images/24.04", "").0, 404);
    assert_eq!(page.ask("GET", "/images", "").1, json!([]));
    let (status, wrong) =
        page.ask("PUT", "/prices", r#"{"per_core": "-1", "per_gb_ram": "2", "per_gb_storage": "x"}"#);
    assert_eq!(status, 400, "{wrong}");
    assert!(wrong["detail"].as_str().unwrap().contains("GOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH"), "{wrong}");
    let prices = r#"{"per_core": "7.5", "per_gb_ram": "2", "per_gb_storage": "0.1"}"#;
    assert_eq!(page.ask("PUT", "/prices", prices).0, 202);
    node.wait_for("reloading");
    node.wait_for("listening on");
    wait_until("the new price is asked", || {
        home.json(&["pricing", "show", "--json"])["usd"]["per_core"] == "7.5"
    });
    let (status, log) = page.ask("GET", "/log?after=0", "");
    assert_eq!(status, 200, "the session goes on");
    assert!(
        log["lines"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line["message"].as_str().unwrap().contains("listening on"))
    );
    let file = std::fs::read_to_string(home.data().join(".env")).unwrap();
    assert!(file.contains("GOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH=7.5"), "{file}");
    assert_eq!(page.ask("DELETE", &format!("/vms/{id}"), "").0, 200);
    node.says("a VM is deleted");
    assert_eq!(page.ask("DELETE", "/session", "").0, 200);
    assert_eq!(page.ask("GET", "/session", "").0, 401);
    let secrets: Vec<&str> = page.headers.split(['=', ' ', '\r']).filter(|word| word.len() == 64).collect();
    assert_eq!(secrets.len(), 2);
    assert!(!node.seen.iter().any(|line| secrets.iter().any(|secret| line.contains(secret))));
    // Where another place wins, nothing is written.
    let home = Home::new().set("GOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH", "9");
    let _node = home.start(&[]);
    let (status, refused) = Page::open(&home).ask("PUT", "/prices", prices);
    assert_eq!(status, 409, "{refused}");
    // U-04
    assert!(
        refused["detail"].as_str().unwrap().contains("is set in the environment, which wins"),
        "{refused}"
    );
}
