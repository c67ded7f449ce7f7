//! The HTTP edges: the public API for renters, the operator API for the owner of the machine.
