//! The body of a create.
//!
//! ```text
//!   {"name", "ssh_key", "ssh_keys"?, "image"?, "stream_id"?, "quote_id"?, "stream_proof"?, "payment"?,
//!    "user_data"?, "hostname"?, "timezone"?,
//!    "resources": {"cpu","memory","storage"}  or  "size"  or  "cpu_cores","memory_gb","storage_gb"}
//! ```
//! Owns what is accepted: the forms of the seed's documentation and of every published client.
//! A member that is not known is a mistake: what a renter asks for is never dropped without a word. Integers may be written as `2`, `2.0` or `"2"`.

use alloy_primitives::Address;
use serde_json::value::RawValue;

use super::fields::{
    Fields, cpu, field, keep, members, memory, number, object, optional, parsed_text, storage, unknown,
};
use super::lease::{self, LeasePayment};
use super::problem::{Problem, Problems};
use crate::{
    AuthorizedKey, FirstBoot, HostName, ImageName, Resources, Size, SnapshotName, StreamId, TimeZoneName,
    UserData, VmName,
};

/// What a create's body may have.
const MEMBERS: [&str; 16] = [
    "name",
    "ssh_key",
    "ssh_keys",
    "image",
    "stream_id",
    "quote_id",
    "stream_proof",
    "payment",
    "user_data",
    "hostname",
    "timezone",
    "resources",
    "size",
    "cpu_cores",
    "memory_gb",
    "storage_gb",
];

/// Most keys that a create may name, beside the first: the seed of a guest has room for 64.
const MORE_KEYS: usize = 16;

/// A create that is valid in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateVm {
    /// What the renter calls it.
    pub name: VmName,
    /// What it is to have.
    pub resources: Resources,
    /// Catalogue name; the operator's default if `None`.
    pub image: Option<ImageName>,
    /// The key that may log in.
    pub ssh_key: AuthorizedKey,
    /// Further keys that may.
    pub more_keys: Vec<AuthorizedKey>,
    /// What is wanted of its first boot.
    pub first_boot: FirstBoot,
    /// The stream that pays for it.
    pub stream_id: Option<StreamId>,
    /// The quote to which both sides are held, as text that nobody has judged yet.
    pub quote_id: Option<String>,
    /// The word of the stream's sender that it is to pay this, as text that nobody has judged yet.
    pub stream_proof: Option<String>,
    /// The lease that pays for it, in place of `stream_id`.
    pub payment: Option<LeasePayment>,
    /// The wallet that asks, where it has a session; the body never tells.
    pub renter: Option<Address>,
}

impl CreateVm {
    /// The stream that is to pay, however it is named.
    #[must_use]
    pub fn stream(&self) -> Option<StreamId> {
        self.payment.map(|payment| payment.stream_id).or(self.stream_id)
    }
}

/// Another stream for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachStream {
    /// The stream.
    pub stream_id: StreamId,
    /// The word of its sender that it is to pay this, as text that nobody has judged yet.
    pub stream_proof: Option<String>,
    /// The lease that the stream is of.
    pub payment: Option<LeasePayment>,
    /// The wallet that asks, where it has a session; the body never tells.
    pub renter: Option<Address>,
}

/// Reads a create's body.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_create(body: &[u8]) -> Result<CreateVm, Problems> {
    let fields = object(body)?;
    let mut mistakes = unknown(&fields, &MEMBERS);
    let name = keep(&mut mistakes, parsed_text::<VmName>(&fields, "name"));
    let ssh_key = keep(&mut mistakes, parsed_text::<AuthorizedKey>(&fields, "ssh_key"));
    let image = keep(&mut mistakes, optional(&fields, "image", parsed_text::<ImageName>));
    let stream_id = keep(&mut mistakes, optional(&fields, "stream_id", stream));
    let quote_id = keep(&mut mistakes, optional(&fields, "quote_id", parsed_text::<String>));
    let stream_proof = keep(&mut mistakes, optional(&fields, "stream_proof", parsed_text::<String>));
    let payment = keep(&mut mistakes, optional(&fields, "payment", lease::payment));
    let resources = keep(&mut mistakes, resources(&fields, None));
    let more_keys = keep(&mut mistakes, more_keys(&fields));
    let user_data = keep(&mut mistakes, optional(&fields, "user_data", parsed_text::<UserData>));
    let hostname = keep(&mut mistakes, optional(&fields, "hostname", parsed_text::<HostName>));
    let timezone = keep(&mut mistakes, optional(&fields, "timezone", parsed_text::<TimeZoneName>));
    let create = || {
        Some(CreateVm {
            name: name?,
            resources: resources?,
            image: image?,
            ssh_key: ssh_key?,
            more_keys: more_keys?,
            first_boot: FirstBoot { user_data: user_data?, hostname: hostname?, timezone: timezone? },
            stream_id: stream_id?,
            quote_id: quote_id?,
            stream_proof: stream_proof?,
            payment: payment?,
            renter: None,
        })
    };
    // What could not be read is among the mistakes.
    create().filter(|_| mistakes.is_empty()).ok_or(Problems { detail: mistakes })
}

/// The keys of `ssh_keys`, in their order.
fn more_keys(fields: &Fields) -> Result<Vec<AuthorizedKey>, Vec<Problem>> {
    const NAME: &str = "ssh_keys";
    let Some(raw) = field(fields, NAME) else { return Ok(Vec::new()) };
    let wrong = |kind, text: String| vec![Problem::new(kind, &[NAME], text, Some(raw))];
    let texts: Vec<String> = serde_json::from_str(raw.get())
        .map_err(|_| wrong("list_type", "Input should be a valid list of strings".to_owned()))?;
    if texts.len() > MORE_KEYS {
        let text = format!("List should have at most {MORE_KEYS} items, not {}", texts.len());
        return Err(wrong("too_long", text));
    }
    let read =
        |text: &String| text.parse().map_err(|error| wrong("value_error", format!("Value error, {error}")));
    texts.iter().map(read).collect()
}

/// Reads the body of a request to add an SSH key: `{"key", "name"?}`.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_key(body: &[u8]) -> Result<AuthorizedKey, Problems> {
    let fields = object(body)?;
    let mut mistakes = unknown(&fields, &["key", "name"]);
    let key = keep(&mut mistakes, parsed_text(&fields, "key"));
    key.filter(|_| mistakes.is_empty()).ok_or(Problems { detail: mistakes })
}

/// Reads the body of a request for a snapshot: `{"name"?}`, or nothing at all.
///
/// # Errors
/// What is wrong with it, in FastAPI's words.
pub fn parse_snapshot(body: &[u8]) -> Result<Option<SnapshotName>, Problems> {
    if body.is_empty() {
        return Ok(None);
    }
    let fields = object(body)?;
    let mut mistakes = unknown(&fields, &["name"]);
    let name = keep(&mut mistakes, optional(&fields, "name", parsed_text));
    name.filter(|_| mistakes.is_empty()).ok_or(Problems { detail: mistakes })
}

/// Reads the body of a request to attach a stream: `{"stream_id", "stream_proof"?}` or `{"payment"}`.
///
/// # Errors
/// What is wrong with it, in FastAPI's words.
pub fn parse_stream(body: &[u8]) -> Result<AttachStream, Problems> {
    let fields = object(body)?;
    let wrong = |detail| Problems { detail };
    let others = unknown(&fields, &PAYMENT);
    if !others.is_empty() {
        return Err(wrong(others));
    }
    payment(&fields).map_err(wrong)
}

/// Members that name what pays.
pub(super) const PAYMENT: [&str; 3] = ["stream_id", "stream_proof", "payment"];

pub(super) fn payment(fields: &Fields) -> Result<AttachStream, Vec<Problem>> {
    let payment = optional(fields, "payment", lease::payment)?;
    let stream_id = match &payment {
        Some(payment) => payment.stream_id,
        None => stream(fields, "stream_id")?,
    };
    let stream_proof = optional(fields, "stream_proof", parsed_text::<String>)?;
    Ok(AttachStream { stream_id, stream_proof, payment, renter: None })
}

/// Reads the body of a request for a quote: what a create asks for, in any of its forms.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_resources(body: &[u8]) -> Result<Resources, Problems> {
    resources(&object(body)?, None).map_err(|detail| Problems { detail })
}

fn stream(fields: &Fields, name: &'static str) -> Result<StreamId, Vec<Problem>> {
    number(fields, &[name], "Input should be a whole number of at most 256 bits")
}

/// What is wanted of each; what is not named is as in `now`, where that is given.
pub(super) fn resources(fields: &Fields, now: Option<Resources>) -> Result<Resources, Vec<Problem>> {
    if let Some(raw) = field(fields, "resources") {
        let inner = members(&["resources"], raw)?;
        let others = unknown(&inner, &["cpu", "memory", "storage"]);
        if !others.is_empty() {
            return Err(others);
        }
        let part = |name: &'static str,
                    now: Option<u32>,
                    read: fn(&[&'static str], &RawValue) -> Result<u32, Vec<Problem>>| {
            let loc = ["resources", name];
            match (inner.get(name), now) {
                (Some(raw), _) => read(&loc, raw),
                (None, Some(now)) => Ok(now),
                (None, None) => Err(vec![Problem::missing(&loc)]),
            }
        };
        return together(
            part("cpu", now.map(|now| now.cpu), cpu),
            part("memory", now.map(|now| now.memory), memory),
            part("storage", now.map(|now| now.storage), storage),
        );
    }
    if field(fields, "size").is_some() {
        return parsed_text::<Size>(fields, "size").map(Size::resources);
    }
    let least = now.unwrap_or(Size::Small.resources());
    let part = |name: &'static str,
                least: u32,
                read: fn(&[&'static str], &RawValue) -> Result<u32, Vec<Problem>>| {
        field(fields, name).map_or(Ok(least), |raw| read(&[name], raw))
    };
    together(
        part("cpu_cores", least.cpu, cpu),
        part("memory_gb", least.memory, memory),
        part("storage_gb", least.storage, storage),
    )
}

/// The three dimensions, or every mistake in them.
fn together(
    cpu: Result<u32, Vec<Problem>>,
    memory: Result<u32, Vec<Problem>>,
    storage: Result<u32, Vec<Problem>>,
) -> Result<Resources, Vec<Problem>> {
    let mut mistakes = Vec::new();
    let parts = (keep(&mut mistakes, cpu), keep(&mut mistakes, memory), keep(&mut mistakes, storage));
    match parts {
        (Some(cpu), Some(memory), Some(storage)) => Ok(Resources::new(cpu, memory, storage)),
        _ => Err(mistakes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ruint::aliases::U256;
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn with(more: &Value) -> Vec<u8> {
        let mut body = json!({ "name": "my-webserver", "ssh_key": KEY });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body.to_string().into_bytes()
    }

    fn refused(body: &[u8]) -> Vec<(String, Vec<&'static str>)> {
        parse_create(body).unwrap_err().detail.into_iter().map(|p| (p.kind.to_owned(), p.loc)).collect()
    }

    #[test]
    fn every_documented_form_is_taken() {
        let flat = parse_create(&with(&json!({ "cpu_cores": 2, "memory_gb": 4, "storage_gb": 20 }))).unwrap();
        let nested =
            parse_create(&with(&json!({ "resources": { "cpu": 2, "memory": 4, "storage": 20 } }))).unwrap();
        let sized = parse_create(&with(&json!({ "size": "medium" }))).unwrap();
        // S-145, S-146, S-147
        assert_eq!(flat.resources, Resources::new(2, 4, 20));
        assert_eq!((nested.resources, sized.resources), (flat.resources, flat.resources));
        // S-144
        assert_eq!(flat.name.as_str(), "my-webserver");
        let small = parse_create(&with(&json!({ "image": null, "size": null }))).unwrap();
        assert_eq!((small.resources, small.image), (Resources::new(1, 1, 10), None));
        let loose = json!({ "resources": { "cpu": 2.0, "memory": "4", "storage": 20 } });
        assert_eq!(parse_create(&with(&loose)).unwrap().resources, flat.resources);
    }

    #[test]
    fn what_is_not_known_is_a_mistake_and_never_dropped() {
        let extra = |more: Value| refused(&with(&more));
        let forbidden = ("extra_forbidden".to_owned(), vec!["body"]);
        assert_eq!(extra(json!({ "userdata": "#!/bin/sh\n" })), std::slice::from_ref(&forbidden));
        assert_eq!(extra(json!({ "gpu": null, "x\n": 1, "name": "a" })).len(), 3);
        assert_eq!(
            extra(json!({ "resources": { "cpu": 1, "memory": 1, "storage": 10, "gpu": 1 } })),
            [forbidden]
        );
        let many: serde_json::Map<_, _> = (0..1000).map(|n| (format!("x{n}"), Value::Null)).collect();
        assert_eq!(extra(Value::from(many)).len(), 10);
        let key = json!({ "key": KEY, "options": "no-pty" }).to_string();
        assert!(parse_key(key.as_bytes()).is_err() && parse_key(&with(&json!({}))).is_err());
        assert!(parse_stream(br#"{"stream_id":1,"amount":2}"#).is_err());
    }

    #[test]
    fn what_is_wanted_of_the_first_boot_is_read() {
        let more = json!({ "ssh_keys": [KEY, KEY], "user_data": "#!/bin/sh\r\nid", "hostname": "A.b", "timezone": "utc" });
        let create = parse_create(&with(&more)).unwrap();
        let FirstBoot { user_data, hostname, timezone } = create.first_boot;
        assert_eq!(create.more_keys.len(), 2);
        assert_eq!(user_data.unwrap().as_str(), "#!/bin/sh\nid");
        assert_eq!((hostname.unwrap().as_str(), timezone.unwrap().as_str()), ("a.b", "UTC"));
        let none = json!({ "ssh_keys": null, "user_data": null, "hostname": null, "timezone": null });
        let none = parse_create(&with(&none)).unwrap();
        assert!(none.more_keys.is_empty() && none.first_boot == FirstBoot::default());
        for (name, bad) in [
            ("ssh_keys", json!([KEY, "x"])),
            ("ssh_keys", json!([1])),
            ("ssh_keys", json!(KEY)),
            ("ssh_keys", json!(vec![KEY; 17])),
            ("user_data", json!(["#!/bin/sh"])),
            ("user_data", json!("hello")),
            ("user_data", json!("#cloud-config\na:\n\tb: 1\n")),
            ("hostname", json!("a b")),
            ("timezone", json!("Mars/Olympus")),
        ] {
            let problems = refused(&with(&json!({ name: bad })));
            assert!(problems.len() == 1 && problems[0].1 == ["body", name], "{name} {bad}: {problems:?}");
        }
    }

    #[test]
    fn s_148_stream_ids_are_exact_to_256_bits() {
        let largest = U256::MAX.to_string();
        for (text, wanted) in [("1", U256::ONE), (largest.as_str(), U256::MAX)] {
            for form in [text.to_owned(), format!("\"{text}\"")] {
                let body = format!(r#"{{"name":"abc","ssh_key":"{KEY}","stream_id":{form}}}"#);
                let parsed = parse_create(body.as_bytes()).unwrap();
                assert_eq!(parsed.stream_id, Some(StreamId(wanted)));
            }
        }
        for bad in ["-1", "1.5", "1e3", "true", "\"x\"", &format!("{largest}0")] {
            let body = format!(r#"{{"name":"abc","ssh_key":"{KEY}","stream_id":{bad}}}"#);
            assert_eq!(
                refused(body.as_bytes()),
                [("int_type".to_owned(), vec!["body", "stream_id"])],
                "{bad}"
            );
        }
    }

    #[test]
    fn s_149_a_body_without_a_key_is_refused_with_every_other_mistake() {
        assert_eq!(
            refused(br#"{"name":"A","resources":{"cpu":3,"memory":1.5}}"#),
            [
                ("value_error".to_owned(), vec!["body", "name"]),
                ("missing".to_owned(), vec!["body", "ssh_key"]),
                ("value_error".to_owned(), vec!["body", "resources", "cpu"]),
                ("int_from_float".to_owned(), vec!["body", "resources", "memory"]),
                ("missing".to_owned(), vec!["body", "resources", "storage"]),
            ]
        );
    }

    #[test]
    fn sizes_off_the_menu_are_refused() {
        for (name, bad) in [
            ("cpu_cores", json!(0)),
            ("cpu_cores", json!(-1)),
            ("cpu_cores", json!(3)),
            ("cpu_cores", json!(true)),
            ("memory_gb", json!(1e30)),
            ("memory_gb", json!(128)),
            ("storage_gb", json!(9)),
            ("storage_gb", json!(9.5)),
            ("storage_gb", json!(u64::MAX)),
            ("size", json!("huge")),
            ("image", json!("--mount=/:/host")),
            ("image", json!("file:///etc/passwd")),
            ("name", json!(5)),
            ("ssh_key", json!(format!("{KEY}\n{KEY}"))),
            ("resources", json!([1, 2, 3])),
        ] {
            let loc = refused(&with(&json!({ name: bad.clone() }))).remove(0).1;
            assert_eq!(loc, ["body", name], "{bad}");
        }
    }

    #[test]
    fn the_refusal_has_fastapis_shape() {
        let problems = parse_create(&with(&json!({ "cpu_cores": 3 }))).unwrap_err();
        let expected = json!({ "detail": [{
            "type": "value_error",
            "loc": ["body", "cpu_cores"],
            "msg": "Value error, CPU cores must be one of 1, 2, 4, 8, 16",
            "input": 3,
        }]});
        assert_eq!(serde_json::to_value(problems).unwrap(), expected);
        assert_eq!(refused(b"{"), [("json_invalid".to_owned(), vec!["body"])]);
        assert_eq!(refused(b""), [("json_invalid".to_owned(), vec!["body"])]);
        assert_eq!(refused(b"[]"), [("model_attributes_type".to_owned(), vec!["body"])]);
        assert_eq!(refused(b"\xff"), [("json_invalid".to_owned(), vec!["body"])]);
        // A long input is not sent back.
        let long = with(&json!({ "name": "x".repeat(20_000) }));
        assert_eq!(parse_create(&long).unwrap_err().detail[0].input, Value::Null);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_create(&body);
            let _ = parse_key(&body);
        }

        #[test]
        fn any_json_is_read_without_a_panic(cpu in ".{0,20}", number in any::<f64>(), big in any::<i128>()) {
            for value in [format!("{cpu:?}"), number.to_string(), big.to_string()] {
                let body = format!(r#"{{"name":"abc","ssh_key":"{KEY}","cpu_cores":{value},"stream_id":{value}}}"#);
                let _ = parse_create(body.as_bytes());
            }
        }
    }
}
