//! What is told, when, and to whom: pure over sequences, and over real sockets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use jiff::civil::{Time, time};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::watch::MOST;
use super::*;

const NOON: Time = time(12, 0, 0, 0);
const NIGHT: Quiet = Quiet { from: time(22, 0, 0, 0), to: time(7, 0, 0, 0) };
const HOLD: Duration = Duration::from_secs(300);
const REPEAT: Duration = Duration::from_secs(6 * 3600);

fn trouble(severity: Severity) -> Trouble {
    Trouble { severity, text: "it is off".to_owned(), fix: Some("put it right".to_owned()), hold: HOLD }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn off(keys: &[&str], severity: Severity) -> BTreeMap<String, Trouble> {
    keys.iter().map(|key| ((*key).to_owned(), trouble(severity))).collect()
}

fn keys(alerts: &[Alert]) -> Vec<&str> {
    alerts.iter().map(|alert| alert.key.as_str()).collect()
}

#[test]
fn what_lasts_is_told_once_then_again_and_then_that_it_is_over() {
    let mut watch = Watch::new(Some(REPEAT), None);
    let off = off(&["a", "b"], Severity::Warning);
    assert!(watch.look(off.clone(), at(0), NOON).is_none());
    assert!(watch.look(off.clone(), at(299), NOON).is_none());
    let news = watch.look(off.clone(), at(300), NOON);
    assert_eq!(keys(&news.begun), ["a", "b"], "what begins together is one message");
    assert_eq!(news.begun[0].since, at(0));
    assert!(watch.look(off.clone(), at(400), NOON).is_none());
    let six_hours = at(300) + SignedDuration::try_from(REPEAT).unwrap();
    let news = watch.look(off, six_hours, NOON);
    assert_eq!((keys(&news.still), news.begun.len()), (vec!["a", "b"], 0));
    let later = |seconds: i64| six_hours + SignedDuration::from_secs(seconds);
    assert!(watch.look(BTreeMap::new(), later(100), NOON).is_none());
    assert!(watch.look(BTreeMap::new(), later(399), NOON).is_none());
    assert_eq!(keys(&watch.look(BTreeMap::new(), later(400), NOON).over), ["a", "b"]);
    assert!(watch.look(BTreeMap::new(), later(900), NOON).is_none() && watch.known().is_empty());
}

#[test]
fn what_does_not_last_is_never_told() {
    let mut watch = Watch::new(Some(REPEAT), None);
    for minute in 0..1000 {
        let off = if minute % 5 == 4 { BTreeMap::new() } else { off(&["a"], Severity::Critical) };
        assert!(watch.look(off, at(minute * 60), NOON).is_none());
    }
}

/// Quiet hours go over midnight; what matters most is told in them, the rest after them if it is still so.
#[test]
fn nights_are_quiet_but_for_what_is_critical() {
    let mut watch = Watch::new(Some(REPEAT), Some(NIGHT));
    let mut all = off(&["warning", "passing"], Severity::Warning);
    all.extend(off(&["critical"], Severity::Critical));
    watch.look(all.clone(), at(0), time(22, 0, 0, 0));
    assert_eq!(keys(&watch.look(all.clone(), at(400), time(23, 59, 0, 0)).begun), ["critical"]);
    all.remove("passing");
    assert!(watch.look(all.clone(), at(800), time(0, 0, 0, 0)).is_none());
    assert!(watch.look(all.clone(), at(1200), time(6, 59, 59, 0)).is_none());
    assert_eq!(keys(&watch.look(all, at(1600), time(7, 0, 0, 0)).begun), ["warning"]);
}

#[test]
fn a_day_may_be_quiet_as_well() {
    let day = Quiet { from: time(9, 0, 0, 0), to: time(17, 0, 0, 0) };
    assert!(day.contains(time(9, 0, 0, 0)) && day.contains(time(16, 59, 0, 0)));
    assert!(!day.contains(time(17, 0, 0, 0)) && !day.contains(time(0, 0, 0, 0)));
}

proptest! {
    /// Whatever levels do, and whatever the clock does: nothing is over that was not told, nothing begins twice without having been
    /// over, messages are a minute apart, and what is followed is bounded.
    #[test]
    fn messages_are_few_and_in_order(
        steps in prop::collection::vec((0_i64..600, prop::collection::btree_set(0_u16..700, 0..6), 0_i8..24), 1..300),
    ) {
        let mut watch = Watch::new(Some(REPEAT), Some(NIGHT));
        let (mut now, mut told, mut last) = (0, std::collections::BTreeSet::new(), None);
        for (pause, off, hour) in steps {
            now += pause;
            let troubles = off.iter().map(|key| (key.to_string(), trouble(
                if key % 2 == 0 { Severity::Critical } else { Severity::Info })));
            let News { begun, still, over } = watch.look(troubles.collect(), at(now), time(hour, 0, 0, 0));
            if !(begun.is_empty() && still.is_empty() && over.is_empty()) {
                prop_assert!(last.is_none_or(|last| now - last >= 60), "two messages in a minute");
                last = Some(now);
            }
            for alert in begun {
                prop_assert!(told.insert(alert.key.clone()), "{} began twice", alert.key);
            }
            for alert in &still {
                prop_assert!(told.contains(&alert.key), "{} goes on and never began", alert.key);
            }
            for alert in over {
                prop_assert!(told.remove(&alert.key), "{} is over and never began", alert.key);
            }
            prop_assert!(watch.known().len() <= MOST);
        }
    }
}

fn news() -> News {
    let alert = |key: &str, severity, text: &str, fix: Option<&str>| Alert {
        key: key.to_owned(),
        severity,
        text: text.to_owned(),
        fix: fix.map(str::to_owned),
        since: at(0),
    };
    News {
        begun: vec![
            alert("advert:x", Severity::Warning, "renters do not find this node", None),
            alert(
                "vm:1",
                Severity::Critical,
                "the VM <!channel> @everyone\u{202e}\r\nX-Injected: 1 stopped",
                Some("golem-provider vms show web"),
            ),
        ],
        still: vec![],
        over: vec![alert("endpoint", Severity::Warning, "an endpoint does not answer", None)],
    }
}

fn message() -> Message {
    Message::new("home & lab", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", news())
}

/// A receiver of HTTP: answers with `status` and `head`, and hands over each request, its body last.
fn receiver(answers: Vec<&'static str>) -> (String, Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for (answer, stream) in answers.into_iter().zip(listener.incoming()) {
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let line = line.trim_end().to_owned();
                if let Some(text) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = text.parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
                lines.push(line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            lines.push(String::from_utf8(body).unwrap());
            let _ = stream.get_mut().write_all(answer.as_bytes());
            let _ = sender.send(lines);
        }
    });
    (url, requests)
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn to(url: &str, shape: Shape) -> AlertSettings {
    let webhook = Webhook { url: url.to_owned(), shape, token: Some("secret-token".to_owned()) };
    AlertSettings { webhook: Some(webhook), may_be_private: true, ..AlertSettings::default() }
}

/// Each shape as its receiver takes it; what a renter wrote is text and no more in all of them.
#[tokio::test]
async fn every_shape_is_its_receivers() {
    for shape in [Shape::Generic, Shape::Ntfy, Shape::Slack, Shape::Discord, Shape::Matrix] {
        let (url, requests) = receiver(vec![TAKEN]);
        let tasks = golem_service::tasks::Tasks::new();
        Delivery::start(to(&url, shape), &tasks).tell(&message());
        let request =
            tokio::task::spawn_blocking(move || requests.recv_timeout(Duration::from_secs(30)).unwrap());
        let request = request.await.unwrap();
        let header = |name: &str| {
            let named = |line: &&String| line.to_lowercase().starts_with(&format!("{name}: "));
            request.iter().find(named).map(|line| line.split_once(": ").unwrap().1.to_owned())
        };
        assert_eq!(header("authorization").as_deref(), Some("Bearer secret-token"));
        assert_eq!(header("x-injected"), None);
        let body = request.last().unwrap();
        let json = || serde_json::from_str::<Value>(body).unwrap();
        let text = match shape {
            Shape::Generic => {
                let body = json();
                assert_eq!((&body["severity"], &body["node"]), (&json!("critical"), &json!("home & lab")));
                assert_eq!(body["begun"][1]["key"], "vm:1");
                assert_eq!(body["over"][0]["key"], "endpoint");
                body["title"].as_str().unwrap().to_owned() + "\n" + body["text"].as_str().unwrap()
            }
            Shape::Ntfy => {
                assert_eq!(header("priority").as_deref(), Some("urgent"));
                body.clone()
            }
            Shape::Slack => {
                let text = json()["text"].as_str().unwrap().to_owned();
                assert!(text.contains("&lt;!channel&gt;") && !text.contains('<'), "{text}");
                text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace('*', "")
            }
            Shape::Discord => {
                assert_eq!(json()["allowed_mentions"], json!({ "parse": [] }));
                json()["content"].as_str().unwrap().to_owned()
            }
            Shape::Matrix => {
                let (method, path) = request[0].split_once(' ').unwrap();
                assert!(method == "PUT" && path.starts_with("/hook/send/m.room.message/"), "{}", request[0]);
                assert_eq!(json()["msgtype"], "m.text");
                json()["body"].as_str().unwrap().to_owned()
            }
        };
        if shape != Shape::Matrix {
            assert!(request[0].starts_with("POST /hook "), "{}", request[0]);
        }
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "home & lab: 2 alerts");
        assert!(lines[1].starts_with("critical: the VM <!channel> @everyone"), "{text}");
        assert!(lines[1].ends_with("(since 2027-01-15 08:00 UTC)"), "{text}");
        assert_eq!(
            lines[2..],
            [
                "  fix: golem-provider vms show web",
                "warning: renters do not find this node (since 2027-01-15 08:00 UTC)",
                "over: an endpoint does not answer",
            ]
        );
        tasks.stop().await;
    }
}

/// What does not fit is counted, and never more than receivers take.
#[test]
fn a_thousand_alerts_are_one_message_that_fits() {
    let one = news().begun[0].clone();
    let begun = vec![one; 1000];
    let message = Message::new(&"n".repeat(500), "0x0", News { begun, ..News::default() });
    for shape in [Shape::Ntfy, Shape::Slack, Shape::Discord, Shape::Matrix] {
        let body = String::from_utf8(message.post(shape).body).unwrap();
        assert!(
            body.chars().count() < 4_000 && body.contains(" more: golem-provider alerts list"),
            "{shape:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_busy_is_tried_again() {
    let (url, requests) = receiver(vec![BUSY, BUSY, TAKEN]);
    let tasks = golem_service::tasks::Tasks::new();
    let delivery = Delivery::start(to(&url, Shape::Generic), &tasks);
    delivery.tell(&message());
    // The clock is moved on only while nothing else waits.
    let mut tries = 0;
    while tries < 3 {
        tries += requests.try_iter().count();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    while delivery.outcomes().first().is_none_or(|outcome| outcome.problem.is_some()) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tasks.stop().await;
}

/// A receiver that sends elsewhere, or is inside, gets nothing; a secret of its address is in no text.
#[tokio::test]
async fn nothing_goes_inside_or_where_a_receiver_sends_it() {
    let (inside, requests) = receiver(vec![TAKEN]);
    let redirect = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {inside}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let (url, _asked) = receiver(vec![Box::leak(redirect.into_boxed_str())]);
    let tasks = golem_service::tasks::Tasks::new();
    let problem = async |settings: AlertSettings| {
        let outcomes = Delivery::start(settings, &tasks).try_now(&message()).await;
        outcomes[0].problem.clone().expect("it is refused")
    };
    let told = problem(to(&format!("{url}/secret-path"), Shape::Generic)).await;
    assert!(told.contains("redirect"), "{told}");
    let closed =
        AlertSettings { may_be_private: false, ..to(&format!("{inside}/secret-path"), Shape::Slack) };
    let told_inside = problem(closed).await;
    assert!(told_inside.contains("is not a public address"), "{told_inside}");
    let email = |server: &str| AlertSettings {
        email: Some(Email {
            server: server.to_owned(),
            from: "a@b.example".to_owned(),
            to: vec!["c@d.example".to_owned()],
        }),
        ..AlertSettings::default()
    };
    let told_mail = problem(email("smtp://user:secret-path@127.0.0.1:1")).await;
    assert!(told_mail.contains("no public address"), "{told_mail}");
    let told_nonsense = problem(email("ftp://secret-path")).await;
    for told in [told, told_inside, told_mail, told_nonsense] {
        assert!(!told.contains("secret"), "{told}");
    }
    assert!(requests.try_recv().is_err(), "somebody came");
    tasks.stop().await;
}

/// A mail server without TLS, on this machine, as relays at home are. It hands over what it was told.
fn mail_server() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, mails) = channel();
    std::thread::spawn(move || {
        let stream: TcpStream = listener.accept().unwrap().0;
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut say = stream;
        say.write_all(b"220 here\r\n").unwrap();
        let mut mail = String::new();
        while let Some(Ok(line)) = lines.next() {
            mail += &format!("{line}\n");
            let answer: &[u8] = match line.split(' ').next().unwrap() {
                "EHLO" => b"250-here\r\n250 8BITMIME\r\n",
                "DATA" => {
                    say.write_all(b"354 go on\r\n").unwrap();
                    for line in lines.by_ref().map_while(Result::ok) {
                        mail += &format!("{line}\n");
                        if line == "." {
                            break;
                        }
                    }
                    b"250 taken\r\n"
                }
                "QUIT" => break,
                _ => b"250 well\r\n",
            };
            say.write_all(answer).unwrap();
        }
        sender.send(mail).unwrap();
    });
    (port, mails)
}

#[tokio::test]
async fn an_email_is_one_and_a_password_goes_over_tls_or_not_at_all() {
    let (port, mails) = mail_server();
    let email = |server: String| AlertSettings {
        email: Some(Email {
            server,
            from: "Node <node@home.example>".to_owned(),
            to: vec!["one@home.example".to_owned(), "two@home.example".to_owned()],
        }),
        may_be_private: true,
        ..AlertSettings::default()
    };
    let tasks = golem_service::tasks::Tasks::new();
    let delivery = Delivery::start(email(format!("smtp://127.0.0.1:{port}")), &tasks);
    let outcomes = delivery.try_now(&message()).await;
    assert_eq!(outcomes[0].problem, None);
    let mail = tokio::task::spawn_blocking(move || mails.recv_timeout(Duration::from_secs(30)).unwrap());
    let mail = mail.await.unwrap();
    for part in ["RCPT TO:<one@home.example>", "RCPT TO:<two@home.example>", "Subject: home & lab: 2 alerts"]
    {
        assert!(mail.contains(part), "{part}: {mail}");
    }
    assert!(!mail.lines().any(|line| line.starts_with("X-Injected")), "{mail}");
    // Without TLS there, the password stays here.
    let (port, mails) = mail_server();
    let delivery = Delivery::start(email(format!("smtp://user:secret@127.0.0.1:{port}")), &tasks);
    let problem = delivery.try_now(&message()).await[0].problem.clone().expect("it is refused");
    assert!(!problem.contains("secret"), "{problem}");
    let said =
        tokio::task::spawn_blocking(move || mails.recv_timeout(Duration::from_secs(30)).unwrap_or_default());
    assert!(!said.await.unwrap().contains("AUTH"));
    tasks.stop().await;
}
