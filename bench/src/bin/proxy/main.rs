//! The SSH proxy beside other proxies.
fn main() {}
