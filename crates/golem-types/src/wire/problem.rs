//! What is wrong with a body, in FastAPI's words.
//!
//! Owns the list that a refusal with status 422 holds. Never reads a body.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Longest input, in bytes of JSON, that is repeated to its sender.
const ECHO_BYTES: usize = 200;

/// One mistake in a body.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// Pydantic's name for the kind of mistake.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where: `["body", …]`.
    pub loc: Vec<&'static str>,
    /// What is wrong, for a person.
    pub msg: String,
    /// What was sent there; null when it is long.
    pub input: Value,
}

/// Every mistake in a body; serialises as FastAPI's 422 answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Problems {
    /// The mistakes, at least one.
    pub detail: Vec<Problem>,
}

impl Problem {
    /// A mistake at `loc` (below `body`), where `input` was sent.
    #[must_use]
    pub fn new(
        kind: &'static str,
        loc: &[&'static str],
        msg: impl Into<String>,
        input: Option<&RawValue>,
    ) -> Self {
        let echo = input.filter(|raw| raw.get().len() <= ECHO_BYTES);
        Self {
            kind,
            loc: std::iter::once("body").chain(loc.iter().copied()).collect(),
            msg: msg.into(),
            input: echo.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(Value::Null),
        }
    }

    /// A field that is not there.
    #[must_use]
    pub fn missing(loc: &[&'static str]) -> Self {
        Self::new("missing", loc, "Field required", None)
    }
}
