//! The members of a JSON object, read one by one, so that every mistake is told at once.
//!
//! Owns what is taken for a number or a text, in pydantic's ways. Never knows what a member means.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::value::RawValue;

use super::problem::{Problem, Problems};
use crate::Resources;

pub(super) type Fields = BTreeMap<String, Box<RawValue>>;

pub(super) fn object(body: &[u8]) -> Result<Fields, Problems> {
    let wrong = |detail| Problems { detail };
    let raw: &RawValue = serde_json::from_slice(body).map_err(|error| {
        wrong(vec![Problem::new("json_invalid", &[], format!("JSON decode error: {error}"), None)])
    })?;
    members(&[], raw).map_err(wrong)
}

/// The members of the object `raw`, which stands at `loc`.
pub(super) fn members(loc: &[&'static str], raw: &RawValue) -> Result<Fields, Vec<Problem>> {
    serde_json::from_str(raw.get()).map_err(|_| {
        let text = "Input should be a valid dictionary or object to extract fields from";
        vec![Problem::new("model_attributes_type", loc, text, Some(raw))]
    })
}

pub(super) fn keep<T>(mistakes: &mut Vec<Problem>, result: Result<T, Vec<Problem>>) -> Option<T> {
    result.map_err(|mut more| mistakes.append(&mut more)).ok()
}

/// A mistake for every member that is none of `known`, in pydantic's words; ten at most.
pub(super) fn unknown(fields: &Fields, known: &[&str]) -> Vec<Problem> {
    let others = fields.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    let problem = |name: &String, raw: &RawValue| {
        let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        let text = format!("Extra inputs are not permitted: {name:?} is not known");
        Problem::new("extra_forbidden", &[], text, Some(raw))
    };
    others.take(10).map(|(name, raw)| problem(name, raw)).collect()
}

/// The value of `field`; null counts as absent.
pub(super) fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a RawValue> {
    fields.get(name).map(AsRef::as_ref).filter(|raw| raw.get() != "null")
}

/// The value of the field at `loc`, which has to be there.
pub(super) fn required<'a>(fields: &'a Fields, loc: &[&'static str]) -> Result<&'a RawValue, Vec<Problem>> {
    let name = loc.last().copied().unwrap_or_default();
    field(fields, name).ok_or_else(|| vec![Problem::missing(loc)])
}

/// What `read` makes of the field, if it is there.
pub(super) fn optional<T>(
    fields: &Fields,
    name: &'static str,
    read: impl FnOnce(&Fields, &'static str) -> Result<T, Vec<Problem>>,
) -> Result<Option<T>, Vec<Problem>> {
    if field(fields, name).is_some() { read(fields, name).map(Some) } else { Ok(None) }
}

pub(super) fn parsed_text<T>(fields: &Fields, name: &'static str) -> Result<T, Vec<Problem>>
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

/// A whole number that may be larger than any that JSON's readers know; as such, or as text.
pub(super) fn number<T: std::str::FromStr>(
    fields: &Fields,
    loc: &[&'static str],
    rule: &'static str,
) -> Result<T, Vec<Problem>> {
    let raw = required(fields, loc)?;
    let digits = raw.get().strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(raw.get());
    let is_one = digits.bytes().all(|byte| byte.is_ascii_digit());
    let read = is_one.then(|| digits.parse().ok()).flatten();
    read.ok_or_else(|| vec![Problem::new("int_type", loc, rule, Some(raw))])
}

/// A whole number, in any of the forms that pydantic takes for one.
pub(super) fn whole(raw: &RawValue) -> Result<i64, (&'static str, &'static str)> {
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

pub(super) fn cpu(loc: &[&'static str], raw: &RawValue) -> Result<u32, Vec<Problem>> {
    let rule = format!("CPU cores must be one of {}", menu(&Resources::CPU_MENU));
    dimension(loc, raw, |number| Resources::CPU_MENU.contains(&number), rule)
}

pub(super) fn memory(loc: &[&'static str], raw: &RawValue) -> Result<u32, Vec<Problem>> {
    let rule = format!("memory must be one of {} GB", menu(&Resources::MEMORY_MENU));
    dimension(loc, raw, |number| Resources::MEMORY_MENU.contains(&number), rule)
}

pub(super) fn storage(loc: &[&'static str], raw: &RawValue) -> Result<u32, Vec<Problem>> {
    let range = Resources::STORAGE_MINIMUM..=Resources::STORAGE_MAXIMUM;
    let rule = format!("storage must be from {} to {} GB", range.start(), range.end());
    dimension(loc, raw, |number| range.contains(&number), rule)
}
