//! The tables of the ledger, step by step.
//!
//! Owns the schema. A step that has shipped is never edited; a change is a new step.

use rusqlite_migration::{M, Migrations};

/// A port and a name are unique among live rentals only, in the database and not in memory, so
/// that no race and no restart can hand one out twice.
const RENTALS: &str = "
CREATE TABLE vms (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    owner       TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('creating', 'running', 'stopping', 'stopped', 'error', 'deleted')),
    goal        TEXT NOT NULL CHECK (goal IN ('running', 'stopped', 'deleted')),
    made        INTEGER NOT NULL CHECK (made IN (0, 1)),
    error       TEXT,
    cpu         INTEGER NOT NULL CHECK (cpu > 0),
    memory      INTEGER NOT NULL CHECK (memory > 0),
    storage     INTEGER NOT NULL CHECK (storage > 0),
    image       TEXT NOT NULL,
    keys        TEXT NOT NULL CHECK (json_valid(keys)),
    ip_address  TEXT,
    ssh_port    INTEGER NOT NULL CHECK (ssh_port BETWEEN 1 AND 65535),
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX live_port ON vms (ssh_port) WHERE state <> 'deleted';
CREATE UNIQUE INDEX live_name ON vms (owner, name) WHERE state <> 'deleted';

CREATE TABLE jobs (
    id          TEXT PRIMARY KEY,
    vm_id       TEXT NOT NULL UNIQUE REFERENCES vms (id),
    state       TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'failed')),
    error       TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE node (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    draining    INTEGER NOT NULL CHECK (draining IN (0, 1))
) STRICT;
INSERT INTO node VALUES (1, 0);
";

/// Every step, oldest first.
pub(super) fn migrations() -> Migrations<'static> {
    Migrations::new(vec![M::up(RENTALS)])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_is_valid() {
        super::migrations().validate().unwrap();
    }
}
