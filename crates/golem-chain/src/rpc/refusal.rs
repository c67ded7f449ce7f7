//! What an endpoint means by an error: an answer to what was asked, or something about itself.
//!
//! Owns the reading of codes and words, which every provider chooses for itself. Never asks anything.

use serde::Deserialize;

/// An error of JSON-RPC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct RpcError {
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

/// What it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The node looked at what was asked, and says no: so will every other.
    Answer,
    /// There were too many requests.
    Rate,
    /// It does not have the block or its state: it lags behind, or has thrown it away.
    Missing,
    /// Something else: another endpoint may answer.
    Other,
}

/// Words of a node that looked at a call or a transaction.
const ANSWERS: [&str; 20] = [
    "revert",
    "nonce",
    "underpriced",
    "insufficient funds",
    "already known",
    "already imported",
    "known transaction",
    "gas required exceeds",
    "out of gas",
    "intrinsic gas",
    "gas limit",
    "gas too low",
    "fee too low",
    "fee cap",
    "max fee per gas",
    "invalid opcode",
    "invalid jump",
    "stack underflow",
    "invalid sender",
    "vm execution error",
];

/// Words of an endpoint that is asked for too much at once, which it may call a limit, too.
const LARGE: [&str; 7] = [
    "query returned more",
    "range",
    "too many results",
    "too many blocks",
    "response size",
    "too large",
    "batch",
];

/// Words of an endpoint that is asked too often.
const RATES: [&str; 11] = [
    "rate limit",
    "ratelimit",
    "rate exceeded",
    "too many requests",
    "request limit",
    "limit exceeded",
    "requests per second",
    "throughput",
    "capacity",
    "1015",
    "quota",
];

/// Words of a node without the block that was named, or its state.
const MISSING: [&str; 15] = [
    "missing trie node",
    "header not found",
    "header for hash not found",
    "block not found",
    "unknown block",
    "could not find block",
    "cannot find block",
    "block is out of range",
    "block out of range",
    "after last accepted block",
    "state not available",
    "state is not available",
    "historical state",
    "pruned",
    "archive",
];

impl RpcError {
    /// What it means.
    pub(super) fn meaning(&self) -> Meaning {
        let lower = self.message.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
        // Words before codes: -32000 is whatever a node likes, and -32005 a limit of any kind.
        if self.code == 3 || has(&ANSWERS) {
            Meaning::Answer
        } else if has(&MISSING) {
            Meaning::Missing
        } else if has(&LARGE) {
            Meaning::Other
        } else if has(&RATES) || matches!(self.code, 429 | -32005 | -32007 | -32029 | -32097) {
            Meaning::Rate
        } else if matches!(self.code, -32000 | -32003 | -32010 | -32015) {
            Meaning::Answer
        } else {
            Meaning::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nodes and providers word them.
    #[test]
    fn an_answer_is_told_from_a_fault() {
        for (code, message, meaning) in [
            (3, "execution reverted: stream not active", Meaning::Answer),
            (-32000, "nonce too low: next nonce 5, tx nonce 4", Meaning::Answer),
            (-32000, "not now", Meaning::Answer),
            (-32603, "VM Exception while processing transaction: reverted", Meaning::Answer),
            (-32015, "VM execution error.", Meaning::Answer),
            (-32000, "replacement transaction underpriced", Meaning::Answer),
            (-32000, "missing trie node 5f (path ) state 0x0 is not available", Meaning::Missing),
            (-32000, "header not found", Meaning::Missing),
            (-32001, "block not found with number 0x10", Meaning::Missing),
            (-32005, "limit exceeded", Meaning::Rate),
            (-32007, "15/second request limit reached", Meaning::Rate),
            (-32005, "daily request count exceeded", Meaning::Rate),
            (429, "compute units per second capacity exceeded", Meaning::Rate),
            (-32603, "Internal error", Meaning::Other),
            (-32601, "the method eth_getLogs does not exist", Meaning::Other),
            (-32600, "batch too large", Meaning::Other),
            (-32005, "query returned more than 10000 results", Meaning::Other),
            (-32005, "eth_getLogs block range limit exceeded", Meaning::Other),
        ] {
            assert_eq!(RpcError { code, message: message.to_owned() }.meaning(), meaning, "{code} {message}");
        }
    }
}
