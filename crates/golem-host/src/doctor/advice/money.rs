//! What is said of money, the chain, and renting.
//!
//! Owns the texts of these headings of the troubleshooting page.

use super::Part::{Table, Text};
use super::Topic;

/// Payments.
pub(super) const PAYMENTS: Topic = Topic {
    heading: "Payments",
    parts: &[Table(
        ["message", "what it means"],
        &[
            (
                "`the chain has made no block for …`",
                "the chain stands still, or its endpoint does: name several in `GOLEM_PROVIDER_L2_RPC_URL`. Chains with slow blocks: `maximum_head_age_seconds` in the network's profile",
            ),
            (
                "`the newest block is … behind this machine's clock`",
                "the clock is wrong (`timedatectl`), or the endpoint is. With a wrong clock the chain is believed after it was followed for a minute",
            ),
            (
                "`an RPC endpoint is left alone for a while; others are asked`",
                "`status` names it and what is wrong; it is asked again by itself",
            ),
            (
                "`the payment chain cannot be asked; rentals run on`",
                "the endpoint is down or lies; `golem-provider networks check` says how. VMs that are paid for run on; creates are told to try later",
            ),
            (
                "`the RPC endpoint is of chain …, not …`",
                "`GOLEM_PROVIDER_L2_RPC_URL` and `GOLEM_PROVIDER_PAYMENTS_NETWORK` do not belong together",
            ),
            (
                "`the contract at the payment address is …`",
                "the profile names another contract than is there: [contracts.md](contracts.md)",
            ),
            ("`no contract at the payment address`", "the address is of another chain: `networks show`"),
            (
                "`invalid stream: recipient mismatch`",
                "the stream pays somebody else, was terminated, or is none of this contract",
            ),
            (
                "`the RPC endpoint does not know stream …`",
                "the renter's endpoint is behind the block that opened the stream; nothing is forgotten. Give the same command again, or another endpoint by `--rpc-url`",
            ),
            (
                "`invalid stream: … (looked for on …)`",
                "the node takes such streams on several networks, and none of those named has one that pays; what is wrong is of the first that has one to this node",
            ),
            (
                "`invalid stream: rate below price`",
                "the renter pays less than the price; `GOLEM_PROVIDER_STREAM_ENFORCE_RATE=false` lets them",
            ),
            (
                "`invalid quote: …`",
                "the quote is over (15 minutes), for another size, or not of this node and contract: the renter asks for another",
            ),
            (
                "`no price is known yet`",
                "a quote needs a price in GLM: the feed has not answered, or `GOLEM_PROVIDER_PRICE_GLM_*` are 0",
            ),
            ("`invalid stream: already used by another VM`", "one stream pays for one VM"),
            (
                "a VM is `stopped: its stream has run out`",
                "top the stream up, or attach another; after the hold it is deleted",
            ),
            (
                "`gas would cost … more than … %`",
                "wait until more has vested, or raise `GOLEM_PROVIDER_STREAM_WITHDRAW_GAS_PERCENT`",
            ),
            (
                "`the wallet has … wei, and up to … are needed for gas`",
                "send some to `wallet show`'s address; on test networks `wallet faucet`",
            ),
            (
                "`another transaction of the same wallet took its number`",
                "the key is used by another program as well: give the node its own",
            ),
        ],
    )],
};

/// Renting.
pub(super) const RENTING: Topic = Topic {
    heading: "Renting",
    parts: &[Table(
        ["message", "what to do"],
        &[
            (
                "`… which none of your networks is`",
                "the provider wants to be paid by a contract that you have not named: `networks add`, if you trust it",
            ),
            (
                "`transaction … is in no block yet`",
                "nothing is lost: the same command goes on, `rent destroy` undoes",
            ),
            (
                "`its stream is not known to have ended`",
                "the chain cannot be asked: `rent destroy` again, later, or with `--rpc-url`",
            ),
            (
                "`another rent command uses the wallet now`",
                "wait for it; `rent keep` has the wallet only while it pays",
            ),
            (
                "`the quote is not signed by …`",
                "somebody between you and the provider, or a provider that is another: do not pay",
            ),
        ],
    )],
};

/// Money does not come.
pub(super) const MONEY_DOES_NOT_COME: Topic = Topic {
    heading: "Money does not come",
    parts: &[
        Text("`golem-provider wallet transactions` lists what waits for a block, and why; `--all` what ended.

- *gas costs … gwei*: more than the network's cap. It waits until gas is cheaper; `GOLEM_PROVIDER_MAX_GAS_PRICE_GWEI` allows more.
- *what is left of today's … coins*: the daily limit on gas. It goes on at midnight UTC; `GOLEM_PROVIDER_DAILY_GAS_LIMIT` allows more.
- *was dropped, sent again*: the endpoint forgot it. It is sent again by itself, and its fee is raised when its turn comes.
- *another transaction of the same wallet took its number*: the key is used elsewhere. The node does the same again; use the key here only.
- *skipped: gas would cost …*: it is not worth its gas yet. `golem-provider streams withdraw --all --force` fetches it anyway.

`golem-provider wallet cancel NUMBER` replaces a transaction by one that does nothing.

**A contract that no network profile names**: rentals are paid in it, and the node does not know where it is. Add a network with its
chain id and address (`golem-provider networks add`), and start the node again. After a change of network or contract, earlier ones are
followed by the profile as it was used, until their money is fetched."),
    ],
};

/// The books differ from the chain.
pub(super) const THE_BOOKS_DIFFER_FROM_THE_CHAIN: Topic = Topic {
    heading: "The books differ from the chain",
    parts: &[
        Text("The node writes down every payment that an event of the payment contract tells of, and compares that with the chain once a day.
`golem-provider books check` does so at once: it names every difference, exits with 1 where there is one and with 2 where the
chain could not be read. `golem-provider books check --repair` books what is missing and takes back what the chain does not have;
nothing is deleted. Old logs have to be had from the network's endpoint for it (an archive node, or one that keeps logs).

`golem-provider status` says when they were last compared, and what was missing. *cannot be compared with the chain*: no endpoint of
the network answers `eth_getLogs`. Until one does, payments are booked as the streams say of themselves (`reading` in the
column `source` of `earnings --csv`, without a transaction): what a stream paid when it was ended is then known to the last look before, at least. Events
take the place of that as soon as they can be read."),
    ],
};
