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

/// One live rental for a stream, one stream for a rental (I2): in the database, like ports. Numbers of
/// up to 256 bits are decimal text. A stream outlives its rental: what vested can still be withdrawn.
const PAYMENTS: &str = "
ALTER TABLE vms ADD COLUMN contract TEXT;
ALTER TABLE vms ADD COLUMN stream_id TEXT;
ALTER TABLE vms ADD COLUMN unpaid_since INTEGER;
ALTER TABLE vms ADD COLUMN unpaid_reason TEXT;
CREATE UNIQUE INDEX live_stream ON vms (contract, stream_id) WHERE stream_id IS NOT NULL AND state <> 'deleted';

CREATE TABLE streams (
    contract    TEXT NOT NULL,
    id          TEXT NOT NULL,
    vm_id       TEXT NOT NULL REFERENCES vms (id),
    token       TEXT NOT NULL,
    sender      TEXT NOT NULL,
    recipient   TEXT NOT NULL,
    start       TEXT NOT NULL,
    stop        TEXT NOT NULL,
    rate        TEXT NOT NULL,
    deposit     TEXT NOT NULL,
    withdrawn   TEXT NOT NULL,
    halted      INTEGER NOT NULL CHECK (halted IN (0, 1)),
    block       INTEGER NOT NULL,
    block_time  INTEGER NOT NULL,
    read_at     INTEGER NOT NULL,
    PRIMARY KEY (contract, id)
) STRICT;

CREATE TABLE events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    vm_id       TEXT NOT NULL,
    kind        TEXT NOT NULL,
    detail      TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_vm ON events (vm_id, id);

CREATE TABLE withdrawals (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    contract    TEXT NOT NULL,
    stream_id   TEXT NOT NULL,
    vm_id       TEXT NOT NULL,
    token       TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('sent', 'paid', 'failed')),
    expected    TEXT NOT NULL,
    paid        TEXT,
    cost        TEXT,
    nonce       INTEGER NOT NULL,
    tries       TEXT NOT NULL CHECK (json_valid(tries)),
    hash        TEXT,
    block       INTEGER,
    error       TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_under_way ON withdrawals (contract) WHERE state = 'sent';
CREATE INDEX withdrawals_of_stream ON withdrawals (contract, stream_id, id);
";

/// What adverts cost. What they say the network keeps.
const ADVERTS: &str = "
CREATE TABLE advert_writes (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    network     TEXT NOT NULL,
    hash        TEXT NOT NULL,
    kinds       TEXT NOT NULL,
    succeeded   INTEGER NOT NULL CHECK (succeeded IN (0, 1)),
    gas         INTEGER NOT NULL,
    cost        TEXT NOT NULL
) STRICT;
CREATE INDEX advert_writes_of_network ON advert_writes (network);
";

/// What the backend calls a machine that another program made and that was taken over; NULL means
/// the rental's id. Unique for good, so that nothing is taken over twice, not even what has ended.
const ADOPTED: &str = "
ALTER TABLE vms ADD COLUMN backend_name TEXT;
CREATE UNIQUE INDEX backend_names ON vms (backend_name) WHERE backend_name IS NOT NULL;
";

/// The rates of coins that were believed last.
const RATES: &str = "
CREATE TABLE rates (
    coin        TEXT PRIMARY KEY,
    usd         TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT;
";

/// What was found out last about each port, from outside.
const PORTS: &str = "
CREATE TABLE port_verdicts (
    port        INTEGER PRIMARY KEY CHECK (port BETWEEN 1 AND 65535),
    problem     TEXT,
    address     TEXT NOT NULL,
    sources     TEXT NOT NULL CHECK (json_valid(sources)),
    answered    INTEGER NOT NULL CHECK (answered > 0),
    at          INTEGER NOT NULL
) STRICT;
";

/// Which quote a create named, as a digest of its id: whoever sends the same create again, because its
/// answer was lost, is told of the same VM. The id itself is not kept, because it is the right to that.
const QUOTES: &str = "
ALTER TABLE vms ADD COLUMN quote TEXT;
";

/// What adverts cost whose rows are no longer kept; and what is looked for when old rows go.
const HISTORY: &str = "
CREATE TABLE advert_totals (
    network     TEXT PRIMARY KEY,
    writes      INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    gas         INTEGER NOT NULL,
    cost        TEXT NOT NULL
) STRICT;
CREATE INDEX ended ON vms (updated_at) WHERE state = 'deleted';
CREATE INDEX streams_of_vm ON streams (vm_id);
CREATE INDEX advert_writes_at ON advert_writes (at);
";

/// How far each create came, and what a boot that failed left to look at.
const BOOTS: &str = "
ALTER TABLE jobs ADD COLUMN stages TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(stages));
CREATE TABLE failed_boots (
    vm_id       TEXT PRIMARY KEY REFERENCES vms (id),
    at          INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    cause       TEXT NOT NULL,
    stages      TEXT NOT NULL CHECK (json_valid(stages)),
    console     TEXT NOT NULL,
    process_log TEXT NOT NULL
) STRICT;
CREATE INDEX failed_boots_at ON failed_boots (at);
";

/// Why a port is not reachable, as a tag. Before, it was told in the words that people read; what a checker said in
/// its own words is a detail now.
const PORT_TAGS: &str = "
ALTER TABLE port_verdicts ADD COLUMN detail TEXT;
UPDATE port_verdicts SET problem = 'other', detail = problem WHERE problem NOT IN (
    'connection refused', 'connection timed out', 'no route to the address',
    'something else answers at the public address', 'accepted before it reached this node'
);
UPDATE port_verdicts SET problem = 'refused' WHERE problem = 'connection refused';
UPDATE port_verdicts SET problem = 'timed_out' WHERE problem = 'connection timed out';
UPDATE port_verdicts SET problem = 'no_route' WHERE problem = 'no route to the address';
UPDATE port_verdicts SET problem = 'another_answers' WHERE problem = 'something else answers at the public address';
UPDATE port_verdicts SET problem = 'nobody_came' WHERE problem = 'accepted before it reached this node';
";

/// Everything that a wallet of the node sends. One row has one number at most, so that one of its attempts at most is ever in
/// a block; what has to be done again is a row of its own, named by `successor`. A withdrawal has its transaction there, and
/// several of one contract may be under way.
const TRANSACTIONS: &str = "
CREATE TABLE transactions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    chain_id    INTEGER NOT NULL,
    wallet      TEXT NOT NULL,
    nonce       INTEGER,
    purpose     TEXT NOT NULL,
    subject     TEXT NOT NULL,
    recipient   TEXT NOT NULL,
    data        TEXT NOT NULL,
    value       TEXT NOT NULL,
    most_cost   TEXT,
    least_gas   INTEGER NOT NULL,
    attempts    TEXT NOT NULL CHECK (json_valid(attempts)),
    cancel      INTEGER NOT NULL CHECK (cancel IN (0, 1)),
    state       TEXT NOT NULL CHECK (state IN
                ('planned', 'recorded', 'sent', 'mined', 'failed', 'refused', 'cancelled', 'lost')),
    hash        TEXT,
    block       INTEGER,
    gas_used    INTEGER,
    cost        TEXT,
    l1_fee      TEXT,
    error       TEXT,
    successor   INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_open_transaction ON transactions (chain_id, wallet, purpose, subject)
    WHERE state IN ('planned', 'recorded', 'sent');
CREATE UNIQUE INDEX one_transaction_of_a_number ON transactions (chain_id, wallet, nonce)
    WHERE state IN ('recorded', 'sent');
CREATE INDEX transactions_by_time ON transactions (chain_id, wallet, updated_at);
ALTER TABLE withdrawals ADD COLUMN transaction_id INTEGER;
DROP INDEX one_under_way;
CREATE UNIQUE INDEX one_withdrawal_of_a_stream ON withdrawals (contract, stream_id) WHERE state = 'sent';
";

/// The payment contracts that were used, with what has to be known to follow them, and the hash of their code as it was first
/// seen.
const CONTRACTS: &str = "
CREATE TABLE contracts (
    key         TEXT PRIMARY KEY,
    profile     TEXT NOT NULL CHECK (json_valid(profile)),
    code        TEXT
) STRICT;
";

/// Whether a rental that was stopped for want of payment has given back its CPU and memory.
const HELD: &str = "
ALTER TABLE vms ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1));
UPDATE vms SET held = 1 WHERE unpaid_since IS NOT NULL AND state = 'stopped';
";

/// Streams whose sender has said by a signature what they are to pay: nobody else may say it any more.
const CLAIMS: &str = "
CREATE TABLE claimed_streams (
    contract    TEXT NOT NULL,
    id          TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (contract, id)
) STRICT;
";

/// The books: each entry moves money from one account to another, and is never changed but to say that another one takes it
/// back, or where in the chain it stands. What an event says is booked once. Withdrawals that were recorded before are taken
/// over, without the names of their money, which were not recorded.
const BOOKS: &str = "
CREATE TABLE entries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    chain       INTEGER NOT NULL,
    contract    TEXT,
    stream_id   TEXT,
    vm_id       TEXT,
    renter      TEXT,
    token       TEXT NOT NULL,
    symbol      TEXT,
    decimals    INTEGER,
    kind        TEXT NOT NULL,
    debit       TEXT NOT NULL,
    credit      TEXT NOT NULL CHECK (debit <> credit),
    amount      TEXT NOT NULL,
    source      TEXT NOT NULL CHECK (source IN ('event', 'reading', 'clock', 'older')),
    tx          TEXT,
    log_index   INTEGER,
    block       INTEGER,
    block_hash  TEXT,
    usd         TEXT,
    reverses    INTEGER UNIQUE REFERENCES entries (id),
    reversed    INTEGER NOT NULL DEFAULT 0 CHECK (reversed IN (0, 1))
) STRICT;
CREATE UNIQUE INDEX entry_once ON entries (chain, tx, kind, coalesce(log_index, -1))
    WHERE tx IS NOT NULL AND reverses IS NULL AND reversed = 0;
CREATE INDEX entries_of_stream ON entries (contract, stream_id);
CREATE INDEX entries_by_block ON entries (contract, block);
CREATE INDEX entries_by_time ON entries (at);

CREATE TABLE coins (
    chain       INTEGER PRIMARY KEY,
    symbol      TEXT NOT NULL,
    decimals    INTEGER NOT NULL,
    rated_as    TEXT
) STRICT;

CREATE TABLE book_blocks (
    contract    TEXT NOT NULL,
    number      INTEGER NOT NULL,
    hash        TEXT NOT NULL,
    time        INTEGER NOT NULL,
    PRIMARY KEY (contract, number)
) STRICT;

CREATE TABLE book_streams (
    contract    TEXT NOT NULL,
    id          TEXT NOT NULL,
    vm_id       TEXT,
    sender      TEXT NOT NULL,
    token       TEXT NOT NULL,
    start       INTEGER NOT NULL,
    PRIMARY KEY (contract, id)
) STRICT;

INSERT INTO book_streams
    SELECT contract, id, vm_id, sender, token, min(CAST(start AS INTEGER), 9223372036854775807) FROM streams;
CREATE TEMP TABLE taken_over AS
    SELECT w.id, w.updated_at AS at, CAST(w.contract AS INTEGER) AS chain, w.contract, w.stream_id, w.vm_id,
           b.sender AS renter, w.token, w.paid, w.cost, w.hash AS tx, w.block
    FROM withdrawals w LEFT JOIN book_streams b ON b.contract = w.contract AND b.id = w.stream_id
    WHERE w.state <> 'sent' ORDER BY w.id;
INSERT INTO entries
    (at, chain, contract, stream_id, vm_id, renter, token, kind, debit, credit, amount, source, tx, block)
    SELECT at, chain, contract, stream_id, vm_id, renter, token, 'earned', 'receivable', 'earned', paid, 'older', tx, block
    FROM taken_over WHERE paid IS NOT NULL AND paid <> '0';
INSERT INTO entries
    (at, chain, contract, stream_id, vm_id, renter, token, kind, debit, credit, amount, source, tx, block)
    SELECT at, chain, contract, stream_id, vm_id, renter, token, 'withdrawn', 'wallet', 'receivable', paid, 'older', tx, block
    FROM taken_over WHERE paid IS NOT NULL AND paid <> '0';
INSERT INTO entries
    (at, chain, contract, stream_id, vm_id, renter, token, kind, debit, credit, amount, source, tx, block)
    SELECT at, chain, contract, stream_id, vm_id, renter, '0x0000000000000000000000000000000000000000', 'gas', 'gas',
           'wallet', cost, 'older', tx, block
    FROM taken_over WHERE cost IS NOT NULL AND cost <> '0';
DROP TABLE taken_over;
";

/// What transfers of earnings really moved, as balances tell.
const SWEEPS: &str = "
CREATE TABLE sweeps (
    transaction_id INTEGER PRIMARY KEY REFERENCES transactions (id),
    chain_id    INTEGER NOT NULL,
    wallet      TEXT NOT NULL,
    token       TEXT NOT NULL,
    recipient   TEXT NOT NULL,
    amount      TEXT NOT NULL,
    left_wallet TEXT NOT NULL,
    arrived     TEXT NOT NULL,
    at          INTEGER NOT NULL
) STRICT;
CREATE INDEX sweeps_of_transactions ON transactions (chain_id, wallet, subject) WHERE purpose = 'sweep';
";

/// Streams whose VM was deleted, and which are to be ended so that the rest goes back.
const REFUNDS: &str = "
CREATE TABLE refunds (
    contract    TEXT NOT NULL,
    stream_id   TEXT NOT NULL,
    vm_id       TEXT NOT NULL,
    due_at      INTEGER NOT NULL,
    ending      INTEGER NOT NULL CHECK (ending IN (0, 1)),
    PRIMARY KEY (contract, stream_id)
) STRICT;
";

/// What streams of version 4 were opened for.
const LEASES: &str = "
ALTER TABLE streams ADD COLUMN lease TEXT CHECK (lease IS NULL OR json_valid(lease));
";

/// Who acts as which wallet: tokens as their hashes alone; and the nonces that were used, for as long as they count.
const SESSIONS: &str = "
CREATE TABLE sessions (
    id          TEXT PRIMARY KEY,
    token       TEXT NOT NULL UNIQUE,
    wallet      TEXT NOT NULL,
    vm          TEXT,
    read_only   INTEGER NOT NULL CHECK (read_only IN (0, 1)),
    parent      TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;
CREATE TABLE session_nonces (
    wallet      TEXT NOT NULL,
    nonce       TEXT NOT NULL,
    until       INTEGER NOT NULL,
    PRIMARY KEY (wallet, nonce)
) STRICT, WITHOUT ROWID;
";

/// The block in which a transaction is, by its hash: where that is gone, so is the transaction.
const TRANSACTION_BLOCKS: &str = "
ALTER TABLE transactions ADD COLUMN block_hash TEXT;
CREATE INDEX transactions_by_block ON transactions (chain_id, block) WHERE block_hash IS NOT NULL;
";

/// A reorganisation opens several transactions again that do the same, or of which another has the number by then.
const REOPENED: &str = "
DROP INDEX one_open_transaction;
DROP INDEX one_transaction_of_a_number;
CREATE INDEX open_transactions ON transactions (chain_id, wallet, purpose, subject)
    WHERE state IN ('planned', 'recorded', 'sent');
";

/// When a rental ceased to be paid for, by the chain's own time; and what the tokens are called in which anything was ever
/// paid, as far as that is known.
const FORMER_TOKENS: &str = "
ALTER TABLE vms ADD COLUMN unpaid_chain_time INTEGER;
ALTER TABLE book_streams ADD COLUMN rate TEXT;
CREATE TABLE tokens (
    chain       INTEGER NOT NULL,
    token       TEXT NOT NULL,
    symbol      TEXT NOT NULL,
    decimals    INTEGER NOT NULL,
    rated_as    TEXT,
    PRIMARY KEY (chain, token)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO tokens (chain, token, symbol, decimals, rated_as)
    SELECT json_extract(profile, '$.chain_id'), lower(json_extract(profile, '$.token')),
    json_extract(profile, '$.symbol'), json_extract(profile, '$.decimals'), json_extract(profile, '$.rated_as')
    FROM contracts WHERE json_extract(profile, '$.symbol') IS NOT NULL AND json_extract(profile, '$.decimals') IS NOT NULL
    AND lower(json_extract(profile, '$.token')) <> '0x0000000000000000000000000000000000000000';
INSERT OR IGNORE INTO tokens (chain, token, symbol, decimals)
    SELECT DISTINCT chain, token, symbol, decimals FROM entries WHERE symbol IS NOT NULL AND decimals IS NOT NULL
    AND token <> '0x0000000000000000000000000000000000000000';
";

/// What a renter wanted of the first boot, as JSON; NULL if nothing.
const FIRST_BOOT: &str = "
ALTER TABLE vms ADD COLUMN first_boot TEXT CHECK (first_boot IS NULL OR json_valid(first_boot));
";

/// Every step, oldest first.
const STEPS: [&str; 28] = [
    RENTALS,
    PAYMENTS,
    ADVERTS,
    ADOPTED,
    RATES,
    PORTS,
    QUOTES,
    HISTORY,
    BOOTS,
    PORT_TAGS,
    TRANSACTIONS,
    CONTRACTS,
    HELD,
    CLAIMS,
    BOOKS,
    SWEEPS,
    REFUNDS,
    LEASES,
    SESSIONS,
    TRANSACTION_BLOCKS,
    REOPENED,
    FORMER_TOKENS,
    super::promises::TABLE,
    super::measurements::TABLES,
    FIRST_BOOT,
    super::disk_snapshots::COLUMN,
    super::suspension::COLUMN,
    super::rebuild::COLUMN,
];

/// Every step as it is taken.
pub(super) fn migrations() -> Migrations<'static> {
    Migrations::new(STEPS.into_iter().map(M::up).collect())
}

/// The version of a database in which every step was taken.
pub(super) fn newest() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_is_valid() {
        super::migrations().validate().unwrap();
    }
}
