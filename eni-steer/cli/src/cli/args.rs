//! Arguments.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use eni_steer_core::{
    model::{AttachKind, Group, Mode, Priority, Protocol, TableId},
    policy::{GatewayChoice, PrimaryPolicy, Selector, written},
};

/// Routing symmetry for Linux hosts with several cloud network interfaces (ENIs): a packet
/// leaves by the ENI that owns its source.
///
/// Reading commands (status, plan, verify, explain, counters) change nothing. What apply installs
/// (routes, rules, sysctls, programs) outlives the process; remove takes all of it away
/// again. Only objects with eni-steer's own protocol number and pins are ever deleted.
#[derive(Debug, Parser)]
#[command(name = "eni-steer", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 fine, 1 failed, 2 usage or configuration, 3 drift (the plan is not \
empty), 4 asymmetric traffic, 5 missing privilege or kernel support, 6 not confirmed, undone, 7 cannot tell"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// Say more (-v info, -vv debug, -vvv trace); with apply, also the level the programs log at
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print JSON
    #[arg(short = 'j', long, global = true)]
    pub json: bool,
    /// The configuration; files of conf.d beside it come after it [default: /etc/eni-steer/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "ENI_STEER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Mount point of bpffs
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ENI_STEER_BPFFS",
        default_value = "/sys/fs/bpf"
    )]
    pub bpffs: PathBuf,
    /// Directory that remembers previous values until the next boot
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
    /// Show ENIs, gateways, tables, programs and what is not as it should be
    Status,
    /// Show what apply would do, and do nothing
    ///
    /// Exit code 3 if there is something to do.
    Plan(PlanArgs),
    /// Install tables, rules, sysctls and programs
    ///
    /// If a step fails, the steps before it are undone. What a flag does not name is as the
    /// configuration says; without a configuration, as it was applied last; else as by default.
    #[command(
        after_help = "Examples:\n  eni-steer apply                                 the ENIs that are found, programs counting\n  \
eni-steer apply --eni eth0 --eni eth1 --mode steer\n  eni-steer apply --rules off                     programs only: look, touch nothing\n  \
eni-steer apply --confirm 60s                   undone in 60 s unless 'eni-steer confirm' comes"
    )]
    Apply(ApplyArgs),
    /// Keep what 'apply --confirm' did
    Confirm,
    /// Take away everything that apply installed, and put back what it changed
    Remove(RemoveArgs),
    /// Is the policy there, and does the traffic agree?
    ///
    /// Exit code 3 for drift or a rule that wins over ours, 4 for asymmetric traffic.
    Verify(VerifyArgs),
    /// Show where a packet goes and why: rule by rule, and what eni-steer does with it
    ///
    /// Walks the rules as the kernel does, asks the kernel, and compares. It needs no configuration
    /// and changes nothing. Exit code 0 if the packet leaves by the ENI that owns its source, 3 if
    /// it leaves by another one or not at all, 7 if nobody can tell.
    #[command(
        after_help = "Examples:\n  eni-steer explain 172.16.20.177                  to an address beyond the default route\n  \
eni-steer explain 172.16.20.177 --to 8.8.8.8 --proto tcp --dport 443\n  \
eni-steer explain --to 8.8.8.8                   which source does the kernel choose?\n  \
eni-steer explain 172.17.0.2 --iif docker0       a packet that this host forwards"
    )]
    Explain(ExplainArgs),
    /// Show the counters: each address on each ENI, each source, totals and reasons
    Counters(CountersArgs),
    /// Apply the policy and keep it: a daemon
    ///
    /// SIGHUP reads the policy again, SIGTERM stops and leaves everything in force.
    Run(RunArgs),
    /// Install and enable the systemd service that runs the daemon at each boot
    Persist(PersistArgs),
    /// Check the configuration, or show what it comes to
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Undo what is not confirmed in time (started by apply --confirm)
    #[command(hide = true)]
    UndoUnlessConfirmed,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and say what is wrong with it, and where
    Check,
    /// Show the effective configuration, each value with where it comes from
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
    /// Show the plan and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Undo everything after this time unless 'eni-steer confirm' comes (30s, 2m)
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
    /// Show the unit and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where the unit is written
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    pub unit_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Show the plan and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Judge the traffic of the next TIME instead of all since the programs were attached
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Source of the packet: an address of this host, or, with --iif, any
    #[arg(value_name = "SRC", required_unless_present = "to")]
    pub source: Option<IpAddr>,
    /// Destination [default: an address beyond the default route]
    #[arg(long, value_name = "DST")]
    pub to: Option<IpAddr>,
    /// Interface by which the packet comes in, if this host forwards it
    #[arg(long, value_name = "INTERFACE", requires = "source", conflicts_with_all = ["oif", "uid"])]
    pub iif: Option<String>,
    /// Interface that the sending socket is bound to
    #[arg(long, value_name = "INTERFACE")]
    pub oif: Option<String>,
    /// Mark of the packet or socket (0x10)
    #[arg(long, value_name = "MARK", value_parser = written::mark)]
    pub mark: Option<(u32, u32)>,
    /// User whose socket sends it [default: root]
    #[arg(long, value_name = "UID")]
    pub uid: Option<u32>,
    /// IP protocol: tcp, udp, icmp or a number
    #[arg(long, value_name = "PROTOCOL", value_parser = parse_ip_protocol)]
    pub proto: Option<IpProtocol>,
    /// Source port
    #[arg(long, value_name = "PORT", requires = "proto")]
    pub sport: Option<u16>,
    /// Destination port
    #[arg(long, value_name = "PORT", requires = "proto")]
    pub dport: Option<u16>,
    /// TOS or traffic class, the whole byte (0xb8)
    #[arg(long, value_name = "TOS", value_parser = parse_byte, default_value = "0")]
    pub tos: u8,
    /// Watch the kernel for this time: which tables do real lookups of SRC use?
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "source")]
    pub live: Option<Duration>,
}

/// An IP protocol by its number, or ICMP, whose number differs by family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpProtocol {
    Icmp,
    Number(u8),
}

impl IpProtocol {
    /// Its number beside addresses of a family.
    pub(super) fn number(self, six: bool) -> u8 {
        match self {
            Self::Icmp if six => 58,
            Self::Icmp => 1,
            Self::Number(number) => number,
        }
    }
}

fn parse_ip_protocol(text: &str) -> Result<IpProtocol, String> {
    match text {
        "icmp" => Ok(IpProtocol::Icmp),
        "tcp" => Ok(IpProtocol::Number(6)),
        "udp" => Ok(IpProtocol::Number(17)),
        number => {
            let number = number.parse();
            number
                .map(IpProtocol::Number)
                .map_err(|_not_a_number: std::num::ParseIntError| {
                    "expected tcp, udp, icmp or a number".to_owned()
                })
        }
    }
}

fn parse_byte(text: &str) -> Result<u8, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

#[derive(Debug, Args)]
pub(super) struct CountersArgs {
    /// Show all sources, not only the busiest
    #[arg(long)]
    pub all: bool,
    /// Only this ENI
    #[arg(long, value_name = "ENI")]
    pub eni: Vec<String>,
    /// Count from now on, and show after this time
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
