use jiff::Timestamp;

use super::*;
use crate::message::Entry;
use crate::rule::{Condition, Rule};

fn message() -> Message {
    let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let name = "@everyone <!channel> [x](http://a)\u{1b}[31m\nroot";
    let down = Condition {
        rule: Rule::VmDown,
        subject: "vm-1".to_owned(),
        text: format!("VM {name} failed"),
        fix: Some("look at `golem-provider vms logs vm-1`".to_owned()),
    };
    let disk = Condition {
        rule: Rule::DiskFull,
        subject: String::new(),
        text: "The disk is 96 % full".to_owned(),
        fix: None,
    };
    let entries = vec![Entry::of(&down, false, at), Entry::of(&disk, true, at)];
    Message::of("node-1", at, entries)
}

fn of(shape: Shape, url: &str) -> (String, String, Value) {
    let post = shape.post(&Url::parse(url).unwrap(), &message());
    (post.method.to_string(), post.url.to_string(), post.body)
}

#[test]
fn json_holds_every_field() {
    let (method, url, body) = of(Shape::Json, "https://hook.example/x?y=1");
    assert_eq!((method.as_str(), url.as_str()), ("POST", "https://hook.example/x?y=1"));
    let text = body["alerts"][0]["text"].as_str().unwrap();
    assert!(!text.contains('\u{1b}') && !text.contains('\n'), "{text}");
    assert_eq!(body["version"], 1);
    assert_eq!(body["status"], "firing");
    assert_eq!(body["severity"], "warning");
    assert_eq!(body["title"], "node-1: 2 changes, warning");
    assert_eq!(body["alerts"][0]["rule"], "vm_down");
    assert_eq!(body["alerts"][0]["since"], "2026-01-02T03:04:05Z");
    assert_eq!(body["alerts"][1]["resolved"], true);
}

#[test]
fn ntfy_gets_its_topic_and_a_priority() {
    let (method, url, body) = of(Shape::Ntfy, "https://ntfy.example/under/my-topic");
    assert_eq!((method.as_str(), url.as_str()), ("POST", "https://ntfy.example/under"));
    assert_eq!(body["topic"], "my-topic");
    assert_eq!(body["priority"], 4);
    assert_eq!(body["tags"], json!(["warning"]));
    assert!(body["message"].as_str().unwrap().ends_with("\nResolved: The disk is 96 % full"));
    assert_eq!(of(Shape::Ntfy, "https://ntfy.example/t").1, "https://ntfy.example/");
}

/// When much is wrong at once: a message that is refused as too large is told to nobody.
#[test]
fn ntfy_and_discord_take_the_largest_message() {
    let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    let down = Condition {
        rule: Rule::VmDown,
        subject: "vm-1".to_owned(),
        text: "\u{1f525}".repeat(1000),
        fix: Some("\"".repeat(1000)),
    };
    let message = Message::of("node-1", at, vec![Entry::of(&down, false, at); 1000]);
    let body = |shape: Shape| shape.post(&Url::parse("https://a.example/t").unwrap(), &message).body;
    assert!(body(Shape::Ntfy).to_string().len() <= 4096);
    assert!(body(Shape::Discord)["content"].as_str().unwrap().chars().count() <= DISCORD);
}

/// What a renter writes calls nobody, and leads nowhere.
#[test]
fn nobody_is_called_by_what_a_renter_writes() {
    let (_, _, slack) = of(Shape::Slack, "https://hooks.slack.example/services/T/B/x");
    let text = slack["text"].as_str().unwrap();
    assert!(!text.contains('<') && text.contains("&lt;!channel&gt;"), "{text}");
    let (_, _, discord) = of(Shape::Discord, "https://discord.example/api/webhooks/1/x");
    assert_eq!(discord["allowed_mentions"], json!({ "parse": [] }));
    let text = discord["content"].as_str().unwrap();
    assert!(text.contains("\\@everyone") && text.contains("\\[x\\]\\("), "{text}");
    let (_, _, matrix) = of(Shape::Matrix, "https://matrix.example/!room:example");
    assert_eq!(matrix["m.mentions"], json!({}));
    assert!(matrix.get("formatted_body").is_none());
}

#[test]
fn matrix_is_put_into_its_room_under_one_id() {
    let (method, url, body) = of(Shape::Matrix, "https://matrix.example/!room:example.org");
    assert_eq!(method, "PUT");
    let sent = "https://matrix.example/_matrix/client/v3/rooms/!room:example.org/send/m.room.message/golem-1767323045000000000";
    assert_eq!(url, sent);
    assert_eq!(body["msgtype"], "m.text");
    assert!(Shape::Matrix.takes(&Url::parse("https://matrix.example/!room:example").unwrap()));
    for wrong in
        ["https://matrix.example/", "https://matrix.example/#room:example", "https://matrix.example/room"]
    {
        assert!(!Shape::Matrix.takes(&Url::parse(wrong).unwrap()), "{wrong}");
    }
    assert!(!Shape::Ntfy.takes(&Url::parse("https://ntfy.example").unwrap()));
}

#[test]
fn a_thousand_alerts_fit_into_every_service() {
    let at = Timestamp::UNIX_EPOCH;
    let entry = |number: u32| {
        let text = "*".repeat(5000);
        Entry::of(&Condition { rule: Rule::VmDown, subject: number.to_string(), text, fix: None }, false, at)
    };
    let message = Message::of("n", at, (0..1000).map(entry).collect());
    assert_eq!((message.entries.len(), message.more), (10, 990));
    let url = Url::parse("https://discord.example/x").unwrap();
    let body = Shape::Discord.post(&url, &message).body;
    assert!(body["content"].as_str().unwrap().chars().count() <= DISCORD);
    let url = Url::parse("https://ntfy.example/x").unwrap();
    let body = Shape::Ntfy.post(&url, &message).body;
    assert!(body["message"].as_str().unwrap().len() <= 4096);
}
