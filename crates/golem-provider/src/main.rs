//! The `golem-provider` command.

fn main() {}
