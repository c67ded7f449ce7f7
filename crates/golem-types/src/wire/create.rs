//! The body of a create.
//!
//! ```text
//!   {"name", "ssh_key", "image"?, "stream_id"?, "quote_id"?, "stream_proof"?,
//!    "resources": {"cpu","memory","storage"}  or  "size"  or  "cpu_cores","memory_gb","storage_gb"}
//! ```
//! Owns what is accepted: the forms of the seed's documentation and of every published client.
//! Unknown keys are ignored, as pydantic does; integers may be written as `2`, `2.0` or `"2"`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use super::problem::{Problem, Problems};
use crate::{AuthorizedKey, ImageName, Resources, Size, StreamId, VmName};

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
    /// The stream that pays for it.
    pub stream_id: Option<StreamId>,
    /// The quote to which both sides are held, as text that nobody has judged yet.
    pub quote_id: Option<String>,
    /// The word of the stream's sender that it is to pay this, as text that nobody has judged yet.
    pub stream_proof: Option<String>,
}

/// Another stream for a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachStream {
    /// The stream.
    pub stream_id: StreamId,
    /// The word of its sender that it is to pay this, as text that nobody has judged yet.
    pub stream_proof: Option<String>,
}

pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

/// Reads a create's body.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_create(body: &[u8]) -> Result<CreateVm, Problems> {
    let fields = object(body)?;
    let mut mistakes = Vec::new();
    let name = keep(&mut mistakes, parsed_text::<VmName>(&fields, "name"));
    let ssh_key = keep(&mut mistakes, parsed_text::<AuthorizedKey>(&fields, "ssh_key"));
    let image = keep(&mut mistakes, optional(&fields, "image", parsed_text::<ImageName>));
    let stream_id = keep(&mut mistakes, optional(&fields, "stream_id", stream));
    let quote_id = keep(&mut mistakes, optional(&fields, "quote_id", parsed_text::<String>));
    let stream_proof = keep(&mut mistakes, optional(&fields, "stream_proof", parsed_text::<String>));
    let resources = keep(&mut mistakes, resources(&fields));
    match (name, ssh_key, image, stream_id, (quote_id, stream_proof), resources) {
        (
            Some(name),
            Some(ssh_key),
            Some(image),
            Some(stream_id),
            (Some(quote_id), Some(stream_proof)),
            Some(resources),
        ) => Ok(CreateVm { name, resources, image, ssh_key, stream_id, quote_id, stream_proof }),
        _ => Err(Problems { detail: mistakes }),
    }
}

/// Reads the body of a request to add an SSH key: `{"key", "name"?}`.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_key(body: &[u8]) -> Result<AuthorizedKey, Problems> {
    parsed_text(&object(body)?, "key").map_err(|detail| Problems { detail })
}

/// Reads the body of a request to attach a stream: `{"stream_id", "stream_proof"?}`.
///
/// # Errors
/// What is wrong with it, in FastAPI's words.
pub fn parse_stream(body: &[u8]) -> Result<AttachStream, Problems> {
    let fields = object(body)?;
    let wrong = |detail| Problems { detail };
    Ok(AttachStream {
        stream_id: stream(&fields, "stream_id").map_err(wrong)?,
        stream_proof: optional(&fields, "stream_proof", parsed_text::<String>).map_err(wrong)?,
    })
}

/// Reads the body of a request for a quote: what a create asks for, in any of its forms.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_resources(body: &[u8]) -> Result<Resources, Problems> {
    resources(&object(body)?).map_err(|detail| Problems { detail })
}

pub(super) fn object(body: &[u8]) -> Result<Fields, Problems> {
    let wrong = |problem| Problems { detail: vec![problem] };
    let raw: &RawValue = serde_json::from_slice(body).map_err(|error| {
        wrong(Problem::new("json_invalid", &[], format!("JSON decode error: {error}"), None))
    })?;
    serde_json::from_str(raw.get()).map_err(|_| {
        let text = "Input should be a valid dictionary or object to extract fields from";
        wrong(Problem::new("model_attributes_type", &[], text, Some(raw)))
    })
}

fn keep<T>(mistakes: &mut Vec<Problem>, result: Result<T, Vec<Problem>>) -> Option<T> {
    result.map_err(|mut more| mistakes.append(&mut more)).ok()
}

/// The value of `field`; null counts as absent.
pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a RawValue> {
    fields.get(name).map(AsRef::as_ref).filter(|raw| raw.get() != "null")
}

/// What `read` makes of the field, if it is there.
fn optional<T>(
    fields: &Fields,
    name: &'static str,
    read: impl FnOnce(&Fields, &'static str) -> Result<T, Vec<Problem>>,
) -> Result<Option<T>, Vec<Problem>> {
    if field(fields, name).is_some() { read(fields, name).map(Some) } else { Ok(None) }
}

fn parsed_text<T>(fields: &Fields, name: &'static str) -> Result<T, Vec<Problem>>
where
    T: std::str::FromStr,
    T::Err: fmt::Display,
{
    let Some(raw) = fields.get(name) else { return Err(vec![Problem::missing(&[name])]) };
    let text: String = serde_json::from_str(raw.get()).map_err(|_| {
        vec![Problem::new("string_type", &[name], "Input should be a valid string", Some(raw))]
    })?;
    text.parse().map_err(|error: T::Err| {
        vec![Problem::new("value_error", &[name], format!("Value error, {name} {error}"), Some(raw))]
    })
}

fn stream(fields: &Fields, name: &'static str) -> Result<StreamId, Vec<Problem>> {
    let Some(raw) = field(fields, name) else { return Err(vec![Problem::missing(&[name])]) };
    raw.get().trim_matches('"').parse().map_err(|_| {
        vec![Problem::new(
            "int_type",
            &[name],
            "Input should be a whole number of at most 256 bits",
            Some(raw),
        )]
    })
}

/// A whole number, in any of the forms that pydantic takes for one.
fn whole(raw: &RawValue) -> Result<i64, (&'static str, &'static str)> {
    let text = raw.get();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if let Ok(number) = bare.parse::<i64>() {
        return Ok(number);
    }
    match text.parse::<f64>() {
        // Exact: whole numbers below 2^53 are.
        #[expect(clippy::cast_possible_truncation, reason = "below 2^53 in size, and whole")]
        Ok(number) if number.fract() == 0.0 && number.abs() < 9e15 => Ok(number as i64),
        Ok(number) if number.fract() != 0.0 => {
            Err(("int_from_float", "Input should be a valid integer, got a number with a fractional part"))
        }
        Ok(_) => Err(("int_parsing_size", "Unable to parse input as an integer, exceeded maximum size")),
        Err(_) => Err(("int_type", "Input should be a valid integer")),
    }
}

/// One dimension of the resources, from `raw`, which must satisfy `fits`.
fn dimension(
    loc: &[&'static str],
    raw: &RawValue,
    fits: impl Fn(u32) -> bool,
    rule: String,
) -> Result<u32, Vec<Problem>> {
    let number = whole(raw).map_err(|(kind, text)| vec![Problem::new(kind, loc, text, Some(raw))])?;
    u32::try_from(number)
        .ok()
        .filter(|number| fits(*number))
        .ok_or_else(|| vec![Problem::new("value_error", loc, format!("Value error, {rule}"), Some(raw))])
}

fn menu(choices: &[u32]) -> String {
    choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn cpu(loc: &[&'static str], raw: &RawValue) -> Result<u32, Vec<Problem>> {
    let rule = format!("CPU cores must be one of {}", menu(&Resources::CPU_MENU));
    dimension(loc, raw, |number| Resources::CPU_MENU.contains(&number), rule)
}

fn memory(loc: &[&'static str], raw: &RawValue) -> Result<u32, Vec<Problem>> {
    let rule = format!("memory must be one of {} GB", menu(&Resources::MEMORY_MENU));
    dimension(loc, raw, |number| Resources::MEMORY_MENU.contains(&number), rule)
}

fn storage(loc: &[&'static str], raw: &RawValue) -> Result<u32, Vec<Problem>> {
    let range = Resources::STORAGE_MINIMUM..=Resources::STORAGE_MAXIMUM;
    let rule = format!("storage must be from {} to {} GB", range.start(), range.end());
    dimension(loc, raw, |number| range.contains(&number), rule)
}

fn resources(fields: &Fields) -> Result<Resources, Vec<Problem>> {
    if let Some(raw) = field(fields, "resources") {
        let Ok(inner) = serde_json::from_str::<Fields>(raw.get()) else {
            let text = "Input should be a valid dictionary or object to extract fields from";
            return Err(vec![Problem::new("model_attributes_type", &["resources"], text, Some(raw))]);
        };
        let part = |name: &'static str, read: fn(&[&'static str], &RawValue) -> Result<u32, Vec<Problem>>| {
            let loc = ["resources", name];
            inner.get(name).map_or_else(|| Err(vec![Problem::missing(&loc)]), |raw| read(&loc, raw))
        };
        return together(part("cpu", cpu), part("memory", memory), part("storage", storage));
    }
    if field(fields, "size").is_some() {
        return parsed_text::<Size>(fields, "size").map(Size::resources);
    }
    let least = Size::Small.resources();
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
        let sized = parse_create(&with(&json!({ "size": "medium", "unknown": [1, { "a": 2 }] }))).unwrap();
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
