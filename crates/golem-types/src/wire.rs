//! The JSON that existing clients send and expect (FastAPI's shapes).
//!
//! Owns field names and the refusal of bad bodies with FastAPI's 422 list. Never decides whether
//! a valid request is granted.
