//! The JSON that existing clients send and expect (FastAPI's shapes).
//!
//! Owns field names and the refusal of bad bodies with FastAPI's 422 list. Never decides whether
//! a valid request is granted.

pub mod answers;
pub mod create;
pub mod problem;

pub use answers::{Access, JobInfo, VmInfo, WireTime};
pub use create::{CreateBody, parse_create, parse_key};
pub use problem::{Problem, Problems};
