//! How a command ends: with an exit code, and on failure with lines that begin with `error:`,
//! `caused by:` and `hint:`.

use std::process::ExitCode;

use eni_steer_core::{desired::PolicyError, policy::config::ConfigError, report::ErrorReport};
use eni_steer_linux::{
    bpf, configuration::UnreadableConfig, executor::StepError, lock::LockError,
    netlink::NetlinkError, observe::ObserveError, state::StateError,
};

use super::origin;
use crate::render::escaped;

/// The exit codes, the same for all commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Fine,
    /// Failure of any other kind.
    Failed,
    /// Wrong usage or configuration.
    Usage,
    /// The host differs from the policy: the plan is not empty.
    Drift,
    /// Traffic is asymmetric.
    Asymmetric,
    /// A privilege or a kernel feature is missing.
    Unsupported,
    /// The user did not confirm in time, and eni-steer undid the change.
    Undone,
    /// Traffic could not be judged: none was seen, or nothing counts it.
    Unknown,
    /// The host does not allow what the user wants: an interface is missing, another program's rule
    /// is in the way, the daemon runs.
    Refused,
    /// `status --check`: 0 OK, 1 unconfirmed, 2 attention, 3 unknown.
    Monitor(u8),
}

impl Exit {
    /// The exit of a report's code.
    pub fn of(code: u8) -> Self {
        match code {
            0 => Self::Fine,
            2 => Self::Usage,
            3 => Self::Drift,
            4 => Self::Asymmetric,
            5 => Self::Unsupported,
            6 => Self::Undone,
            7 => Self::Unknown,
            8 => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Drift => 3,
            Self::Asymmetric => 4,
            Self::Unsupported => 5,
            Self::Undone => 6,
            Self::Unknown => 7,
            Self::Refused => 8,
            Self::Monitor(code) => code,
        }
    }
}

impl Exit {
    /// The exit of a report that lists codes, the one that applies first; none: success.
    pub fn first_of(codes: &[u8]) -> Self {
        codes.first().map_or(Self::Fine, |code| Self::of(*code))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed: the error, the exit code, and what the user can do.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// A failure with an exit code and a hint.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>, hint: impl Into<String>) -> Self {
        Self {
            exit,
            error: error.into(),
            hint: Some(hint.into()),
        }
    }

    /// A mistake in the command line.
    pub fn usage(message: String, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, anyhow::anyhow!(message), hint)
    }

    /// The error and its causes, in one line.
    pub fn text(&self) -> String {
        format!("{:#}", self.error)
    }

    /// The error, then its causes.
    pub fn chain(&self) -> Vec<String> {
        self.error.chain().map(ToString::to_string).collect()
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What the user wants is not possible on this host, as it is now.
    pub fn refused(message: String, hint: impl Into<String>) -> Self {
        Self::new(Exit::Refused, anyhow::anyhow!(message), hint)
    }

    /// Puts what eni-steer was doing in front of the error.
    pub fn context(self, what: impl std::fmt::Display + Send + Sync + 'static) -> Self {
        Self {
            error: self.error.context(what),
            ..self
        }
    }

    /// The error in one line with its hint, for a log: exit codes have no place there.
    pub fn into_error(self) -> anyhow::Error {
        match self.hint {
            Some(hint) => anyhow::anyhow!("{:#} ({hint})", self.error),
            None => self.error,
        }
    }

    /// Prints the error and returns the exit code: lines on stderr, or with `json` a report on
    /// stdout, so that whoever reads stdout always gets one report.
    pub fn report(&self, json: bool) -> ExitCode {
        if json {
            // Of a log of the verifier, which has thousands of lines, the first names the failure.
            let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
            let mut chain = self.chain().into_iter().map(first);
            return print_json(
                &ErrorReport {
                    error: chain.next().unwrap_or_default(),
                    causes: chain.collect(),
                    hint: self.hint.clone(),
                },
                self.exit,
            );
        }
        eprintln!("error: {}", escaped(&self.error.to_string()));
        for cause in self.error.chain().skip(1) {
            // A log of the verifier has thousands of lines; the first names the failure.
            let text = cause.to_string();
            let line = text.lines().next().unwrap_or_default();
            eprintln!("caused by: {}", escaped(line));
            tracing::debug!("{text}");
        }
        if let Some(hint) = &self.hint {
            eprintln!("hint: {}", escaped(hint));
        }
        self.exit.into()
    }
}

const LISTS_OPTIONS: &str = "'eni-steer help COMMAND' lists the options of a command";

fn print_json(error: &ErrorReport, exit: Exit) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match crate::render::json(origin::here(), error, exit.code(), &mut out) {
        Ok(()) => exit.into(),
        Err(_nobody_reads) => Exit::Failed.into(),
    }
}

/// Prints the mistake that clap found, or the help text that the user wants. `json`: the mistake as
/// a report.
pub(super) fn usage(error: &clap::Error, json: bool) -> ExitCode {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => Exit::Fine.into(),
            Err(_broken_pipe) => Exit::Failed.into(),
        };
    }
    let text = error.render().to_string();
    if json {
        let mistake = text
            .lines()
            .map(str::trim)
            .take_while(|line| !line.is_empty());
        let mistake = mistake.collect::<Vec<_>>().join(" ");
        let mistake = mistake.strip_prefix("error: ").unwrap_or(&mistake);
        return print_json(
            &ErrorReport {
                error: mistake.to_owned(),
                causes: Vec::new(),
                hint: Some(LISTS_OPTIONS.to_owned()),
            },
            Exit::Usage,
        );
    }
    if error.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{text}");
        return Exit::Usage.into();
    }
    // One line that names the mistake, like all other errors. What clap adds (usage, tips) goes.
    let mistake: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    eprintln!("{}", mistake.join(" "));
    eprintln!("hint: {LISTS_OPTIONS}");
    Exit::Usage.into()
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            exit: Exit::Failed,
            error,
            hint: None,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        anyhow::Error::from(error).into()
    }
}

impl From<PolicyError> for Failure {
    fn from(refusal: PolicyError) -> Self {
        let hint = refusal.hint();
        Self::new(Exit::Refused, refusal, hint)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = error.hint.clone();
        Self::new(Exit::Usage, error, hint)
    }
}

impl From<UnreadableConfig> for Failure {
    fn from(error: UnreadableConfig) -> Self {
        let hint = "name another file with --config FILE or ENI_STEER_CONFIG, or none: then \
                    options and defaults decide";
        Self::new(Exit::Usage, error, hint)
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held(_) => Self::new(
                Exit::Failed,
                error,
                "nothing was changed; wait longer (--wait 2m), or look at that process",
            ),
            LockError::File(error) => error.into(),
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let hint = error.hint();
        Self::new(Exit::Failed, error, hint)
    }
}

impl From<NetlinkError> for Failure {
    fn from(error: NetlinkError) -> Self {
        if error.is_denied() {
            return Self::new(
                Exit::Unsupported,
                error,
                "run it as root, or with CAP_NET_ADMIN",
            );
        }
        anyhow::Error::from(error).into()
    }
}

impl From<bpf::BpfError> for Failure {
    fn from(error: bpf::BpfError) -> Self {
        let exit = if error.is_unsupported() {
            Exit::Unsupported
        } else {
            Exit::Failed
        };
        let hint = error.hint();
        Self {
            exit,
            error: error.into(),
            hint,
        }
    }
}

impl From<ObserveError> for Failure {
    fn from(error: ObserveError) -> Self {
        match error {
            ObserveError::Netlink(error) => {
                Self::from(error).context("eni-steer cannot read the host's routing")
            }
            ObserveError::Bpf(error) => {
                Self::from(error).context("eni-steer cannot read its programs and maps")
            }
            ObserveError::State(error) => error.into(),
            other @ ObserveError::Sysctl { .. } => anyhow::Error::from(other).into(),
        }
    }
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Netlink(error) => error.into(),
            StepError::Bpf(error) => error.into(),
            StepError::State(error) => error.into(),
            other => anyhow::Error::from(other).into(),
        }
    }
}
