//! Sessions: what a wallet signs to get a token, and what a token may be narrowed to.
//!
//! Owns the bodies, as clients of contract version 4 send them, and for sign-in messages (EIP-4361). Never verifies a signature.

use alloy_primitives::Address;

use super::fields::{field, keep, number, object, optional, parsed_text, required};
use super::problem::{Problem, Problems};

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionScope {
    /// All VMs of the wallet.
    Provider,
    /// One VM, by id or name.
    Vm(String),
}

/// A request for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenSession {
    /// Typed data (EIP-712).
    TypedData {
        /// The wallet.
        requestor: Address,
        /// What it is for.
        scope: SessionScope,
        /// Used once.
        nonce: String,
        /// Until when the signature counts, in seconds since the epoch.
        deadline: u64,
        /// Hexadecimal text.
        signature: String,
    },
    /// A sign-in message (EIP-4361).
    Message {
        /// The text.
        message: String,
        /// Hexadecimal text.
        signature: String,
    },
}

/// A request for a narrower token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenRequest {
    /// The one VM that it is for, by id or name.
    pub vm_id: Option<String>,
    /// Whether it may only read.
    pub read_only: Option<bool>,
    /// How long it lasts, in seconds.
    pub expires_in_seconds: Option<u64>,
}

/// Reads the body of a request for a session.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_session(body: &[u8]) -> Result<OpenSession, Problems> {
    let fields = object(body)?;
    let mut mistakes = Vec::new();
    let signature = keep(&mut mistakes, parsed_text::<String>(&fields, "signature"));
    if field(&fields, "message").is_some() {
        let message = keep(&mut mistakes, parsed_text::<String>(&fields, "message"));
        return match (message, signature) {
            (Some(message), Some(signature)) => Ok(OpenSession::Message { message, signature }),
            _ => Err(Problems { detail: mistakes }),
        };
    }
    let requestor = keep(&mut mistakes, parsed_text::<Address>(&fields, "requestor_address"));
    let nonce = keep(&mut mistakes, parsed_text::<String>(&fields, "nonce"));
    let rule = "Input should be a time in whole seconds since 1970";
    let deadline = keep(&mut mistakes, number::<u64>(&fields, &["deadline"], rule));
    let scope = keep(&mut mistakes, optional(&fields, "scope", parsed_text::<String>));
    let vm = keep(&mut mistakes, optional(&fields, "vm_id", parsed_text::<String>)).flatten();
    let scope = match scope.flatten().as_deref() {
        Some("provider") => Some(SessionScope::Provider),
        None | Some("vm") => {
            let vm = vm.ok_or_else(|| vec![Problem::missing(&["vm_id"])]);
            keep(&mut mistakes, vm.map(SessionScope::Vm))
        }
        Some(_) => {
            let text = "Input should be 'vm' or 'provider'";
            mistakes.push(Problem::new("enum", &["scope"], text, fields.get("scope").map(AsRef::as_ref)));
            None
        }
    };
    match (requestor, scope, nonce, deadline, signature) {
        (Some(requestor), Some(scope), Some(nonce), Some(deadline), Some(signature))
            if mistakes.is_empty() =>
        {
            Ok(OpenSession::TypedData { requestor, scope, nonce, deadline, signature })
        }
        _ => Err(Problems { detail: mistakes }),
    }
}

/// Reads the body of a request for a narrower token; every member may be absent.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_token_request(body: &[u8]) -> Result<TokenRequest, Problems> {
    let fields = object(body)?;
    let mut mistakes = Vec::new();
    let vm_id = keep(&mut mistakes, optional(&fields, "vm_id", parsed_text::<String>));
    let flag = |fields: &_, name| {
        let raw = required(fields, &[name])?;
        raw.get().parse::<bool>().map_err(|_| {
            vec![Problem::new("bool_type", &[name], "Input should be a valid boolean", Some(raw))]
        })
    };
    let read_only = keep(&mut mistakes, optional(&fields, "read_only", flag));
    let rule = "Input should be a whole number of seconds";
    let seconds = |fields: &_, name| number::<u64>(fields, &[name], rule);
    let expires = keep(&mut mistakes, optional(&fields, "expires_in_seconds", seconds));
    match (vm_id, read_only, expires) {
        (Some(vm_id), Some(read_only), Some(expires_in_seconds)) => {
            Ok(TokenRequest { vm_id, read_only, expires_in_seconds })
        }
        _ => Err(Problems { detail: mistakes }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn body() -> Value {
        json!({
            "requestor_address": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "scope": "provider",
            "nonce": "nonce-0001", "deadline": 1_780_000_000, "signature": "0x12",
        })
    }

    fn with(name: &str, value: Value) -> Result<OpenSession, Vec<&'static str>> {
        let mut body = body();
        body[name] = value;
        parse_session(body.to_string().as_bytes())
            .map_err(|problems| problems.detail.into_iter().map(|problem| problem.loc[1]).collect())
    }

    #[test]
    fn a_session_is_for_all_vms_or_one_and_each_mistake_is_named() {
        let scope = |read: OpenSession| match read {
            OpenSession::TypedData { scope, .. } => scope,
            OpenSession::Message { .. } => panic!("no message"),
        };
        assert_eq!(scope(with("more", json!(1)).unwrap()), SessionScope::Provider);
        assert_eq!(with("scope", Value::Null).unwrap_err(), ["vm_id"], "vm is what is meant by nothing");
        let mut one = body();
        (one["scope"], one["vm_id"]) = (Value::Null, json!("web"));
        let read = parse_session(one.to_string().as_bytes()).unwrap();
        assert_eq!(scope(read), SessionScope::Vm("web".to_owned()));
        assert_eq!(with("scope", json!("admin")).unwrap_err(), ["scope"]);
        assert_eq!(with("deadline", json!(-1)).unwrap_err(), ["deadline"]);
        assert_eq!(with("requestor_address", json!("0x12")).unwrap_err(), ["requestor_address"]);
        let message = parse_session(br#"{"message": "a", "signature": "0x"}"#).unwrap();
        assert_eq!(message, OpenSession::Message { message: "a".to_owned(), signature: "0x".to_owned() });
        assert_eq!(parse_session(b"{}").unwrap_err().detail.len(), 5);
    }

    #[test]
    fn a_token_may_be_narrowed_in_three_ways() {
        assert_eq!(parse_token_request(b"{}").unwrap(), TokenRequest::default());
        let read = parse_token_request(br#"{"vm_id": "web", "read_only": true, "expires_in_seconds": 60}"#);
        let expected = TokenRequest {
            vm_id: Some("web".to_owned()),
            read_only: Some(true),
            expires_in_seconds: Some(60),
        };
        assert_eq!(read.unwrap(), expected);
        assert!(parse_token_request(br#"{"read_only": 1}"#).is_err());
        assert!(parse_token_request(br#"{"expires_in_seconds": -1}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_a_panic(body in "\\{[ -~]{0,200}\\}") {
            let _ = parse_session(body.as_bytes());
            let _ = parse_token_request(body.as_bytes());
        }
    }
}
