//! The SSH port proxy: one listener per rental, its own thread, no more than its limits.

use std::time::Duration;

/// Caps and deadlines of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Most connections open on one port.
    pub per_port: usize,
    /// Most connections open on all ports together.
    pub total: usize,
    /// A connection on which nothing moved for this long is closed.
    pub idle: Duration,
    /// How long open connections may go on after a shutdown was asked for.
    pub drain: Duration,
    /// How long a connection to a guest may take.
    pub connect: Duration,
}
