//! Machines, made and watched as the node does it. What each module needs is said at its head.
#![cfg(test)]

#[cfg(feature = "guest-tests")]
mod guest;
mod multipass;
