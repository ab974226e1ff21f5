//! The command line. Doc comments of this file are the text of `eni-steer --help`.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{
    Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser, ValueParser},
};

use eni_steer_core::policy::flags::{FLAGS, PolicyFlag, Setting};

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
/// status, plan, verify, explain, doctor, counters, report and config change nothing. What apply installs stays when the
/// command ends; remove deletes it and restores what apply changed. eni-steer deletes only routes
/// and rules with its own protocol number, and its own pins (files in bpffs).
#[derive(Debug, Parser)]
#[command(name = "eni-steer", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 3 the host differs \
from the policy, 4 wrong traffic, 5 missing privilege or kernel feature, 6 not confirmed in time \
and undone, 7 traffic could not be judged, 8 this host does not allow it"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// Log more (-v info, -vv debug, -vvv trace); plan then shows each step on a line of its own
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Load the programs with this log level for developers (0 off, 3 info, 4 debug, 5 trace)
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "LEVEL",
        value_parser = clap::value_parser!(u32).range(0..=5)
    )]
    pub program_log_level: Option<u32>,
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
    /// How long apply and remove wait for another eni-steer process that is at work on this host
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        default_value = "30s"
    )]
    pub wait: Duration,
    /// Directory in which eni-steer saves the values it changes, for remove to restore
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ENI_STEER_RUN",
        default_value = "/run/eni-steer"
    )]
    pub run_dir: PathBuf,
    /// Directory below which to look for the lease files of DHCP clients
    #[arg(
        long,
        global = true,
        hide = true,
        value_name = "DIR",
        env = "ENI_STEER_ROOT",
        default_value = "/"
    )]
    pub root: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show ENIs, gateways, tables and programs, and where the host differs from the policy
    Status(StatusArgs),
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
  eni-steer apply --confirm 60s    undo everything in 60 s unless you run 'eni-steer confirm'
  eni-steer apply --probe          undo everything unless the gateways answer afterwards
  eni-steer apply --probe eth1=203.0.113.9:443
                                   the same, if this server accepts a connection from eth1")]
    Apply(ApplyArgs),
    /// Keep the change that 'apply --confirm' made
    Confirm,
    /// Undo the change that 'apply --confirm' made now, without waiting for its time
    Undo,
    /// Delete everything that apply installed, and restore what it changed
    Remove(RemoveArgs),
    /// Emergency brake: remove rules and tables, restore sysctls, let programs only count
    ///
    /// Works at once, also if the daemon hangs or the configuration is wrong. It stays off, also for
    /// the daemon and after its restart, until 'eni-steer on' or a reboot. Counters go on. A file
    /// named 'off' in the run directory (/run/eni-steer/off) does the same in every network
    /// namespace that has a daemon.
    Off,
    /// Release the brake: everything that the policy says is in place again
    On,
    /// Check that the rules are in effect, that gateways answer, and that traffic is symmetric
    ///
    /// Traffic is symmetric if all packets of an address arrive on and leave by the ENI that has
    /// the address (its owner). The exit code is 4 if traffic is wrong, else 3 if the host differs
    /// from the policy, another program's rule wins or a gateway does not answer, else 7 if
    /// traffic could not be judged.
    Verify(VerifyArgs),
    /// Show where a packet goes and why: rule by rule, and what the programs do with it
    ///
    /// eni-steer evaluates the rules as the kernel does, asks the kernel, and compares. It needs no
    /// configuration. The exit code is 0 if the packet leaves by the ENI that owns its source, 3 if
    /// it leaves by another one or not at all, and 7 if eni-steer cannot tell.
    #[command(after_help = "Examples:
  eni-steer explain 172.16.20.177             to an address beyond the default route
  eni-steer explain 172.16.20.177 --to 8.8.8.8 --proto tcp --dport 443
  eni-steer explain --to 8.8.8.8              which source does the kernel choose?
  eni-steer explain 172.17.0.2 --iif docker0  a packet that this host forwards
  eni-steer explain 172.16.20.177 --live 10s  which tables do real packets use?")]
    Explain(ExplainArgs),
    /// Show the counters: by ENI, by address, by source, and why packets were not steered
    Counters(CountersArgs),
    /// Look for everything that keeps eni-steer from working, and show the commands that end it
    ///
    /// doctor looks at the kernel, privileges and limits; at each ENI's sysctls, MTU, gateway and
    /// programs; at rules that do nothing; at other software that manages the same interfaces; at
    /// the policy, the service and the daemon. It changes nothing; gateways of which nothing is
    /// known are asked by ARP or neighbour discovery. Each finding has a code: 'doctor CODE' explains
    /// it. The exit code is 4 if traffic is wrong, else 3 if there is a failure. Warnings do not
    /// change it.
    Doctor(DoctorArgs),
    /// Write everything that the commands above read into one file, for --from
    ///
    /// The file holds links, addresses, rules, routes, sysctls, leases, neighbours, programs, counters,
    /// the policy in effect, versions, and the kernel's answers to the questions of verify and
    /// explain. status, plan, verify, explain and doctor read it with --from FILE, on any machine and as any
    /// user, and say the same as on this host. Nothing is changed; gateways of which nothing is
    /// known are asked by ARP or neighbour discovery.
    #[command(after_help = "Examples:
  eni-steer report -o web-7.json            everything, for a colleague
  eni-steer report --redact -o web-7.json   the same with other addresses, for a bug report
  eni-steer status --from web-7.json        what status says on that host")]
    Report(ReportArgs),
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
    /// Write the policy into the configuration file, so that a reboot and the daemon keep it
    ///
    /// Without options it is the policy that was applied last. Only the keys that differ change;
    /// comments and everything else in the file stay.
    Save(Box<SaveArgs>),
}

#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Show the keys that would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Read this report file ('eni-steer report -o FILE') instead of this host; '-' is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "watch")]
    pub from: Option<PathBuf>,
    /// Show only this ENI, with its addresses
    pub eni: Option<String>,
    /// Show only ENIs with trouble
    #[arg(long, conflicts_with_all = ["all", "eni"])]
    pub bad: bool,
    /// List every address
    #[arg(long)]
    pub all: bool,
    /// End with an exit code for monitors: 0 OK, 1 unconfirmed, 2 attention, 3 unknown
    #[arg(long)]
    pub check: bool,
    /// Show the report again every TIME (2s if left out) until interrupted
    #[arg(
        long,
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        num_args = 0..=1,
        default_missing_value = "2s"
    )]
    pub watch: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Read this report file ('eni-steer report -o FILE') instead of this host; '-' is standard input
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

#[derive(Debug, Default, Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Show what would change, and change nothing; the exit code is that of plan
    #[arg(long)]
    pub dry_run: bool,
    /// Undo the change after this time unless you run 'eni-steer confirm' (60, 60s, 2m)
    #[arg(long, value_name = "TIME", value_parser = super::confirm::parse_time)]
    pub confirm: Option<Duration>,
    /// Keep the change if these hosts answer, else undo it (ADDRESS, ADDRESS:PORT, ENI=ADDRESS ...)
    ///
    /// Repeat it for more hosts. Without a value: the gateway of each ENI, and the way back of the
    /// SSH session that runs this command. With a port, the host must accept a TCP connection, else
    /// it must answer an ICMP echo request. ENI= asks from the address of this ENI. The question
    /// must leave by the ENI that owns its source.
    #[arg(long, value_name = "TARGET", num_args = 0..=1, default_missing_value = "usual")]
    pub probe: Vec<super::confirm::Target>,
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
    /// Read this report file ('eni-steer report -o FILE') instead of this host; '-' is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "window")]
    pub from: Option<PathBuf>,
    /// Wait for TIME and judge only its traffic, instead of all since the programs were attached
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
    /// Show the report again every TIME (2s if left out) until interrupted
    #[arg(
        long,
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        num_args = 0..=1,
        default_missing_value = "2s",
        conflicts_with = "from"
    )]
    pub watch: Option<Duration>,
    /// How many addresses must have traffic that was judged, for success
    #[arg(long, value_name = "none|any|all", default_value = "any")]
    pub require_traffic: Required,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Read this report file ('eni-steer report -o FILE') instead of this host; '-' is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    pub from: Option<PathBuf>,
    /// Source of the packet: an address of this host, or any address with --iif
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
    #[arg(long, value_name = "MARK", value_parser = parse_number, default_value = "0")]
    pub mark: u32,
    /// User whose socket sends the packet [default: root]
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
    /// Watch the kernel for TIME: which tables do real lookups of SRC use?
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

fn parse_number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| error.to_string())
}

fn parse_byte(text: &str) -> Result<u8, String> {
    let number = parse_number(text)?;
    u8::try_from(number).map_err(|_too_large: std::num::TryFromIntError| {
        "expected a number from 0 to 255".to_owned()
    })
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Explain this code (ES0206) and do nothing else
    #[arg(conflicts_with = "from")]
    pub code: Option<String>,
    /// Read this report file ('eni-steer report -o FILE') instead of this host; '-' is standard input
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// File to write; '-' is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Replace addresses and the host's name, the same way everywhere
    ///
    /// Two addresses share as many leading bits afterwards as before, so subnets stay subnets and
    /// private addresses stay private. Their last byte stays, and so do loopback, link-local,
    /// multicast and metadata addresses. Names of interfaces and files stay.
    #[arg(long)]
    pub redact: bool,
}

#[derive(Debug, Args)]
pub(super) struct CountersArgs {
    /// Show all sources, not only those with the most packets
    #[arg(long)]
    pub all: bool,
    /// Show only this ENI (repeatable)
    #[arg(long, value_name = "ENI")]
    pub eni: Vec<String>,
    /// Show what is counted within this time from now
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
}

/// The flags of the policy that the command line has.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyArgs {
    /// Each use of a flag, in the order of [`FLAGS`].
    pub settings: Vec<Setting>,
}

impl Args for PolicyArgs {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(FLAGS.iter().map(argument))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PolicyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let uses = |flag: &PolicyFlag| matches.get_many::<Setting>(flag.name());
        let settings = FLAGS.iter().filter_map(uses).flatten().cloned().collect();
        Ok(Self { settings })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A flag of the policy as clap knows flags.
fn argument(flag: &'static PolicyFlag) -> Arg {
    let parser: ValueParser = match flag.words() {
        Some(words) => PossibleValuesParser::new(words)
            .try_map(|text| flag.read(&text))
            .into(),
        None => ValueParser::new(|text: &str| flag.read(text)),
    };
    let action = match flag.repeats() {
        true => ArgAction::Append,
        false => ArgAction::Set,
    };
    Arg::new(flag.name())
        .long(flag.name())
        .value_name(flag.value_name())
        .help(flag.help())
        .help_heading("Policy")
        .action(action)
        .value_parser(parser)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn settings(words: &[&str]) -> Result<Vec<String>, clap::Error> {
        let words = [&["eni-steer", "plan"], words].concat();
        let cli = Cli::try_parse_from(words)?;
        let Command::Plan(plan) = cli.command else {
            panic!("plan is plan");
        };
        let settings = plan.policy.settings.iter();
        Ok(settings.map(|setting| format!("{setting:?}")).collect())
    }

    #[test]
    fn every_flag_of_the_registry_is_a_flag_of_the_command_line() {
        let plan = Cli::command();
        let plan = plan.find_subcommand("plan").expect("a command");
        for flag in FLAGS.iter() {
            let argument = plan
                .get_arguments()
                .find(|arg| arg.get_long() == Some(flag.name()));
            let argument = argument.unwrap_or_else(|| panic!("--{} is missing", flag.name()));
            let help = argument.get_help().map(ToString::to_string);
            assert_eq!(help.as_deref(), Some(flag.help().as_str()));
            let repeats = matches!(argument.get_action(), ArgAction::Append);
            assert_eq!(repeats, flag.repeats(), "--{}", flag.name());
        }
    }

    #[test]
    fn flags_keep_their_order_and_may_repeat_if_the_registry_says_so() {
        let both = settings(&[
            "--mode", "steer", "--eni", "a", "--mode", "a=drop", "--eni=b",
        ]);
        let both = both.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            both,
            ["--eni a", "--eni b", "--mode steer", "--mode a=drop"]
        );
        assert!(settings(&["--group", "7", "--group", "8"]).is_err());
    }

    #[test]
    fn a_wrong_value_is_refused_with_the_flag_and_the_words_that_it_accepts() {
        let error = |words: &[&str]| settings(words).expect_err("a wrong value").to_string();
        let text = error(&["--rules", "maybe"]);
        assert!(
            text.contains("--rules <on|off>") && text.contains("on, off"),
            "{text}"
        );
        let text = error(&["--table", "eth1"]);
        assert!(text.contains("'eth1' is not ENI=TABLE"), "{text}");
    }
}

/// How much silence `verify` accepts.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Required {
    /// No traffic is fine.
    None,
    /// One address with symmetric traffic is enough.
    Any,
    /// Every address must have symmetric traffic.
    All,
}

impl From<Required> for eni_steer_core::symmetry::RequireTraffic {
    fn from(required: Required) -> Self {
        match required {
            Required::None => Self::None,
            Required::Any => Self::Any,
            Required::All => Self::All,
        }
    }
}
