//! How a command ends: exit codes, and errors as `error:`, `caused by:` and `hint:`.

use std::process::ExitCode;

use eni_steer_core::{desired::PolicyError, policy::config::ConfigError};
use eni_steer_linux::{
    bpf, configuration::UnreadableConfig, executor::StepError, netlink::NetlinkError,
    observe::ObserveError, state::StateError,
};

/// The exit codes, the same for all commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Fine = 0,
    /// It failed.
    Failed = 1,
    /// The command line, the configuration or the host does not allow what is asked for.
    Usage = 2,
    /// The host is not as the policy says: the plan is not empty.
    Drift = 3,
    /// Traffic is asymmetric.
    Asymmetric = 4,
    /// A privilege or something in the kernel is missing.
    Unsupported = 5,
    /// Not confirmed in time: undone.
    Undone = 6,
    /// eni-steer cannot tell what is right, or its walk of the rules and the kernel differ.
    Unknown = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not do what it was asked for.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// With an exit code and a hint.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>, hint: impl Into<String>) -> Self {
        Self {
            exit,
            error: error.into(),
            hint: Some(hint.into()),
        }
    }

    /// A mistake in the arguments.
    pub fn usage(message: String, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, anyhow::anyhow!(message), hint)
    }

    /// Says what was being done, in front of the error.
    pub fn context(self, what: impl std::fmt::Display + Send + Sync + 'static) -> Self {
        Self {
            error: self.error.context(what),
            ..self
        }
    }

    /// The error alone, where nobody looks at exit codes and hints.
    pub fn into_error(self) -> anyhow::Error {
        match self.hint {
            Some(hint) => anyhow::anyhow!("{:#} ({hint})", self.error),
            None => self.error,
        }
    }

    /// Prints the error and returns the exit code.
    pub fn report(&self) -> ExitCode {
        eprintln!("error: {}", self.error);
        for cause in self.error.chain().skip(1) {
            // A verifier's log has thousands of lines; the first says what failed.
            let text = cause.to_string();
            eprintln!("caused by: {}", text.lines().next().unwrap_or_default());
            tracing::debug!("{text}");
        }
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
        self.exit.into()
    }
}

/// What clap found wrong, or the help that was asked for.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => Exit::Fine.into(),
            Err(_broken_pipe) => Exit::Failed.into(),
        };
    }
    let text = error.render().to_string();
    if error.kind() == DisplayHelpOnMissingArgumentOrSubcommand {
        eprint!("{text}");
        return Exit::Usage.into();
    }
    // One line that names the mistake, as all our errors are; clap adds usage and tips.
    let mistake: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    eprintln!("{}", mistake.join(" "));
    eprintln!("hint: 'eni-steer help COMMAND' lists its flags");
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
        Self::new(Exit::Usage, refusal, hint)
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
        let hint = "--config PATH (or ENI_STEER_CONFIG) names another one; without a \
                    configuration there are flags and defaults";
        Self::new(Exit::Usage, error, hint)
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::new(
            Exit::Failed,
            error,
            "previous values are remembered there until the next boot: it has to be writable \
             (--run-dir names another directory)",
        )
    }
}

impl From<NetlinkError> for Failure {
    fn from(error: NetlinkError) -> Self {
        if error.is_denied() {
            return Self::new(Exit::Unsupported, error, "run it as root (CAP_NET_ADMIN)");
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
                Self::from(error).context("cannot read the host's routing")
            }
            ObserveError::Bpf(error) => {
                Self::from(error).context("cannot read eni-steer's programs and maps")
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
