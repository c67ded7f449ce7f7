//! The command line.
//!
//! Owns what is typed and what is printed: each command turns arguments and settings into calls
//! and its answer into text or JSON. Never decides about a rental.

mod alerts;
mod arguments;
mod backup;
mod books;
mod config;
mod confirm;
mod dashboard;
mod deploy;
mod discovery;
mod doctor;
mod earnings;
pub mod help;
mod images;
mod import;
mod isolation;
mod keys;
mod logs;
mod manual;
mod market;
mod money_source;
mod networks;
mod port_checker;
mod ports;
mod pricing;
mod printer;
mod recover;
mod reload;
mod rent;
mod setup;
mod ssh;
mod start;
mod status;
mod stop;
mod streams;
mod test_tokens;
mod transactions;
mod uninstall;
mod vms;
mod wallet;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use crate::daemon;
use crate::logs::Destination;
use arguments::{Arguments, Books, Command, Config, Format, Isolation};
use golem_api::operator::{Client, OperatorError};
use golem_host::data_dir;
use golem_host::layout;
use golem_host::node::{Node, Places, Whose};
use golem_host::settings::{self, KeepError, LogLevel, LogSettings, Mistakes, Resolved, SettingsPlace};
use printer::{Printer, ReaderGone};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done,
    /// It did not, and said why.
    Failed,
    /// The settings are wrong. Clap itself exits so when the arguments are.
    WrongUse,
    /// The provider is not running.
    NotRunning,
    /// Whoever was asked interrupted it.
    Interrupted,
}

impl Exit {
    /// What programs are told of it, beside the number.
    const fn code(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::WrongUse => "wrong_use",
            Self::NotRunning => "not_running",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::WrongUse => 2,
            Exit::NotRunning => 3,
            Exit::Interrupted => 130,
        })
    }
}

/// A command needs a running provider, and none runs.
#[derive(Debug, thiserror::Error)]
#[error("the provider is not running; fix: `{}`", .0)]
pub(crate) struct NotRunning(&'static str);

/// Longest that a node which is being restarted is waited for.
const RESTART: Duration = Duration::from_secs(10);

/// What every command knows.
pub(crate) struct Invocation {
    node: Node,
    resolved: Resolved,
    environment: BTreeMap<String, String>,
    directory: PathBuf,
    printer: Printer,
}

impl Invocation {
    /// A client of the node that runs.
    ///
    /// # Errors
    /// [`NotRunning`], or what keeps the operator API from being asked.
    fn client(&self) -> anyhow::Result<Client> {
        if !self.runs()? {
            return Err(self.not_running().into());
        }
        Ok(Client::open(self.node.clone(), self.resolved.settings.operator.operator_port.get())?)
    }

    /// Where the node's settings come from.
    fn settings_place(&self) -> SettingsPlace {
        SettingsPlace {
            node: self.node.clone(),
            environment: self.environment.clone(),
            directory: self.directory.clone(),
        }
    }

    fn not_running(&self) -> NotRunning {
        NotRunning(self.node.how_to_start())
    }

    /// Whether the node runs.
    ///
    /// # Errors
    /// When that cannot be seen.
    fn runs(&self) -> anyhow::Result<bool> {
        Ok(self.node.running()?.is_some())
    }
}

/// Where a program on this machine reaches what listens on `host`.
pub(super) const fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    }
}

/// Runs the service `run` in this terminal, to its end.
fn foreground(settings: &LogSettings, run: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<Exit> {
    crate::logs::begin(settings.log_format, settings.log_level, Destination::Terminal)
        .context("logs cannot be written")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    runtime.block_on(run)?;
    Ok(Exit::Done)
}

/// Runs the command that was typed.
#[must_use]
pub fn run() -> ExitCode {
    golem_files::private_by_default();
    let arguments = match help::read(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(arguments) => arguments,
        Err(exit) => return exit.into(),
    };
    let printer = Printer::new(arguments.form(), arguments.quiet);
    if printer.format == Format::Csv && !arguments.command.is_list() {
        printer.error(Exit::WrongUse, "the answer has no rows, which csv is for; fix: --format json or yaml");
        return Exit::WrongUse.into();
    }
    if let Some(path) = search_path() {
        printer.warning("PATH names folders that are not absolute; programs in them are not run");
        // In place of this process: every program that is started later looks there.
        let why = std::env::current_exe().map_or_else(
            |error| error,
            |program| {
                let mut anew = std::process::Command::new(program);
                anew.args(std::env::args_os().skip(1))
                    .env_remove("PATH")
                    .envs(path.map(|path| ("PATH", path)));
                anew.exec()
            },
        );
        printer.error(Exit::Failed, &format!("this program cannot be started without them: {why}"));
        return Exit::Failed.into();
    }
    let detached = matches!(&arguments.command, Command::Start(start) if start.detached);
    let exit = execute(arguments, printer).unwrap_or_else(|error| {
        if error.is::<ReaderGone>() {
            return Exit::Done;
        }
        let exit = if error.is::<Mistakes>() || matches!(error.downcast_ref(), Some(KeepError::Wrong(_))) {
            Exit::WrongUse
        } else if error.is::<NotRunning>() || matches!(error.downcast_ref(), Some(OperatorError::Ended)) {
            Exit::NotRunning
        } else {
            Exit::Failed
        };
        let text = format!("{error:#}");
        if detached {
            daemon::report_error(&text);
        } else {
            printer.error(exit, &text);
        }
        exit
    });
    exit.into()
}

/// The search path without folders that are not absolute, if there are such: whatever lies in the working
/// directory would be run. The inner one is `None` if nothing is left of it.
fn search_path() -> Option<Option<OsString>> {
    let path = std::env::var_os("PATH")?;
    let (good, bad): (Vec<_>, Vec<_>) = std::env::split_paths(&path).partition(|folder| folder.is_absolute());
    (!bad.is_empty()).then(|| std::env::join_paths(good).ok().filter(|path| !path.is_empty()))
}

/// The node that `command` is about. Those that are about none have the caller's own settings.
fn node_of(
    command: &Command,
    environment: &BTreeMap<String, String>,
    directory: &Path,
) -> anyhow::Result<Option<Node>> {
    let spoken_to = || {
        let named = settings::named_data_dir(environment, directory);
        Node::find(named.as_deref(), environment, Places::default())
    };
    let is_here = matches!(command, Command::Setup(typed) if typed.here);
    if command.speaks_to_node() && !is_here {
        return Ok(spoken_to()?);
    }
    let own = settings::own_node(environment, directory);
    if let (Command::Start(_), Some(own)) = (command, &own)
        && own.whose == Whose::Own
        && !own.data_dir.exists()
        && let Some(service) = spoken_to()?.filter(|node| node.whose == Whose::Service)
    {
        anyhow::bail!(
            "this machine's service has a node, of {}; fix: `systemctl start golem-provider`, or set GOLEM_PROVIDER_DATA_DIR \
             to have another",
            service.data_dir.display()
        );
    }
    Ok(own)
}

fn execute(arguments: Arguments, printer: Printer) -> anyhow::Result<Exit> {
    // What needs no settings.
    match &arguments.command {
        Command::Config { command: Config::Render { form } } => return Ok(config::render(*form, printer)),
        Command::Completions { shell } => return Ok(manual::completions(*shell, printer)),
        Command::Manual { folder } => return manual::manual(folder),
        Command::Help { topic } => return help::help(topic, printer),
        Command::Version => return Ok(help::version(arguments.verbose, printer)),
        _ => {}
    }
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
        .collect();
    let directory = std::env::current_dir().context("the working directory cannot be found")?;
    let node = node_of(&arguments.command, &environment, &directory)?;
    let resolved = if arguments.command.needs_settings() {
        settings::load_of(node.as_ref(), arguments.command.flags(), environment.clone(), &directory)?
    } else {
        settings::load_despite_mistakes(node.as_ref(), environment.clone(), &directory)?
    };
    resolved.mistakes.iter().for_each(|mistake| printer.warning(&format!("not used: {mistake}")));
    let node = node.context("HOME is not set; fix: set it")?;
    let context = Invocation { node, resolved, environment, directory, printer };
    // Setup says itself which one it sets up.
    if arguments.command.speaks_to_node() && !matches!(arguments.command, Command::Setup(_)) {
        context.node.note().iter().for_each(|note| printer.note(note));
        context.node.wait_while_restarting(RESTART);
    }

    let level = match (arguments.quiet, arguments.verbose) {
        (true, _) => LogLevel::Error,
        (_, true) => LogLevel::Info,
        _ => LogLevel::Warn,
    };
    match &arguments.command {
        Command::Start(start) => return start::start(&context, start),
        Command::Discovery(_) => return discovery::discovery(&context),
        Command::PortChecker(typed) => return port_checker::port_checker(&context, typed),
        _ => {}
    }
    crate::logs::begin_for_command(level);
    // `doctor` tells what is open before it closes anything.
    if !matches!(arguments.command, Command::Doctor(_)) {
        data_dir::close(&context.resolved.settings.node.data_dir);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime cannot be started")?;
    let is_prompt = matches!(
        arguments.command,
        Command::Status(_) | Command::Doctor(_) | Command::Isolation { .. } | Command::Setup(_)
    );
    let exit = runtime.block_on(async {
        match arguments.command {
            Command::Stop { timeout, withdraw_advert } => {
                stop::stop(&context, timeout.map(arguments::seconds), withdraw_advert).await
            }
            Command::Setup(typed) => setup::setup(&context, &typed).await,
            Command::Status(typed) => status::status(&context, &typed).await,
            Command::Doctor(typed) => doctor::doctor(&context, &typed).await,
            Command::Dashboard(typed) => dashboard::dashboard(&context, &typed).await,
            Command::Vms { command } => vms::vms(&context, command).await,
            Command::Drain { state, wait } => vms::drain(&context, state, wait).await,
            Command::Reload => reload::reload(&context).await,
            Command::Logs(wanted) => logs::logs(&context, &wanted).await,
            Command::Images { command } => images::images(&context, command).await,
            Command::Import { dry_run } => import::import(&context, dry_run).await,
            Command::Recover { dry_run, yes } => recover::recover(&context, dry_run, yes).await,
            Command::Backup(typed) => backup::backup(&context, typed).await,
            Command::Restore(typed) => backup::restore(&context, typed).await,
            Command::Pricing { command } => pricing::pricing(&context, command).await,
            Command::Streams { command } => streams::streams(&context, command).await,
            Command::Earnings(wanted) => earnings::earnings(&context, &wanted).await,
            Command::Books { command: Books::Check { repair } } => books::check(&context, repair).await,
            Command::Wallet { command } => wallet::wallet(&context, command).await,
            Command::Networks { command } => networks::networks(&context, command).await,
            Command::Alerts { command } => alerts::alerts(&context, &command).await,
            Command::Ports { command } => ports::ports(&context, command).await,
            Command::Isolation { command: Isolation::Check(typed) } => {
                isolation::check(&context, typed).await
            }
            Command::Rent(arguments) => rent::rent(&context, arguments).await,
            Command::Market(wanted) => market::market(&context, &wanted).await,
            Command::Config { command } => config::config(&context, command),
            Command::Uninstall(typed) => uninstall::uninstall(&context, typed).await,
            Command::Start(_)
            | Command::Discovery(_)
            | Command::PortChecker(_)
            | Command::Completions { .. }
            | Command::Manual { .. }
            | Command::Help { .. }
            | Command::Version => Ok(Exit::Done),
        }
    });
    if exit.is_err() && !context.node.is_readable() {
        let folder = context.node.data_dir.display();
        printer
            .note(&format!("This user may not look into {folder}, which some commands need; fix: use sudo."));
    }
    if is_prompt {
        // The system's resolver goes on waiting for name servers that are silent, and a read of a terminal for a
        // line.
        runtime.shutdown_background();
    }
    exit
}
