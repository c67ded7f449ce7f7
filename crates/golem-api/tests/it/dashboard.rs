//! The operator's page: who gets in, what a session may, and how it ends. The page itself is tried in a browser
//! (`dashboard/test`).

use std::time::Duration;

use golem_api::VmAccess;
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::world::{DEADLINE, World, create_body};

/// A browser that has the page of `base` open.
struct Browser {
    client: Client,
    base: String,
    cookie: String,
    key: String,
}

fn client() -> Client {
    Client::builder().no_proxy().timeout(DEADLINE).build().unwrap()
}

async fn link(world: &World) -> String {
    world.operator().login_link().await.unwrap().link
}

async fn enter(base: &str, link: &str) -> Response {
    let login = client().post(format!("{base}/dashboard/api/login")).header("sec-fetch-site", "same-origin");
    login.json(&json!({ "link": link })).send().await.unwrap()
}

impl Browser {
    async fn log_in(world: &World) -> Self {
        let base = world.operator_base();
        let answer = enter(&base, &link(world).await).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap().to_owned();
        for word in ["; HttpOnly", "; SameSite=Strict", "; Path=/dashboard/", "; Max-Age=43200"] {
            assert!(cookie.contains(word), "{cookie}");
        }
        let port = base.rsplit_once(':').unwrap().1;
        assert!(cookie.starts_with(&format!("golem_dashboard_{port}=")), "{cookie}");
        let key = answer.json::<Value>().await.unwrap()["key"].as_str().unwrap().to_owned();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Self { client: client(), base, cookie, key }
    }

    /// A request of the page, as the browser sends it.
    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}/dashboard/api{path}", self.base));
        let request = request.header(COOKIE, &self.cookie).header("x-dashboard-key", &self.key);
        request.header("sec-fetch-site", "same-origin")
    }

    async fn status(&self, method: Method, path: &str) -> StatusCode {
        self.ask(method, path).send().await.unwrap().status()
    }
}

#[tokio::test]
async fn a_login_link_opens_one_session_and_no_other_text_does() {
    let world = World::start(VmAccess::Capability).await;
    let base = world.operator_base();
    let first = link(&world).await;
    assert_eq!(enter(&base, &first).await.status(), StatusCode::OK);
    let again = enter(&base, &first).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    assert!(!again.headers().contains_key(SET_COOKIE));
    let told: Value = again.json().await.unwrap();
    assert!(told["detail"].as_str().unwrap().contains("fix: `golem-provider dashboard`"), "{told}");
    for wrong in ["", "0", &"0".repeat(64), &first.to_uppercase()] {
        assert_eq!(enter(&base, wrong).await.status(), StatusCode::UNAUTHORIZED, "{wrong}");
    }
    // A link is only for whoever holds the token; the page's session gives none.
    let bare = client().post(format!("{base}/v1/dashboard/links")).send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::UNAUTHORIZED);
    world.stop().await;
}

/// The page is the same for everybody on this machine, and tells nothing; browsers are told to keep it to itself.
#[tokio::test]
async fn the_page_is_bytes_of_the_program_under_a_strict_policy() {
    let world = World::start(VmAccess::Capability).await;
    let mut weight = 0;
    for (path, kind) in [("", "text/html"), ("app.js", "text/javascript"), ("app.css", "text/css")] {
        let answer =
            client().get(format!("{}/dashboard/{path}", world.operator_base())).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        assert_eq!(
            header("content-security-policy"),
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("cache-control"), "no-store");
        let text = answer.text().await.unwrap();
        assert!(
            !text.contains("<script>") && !text.contains("<style") && !text.contains(" style="),
            "{path}"
        );
        weight += text.len();
    }
    assert!((10_000..=200_000).contains(&weight), "{weight}");
    let rebound =
        client().get(format!("{}/dashboard/", world.operator_base())).header("host", "evil.example:80");
    assert_eq!(rebound.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    // Through a tunnel, the port is another.
    let tunnel =
        client().get(format!("{}/dashboard/", world.operator_base())).header("host", "localhost:8080");
    assert_eq!(tunnel.send().await.unwrap().status(), StatusCode::OK);
    world.stop().await;
}

/// A cookie is sent by the browser wherever its host is asked, whatever the port and whoever's page asks: it opens nothing
/// without the key, which only the page's own origin has; nor do both of them from another origin.
#[tokio::test]
async fn a_stolen_cookie_opens_nothing() {
    let world = World::start(VmAccess::Capability).await;
    let browser = Browser::log_in(&world).await;
    assert_eq!(browser.status(Method::GET, "/vms").await, StatusCode::OK);
    let get = |path: &str| browser.client.get(format!("{}/dashboard/api{path}", browser.base));
    let other = Browser::log_in(&world).await;
    for request in [
        get("/vms"),
        get("/vms").header(COOKIE, &browser.cookie),
        get("/vms").header("x-dashboard-key", &browser.key),
        get("/vms").header(COOKIE, &browser.cookie).header("x-dashboard-key", &other.key),
        get("/vms").header(COOKIE, format!("x{}", browser.cookie)).header("x-dashboard-key", &browser.key),
        get("/live").header(COOKIE, &browser.cookie),
    ] {
        assert_eq!(request.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    // Among other cookies, ours is found; a session is no token, and a token no session.
    let among = get("/vms")
        .header(COOKIE, format!("a=b; {}; c", browser.cookie))
        .header("x-dashboard-key", &browser.key);
    assert_eq!(among.send().await.unwrap().status(), StatusCode::OK);
    let v1 = browser.client.get(format!("{}/v1/vms", browser.base)).header(COOKIE, &browser.cookie);
    assert_eq!(v1.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        get("/vms").header("authorization", world.bearer()).send().await.unwrap().status(),
        StatusCode::UNAUTHORIZED
    );

    let drain = |name: &str, text: &str| {
        let url = format!("{}/dashboard/api/drain", browser.base);
        let request = browser.client.put(url).header(COOKIE, &browser.cookie);
        let request =
            request.header("x-dashboard-key", &browser.key).header("content-type", "application/json");
        request.header(name, text).body(r#"{"draining": true}"#).send()
    };
    for (name, text) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        // A request of which nobody says whose page made it.
        ("x-nothing", ""),
    ] {
        assert_eq!(drain(name, text).await.unwrap().status(), StatusCode::FORBIDDEN, "{name}: {text}");
        assert!(!world.node().draining());
    }
    assert_eq!(drain("origin", &browser.base).await.unwrap().status(), StatusCode::OK);
    assert!(world.node().draining());
    let form = browser.ask(Method::PUT, "/drain").header("content-type", "text/plain").body("{}");
    assert_eq!(form.send().await.unwrap().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    // What the page has no use for is not there for it.
    for (method, path) in [
        (Method::POST, "/shutdown"),
        (Method::POST, "/transactions/cancel"),
        (Method::DELETE, "/adverts"),
        (Method::POST, "/books"),
        (Method::POST, "/dashboard/links"),
    ] {
        assert_eq!(browser.status(method, path).await, StatusCode::NOT_FOUND, "{path}");
    }
    world.stop().await;
}

/// Reads events until one is called `event`; its data.
async fn next(stream: &mut Response, event: &str) -> Value {
    let mut text = String::new();
    let head = format!("event: {event}\ndata: ");
    loop {
        if let Some((_, rest)) = text.split_once(&head)
            && let Some((data, _)) = rest.split_once("\n\n")
        {
            return serde_json::from_str(data).unwrap();
        }
        let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
}

/// The first event has every VM, the next what changed and what is gone; and the stream ends with the session.
#[tokio::test]
async fn changes_are_told_until_the_session_ends() {
    let world = World::start(VmAccess::Open).await;
    let (_, vm) = world.post("/vms", &create_body("one")).await;
    let browser = Browser::log_in(&world).await;
    let mut stream = browser.ask(Method::GET, "/live").timeout(DEADLINE).send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let node = next(&mut stream, "node").await;
    assert_eq!(node["summary"]["vms"], 1, "{node}");
    let mut stream = browser.ask(Method::GET, "/live").send().await.unwrap();
    let first = next(&mut stream, "vms").await;
    assert_eq!(
        (&first["changed"][0]["id"], &first["changed"][0]["name"]),
        (&vm["id"], &json!("one")),
        "{first}"
    );
    assert!(first["changed"][0]["owner"].as_str().unwrap().starts_with("key:"), "{first}");
    let counted = next(&mut browser.ask(Method::GET, "/live").send().await.unwrap(), "use").await;
    assert!(counted["of"][vm["id"].as_str().unwrap()][1].as_u64().unwrap() > 0, "{counted}");
    let (_, other) = world.post("/vms", &create_body("two")).await;
    let is_told = async |stream: &mut Response, told: &(dyn Fn(&Value) -> bool + Sync)| {
        while !told(&next(stream, "vms").await) {}
    };
    let of_two =
        |event: &Value| event["changed"].as_array().unwrap().iter().any(|vm| vm["id"] == other["id"]);
    is_told(&mut stream, &of_two).await;
    assert_eq!(
        browser.status(Method::DELETE, &format!("/vms/{}", other["id"].as_str().unwrap())).await,
        StatusCode::OK
    );
    is_told(&mut stream, &|event| event["gone"] == json!([other["id"]])).await;
    assert_eq!(browser.status(Method::DELETE, "/session").await, StatusCode::OK);
    let end = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(5), end).await.expect("the stream ends on logout");
    assert_eq!(browser.status(Method::GET, "/vms").await, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.status(Method::GET, "/live").await, StatusCode::UNAUTHORIZED);
    world.stop().await;
}

/// Who opens many pages is told so; and no stream holds up the end of the node, after which the session still is one.
#[tokio::test]
async fn streams_are_bounded_end_with_the_node_and_sessions_outlive_it() {
    let world = World::start(VmAccess::Capability).await;
    let mut browser = Browser::log_in(&world).await;
    let mut streams = Vec::new();
    let refused = loop {
        let mut stream = browser.ask(Method::GET, "/live").send().await.unwrap();
        if stream.status() != StatusCode::OK {
            break stream;
        }
        next(&mut stream, "vms").await;
        streams.push(stream);
        assert!(streams.len() < 100);
    };
    assert_eq!((refused.status(), streams.len()), (StatusCode::SERVICE_UNAVAILABLE, 16));
    streams.pop();
    let is_free = async || browser.status(Method::GET, "/live").await == StatusCode::OK;
    golem_test_support::until("a place is free again", is_free).await;
    let before = std::time::Instant::now();
    let port = browser.base.rsplit_once(':').unwrap().1.to_owned();
    let world = world.restart().await;
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    browser.base = world.operator_base();
    // Its cookie is called after the port.
    let now = browser.base.rsplit_once(':').unwrap().1;
    browser.cookie = browser.cookie.replace(&format!("dashboard_{port}="), &format!("dashboard_{now}="));
    assert_eq!(browser.status(Method::GET, "/session").await, StatusCode::OK);
    world.stop().await;
}
