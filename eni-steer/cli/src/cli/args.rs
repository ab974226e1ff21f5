//! The arguments of the command line. The flags of the policy come from the registry of keys.

use std::{path::PathBuf, time::Duration};

use clap::{
    Arg, ArgAction, ArgMatches, Args, FromArgMatches, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser, ValueParser},
};

use eni_steer_core::policy::flags::{FLAGS, PolicyFlag, Setting};

/// Routing symmetry for Linux hosts with several cloud network interfaces (ENIs): replies leave
/// by the interface their request arrived on.
///
/// The commands status, plan, verify and counters change nothing. apply installs routes, rules,
/// sysctls and programs, which stay when the process ends; remove deletes all of them again.
/// eni-steer deletes only routes and rules with its own protocol number, and its own pins.
#[derive(Debug, Parser)]
#[command(name = "eni-steer", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 fine, 1 failed, 2 usage or configuration, 3 drift (the plan is not \
empty), 4 asymmetric traffic, 5 missing privilege or kernel support, 6 not confirmed, undone"
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub(super) struct Global {
    /// Log more (-v info, -vv debug, -vvv trace); plan also shows each step on a line of its own
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
    /// Print JSON
    #[arg(short = 'j', long, global = true)]
    pub json: bool,
    /// The configuration; eni-steer also reads conf.d/*.toml beside it [default: /etc/eni-steer/config.toml]
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
    /// Directory where eni-steer keeps the previous values of what it changes, until the next boot
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
    /// Show ENIs, gateways, tables and programs, and what differs from the policy
    Status,
    /// Show what apply would do, and change nothing
    ///
    /// Exit code 3 if apply would change something.
    Plan(PlanArgs),
    /// Install tables, rules, sysctls and programs
    ///
    /// If a step fails, eni-steer undoes the steps before it. Options you leave out have the value
    /// of the configuration. Without a configuration, they keep the value of the previous apply.
    #[command(after_help = "Examples:\n  \
eni-steer apply                  Find the ENIs, install their rules, count packets\n  \
eni-steer apply --eni eth0 --eni eth1 --mode steer\n  \
eni-steer apply --rules off --sysctls off\n                                   \
Only count packets; routes, rules and sysctls stay as they are\n  \
eni-steer apply --confirm 60s    Undo everything after 60 s unless you run 'eni-steer confirm'")]
    Apply(ApplyArgs),
    /// Keep what 'apply --confirm' installed
    Confirm,
    /// Delete everything that apply installed, and restore what it changed
    Remove(RemoveArgs),
    /// Check that the rules are in effect and that traffic is symmetric
    ///
    /// Exit code 3 if the host differs from the policy or another program's rule takes precedence,
    /// 4 if traffic is asymmetric.
    Verify(VerifyArgs),
    /// Show the counters: each address on each ENI, each source, totals, and reasons
    Counters(CountersArgs),
    /// Run the daemon: apply the policy and repair what other programs change
    ///
    /// On SIGHUP the daemon reads the configuration again. On SIGTERM it stops, and what it
    /// installed stays.
    Run(RunArgs),
    /// Install and enable the systemd service that starts the daemon at each boot
    Persist(PersistArgs),
    /// Check the configuration, or show the policy that results
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Undo what nobody confirms in time (apply --confirm starts this)
    #[command(hide = true)]
    UndoUnlessConfirmed,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the files of the configuration; a mistake is shown with its place
    Check,
    /// Show the effective configuration, and where each value comes from
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
    /// Show the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Undo everything after this time (30s, 2m) unless you run 'eni-steer confirm'
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
    /// Show the unit and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Directory for the unit
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    pub unit_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// Show the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Check the traffic of the next TIME instead of all traffic since the programs were attached
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub window: Option<Duration>,
    /// How many addresses must have traffic that was judged, for success
    #[arg(long, value_name = "none|any|all", default_value = "any")]
    pub require_traffic: Required,
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
#[derive(Clone, Copy, Debug, ValueEnum)]
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
