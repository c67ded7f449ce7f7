//! Bodies of orders that change what a VM is: its size, and its disk.
//!
//! Owns reading them. Never decides whether they are granted.

use super::create::{AttachStream, PAYMENT, payment, resources};
use super::fields::{field, keep, object, optional, parsed_text, unknown};
use super::problem::Problems;
use crate::{ImageName, Resources};

/// What a VM is to become, and what pays for that.
#[derive(Debug, Clone)]
pub struct ResizeVm {
    /// All that it is to have.
    pub resources: Resources,
    /// What is to pay for it; `None` where rentals are free.
    pub payment: Option<AttachStream>,
}

/// Reads the body of a request to resize a VM that has `now`: what is wanted, in any of a create's forms, of which what is not
/// named stays, and what pays for that: `stream_id` with `stream_proof`, or `payment`.
///
/// # Errors
/// Every mistake in it at once, in FastAPI's words.
pub fn parse_resize(body: &[u8], now: Resources) -> Result<ResizeVm, Problems> {
    let fields = object(body)?;
    let known = ["resources", "size", "cpu_cores", "memory_gb", "storage_gb"];
    let mut mistakes = unknown(&fields, &[&known[..], &PAYMENT].concat());
    let wanted = keep(&mut mistakes, resources(&fields, Some(now)));
    let pays = PAYMENT.iter().any(|name| field(&fields, name).is_some());
    let paid = keep(&mut mistakes, if pays { payment(&fields).map(Some) } else { Ok(None) });
    let resize = || Some(ResizeVm { resources: wanted?, payment: paid? });
    resize().filter(|_| mistakes.is_empty()).ok_or(Problems { detail: mistakes })
}

/// Reads the body of a request to make a VM's disk anew: `{"image"?}`, or nothing at all.
///
/// # Errors
/// What is wrong with it, in FastAPI's words.
pub fn parse_rebuild(body: &[u8]) -> Result<Option<ImageName>, Problems> {
    if body.is_empty() {
        return Ok(None);
    }
    let fields = object(body)?;
    let mut mistakes = unknown(&fields, &["image"]);
    let image = keep(&mut mistakes, optional(&fields, "image", parsed_text));
    image.filter(|_| mistakes.is_empty()).ok_or(Problems { detail: mistakes })
}

#[cfg(test)]
mod tests {
    use ruint::aliases::U256;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Size, StreamId};

    #[test]
    fn what_a_resize_does_not_name_stays() {
        let now = Resources::new(2, 4, 20);
        let read = |body: Value| parse_resize(body.to_string().as_bytes(), now);
        for (body, wanted) in [
            (json!({}), now),
            (json!({ "resources": { "memory": 8 } }), Resources::new(2, 8, 20)),
            (json!({ "cpu_cores": 4, "storage_gb": 40 }), Resources::new(4, 4, 40)),
            (json!({ "size": "large" }), Size::Large.resources()),
        ] {
            let resize = read(body).unwrap();
            assert!(resize.resources == wanted && resize.payment.is_none(), "{resize:?}");
        }
        let paid =
            read(json!({ "cpu_cores": 4, "stream_id": 7, "stream_proof": "x" })).unwrap().payment.unwrap();
        assert_eq!((paid.stream_id, paid.stream_proof.as_deref()), (StreamId(U256::from(7)), Some("x")));
        for bad in [
            json!({ "resources": { "cpu": 3 } }),
            json!({ "resources": { "gpu": 1 } }),
            json!({ "memory": 4 }),
            json!({ "stream_proof": "x" }),
            json!({ "stream_id": -1 }),
            json!([]),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
