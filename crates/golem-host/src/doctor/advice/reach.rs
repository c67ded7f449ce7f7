//! What is said of renters who do not find or reach the node.
//!
//! Owns the texts of these headings of the troubleshooting page.

use super::Part::{Table, Text};
use super::Topic;

/// Renters do not find the node.
pub(super) const RENTERS_DO_NOT_FIND_THE_NODE: Topic = Topic {
    heading: "Renters do not find the node",
    parts: &[
        Text("`golem-provider status` names what is in the way, and `golem-provider market` shows what renters see.

- *the RPC endpoint does not answer*, or *HTTP status …*: the market's network is down or gone. The seed's network
  is presumed dead. Name another with `GOLEM_PROVIDER_GOLEM_BASE_NETWORK` (`tiramisu`, or a file
  `markets/<name>.toml` in the data directory), or its endpoint with `GOLEM_PROVIDER_GOLEM_BASE_RPC_URL`.
- *the discovery server does not answer*: `curl $GOLEM_PROVIDER_DISCOVERY_URL/health` from this machine tells whether it
  is reached. With `GOLEM_PROVIDER_LOG_LEVEL=debug` the log has a line for each post.
- *the discovery server refused with HTTP status 422*: the published server takes IPv4 addresses only.
- *this node has no https endpoint*: the web page of renters shows only nodes with one. It is not served yet; others find the
  node on another market of `GOLEM_PROVIDER_ADVERTISERS`.
- *the discovery server cannot be used*, and a server's address: `GOLEM_PROVIDER_DISCOVERY_WS_URL` names it; the words after it are
  the server's, or those of the connection (a certificate, a proxy, a silence). *…fix: set the clock* means this machine's. *a newer
  connection of this provider is there*: two nodes run with one key.
- *the wallet has … wei*: send gas on that network to the address that `golem-provider wallet show` prints. On test
  networks the node asks a faucet for it; the log says why that sent none (`GOLEM_PROVIDER_FAUCET_URL`).
- *its public address is not known*: the log says what each server of `GOLEM_PROVIDER_PUBLIC_IP_SOURCES` answered. Name
  others there, or set `GOLEM_PROVIDER_PUBLIC_IP` to the router's address. An address that changes is noticed within ten
  minutes (`GOLEM_PROVIDER_PUBLIC_IP_INTERVAL_SECONDS`).
- *renters are told an address that the internet does not reach*: `GOLEM_PROVIDER_PUBLIC_IP` is one of a local network.
- *the node is not offered*: it is draining, `GOLEM_PROVIDER_ADVERTISERS` is `none`, or it stopped with
  `--withdraw-advert` and was not started again."),
    ],
};

/// Behind a proxy.
pub(super) const BEHIND_A_PROXY: Topic = Topic {
    heading: "Behind a proxy",
    parts: &[
        Text("`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` in the node's environment are read as curl reads them, with
`http://`, `https://`, `socks5://` and `socks5h://`. An error that went through one says *through the proxy … (HTTP_PROXY)*.
This machine (`localhost`, `127.0.0.0/8`, `::1`) is never asked through a proxy. Nor is who has to see this machine's own
address: check servers, other providers that verify ports, and the servers that tell the public address. Name what the
proxy does not reach in `NO_PROXY`, for example `NO_PROXY=10.0.0.0/8,.lab.example`. As a service, the variables belong
into `/etc/golem-provider/env`."),
    ],
};

/// Ports.
pub(super) const PORTS: Topic = Topic {
    heading: "Ports",
    parts: &[
        Text("`golem-provider ports check` has every port tried from outside and names what is in the way, whether or not the node
runs. It listens on the free ports meanwhile; nothing else has to be set up."),
        Table(
            ["what it says", "cause and fix"],
            &[
                ("`TCP … is in use by …`", "another program has the port. Stop it, or set `GOLEM_PROVIDER_PORT` (existing clients know 7466 only) or `GOLEM_PROVIDER_PORT_RANGE_START` and `_END`"),
                ("`the firewall of this host keeps TCP … out`", "packets arrive and the host drops them: `ufw allow 7466/tcp`, `ufw allow 50800:50899/tcp`, or your own rules"),
                ("`the router does not forward TCP … to …`", r#"nothing arrives. In the router's settings ("port forwarding", "NAT", "virtual server"), forward these ports over TCP to the address that is named. Give this machine a fixed address there, too. Or have the router asked: [Port mapping](#port-mapping)"#),
                ("`TCP … is kept out before it reaches this host`", "the host has the public address itself: open the ports where it is rented (security group, cloud firewall); over IPv6 at home, in the firewall of the router"),
                ("`TCP … cannot be reached from outside`", "router or firewall: run it as root, which can tell which"),
                ("`something else answers on TCP …`", "the router keeps the port for itself (its settings page, a VPN) or forwards it to another machine"),
            ],
        ),
        Text("What is in the way of https: [https.md](https.md#if-there-is-none).

Only ports that were seen to be reachable are rented out. One that stops being so is not handed out again, and its VM
runs on. `GOLEM_PROVIDER_SKIP_PORT_VERIFICATION=true` (or `start --no-verify-port`) hands out whatever is free."),
    ],
};

/// Port mapping.
pub(super) const PORT_MAPPING: Topic = Topic {
    heading: "Port mapping",
    parts: &[
        Text("`golem-provider ports map` asks the router to forward the ports, and undoes that on Ctrl-C. With
`GOLEM_PROVIDER_PORT_MAPPING=true` the node does so while it runs. Nothing is asked for otherwise. A router forwards for
an hour at a time, so that what a crash leaves ends by itself; `golem-provider ports unmap` ends it at once.

A small router takes up to half a second for each port: mapping the default hundred, and removing them again, takes some
twenty seconds each. The removal has 45 seconds, also where a node's stop waits for it. A second Ctrl-C ends it at once;
what is still forwarded then is named, and ends with its lease. A router that stops answering is warned about once and
asked again every minute; what it forgot meanwhile is asked for again at the next renewal, after ten minutes at most."),
        Table(
            ["what it says", "cause and fix"],
            &[
                ("`no router forwards the port of the API (…)`", "what each protocol came to is in the brackets. Turn on UPnP, NAT-PMP or PCP in the router's settings, or forward the ports there yourself"),
                ("`the router only forwards without an end`", "an old router. A crash would leave the ports open for ever, so this is not done: forward them yourself"),
                ("`the router's own address … is not globally routable`", "the router stands behind another one: see [The public address](#the-public-address)"),
                ("`the router's address is …, and renters are told …`", "set `GOLEM_PROVIDER_PUBLIC_IP` to the first, or to `auto`"),
                ("`TCP … is not forwarded: the port is taken in the router`", "another machine has it. `GOLEM_PROVIDER_PORT_RANGE_START` and `_END` move the range; those that are forwarded are rented out meanwhile"),
                ("`TCP … was not asked for`", "a router is asked for 128 ports at most, because small ones keep few"),
                ("`this host has the public address … itself`", r#"nothing has to be mapped: the ports only have to be let in by this host's firewall. `--json` says `{"needed": false, "public_address": …}`"#),
                ("`the router may forward TCP … until its lease ends`", "it did not answer, or refused, when it was told to stop. `golem-provider ports unmap` asks again in each protocol; within the hour it ends by itself"),
                ("`It may still forward TCP …`, with `the router refuses (…)`", "PCP lets only who asked for a port end it: another node of this host, or this one before its `operator.token` was replaced"),
            ],
        ),
    ],
};

/// The public address.
pub(super) const THE_PUBLIC_ADDRESS: Topic = Topic {
    heading: "The public address",
    parts: &[Table(
        ["what it says", "cause and fix"],
        &[
            (
                "`the public address is given as …, and a check server sees this node at …`",
                "`GOLEM_PROVIDER_PUBLIC_IP` is wrong or old: set it to the second address, or to `auto`",
            ),
            (
                "`… is not globally routable`",
                "the router stands behind another router, often the internet provider's (100.64.0.0/10). Ask for a public address, or forward on both",
            ),
            (
                "`the check server sees this node at …: it stands in the same network`",
                "a check server behind the same router cannot tell: name one on the internet",
            ),
            (
                "`the public address … is IPv6, and the node listens on IPv4 only`",
                "`GOLEM_PROVIDER_HOST=::` listens on both",
            ),
        ],
    )],
};

/// Check servers.
pub(super) const CHECK_SERVERS: Topic = Topic {
    heading: "Check servers",
    parts: &[
        Text("`no check server answered`, `none of … check servers answers`: what is known of ports stays as it is, and a node of which nothing was ever known
takes no renters (in development it does). Is this machine online, and does its DNS work? Does `curl SERVER/health`
answer? Else name others with `GOLEM_PROVIDER_PORT_CHECK_SERVERS`, or run one on any other machine:
`golem-provider port-checker` (port 9000; it dials who asks, and nobody else).

`check servers contradict each other`: most of those that answer decide; name a third.

`… stands in the same network as this node and not outside`: the router may loop back what comes from inside (hairpin
NAT), or refuse it, whatever it does with what comes from the internet. Name a check server on the internet; beside one,
those inside do not count."),
    ],
};

/// Nothing is wrong, and nobody rents.
pub(super) const NOBODY_RENTS: Topic = Topic {
    heading: "Nothing is wrong, and nobody rents",
    parts: &[Text(
        "The node can be rented, found, reached and paid, and has no VM. Then it is the offer: `golem-provider market` shows where the price stands\n\
         among those of others, and what they have. Renters see the cheapest first, and look for a size: a node that has less than they want is not\n\
         shown. `golem-provider pricing set` changes prices at once; VMs that are rented keep theirs. On a test network there may be no renters\n\
         at all: `GOLEM_PROVIDER_NETWORK` says which it is.",
    )],
};
