//! The table of settings: each variable's name, other names, type, default and documentation,
//! once. The struct, `--help`, `.env.example` and `docs/configuration.md` all come from it.
//!
//! Owns no logic: `value` reads the types, `source` finds the texts, `check` compares settings.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use golem_service::server::TrustedProxies;
use golem_types::ImageName;

use super::alerts::{AlertShape, MailAddresses, MailServer, QuietHours, SecretText, SecretUrl};
use super::lists::{Advertisers, Urls, WebSocketUrls};
use super::name::Name;
use super::reader::Reader;
use super::value::{
    Acme, Address, AdvertiserType, ApiAuth, AtLeastOne, Country, Environment, LogFormat, LogLevel, Network,
    Overcommit, PayoutAddress, Percent, Price, PublicIp, RestartPolicy, Seconds, Secret, Url, Value, VmAccel,
    VmBackend, WebSocketUrl, Wei,
};
use super::variable::Variable;

macro_rules! table {
    (@optional) => { None };
    (@optional $text:literal) => { Some($text) };
    (@flag) => { false };
    (@flag $set:literal) => { $set };
    ($($section:literal $part:ident: $struct:ident { $(
        $(#[doc = $doc:literal])+
        $field:ident: $type:ty = $name:literal
            $(also $alias:literal)* $(default $default:literal)? $(development $development:literal)? $(secret $secret:literal)?
            $(program $program:literal)?;
    )+ })+) => {
        /// Every setting, resolved: what the node runs with. Who needs some takes their part.
        #[derive(Debug, Clone)]
        pub struct Settings { $( #[doc = $section] pub $part: $struct, )+ }

        $(
            #[doc = concat!("The settings under \"", $section, "\".")]
            #[derive(Debug, Clone)]
            pub struct $struct { $( $(#[doc = $doc])+ pub $field: $type, )+ }
        )+

        /// Every variable, in the order of the documentation.
        pub const TABLE: &[Variable] = &[ $($( Variable {
            section: $section,
            name: $name,
            aliases: &[$($alias),*],
            default: table!(@optional $($default)?),
            development: table!(@optional $($development)?),
            secret: table!(@flag $($secret)?),
            program: table!(@flag $($program)?),
            doc: concat!($($doc),+),
            expects: <$type as Value>::expects,
        }, )+)+ ];

        impl Settings {
            /// Reads every variable, so that every mistake is seen; `None` if there was one.
            pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
                $(
                    $( let $field = variable($name).and_then(|row| reader.read::<$type>(row)); )+
                    // Not returned yet: what is wrong in the other parts is told as well.
                    let $part = || Some($struct { $( $field: $field?, )+ });
                    let $part = $part();
                )+
                Some(Self { $( $part: $part?, )+ })
            }
        }
    };
}

table! {
    "Node" node: NodeSettings {
        /// How the node is used. `development` logs more, opens the API to everyone, offers the node
        /// on the `development` network and puts `DEVMODE-` before its name.
        environment: Environment = "GOLEM_ENVIRONMENT" also "GOLEM_PROVIDER_ENVIRONMENT" default "production";
        /// The market in which the node offers itself.
        network: Network = "GOLEM_PROVIDER_NETWORK" default "testnet" development "development";
        /// Name shown to renters.
        name: Name = "GOLEM_PROVIDER_NAME" also "GOLEM_PROVIDER_PROVIDER_NAME" default "golem-provider";
        /// The node's Ethereum address. Only compared: the key in the data directory decides, and
        /// another address here is a warning.
        id: Option<Address> = "GOLEM_PROVIDER_ID" also "GOLEM_PROVIDER_PROVIDER_ID";
        /// Private key of the node, in place of the one in the data directory. A file is the safer
        /// place: other programs of the same user can read the environment.
        private_key: Option<Secret> = "GOLEM_PROVIDER_ETHEREUM_PRIVATE_KEY" secret true;
        /// File with the passphrase of an encrypted key, which only the node's user can read. Unset, it is systemd's
        /// credential `golem-provider-passphrase`, or asked for on a terminal.
        key_passphrase_file: Option<PathBuf> = "GOLEM_PROVIDER_KEY_PASSPHRASE_FILE";
        /// Country in which the machine stands.
        country: Country = "GOLEM_PROVIDER_COUNTRY" also "GOLEM_PROVIDER_PROVIDER_COUNTRY" default "SE";
        /// Index of releases in which `status` looks for a newer version: JSON with `info.version`, as indexes of
        /// Python packages have it. Unset, nobody is asked.
        update_check_url: Option<Url> = "GOLEM_PROVIDER_UPDATE_CHECK_URL";
        /// How many days the node remembers rentals that ended, and their events; 0 means for good. What was
        /// paid, and what can still be, is always remembered.
        history_days: u32 = "GOLEM_PROVIDER_HISTORY_DAYS" default "90";
        /// Where the node keeps its key, its ledger, images and VMs.
        data_dir: PathBuf = "GOLEM_PROVIDER_DATA_DIR" default "~/.golem/provider";
    }
    "Public API" api: PublicApiSettings {
        /// Address on which the public API and the SSH ports listen.
        host: IpAddr = "GOLEM_PROVIDER_HOST" default "0.0.0.0";
        /// Port of the public API. Existing clients expect the default.
        port: NonZeroU16 = "GOLEM_PROVIDER_PORT" default "7466";
        /// Address that renters are told. `auto` asks servers for it; in development it takes this
        /// machine's address on its network.
        public_ip: PublicIp = "GOLEM_PROVIDER_PUBLIC_IP" default "auto";
        /// Servers that return their caller's public address, as text or as JSON with `ip`, separated by commas.
        /// Two have to agree.
        public_ip_sources: Urls = "GOLEM_PROVIDER_PUBLIC_IP_SOURCES" default "https://api.ipify.org,https://ifconfig.me/ip,https://icanhazip.com,https://api.my-ip.io/ip";
        /// Seconds between two checks for a changed public address.
        public_ip_interval: Duration = "GOLEM_PROVIDER_PUBLIC_IP_INTERVAL_SECONDS" default "600";
        /// Who may use a VM over the public API: with `capability` whoever knows its unguessable id;
        /// with `open` everyone, which is refused on mainnet.
        api_auth: ApiAuth = "GOLEM_PROVIDER_API_AUTH" default "capability" development "open";
        /// Requests that one address (of IPv6 a /64) may make in a minute; a network (a /24, of IPv6 a /48)
        /// may make ten times as many. 0 turns the limit off.
        rate_limit_per_minute: u32 = "GOLEM_PROVIDER_RATE_LIMIT_PER_MINUTE" default "100";
        /// Reverse proxies before this node, or before its discovery or check server, as addresses or
        /// networks. The client's address is taken from `X-Forwarded-For` or `Forwarded` where one of these
        /// sends it, and from nobody else.
        trusted_proxies: TrustedProxies = "GOLEM_PROVIDER_TRUSTED_PROXIES";
    }
    "https" https: HttpsSettings {
        /// File with the certificate for https, and its issuers' behind it, as PEM. A new one in its place is taken
        /// without a restart.
        certificate: Option<PathBuf> = "GOLEM_PROVIDER_TLS_CERT";
        /// File with its key, which only the node's user may read.
        key: Option<PathBuf> = "GOLEM_PROVIDER_TLS_KEY";
        /// Port of https, beside the plain one. Authorities that validate over TLS come to 443.
        port: NonZeroU16 = "GOLEM_PROVIDER_TLS_PORT" default "443";
        /// Whether the node obtains a certificate for its public address where none is given, and renews it: over
        /// TCP 443, else 80. `auto` accepts the authority's terms of use.
        acme: Acme = "GOLEM_PROVIDER_ACME" default "auto" development "off";
        /// Directory of the authority that gives it (ACME).
        directory: Url = "GOLEM_PROVIDER_ACME_DIRECTORY" default "https://acme-v02.api.letsencrypt.org/directory";
    }
    "SSH ports" ports: PortSettings {
        /// First port that a VM may get.
        port_range_start: NonZeroU16 = "GOLEM_PROVIDER_PORT_RANGE_START" default "50800";
        /// End of the range of ports that VMs get, exclusive.
        port_range_end: NonZeroU16 = "GOLEM_PROVIDER_PORT_RANGE_END" default "50900";
        /// Servers that try from outside whether ports are reachable, separated by commas or as a list in
        /// brackets. Most of those that answer decide; `golem-provider port-checker` runs one of your own.
        port_check_servers: Urls = "GOLEM_PROVIDER_PORT_CHECK_SERVERS"
            default "https://ports1.golem.network,https://ports2.golem.network" development "http://localhost:9000";
        /// Whether ports are handed out that nobody has seen to be reachable. Otherwise a port is used only after a
        /// server has reached it; in development, also as long as no server has answered.
        skip_port_verification: bool = "GOLEM_PROVIDER_SKIP_PORT_VERIFICATION" default "false";
        /// Whether this node tries the ports of other providers and has its own tried by them, found on
        /// the market's network: no central server is needed then.
        verify_peers: bool = "GOLEM_PROVIDER_VERIFY_PEERS" default "false";
        /// Whether the node asks the router to forward its ports (PCP, NAT-PMP or UPnP-IGD) while it runs, and
        /// has that undone when it stops.
        port_mapping: bool = "GOLEM_PROVIDER_PORT_MAPPING" default "false";
    }
    "Discovery server" discovery_server: DiscoveryServerSettings {
        /// Address on which `golem-provider discovery` listens.
        host: IpAddr = "GOLEM_DISCOVERY_HOST" default "0.0.0.0";
        /// TCP port of the discovery server.
        port: NonZeroU16 = "GOLEM_DISCOVERY_PORT" default "9001";
        /// Folder in which it keeps its adverts.
        dir: PathBuf = "GOLEM_DISCOVERY_DATABASE_DIR" default "~/.golem/discovery";
        /// File name of its database there.
        file: String = "GOLEM_DISCOVERY_DATABASE_NAME" default "discovery.db";
        /// Requests that one address may make in a minute; 0 turns the limit off.
        limit: u32 = "GOLEM_DISCOVERY_RATE_LIMIT_PER_MINUTE" default "100";
        /// Whether it takes only adverts that their providers signed. The original's providers do not.
        signed: bool = "GOLEM_DISCOVERY_REQUIRE_SIGNATURES" default "false";
    }
    "Port check server" port_checker: PortCheckerSettings {
        /// Address on which `golem-provider port-checker` listens.
        host: IpAddr = "GOLEM_PROVIDER_PORT_CHECKER_HOST" also "PORT_CHECKER_HOST" default "0.0.0.0";
        /// TCP port of the port check server.
        port: NonZeroU16 = "GOLEM_PROVIDER_PORT_CHECKER_PORT" also "PORT_CHECKER_PORT" default "9000";
    }
    "Operator API" operator: OperatorApiSettings {
        /// Port of the operator API, which listens on 127.0.0.1 only.
        operator_port: NonZeroU16 = "GOLEM_PROVIDER_OPERATOR_PORT" default "7467";
    }
    "VMs" vms: VmSettings {
        /// What makes the VMs. `sim` only pretends, for trying the API; `auto` takes Multipass where
        /// its program is found, else QEMU.
        vm_backend: VmBackend = "GOLEM_PROVIDER_VM_BACKEND" default "auto";
        /// The `multipass` program; unset, it is looked for in PATH and where its installers put it.
        multipass_binary_path: Option<PathBuf> = "GOLEM_PROVIDER_MULTIPASS_BINARY_PATH" program true;
        /// What runs the guests' processors; `auto` takes KVM where guests can use it, else TCG, which is
        /// slow and no security boundary. With `kvm` the node does not start where they cannot.
        vm_accel: VmAccel = "GOLEM_PROVIDER_VM_ACCEL" default "auto";
        /// Whether VMs are rented out for real money where they run on TCG, which QEMU's makers do not call
        /// a security boundary.
        allow_tcg: bool = "GOLEM_PROVIDER_ALLOW_TCG" default "false";
        /// Whether guests may run virtual machines themselves, on x86.
        nested_virtualization: bool = "GOLEM_PROVIDER_NESTED_VIRTUALIZATION" default "false";
        /// Image of a VM whose renter names none.
        default_vm_image: ImageName = "GOLEM_PROVIDER_DEFAULT_VM_IMAGE" default "24.04";
        /// After how many days images that were downloaded are replaced by their publishers' newest; VMs keep
        /// what they started from. 0 leaves them as they are.
        image_refresh_days: u32 = "GOLEM_PROVIDER_IMAGE_REFRESH_DAYS" default "30";
        /// Most VMs at a time.
        max_vms: AtLeastOne = "GOLEM_PROVIDER_MAX_VMS" default "10";
        /// Most snapshots of its disk that one VM may have; 0 offers none. Each counts as storage that is rented out, as large as
        /// the VM's disk, for as long as it is there, and costs its renter nothing.
        max_snapshots: u32 = "GOLEM_PROVIDER_MAX_SNAPSHOTS" default "2";
        /// Whether the quote of a lease keeps its VM's cores, memory and storage for its renter until it is over, for 15
        /// minutes. Quotes cost nothing: one renter's address and one IP address have one at a time that does, one network
        /// (a /24, an IPv6 /48) two, and all together at most half of what is rented out. Others are quotes like any.
        quote_reserves: bool = "GOLEM_PROVIDER_QUOTE_RESERVES" default "false";
        /// Cores of this machine to rent out; unset, all that the node may use, less one from four on.
        rent_cpu: Option<AtLeastOne> = "GOLEM_PROVIDER_RENT_CPU";
        /// Memory to rent out, in GiB; unset, all that the node may use, less half a GiB or a twentieth for the
        /// machine itself. More than that is never rented out, and neither is what running the VMs takes.
        rent_memory_gb: Option<AtLeastOne> = "GOLEM_PROVIDER_RENT_MEMORY_GB";
        /// Storage to rent out, in GiB; unset, all of the volume on which VMs' disks lie, less 2 GiB or a twentieth.
        /// More than that is never rented out.
        rent_storage_gb: Option<AtLeastOne> = "GOLEM_PROVIDER_RENT_STORAGE_GB";
        /// Virtual CPUs that are rented out for each core.
        cpu_overcommit: Overcommit = "GOLEM_PROVIDER_CPU_OVERCOMMIT" default "1.0";
        /// Least CPU cores that a renter may ask for.
        min_cpu_cores: AtLeastOne = "GOLEM_PROVIDER_MIN_CPU_CORES" default "1";
        /// Least memory that a renter may ask for, in GiB.
        min_memory_gb: AtLeastOne = "GOLEM_PROVIDER_MIN_MEMORY_GB" default "1";
        /// Least storage that a renter may ask for, in GiB.
        min_storage_gb: AtLeastOne = "GOLEM_PROVIDER_MIN_STORAGE_GB" default "10";
        /// Percent of the CPU in use above which no new VM is granted.
        cpu_threshold: Percent = "GOLEM_PROVIDER_CPU_THRESHOLD" default "90";
        /// Percent of memory in use above which no new VM is granted.
        memory_threshold: Percent = "GOLEM_PROVIDER_MEMORY_THRESHOLD" default "85";
        /// Percent of the disk in use above which no new VM is granted.
        storage_threshold: Percent = "GOLEM_PROVIDER_STORAGE_THRESHOLD" default "90";
        /// Whether guests may send mail to other servers (TCP port 25), which spreads spam and puts this
        /// machine's address on block lists. Submission with a password (465, 587) is always open.
        allow_smtp: bool = "GOLEM_PROVIDER_ALLOW_SMTP" default "false";
        /// Most connections that a VM may have to the outside at a time; 0 turns the cap off. Half a
        /// MiB of this machine's memory is set aside for each.
        vm_max_connections: u32 = "GOLEM_PROVIDER_VM_MAX_CONNECTIONS" default "256";
        /// Megabits a second that a VM may send, and as many that it may receive; 0 turns the cap off.
        vm_bandwidth_mbit: u32 = "GOLEM_PROVIDER_VM_BANDWIDTH_MBIT" default "0";
        /// Megabytes a second that a VM may read from its disk, and as many that it may write, each with at most 61
        /// operations a second for each of them; 0 turns the cap off.
        vm_disk_rate: u32 = "GOLEM_PROVIDER_VM_DISK_MB_PER_SECOND" default "250";
        /// How long a guest may take until its SSH server answers, in seconds. Without KVM a cloud
        /// image needs minutes.
        boot_timeout: Duration = "GOLEM_PROVIDER_BOOT_TIMEOUT_SECONDS" also "GOLEM_PROVIDER_LAUNCH_TIMEOUT_SECONDS" default "600";
        /// How long a guest may take to shut down before its power is cut, in seconds.
        stop_grace: Duration = "GOLEM_PROVIDER_STOP_GRACE_SECONDS" default "60";
        /// What to do when a guest is shut down from inside: with `on-failure` it stays off, and goes
        /// on being paid for, until it is started; with `always` it is booted again. One that crashes is booted
        /// again in any case.
        restart_policy: RestartPolicy = "GOLEM_PROVIDER_RESTART_POLICY" default "on-failure";
        /// Whether VMs are shut down when the node stops; otherwise they run on and are taken back
        /// at the next start.
        stop_vms_on_exit: bool = "GOLEM_PROVIDER_STOP_VMS_ON_EXIT" default "false";
    }
    "Payments" payments: PaymentSettings {
        /// The networks on which rentals are paid for, one or several separated by commas: profiles that ship, or that were added with
        /// `golem-provider networks add`. Renters who name none pay on the first, for which the following settings count. `auto` is
        /// `hoodi`; and `l2.holesky` where one of the endpoint, contract, token or deployment file below is set.
        payments_network: String = "GOLEM_PROVIDER_PAYMENTS_NETWORK" default "auto";
        /// JSON-RPC endpoints of that chain, in place of the profile's: one, or several separated by commas. Load is spread
        /// over them, and one that fails or is of another chain is left out.
        payments_rpc_url: Option<Urls> = "GOLEM_PROVIDER_L2_RPC_URL" also "GOLEM_PROVIDER_KAOLIN_RPC_URL" also "GOLEM_PROVIDER_POLYGON_RPC_URL";
        /// The payment contract, in place of the profile's. `0x0` turns payments off: VMs are free.
        stream_payment_address: Option<Address> = "GOLEM_PROVIDER_STREAM_PAYMENT_ADDRESS";
        /// Token of the streams, in place of the profile's; `0x0` is the chain's own money.
        glm_token_address: Option<Address> = "GOLEM_PROVIDER_GLM_TOKEN_ADDRESS";
        /// Folder with a deployment file `l2.json`, whose contract and token replace those of the
        /// profile `l2.holesky`.
        deployments_dir: Option<PathBuf> = "GOLEM_DEPLOYMENTS_DIR" also "GOLEM_PROVIDER_DEPLOYMENTS_DIR";
        /// Address to which what was earned is sent as it comes in, coin and token. Unset, it stays in the node's wallet.
        payout_address: Option<PayoutAddress> = "GOLEM_PROVIDER_PAYOUT_ADDRESS";
        /// Coins of the chain that stay in the wallet for gas; unset, enough for some days at what gas costs.
        payout_float: Option<Price> = "GOLEM_PROVIDER_PAYOUT_FLOAT";
        /// Whether a stream has to pay the advertised price.
        stream_enforce_rate: bool = "GOLEM_PROVIDER_STREAM_ENFORCE_RATE" default "true";
        /// Whether the stream of a VM that is deleted is ended by the node, where that is worth the gas, so that the rest
        /// goes back to its renter; two minutes later, unless the renter does.
        refund_on_delete: bool = "GOLEM_PROVIDER_REFUND_ON_DELETE" default "true";
        /// Whether VMs are rented out for streams of any rate while no price is known, because no feed answers and none
        /// is set; otherwise none are.
        allow_unpriced: bool = "GOLEM_PROVIDER_ALLOW_UNPRICED" default "false" development "true";
        /// Least payment that has to be left for a VM to be made and to run, in seconds.
        stream_min_remaining: Seconds = "GOLEM_PROVIDER_STREAM_MIN_REMAINING_SECONDS" default "0";
        /// Least payment that has to be left for a VM to be made, and to run again after it was stopped for want of
        /// payment, in seconds.
        stream_min_create: Seconds = "GOLEM_PROVIDER_STREAM_MIN_CREATE_SECONDS" default "600";
        /// How long before a VM would be stopped the log warns of it, in seconds.
        stream_warning: Seconds = "GOLEM_PROVIDER_STREAM_WARNING_SECONDS" default "600";
        /// How long the disk of a VM that is not paid for is held until it is deleted, in seconds.
        stream_hold: Seconds = "GOLEM_PROVIDER_STREAM_HOLD_SECONDS" default "86400";
        /// How long a VM runs on after its last known stop time while the chain cannot be asked,
        /// in seconds.
        stream_grace: Seconds = "GOLEM_PROVIDER_STREAM_GRACE_SECONDS" default "3600";
        /// Whether streams are followed, and VMs stopped when theirs ends.
        stream_monitor_enabled: bool = "GOLEM_PROVIDER_STREAM_MONITOR_ENABLED" default "true";
        /// How often streams are looked at, in seconds.
        stream_monitor_interval: Duration = "GOLEM_PROVIDER_STREAM_MONITOR_INTERVAL_SECONDS" default "30";
        /// Whether vested money is withdrawn without being asked.
        stream_withdraw_enabled: bool = "GOLEM_PROVIDER_STREAM_WITHDRAW_ENABLED" default "false";
        /// How often money is withdrawn from each stream, in seconds.
        stream_withdraw_interval: Duration = "GOLEM_PROVIDER_STREAM_WITHDRAW_INTERVAL_SECONDS" default "1800";
        /// Least amount that is withdrawn, in wei.
        stream_min_withdraw: Wei = "GOLEM_PROVIDER_STREAM_MIN_WITHDRAW_WEI" default "0";
        /// Most that gas may cost, in percent of what is withdrawn. A token counts by its rate against the chain's own
        /// money; where no rate is known, the least amount has to be set.
        stream_withdraw_gas_percent: Percent = "GOLEM_PROVIDER_STREAM_WITHDRAW_GAS_PERCENT" default "10";
        /// Most that a unit of gas may cost, in gwei, in place of what the network's profile says; what would cost more
        /// waits.
        max_gas_price: Option<Price> = "GOLEM_PROVIDER_MAX_GAS_PRICE_GWEI";
        /// Most of the chain's own money that gas may cost in a day, by UTC, on each network; the rest waits for the next
        /// day. By default 0.05 ETH, 10 of another coin, 1 of test money.
        daily_gas_limit: Option<Price> = "GOLEM_PROVIDER_DAILY_GAS_LIMIT";
    }
    "Prices" prices: PriceSettings {
        /// Price of a CPU core for a month of 730 hours, in US dollars.
        price_usd_core: Price = "GOLEM_PROVIDER_PRICE_USD_PER_CORE_MONTH" default "5";
        /// Price of a GiB of memory for a month, in US dollars.
        price_usd_memory: Price = "GOLEM_PROVIDER_PRICE_USD_PER_GB_RAM_MONTH" default "2";
        /// Price of a GiB of storage for a month, in US dollars.
        price_usd_storage: Price = "GOLEM_PROVIDER_PRICE_USD_PER_GB_STORAGE_MONTH" default "0.1";
        /// Price of a CPU core for a month, in GLM; 0 is not known.
        price_glm_core: Price = "GOLEM_PROVIDER_PRICE_GLM_PER_CORE_MONTH" default "0";
        /// Price of a GiB of memory for a month, in GLM; 0 is not known.
        price_glm_memory: Price = "GOLEM_PROVIDER_PRICE_GLM_PER_GB_RAM_MONTH" default "0";
        /// Price of a GiB of storage for a month, in GLM; 0 is not known.
        price_glm_storage: Price = "GOLEM_PROVIDER_PRICE_GLM_PER_GB_STORAGE_MONTH" default "0";
        /// Whether prices in GLM follow the rate of the dollar; otherwise those above count.
        pricing_update_enabled: bool = "GOLEM_PROVIDER_PRICING_UPDATE_ENABLED" default "true";
        /// Where rates come from: servers that answer as CoinGecko does, separated by commas. The next is
        /// asked when one does not answer.
        coingecko_api_url: Urls = "GOLEM_PROVIDER_COINGECKO_API_URL" default "https://api.coingecko.com/api/v3";
        /// Names of GLM at those servers, separated by commas; the first that is known counts.
        coingecko_ids: String = "GOLEM_PROVIDER_COINGECKO_IDS" default "golem,golem-network-tokens";
        /// Least change of a rate that changes prices, in percent.
        pricing_min_delta: Percent = "GOLEM_PROVIDER_PRICING_UPDATE_MIN_DELTA_PERCENT" default "1";
        /// How often rates are asked for, in seconds.
        pricing_interval: Duration = "GOLEM_PROVIDER_PRICING_UPDATE_INTERVAL_SECONDS" also "GOLEM_PROVIDER_PRICING_UPDATE_INTERVAL_DISCOVERY" default "900";
    }
    "Market" market: MarketSettings {
        /// Where the node offers itself: on discovery servers that show who is connected (`websocket`, what renters'
        /// web page reads; it shows only nodes with an https endpoint), on the network of Golem Base or its successor
        /// (`arkiv`), on a discovery server that is posted to (`http`), or nowhere (`none`). Unset, the setting
        /// `ADVERTISER_TYPE` counts; where that is unset, too, the networks on which rentals are paid: `websocket` where a
        /// profile names discovery servers, `arkiv` where one names none.
        advertisers: Option<Advertisers> = "GOLEM_PROVIDER_ADVERTISERS";
        /// Discovery servers that show who is connected, in place of those of the networks' profiles. `golem-provider rent`
        /// looks there, too.
        discovery_ws_url: Option<WebSocketUrls> = "GOLEM_PROVIDER_DISCOVERY_WS_URL";
        /// Where the node offers itself, as earlier versions have it: on the network of Golem Base, on a discovery
        /// server that is posted to, on both, or nowhere.
        advertiser_type: Option<AdvertiserType> = "GOLEM_PROVIDER_ADVERTISER_TYPE";
        /// Discovery server on which adverts are posted.
        discovery_url: Url = "GOLEM_PROVIDER_DISCOVERY_URL" default "http://discovery.golem.network:9001";
        /// How often they are posted there when nothing changes, in seconds. Servers forget them after 300.
        discovery_interval: Duration = "GOLEM_PROVIDER_DISCOVERY_ADVERTISEMENT_INTERVAL" also "GOLEM_PROVIDER_ADVERTISEMENT_INTERVAL" default "240";
        /// The network on which adverts are kept: a profile that ships (`ethwarsaw.holesky`,
        /// `tiramisu`), or a file `markets/<name>.toml` in the data directory.
        market_network: String = "GOLEM_PROVIDER_GOLEM_BASE_NETWORK" default "ethwarsaw.holesky";
        /// JSON-RPC endpoint of that network, in place of the profile's.
        golem_base_rpc_url: Option<Url> = "GOLEM_PROVIDER_GOLEM_BASE_RPC_URL";
        /// Taken and not used: only the original opens a WebSocket.
        golem_base_ws_url: Option<WebSocketUrl> = "GOLEM_PROVIDER_GOLEM_BASE_WS_URL";
        /// JSON-RPC endpoint in development, in place of the one above.
        golem_base_dev_rpc_url: Option<Url> = "GOLEM_PROVIDER_GOLEM_BASE_DEV_RPC_URL" also "GOLEM_BASE_DEV_RPC_URL";
        /// Taken and not used, as the one above.
        golem_base_dev_ws_url: Option<WebSocketUrl> = "GOLEM_PROVIDER_GOLEM_BASE_DEV_WS_URL" also "GOLEM_BASE_DEV_WS_URL";
        /// Half the life of an advert, in blocks of two seconds; it is extended in time.
        golem_base_advertisement_interval: Duration = "GOLEM_PROVIDER_GOLEM_BASE_ADVERTISEMENT_INTERVAL" also "GOLEM_BASE_ADVERTISEMENT_INTERVAL" default "3600";
    }
    "Test money" faucets: FaucetSettings {
        /// Faucet of the market's network, in place of the profile's; asked for gas when the node starts
        /// and when gas runs low, and only on test networks.
        faucet_url: Option<Url> = "GOLEM_PROVIDER_FAUCET_URL";
        /// Captcha server of that faucet, in place of the profile's.
        captcha_url: Option<Url> = "GOLEM_PROVIDER_CAPTCHA_URL";
        /// The faucet's site at the captcha server, in place of the profile's.
        captcha_key: Option<String> = "GOLEM_PROVIDER_CAPTCHA_API_KEY";
        /// Faucet of the payment network, in place of the profile's; only asked on test networks.
        l2_faucet_url: Option<Url> = "GOLEM_PROVIDER_L2_FAUCET_URL";
        /// Captcha server of that faucet, in place of the profile's.
        l2_captcha_url: Option<Url> = "GOLEM_PROVIDER_L2_CAPTCHA_URL";
        /// The faucet's site at the captcha server, in place of the profile's.
        l2_captcha_key: Option<String> = "GOLEM_PROVIDER_L2_CAPTCHA_API_KEY";
    }
    "Renting" renting: RentingSettings {
        /// Where `golem-provider rent` keeps its wallet and what it rents.
        renter_dir: PathBuf = "GOLEM_RENTER_DIR" default "~/.golem/renter";
        /// Private key of the renter's wallet, in place of the one in that folder.
        renter_private_key: Option<Secret> = "GOLEM_RENTER_PRIVATE_KEY" secret true;
    }
    "Alerts" alerts: AlertSettings {
        /// Where alerts are posted: whoever knows this address may be able to write there. Of an ntfy server its topic's,
        /// `https://ntfy.sh/TOPIC`; of a Matrix server the room's, `https://matrix.example/!ROOM:matrix.example`.
        webhook: Option<SecretUrl> = "GOLEM_PROVIDER_ALERT_WEBHOOK" secret true;
        /// What is spoken there: `json` (every field, for programs), `ntfy`, `slack`, `discord` or `matrix`.
        shape: AlertShape = "GOLEM_PROVIDER_ALERT_SHAPE" default "json";
        /// Token that is sent along as `Authorization: Bearer`; Matrix needs one.
        token: Option<SecretText> = "GOLEM_PROVIDER_ALERT_TOKEN" secret true;
        /// Mail server that alerts are handed to: `smtps://HOST` with TLS from the start, `smtp://HOST` with STARTTLS.
        smtp: Option<MailServer> = "GOLEM_PROVIDER_ALERT_SMTP";
        /// User at that server, where it asks for one.
        smtp_user: Option<String> = "GOLEM_PROVIDER_ALERT_SMTP_USER";
        /// That user's password.
        smtp_password: Option<SecretText> = "GOLEM_PROVIDER_ALERT_SMTP_PASSWORD" secret true;
        /// Address that mail comes from.
        mail_from: Option<MailAddresses> = "GOLEM_PROVIDER_ALERT_MAIL_FROM";
        /// Addresses that it goes to, separated by commas.
        mail_to: Option<MailAddresses> = "GOLEM_PROVIDER_ALERT_MAIL_TO";
        /// Whether the webhook and the mail server may be in a private network or on this machine.
        allow_private: bool = "GOLEM_PROVIDER_ALERT_ALLOW_PRIVATE" default "false";
        /// Hours after which what is still wrong is told again; 0 tells it once.
        repeat_hours: u32 = "GOLEM_PROVIDER_ALERT_REPEAT_HOURS" default "12";
        /// Hours of local time in which only what is critical is told, like `22:00-07:00`.
        quiet: Option<QuietHours> = "GOLEM_PROVIDER_ALERT_QUIET_HOURS";
    }
    "Logs" logs: LogSettings {
        /// How log lines look.
        log_format: LogFormat = "GOLEM_PROVIDER_LOG_FORMAT" default "text";
        /// The least important log lines that are written.
        log_level: LogLevel = "GOLEM_PROVIDER_LOG_LEVEL" default "info" development "debug";
    }
}

/// The row of the variable `name`, which may be an alias.
#[must_use]
pub fn variable(name: &str) -> Option<&'static Variable> {
    TABLE.iter().find(|variable| variable.name == name || variable.aliases.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_name_is_defined_once() {
        let names: Vec<_> = TABLE
            .iter()
            .flat_map(|row| std::iter::once(row.name).chain(row.aliases.iter().copied()))
            .collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        assert!(TABLE.iter().all(|row| row.name.starts_with("GOLEM_")));
    }
}
