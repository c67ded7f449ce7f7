//! What an advert says, and the refusal of bad ones.
//!
//! Owns field names, bounds, and the mistakes in the form of the published server, which is
//! pydantic 1's. Never decides who may say it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::arkiv;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Number, Value};

/// Longest name of a node, in bytes; what fits on the other market as well.
const NAME_BYTES: usize = 128;

/// Longest name of a processor, in bytes.
pub(crate) const PLATFORM_BYTES: usize = 32;

/// Most kinds of resources, of which three are known.
const RESOURCES: usize = 16;

/// Longest name of a resource, in bytes.
const RESOURCE_BYTES: usize = 32;

/// Largest prices, in bytes of JSON; the original's have about 200.
const PRICING_BYTES: usize = 2048;

/// Dearest price; what a billion would buy is no virtual machine.
pub(crate) const PRICE_MOST: f64 = 1e9;

/// The resources that every advert has, and what the published server says of less than one.
const NEEDED: [(&str, &str); 3] = [
    ("cpu", "CPU cores must be >= 1"),
    ("memory", "Memory must be >= 1 GB"),
    ("storage", "Storage must be >= 1 GB"),
];

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdvertMistake {
    /// Where: `["body", …]`, `["header", …]` or `["query", …]`.
    pub loc: Vec<String>,
    /// What is wrong, for a person.
    pub msg: String,
    /// Pydantic's name for the kind of mistake.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl AdvertMistake {
    /// A mistake at `loc`.
    #[must_use]
    pub fn new(loc: &[&str], msg: impl Into<String>, kind: &'static str) -> Self {
        Self { loc: loc.iter().map(|&part| part.to_owned()).collect(), msg: msg.into(), kind }
    }

    /// A field that is not there.
    #[must_use]
    pub fn missing(loc: &[&str]) -> Self {
        Self::new(loc, "field required", "value_error.missing")
    }

    /// A field that should be a whole number.
    #[must_use]
    pub fn no_integer(loc: &[&str]) -> Self {
        Self::new(loc, "value is not a valid integer", "type_error.integer")
    }
}

/// An advert.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PostedAdvert {
    /// Where the node is reached. The published server takes IPv4 only.
    pub ip_address: IpAddr,
    /// Country in which it stands, as two characters.
    pub country: String,
    /// Its processor, `x86_64` or `arm64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// What it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What is free, in cores and GiB: `cpu`, `memory`, `storage`, and whatever else there is.
    pub resources: BTreeMap<String, u32>,
    /// Prices for a month.
    pub pricing: Option<Map<String, Value>>,
    /// When it was signed, in milliseconds since the epoch: so an old one cannot be posted again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<i64>,
}

/// The six prices, by the original's names.
pub(crate) const PRICES: [&str; 6] = [
    "usd_per_core_month",
    "usd_per_gb_ram_month",
    "usd_per_gb_storage_month",
    "glm_per_core_month",
    "glm_per_gb_ram_month",
    "glm_per_gb_storage_month",
];

impl PostedAdvert {
    /// What a node with `offer` says at `now`.
    #[must_use]
    pub fn of(offer: &arkiv::Advert, now: Timestamp) -> Self {
        let prices = [
            offer.usd.core,
            offer.usd.ram_gb,
            offer.usd.storage_gb,
            offer.glm.core,
            offer.glm.ram_gb,
            offer.glm.storage_gb,
        ];
        let number = |price: f64| Number::from_f64(price).map_or(Value::Null, Value::Number);
        let pricing = PRICES.iter().zip(prices).map(|(name, price)| ((*name).to_owned(), number(price)));
        let free = offer.free;
        let resources = [("cpu", free.cpu), ("memory", free.memory), ("storage", free.storage)];
        Self {
            ip_address: offer.ip_address,
            country: offer.country.clone(),
            platform: Some(offer.platform.clone()),
            name: Some(offer.name.clone()),
            resources: resources.map(|(name, free)| (name.to_owned(), free)).into(),
            pricing: Some(pricing.collect()),
            timestamp: Some(now.as_millisecond()),
        }
    }
}

/// The advert in `body`.
///
/// # Errors
/// Every mistake in it, at least one.
pub fn parse(body: &[u8]) -> Result<PostedAdvert, Vec<AdvertMistake>> {
    let value: Value = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).map_err(|error| {
            vec![AdvertMistake::new(&["body"], error.to_string(), "value_error.jsondecode")]
        })?
    };
    let fields = match value {
        Value::Null => return Err(vec![AdvertMistake::missing(&["body"])]),
        Value::Object(fields) => fields,
        // Python's `dict()` makes an empty one of it.
        Value::Array(list) if list.is_empty() => Map::new(),
        _ => return Err(vec![AdvertMistake::new(&["body"], "value is not a valid dict", "type_error.dict")]),
    };
    let mut mistakes = Vec::new();
    let mut keep = |mistake: AdvertMistake| mistakes.push(mistake);
    let ip_address = required(&fields, "ip_address").and_then(ip_address).map_err(&mut keep).ok();
    let country = required(&fields, "country").and_then(country).map_err(&mut keep).ok();
    let resources = match required(&fields, "resources").map_err(|mistake| vec![mistake]).and_then(resources)
    {
        Ok(resources) => Some(resources),
        Err(found) => {
            found.into_iter().for_each(&mut keep);
            None
        }
    };
    let pricing = pricing(fields.get("pricing")).map_err(&mut keep).ok();
    let platform = text(&fields, "platform", PLATFORM_BYTES).map_err(&mut keep).ok();
    let name = match text(&fields, "name", NAME_BYTES) {
        Ok(None) => text(&fields, "provider_name", NAME_BYTES),
        given => given,
    };
    let name = name.map_err(&mut keep).ok();
    let timestamp = match fields.get("timestamp") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            value.as_i64().map(Some).ok_or_else(|| AdvertMistake::no_integer(&["body", "timestamp"]))
        }
    };
    let timestamp = timestamp.map_err(&mut keep).ok();
    let whole = || {
        Some(PostedAdvert {
            ip_address: ip_address?,
            country: country?,
            platform: platform?,
            name: name?,
            resources: resources?,
            pricing: pricing?,
            timestamp: timestamp?,
        })
    };
    whole().ok_or(mistakes)
}

fn none_allowed(loc: &[&str]) -> AdvertMistake {
    AdvertMistake::new(loc, "none is not an allowed value", "type_error.none.not_allowed")
}

fn required<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a Value, AdvertMistake> {
    match fields.get(name) {
        None => Err(AdvertMistake::missing(&["body", name])),
        Some(Value::Null) => Err(none_allowed(&["body", name])),
        Some(value) => Ok(value),
    }
}

fn no_text(loc: &[&str]) -> AdvertMistake {
    AdvertMistake::new(loc, "str type expected", "type_error.str")
}

fn ip_address(value: &Value) -> Result<IpAddr, AdvertMistake> {
    let loc = ["body", "ip_address"];
    let address = value.as_str().ok_or_else(|| no_text(&loc))?.parse::<IpAddr>();
    let reachable = address.ok().filter(|address| !address.is_unspecified() && !address.is_multicast());
    reachable.ok_or_else(|| {
        AdvertMistake::new(&loc, "value is not an IPv4 or IPv6 address", "value_error.str.regex")
    })
}

fn country(value: &Value) -> Result<String, AdvertMistake> {
    let loc = ["body", "country"];
    let text = value.as_str().ok_or_else(|| no_text(&loc))?;
    match text.chars().count() {
        2 if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Ok(text.to_owned()),
        2 => Err(AdvertMistake::new(&loc, "value is not a country code (ISO 3166)", "value_error.str.regex")),
        count if count < 2 => Err(AdvertMistake::new(
            &loc,
            "ensure this value has at least 2 characters",
            "value_error.any_str.min_length",
        )),
        _ => Err(AdvertMistake::new(
            &loc,
            "ensure this value has at most 2 characters",
            "value_error.any_str.max_length",
        )),
    }
}

/// A whole number, from everything of which pydantic 1 makes one.
fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Bool(value) => Some(i128::from(*value)),
        Value::Number(number) => {
            let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
            // Beyond that it is no resource anyway; the cast saturates.
            whole.or_else(|| number.as_f64().map(|number| number as i128))
        }
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn resources(value: &Value) -> Result<BTreeMap<String, u32>, Vec<AdvertMistake>> {
    let loc = ["body", "resources"];
    let one = |msg: &str, kind| vec![AdvertMistake::new(&loc, msg, kind)];
    let empty = Map::new();
    let given = match value {
        Value::Object(given) => given,
        Value::Array(list) if list.is_empty() => &empty,
        _ => return Err(one("value is not a valid dict", "type_error.dict")),
    };
    if given.len() > RESOURCES || given.keys().any(|name| name.is_empty() || name.len() > RESOURCE_BYTES) {
        return Err(one("there are too many resources, or their names are too long", "value_error"));
    }
    let mut resources = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (name, value) in given {
        let loc = ["body", "resources", name.as_str()];
        match integer(value) {
            _ if value.is_null() => mistakes.push(none_allowed(&loc)),
            None => mistakes.push(AdvertMistake::no_integer(&loc)),
            Some(number) if number > i128::from(u32::MAX) => {
                let text = format!("ensure this value is less than or equal to {}", u32::MAX);
                mistakes.push(AdvertMistake::new(&loc, text, "value_error.number.not_le"));
            }
            // What is below one is refused below, where it is needed.
            Some(number) => {
                resources.insert(name.clone(), u32::try_from(number).unwrap_or(0));
            }
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    if NEEDED.iter().any(|(name, _)| !resources.contains_key(*name)) {
        return Err(one("Missing required resources: {'cpu', 'memory', 'storage'}", "value_error"));
    }
    match NEEDED.iter().find(|(name, _)| resources.get(*name) == Some(&0)) {
        Some((_, text)) => Err(one(text, "value_error")),
        None => Ok(resources),
    }
}

fn pricing(value: Option<&Value>) -> Result<Option<Map<String, Value>>, AdvertMistake> {
    let loc = ["body", "pricing"];
    let prices = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(prices)) => prices,
        Some(Value::Array(list)) if list.is_empty() => return Ok(Some(Map::new())),
        Some(_) => return Err(AdvertMistake::new(&loc, "value is not a valid dict", "type_error.dict")),
    };
    if serde_json::to_string(prices).is_ok_and(|text| text.len() > PRICING_BYTES) {
        let text = format!("ensure this value has at most {PRICING_BYTES} bytes");
        return Err(AdvertMistake::new(&loc, text, "value_error"));
    }
    // Renters compute with these.
    for name in PRICES {
        let loc = ["body", "pricing", name];
        match prices.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Number(price))
                if price.as_f64().is_some_and(|price| (0.0..=PRICE_MOST).contains(&price)) => {}
            Some(Value::Number(_)) => {
                return Err(AdvertMistake::new(
                    &loc,
                    "ensure this value is a price from 0 to 1e9",
                    "value_error.number",
                ));
            }
            Some(_) => {
                return Err(AdvertMistake::new(&loc, "value is not a valid float", "type_error.float"));
            }
        }
    }
    Ok(Some(prices.clone()))
}

/// The text `name` of at most `most` bytes, where there is one.
fn text(fields: &Map<String, Value>, name: &str, most: usize) -> Result<Option<String>, AdvertMistake> {
    let loc = ["body", name];
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() > most => {
            let text = format!("ensure this value has at most {most} characters");
            Err(AdvertMistake::new(&loc, text, "value_error.any_str.max_length"))
        }
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            Err(AdvertMistake::new(&loc, "value has control characters", "value_error.str.regex"))
        }
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(no_text(&loc)),
    }
}

#[cfg(test)]
mod tests {
    use crate::arkiv::AdvertPrices;
    use golem_types::Resources;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({
            "ip_address": "203.0.113.7", "country": "SE", "platform": "x86_64", "name": "one",
            "resources": { "cpu": 4, "memory": 8, "storage": 100 },
            "pricing": { "usd_per_core_month": 5.0, "currency": "USD" },
        })
    }

    fn with(name: &str, value: Value) -> Result<PostedAdvert, Vec<AdvertMistake>> {
        let mut body = good();
        body[name] = value;
        parse(body.to_string().as_bytes())
    }

    #[test]
    fn a_nodes_own_advert_is_read_as_it_was_meant() {
        let offer = arkiv::Advert {
            provider_id: alloy_primitives::Address::repeat_byte(1),
            ip_address: "2001:db8::7".parse().unwrap(),
            country: "SE".to_owned(),
            name: "node ä".to_owned(),
            platform: "arm64".to_owned(),
            network: "testnet".to_owned(),
            payments_network: "l2.holesky".to_owned(),
            usd: AdvertPrices { core: 5.0, ram_gb: 2.0, storage_gb: 0.1 },
            glm: AdvertPrices { core: 25.0, ram_gb: 10.0, storage_gb: 1e-5 },
            free: Resources::new(4, 16, 100),
        };
        let advert = PostedAdvert::of(&offer, Timestamp::from_second(1).unwrap());
        let body = serde_json::to_vec(&advert).unwrap();
        assert_eq!(parse(&body).unwrap(), advert);
        let prices = advert.pricing.unwrap();
        assert_eq!(prices["glm_per_gb_storage_month"], 1e-5);
        assert_eq!((prices.len(), advert.timestamp), (6, Some(1000)));
    }

    #[test]
    fn prices_of_nothing_less_than_nothing_and_everything_are_judged() {
        let priced = |text: &str| {
            let body = good().to_string().replace("5.0", text);
            parse(body.as_bytes())
        };
        assert!(priced("0").is_ok() && priced("1e9").is_ok());
        for bad in ["-1", "1e30", "1e400", "NaN", "Infinity", "\"5\"", "[5]"] {
            assert!(priced(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        assert_eq!(with("name", json!("")).unwrap().name, None);
        assert!(with("name", json!("n".repeat(128))).is_ok());
        for (name, value) in [
            ("name", json!("n".repeat(129))),
            ("name", json!("a\u{1b}[2J")),
            ("name", json!(7)),
            ("platform", json!("x".repeat(33))),
            ("country", json!("é\u{0}")),
            ("ip_address", json!("0.0.0.0")),
            ("ip_address", json!("224.0.0.1")),
            ("pricing", json!({ "note": "x".repeat(2048) })),
            ("resources", json!({ "cpu": 1, "memory": 1, "storage": 1, "x".repeat(33): 1 })),
            ("timestamp", json!("soon")),
        ] {
            let mistakes = with(name, value).unwrap_err();
            assert_eq!(mistakes[0].loc[..2], ["body", name], "{mistakes:?}");
        }
        let named = parse(br#"{"ip_address":"1.2.3.4","country":"SE","provider_name":"p","resources":{"cpu":1,"memory":1,"storage":1}}"#);
        assert_eq!(named.unwrap().name.as_deref(), Some("p"));
    }

    proptest! {
        #[test]
        fn no_body_is_too_odd(body in prop::collection::vec(any::<u8>(), 0..200), text in ".*") {
            let _ = parse(&body);
            let _ = parse(text.as_bytes());
            if let Ok(advert) = with("resources", json!({ "cpu": text, "memory": 1, "storage": 1 })) {
                prop_assert!(advert.resources["cpu"] >= 1);
            }
        }
    }
}
