//! The policy of a command, and where it comes from: flags override the configuration. Without
//! a configuration, they override the policy of the previous `apply`, or else the defaults.

use std::{fmt, path::PathBuf};

use super::{
    args::{Global, PolicyArgs},
    failure::Failure,
};
use eni_steer_core::policy::{
    Origin, Origins, Policy,
    config::LoadedConfig,
    flags::{self, FlagError},
};
use eni_steer_linux::{configuration::read_configuration, state::State};

/// Where the policy as a whole comes from, before the flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// From these files.
    Files(Vec<PathBuf>),
    /// There is no configuration; the previous `apply` used it.
    AppliedLast,
    /// There is no configuration, and eni-steer has applied nothing: the defaults.
    Automatic,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => {
                let files: Vec<String> = files.iter().map(|p| p.display().to_string()).collect();
                write!(f, "configuration {}", files.join(", "))
            }
            Self::AppliedLast => f.write_str("as applied last"),
            Self::Automatic => f.write_str("automatic (nothing is applied)"),
        }
    }
}

/// The policy of a command.
pub(super) struct EffectivePolicy {
    /// What eni-steer recorded on this host.
    pub state: State,
    /// The policy.
    pub policy: Policy,
    /// Where it comes from as a whole.
    pub source: Source,
    /// The policy before the flags.
    without_flags: Policy,
    /// The place of each value that a file sets.
    file_origins: Origins,
}

impl EffectivePolicy {
    fn new(state: State, policy: Policy, source: Source) -> Self {
        Self {
            state,
            without_flags: policy.clone(),
            policy,
            source,
            file_origins: Origins::default(),
        }
    }

    /// What the files say, without flags; the defaults if there are no files.
    pub(super) fn configured(&self) -> Policy {
        match self.source {
            Source::Files(_) => self.without_flags.clone(),
            Source::AppliedLast | Source::Automatic => Policy::default(),
        }
    }

    /// Where its values come from.
    pub(super) fn origins(&self) -> Origins {
        let mut origins = self.file_origins.clone();
        if self.source == Source::AppliedLast {
            let default = Policy::default();
            origins.set_changes(&default, &self.without_flags, &Origin::AppliedLast);
        }
        origins.set_changes(&self.without_flags, &self.policy, &Origin::Flag);
        origins
    }
}

/// The policy of a command with these flags.
pub(super) fn policy_in_force(
    global: &Global,
    args: &PolicyArgs,
) -> Result<EffectivePolicy, Failure> {
    let (state, _damaged) = State::read_to_report(&global.paths())?;
    let mut in_force = without_flags(global, state)?;
    args.put_into(&mut in_force.policy)?;
    let policy = &mut in_force.policy;
    if global.program_log_level.is_some() {
        policy.log_level = global.program_log_level;
    }
    same_protocol(&in_force.state, policy)?;
    Ok(in_force)
}

/// The policy that `remove` undoes: the one that the previous `apply` used. The configuration may
/// have changed since, or have mistakes.
pub(super) fn policy_to_undo(global: &Global) -> Result<EffectivePolicy, Failure> {
    let (state, _damaged) = State::read_to_report(&global.paths())?;
    match state.policy.clone() {
        Some(policy) => Ok(EffectivePolicy::new(state, policy, Source::AppliedLast)),
        None => without_flags(global, state),
    }
}

/// The default policy, where neither the configuration nor a policy that was applied can be read.
pub(super) fn defaults(global: &Global) -> Result<EffectivePolicy, Failure> {
    let (state, _damaged) = State::read_to_report(&global.paths())?;
    Ok(EffectivePolicy::new(
        state,
        Policy::default(),
        Source::Automatic,
    ))
}

fn without_flags(global: &Global, state: State) -> Result<EffectivePolicy, Failure> {
    let (path, named) = global.config_path();
    let files = read_configuration(&path, named)?;
    if !files.is_empty() {
        let LoadedConfig { policy, origins } = LoadedConfig::from_files(&files)?;
        let source = Source::Files(files.into_iter().map(|file| file.path).collect());
        return Ok(EffectivePolicy {
            file_origins: origins,
            ..EffectivePolicy::new(state, policy, source)
        });
    }
    let (policy, source) = match state.policy.clone() {
        Some(policy) => (policy, Source::AppliedLast),
        None => (Policy::default(), Source::Automatic),
    };
    Ok(EffectivePolicy::new(state, policy, source))
}

/// eni-steer knows its own routes and rules by their protocol number. With another number it would
/// never delete those that it has installed.
fn same_protocol(state: &State, policy: &Policy) -> Result<(), Failure> {
    match &state.policy {
        Some(applied) if applied.ownership.protocol != policy.ownership.protocol => {
            Err(Failure::refused(
                format!(
                    "the installed routes and rules have protocol {}, the policy has {}",
                    applied.ownership.protocol, policy.ownership.protocol
                ),
                "run 'eni-steer remove', then 'eni-steer apply' with the new number",
            ))
        }
        _ => Ok(()),
    }
}

impl PolicyArgs {
    /// Whether the flags name the ENIs to manage.
    pub(super) fn names_enis(&self) -> bool {
        flags::names_enis(&self.settings)
    }

    /// Changes a policy as the flags say.
    pub(super) fn put_into(&self, policy: &mut Policy) -> Result<(), Failure> {
        let refused = |FlagError { what, hint }| Failure::usage(what, hint);
        flags::put_into(&self.settings, policy).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use eni_steer_core::{
        model::Mode,
        policy::{Discover, Section},
    };

    /// A directory with an empty run directory; files are put into it by the tests.
    fn place() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    /// The policy in force for `plan` with these flags.
    fn plan(place: &tempfile::TempDir, flags: &[&str]) -> Result<EffectivePolicy, Failure> {
        let run = place.path().join("run");
        let mut words = vec!["eni-steer".into(), "--run-dir".into(), run.into_os_string()];
        let config = place.path().join("config.toml");
        if config.exists() {
            words.extend(["--config".into(), config.into_os_string()]);
        }
        words.push("plan".into());
        words.extend(flags.iter().map(Into::into));
        let cli = Cli::try_parse_from(words).expect("flags there are");
        let Command::Plan(args) = &cli.command else {
            panic!("plan is plan");
        };
        policy_in_force(&cli.global, &args.policy)
    }

    fn apply(place: &tempfile::TempDir, policy: &Policy) {
        let paths = eni_steer_linux::paths::Paths {
            run: place.path().join("run"),
            ..eni_steer_linux::paths::Paths::default()
        };
        let policy = policy.clone();
        State::change(&paths, |state| state.policy = Some(policy)).expect("writable");
    }

    fn mode(in_force: &EffectivePolicy) -> (Mode, String) {
        let origin = in_force.origins().of(&Section::Policy, "mode");
        (in_force.policy.mode, origin.to_string())
    }

    #[test]
    fn flags_come_before_the_configuration_and_that_before_what_was_applied_last() {
        let place = place();
        let in_force = plan(&place, &[]).unwrap_or_else(|_| panic!("the defaults"));
        assert_eq!(mode(&in_force), (Mode::Count, "default".to_owned()));
        assert_eq!(in_force.source, Source::Automatic);

        let applied = Policy {
            mode: Mode::Drop,
            ..Policy::default()
        };
        apply(&place, &applied);
        let in_force = plan(&place, &[]).unwrap_or_else(|_| panic!("as applied last"));
        assert_eq!(mode(&in_force), (Mode::Drop, "applied last".to_owned()));
        assert_eq!(in_force.source, Source::AppliedLast);

        let file = place.path().join("config.toml");
        fs::write(&file, "[policy]\nmode = 'steer'").expect("a file");
        let in_force = plan(&place, &[]).unwrap_or_else(|_| panic!("the file"));
        assert_eq!(
            mode(&in_force),
            (Mode::Steer, format!("{}:2", file.display()))
        );

        let in_force = plan(&place, &["--mode", "count"]).unwrap_or_else(|_| panic!("the flag"));
        assert_eq!(mode(&in_force), (Mode::Count, "flag".to_owned()));

        // What the file does not say is as by default, whatever was applied last.
        fs::write(&file, "").expect("a file");
        let in_force = plan(&place, &[]).unwrap_or_else(|_| panic!("the file"));
        assert_eq!(mode(&in_force), (Mode::Count, "default".to_owned()));
    }

    #[test]
    fn what_is_there_is_undone_by_what_was_applied_however_wrong_the_files_are() {
        let place = place();
        let applied = Policy {
            mode: Mode::Drop,
            ..Policy::default()
        };
        apply(&place, &applied);
        let file = place.path().join("config.toml");
        fs::write(&file, "[policy]\nprotocol = 'x'").expect("a file");
        assert!(plan(&place, &[]).is_err());
        let words = [
            "eni-steer".into(),
            "--config".into(),
            file.into_os_string(),
            "--run-dir".into(),
            place.path().join("run").into_os_string(),
            "remove".into(),
        ];
        let cli = Cli::try_parse_from(words).expect("flags there are");
        let in_force = policy_to_undo(&cli.global).unwrap_or_else(|_| panic!("the applied one"));
        assert_eq!(in_force.policy, applied);
    }

    #[test]
    fn an_eni_named_by_a_flag_keeps_what_the_configuration_says_of_it() {
        let place = place();
        let file = place.path().join("config.toml");
        let text = "[policy]\ndiscover = 'always'\n[[eni]]\nname = 'eth1'\ntable = 1001\n\
                    managed = false\n[[eni]]\nname = 'eth2'";
        fs::write(file, text).expect("a file");
        let in_force = plan(&place, &["--eni", "eth1"]).unwrap_or_else(|_| panic!("it is there"));
        let [eth1] = in_force.policy.enis.as_slice() else {
            panic!("only eth1: {:?}", in_force.policy.enis);
        };
        assert!(eth1.managed);
        assert_eq!(eth1.table.map(|table| table.0), Some(1001));
        assert_eq!(in_force.policy.discover, Discover::IfNoneNamed);
        assert!(plan(&place, &["--table", "eth7=5"]).is_err());
    }
}
