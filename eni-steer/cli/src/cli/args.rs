//! The command line. Doc comments of this file are the text of `eni-steer --help`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use eni_steer_core::{
    model::{AttachKind, Group, Mode, Priority, Protocol, TableId},
    policy::{GatewayChoice, PrimaryPolicy, Selector, written},
};

/// Makes replies leave by the interface their request arrived on, on Linux hosts with several
/// cloud network interfaces (ENIs).
///
/// An ENI (elastic network interface) is a cloud network interface that eni-steer manages. The ENI
/// that has an address is the address's owner. Replies from an address must leave by its owner; if
/// they leave by another ENI, the cloud drops them. eni-steer gives the ENIs routing tables and
/// rules, and attaches BPF programs that count packets by address and ENI. In mode steer the
/// programs also redirect (steer) a packet that is about to leave by the wrong ENI to the owner of
/// its source.
///
/// status, plan, verify, counters and config change nothing. What apply installs stays when the
/// command ends; remove deletes it and restores what apply changed. eni-steer deletes only routes
/// and rules with its own protocol number, and its own pins (files in bpffs).
#[derive(Debug, Parser)]
#[command(name = "eni-steer", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 the host differs \
from the policy, 4 asymmetric traffic, 5 missing privilege or kernel feature, 6 not confirmed in \
time and undone"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// Log more (-v info, -vv debug, -vvv trace); with apply and run, the BPF programs log more too
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print the report as JSON
    #[arg(short = 'j', long, global = true)]
    pub json: bool,
    /// Configuration file; files in conf.d beside it override it [default: /etc/eni-steer/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "ENI_STEER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Mount point of bpffs, the filesystem that keeps BPF maps and programs when the command ends
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ENI_STEER_BPFFS",
        default_value = "/sys/fs/bpf"
    )]
    pub bpffs: PathBuf,
    /// Directory in which eni-steer saves the values it changes, for remove to restore
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ENI_STEER_RUN",
        default_value = "/run/eni-steer"
    )]
    pub run_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show ENIs, gateways, tables and programs, and where the host differs from the policy
    Status,
    /// Show what apply would change, and change nothing
    ///
    /// The exit code is 0 if there is nothing to do and 3 if there is.
    Plan(PlanArgs),
    /// Change the host as the policy says: tables, rules, sysctls and programs
    ///
    /// If a step fails, eni-steer undoes the steps before it. Options you leave out have the value
    /// of the configuration file. If there is no configuration file, they keep the value of the
    /// previous apply. On the first apply they have their defaults.
    #[command(after_help = "Examples:
  eni-steer apply                  find the ENIs; install rules; count packets
  eni-steer apply --eni eth0 --eni eth1 --mode steer
                                   manage these two; also redirect packets to the right ENI
  eni-steer apply --rules off      only count packets; routes, rules and sysctls stay as they are
  eni-steer apply --confirm 60s    undo everything in 60 s unless you run 'eni-steer confirm'")]
    Apply(ApplyArgs),
    /// Keep the change that 'apply --confirm' made
    Confirm,
    /// Delete everything that apply installed, and restore what it changed
    Remove(RemoveArgs),
    /// Check that the rules are in effect and that traffic is symmetric
    ///
    /// Traffic is symmetric if all packets of an address arrive on and leave by the ENI that has
    /// the address (its owner). The exit code is 3 if the host differs from the policy or another
    /// program's rule comes before eni-steer's, and 4 if traffic is asymmetric.
    Verify(VerifyArgs),
    /// Show the counters: by ENI, by address, by source, and why packets were not steered
    Counters(CountersArgs),
    /// Run the daemon: apply the policy, and repair what other programs change
    ///
    /// On SIGHUP it reads the configuration again. On SIGTERM it stops; rules, routes and programs
    /// stay until 'eni-steer remove'.
    Run(RunArgs),
    /// Install, enable and start the systemd service that runs the daemon at each boot
    Persist(PersistArgs),
    /// Check the configuration, or show the values in effect
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Undo a change that nobody confirms in time (apply --confirm starts this)
    #[command(hide = true)]
    UndoUnlessConfirmed,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and report the first mistake with its file and line
    Check,
    /// Show the values in effect, and for each the file, option or default it comes from
    Show(Box<ShowArgs>),
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Undo the change after this time unless you run 'eni-steer confirm' (30s, 2m)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub confirm: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
}

#[derive(Debug, Args)]
pub(super) struct PersistArgs {
    /// Print the unit file and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Directory for the unit file
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    pub unit_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Wait for TIME and judge only its traffic, instead of all since the programs were attached
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct CountersArgs {
    /// Show every source, not only the busiest of each ENI and direction
    #[arg(long)]
    pub all: bool,
    /// Show only this ENI (repeat it for more)
    #[arg(long, value_name = "ENI")]
    pub eni: Vec<String>,
    /// Wait for TIME and show only what was counted meanwhile
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Attach {
    Auto,
    Tcx,
    Clsact,
}

/// The policy in flags.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct PolicyArgs {
    /// Manage this interface (name, alternative name or MAC; repeat it); default: found
    #[arg(long, value_name = "ENI")]
    pub eni: Vec<String>,
    /// Gateway of an ENI: an address, 'first' or 'last' of its subnet (repeat it)
    #[arg(long, value_name = "ENI=ADDRESS", value_parser = parse_pair(gateway))]
    pub gateway: Vec<(Selector, GatewayChoice)>,
    /// Mode of all ENIs, or of one: count, steer or drop (repeat it)
    #[arg(long, value_name = "[ENI=]MODE", value_parser = parse_mode)]
    pub mode: Vec<(Option<Selector>, Mode)>,
    /// Table of an ENI (repeat it)
    #[arg(long, value_name = "ENI=TABLE", value_parser = parse_pair(number::<TableId>))]
    pub table: Vec<(Selector, TableId)>,
    /// An address the ENI owns beyond those configured on it (repeat it)
    #[arg(long, value_name = "ENI=ADDRESS", value_parser = parse_pair(number::<IpAddr>))]
    pub address: Vec<(Selector, IpAddr)>,
    /// A prefix delegated to the ENI (repeat it)
    #[arg(long, value_name = "ENI=PREFIX", value_parser = parse_pair(number::<IpNet>))]
    pub prefix: Vec<(Selector, IpNet)>,
    /// Install tables and rules (default on)
    #[arg(long, value_name = "on|off")]
    pub rules: Option<Switch>,
    /// Attach programs (default on)
    #[arg(long, value_name = "on|off")]
    pub programs: Option<Switch>,
    /// Adjust rp_filter, arp_ignore, arp_announce where needed (default on)
    #[arg(long, value_name = "on|off")]
    pub sysctls: Option<Switch>,
    /// observe: the primary keeps to main; full: it gets source rules too
    #[arg(long, value_name = "observe|full", value_parser = parse_primary)]
    pub primary: Option<PrimaryPolicy>,
    /// How programs are attached (default auto: TCX where the kernel has it)
    #[arg(long, value_name = "KIND")]
    pub attach: Option<Attach>,
    /// A destination that is never steered (repeat it)
    #[arg(long, value_name = "PREFIX", value_parser = parse_net)]
    pub exempt: Vec<IpNet>,
    /// A mark that is never steered
    #[arg(long, value_name = "MARK[/MASK]", value_parser = written::mark)]
    pub exempt_mark: Option<(u32, u32)>,
    /// Base of the table numbers (default 21000)
    #[arg(long, value_name = "TABLE")]
    pub table_base: Option<TableId>,
    /// Priorities of our rules (default 20000-20999)
    #[arg(long, value_name = "FIRST-LAST", value_parser = written::band)]
    pub band: Option<(Priority, Priority)>,
    /// Protocol number of our routes and rules (default 229)
    #[arg(long, value_name = "NUMBER", value_parser = written::protocol)]
    pub protocol: Option<Protocol>,
    /// Interface group of the ENIs (default 20229)
    #[arg(long, value_name = "NUMBER")]
    pub group: Option<Group>,
}

impl From<Attach> for Option<AttachKind> {
    fn from(attach: Attach) -> Self {
        match attach {
            Attach::Auto => None,
            Attach::Tcx => Some(AttachKind::Tcx),
            Attach::Clsact => Some(AttachKind::Clsact),
        }
    }
}

/// `ENI=VALUE`, where ENI is a name or a MAC address.
fn parse_pair<T: Clone + Send + Sync + 'static>(
    value: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<(Selector, T), String> + Clone {
    move |text| match text.split_once('=') {
        Some((eni, rest)) if !eni.is_empty() => Ok((Selector::from(eni), value(rest)?)),
        _ => Err("expected ENI=VALUE".to_owned()),
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn gateway(text: &str) -> Result<GatewayChoice, String> {
    match text {
        "first" => Ok(GatewayChoice::First),
        "last" => Ok(GatewayChoice::Last),
        address => number(address).map(GatewayChoice::Address),
    }
}

fn parse_mode(text: &str) -> Result<(Option<Selector>, Mode), String> {
    match text.split_once('=') {
        Some((eni, word)) => Ok((Some(Selector::from(eni)), written::mode(word)?)),
        None => Ok((None, written::mode(text)?)),
    }
}

fn parse_primary(text: &str) -> Result<PrimaryPolicy, String> {
    match text {
        "observe" => Ok(PrimaryPolicy::Observe),
        "full" => Ok(PrimaryPolicy::Full),
        _ => Err("expected observe or full".to_owned()),
    }
}

fn parse_net(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_not_a_prefix: ipnet::AddrParseError| number::<IpAddr>(text).map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
