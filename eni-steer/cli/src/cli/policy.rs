//! Which policy is in force, and where it comes from: flags over the configuration; where
//! there is no configuration, over what was applied last; else the defaults.

use std::{fmt, path::PathBuf};

use super::{
    args::{Global, PolicyArgs, Switch},
    failure::Failure,
};
use eni_steer_core::{
    model::Mode,
    policy::{Discover, EniPolicy, Origin, Origins, Policy, Selector, config::Configured},
};
use eni_steer_linux::{configuration::read_configuration, state::State};

/// What the policy as a whole comes from, before flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// These files.
    Files(Vec<PathBuf>),
    /// There is no configuration: what was applied last.
    AppliedLast,
    /// There is no configuration, and nothing is applied: the defaults.
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

/// The policy in force.
pub(super) struct InForce {
    /// What was written down.
    pub state: State,
    /// The policy.
    pub policy: Policy,
    /// Where it comes from as a whole.
    pub source: Source,
    /// The policy before flags.
    unflagged: Policy,
    /// Where the values of files stand in them.
    written: Origins,
}

impl InForce {
    fn new(state: State, policy: Policy, source: Source) -> Self {
        Self {
            state,
            unflagged: policy.clone(),
            policy,
            source,
            written: Origins::default(),
        }
    }

    /// Where the policy's values come from.
    pub(super) fn origins(&self) -> Origins {
        let mut origins = self.written.clone();
        if self.source == Source::AppliedLast {
            let nothing = Policy::default();
            origins.say_changes(&nothing, &self.unflagged, &Origin::AppliedLast);
        }
        origins.say_changes(&self.unflagged, &self.policy, &Origin::Flag);
        origins
    }
}

/// The policy in force: flags over the configuration or over what was applied last.
pub(super) fn policy_in_force(global: &Global, args: &PolicyArgs) -> Result<InForce, Failure> {
    let state = State::read(&global.paths())?;
    let mut in_force = without_flags(global, state)?;
    args.put_into(&mut in_force.policy)?;
    let policy = &mut in_force.policy;
    policy.log_level = program_log_level(global.verbose, policy.log_level);
    same_protocol(&in_force.state, policy)?;
    Ok(in_force)
}

/// The policy by which what is there is taken away again: the one it was applied by, whatever
/// the configuration says by now, if it can be read at all.
pub(super) fn policy_to_undo(global: &Global) -> Result<InForce, Failure> {
    let state = State::read(&global.paths())?;
    match state.policy.clone() {
        Some(policy) => Ok(InForce::new(state, policy, Source::AppliedLast)),
        None => without_flags(global, state),
    }
}

fn without_flags(global: &Global, state: State) -> Result<InForce, Failure> {
    let (path, named) = global.config_path();
    let files = read_configuration(&path, named)?;
    if !files.is_empty() {
        let Configured { policy, origins } = Configured::from_files(&files)?;
        let source = Source::Files(files.into_iter().map(|file| file.path).collect());
        return Ok(InForce {
            written: origins,
            ..InForce::new(state, policy, source)
        });
    }
    let (policy, source) = match state.policy.clone() {
        Some(policy) => (policy, Source::AppliedLast),
        None => (Policy::default(), Source::Automatic),
    };
    Ok(InForce::new(state, policy, source))
}

/// What is ours is told by the protocol number: with another one, what is installed would be
/// nobody's, and stay for ever.
fn same_protocol(state: &State, policy: &Policy) -> Result<(), Failure> {
    match &state.policy {
        Some(applied) if applied.ownership.protocol != policy.ownership.protocol => {
            Err(Failure::usage(
                format!(
                    "protocol {} is not the one in force ({})",
                    policy.ownership.protocol, applied.ownership.protocol
                ),
                "run 'eni-steer remove' first, then apply with the new number",
            ))
        }
        _ => Ok(()),
    }
}

/// aya-log counts from 1 (error) to 5 (trace); the programs' own lines are debug and trace.
fn program_log_level(verbose: u8, known: u32) -> u32 {
    match verbose {
        0 => known,
        1 => 3,
        2 => 4,
        _ => 5,
    }
}

impl PolicyArgs {
    /// Whether it says which interfaces are ENIs.
    pub(super) fn names_enis(&self) -> bool {
        !self.eni.is_empty()
    }

    /// Puts what the flags name over a policy.
    fn put_into(&self, policy: &mut Policy) -> Result<(), Failure> {
        if !self.eni.is_empty() {
            policy.discover = Discover::IfNoneNamed;
            let earlier = std::mem::take(&mut policy.enis);
            for name in &self.eni {
                let select = Selector::from(name.as_str());
                let known = earlier.iter().find(|eni| eni.select == select).cloned();
                policy.enis.push(EniPolicy {
                    managed: true,
                    ..known.unwrap_or_else(|| EniPolicy::new(select))
                });
            }
        }
        for (select, gateway) in &self.gateway {
            let eni = named(policy, select)?;
            eni.gateways
                .retain(|other| other.family() != gateway.family());
            eni.gateways.push(*gateway);
        }
        for (select, table) in &self.table {
            named(policy, select)?.table = Some(*table);
        }
        for (select, address) in &self.address {
            let eni = named(policy, select)?;
            if !eni.addresses.contains(address) {
                eni.addresses.push(*address);
            }
        }
        for (select, prefix) in &self.prefix {
            let eni = named(policy, select)?;
            if !eni.prefixes.contains(prefix) {
                eni.prefixes.push(*prefix);
            }
        }
        for (select, mode) in &self.mode {
            match select {
                Some(select) => named(policy, select)?.mode = Some(*mode),
                None => set_mode(policy, *mode),
            }
        }
        for (switch, field) in [
            (self.rules, &mut policy.rules),
            (self.programs, &mut policy.programs),
            (self.sysctls, &mut policy.sysctls),
        ] {
            if let Some(switch) = switch {
                *field = switch == Switch::On;
            }
        }
        if let Some(primary) = self.primary {
            policy.primary = primary;
        }
        if let Some(attach) = self.attach {
            policy.attach = attach.into();
        }
        for net in &self.exempt {
            if !policy.exempt.contains(net) {
                policy.exempt.push(*net);
            }
        }
        if self.exempt_mark.is_some() {
            policy.settings.exempt_mark = self.exempt_mark;
        }
        if let Some(base) = self.table_base {
            policy.table_base = base;
        }
        if let Some((first, last)) = self.band {
            policy.ownership.first = first;
            policy.ownership.last = last;
        }
        if let Some(protocol) = self.protocol {
            policy.ownership.protocol = protocol;
        }
        if let Some(group) = self.group {
            policy.ownership.group = group;
        }
        Ok(())
    }
}

/// A mode for all replaces those of single ENIs.
fn set_mode(policy: &mut Policy, mode: Mode) {
    policy.mode = mode;
    for eni in &mut policy.enis {
        eni.mode = None;
    }
}

/// The ENI a flag speaks of. Where ENIs are found, not named, a flag that speaks of one
/// would name it and so leave the others out: that is asked back.
fn named<'a>(policy: &'a mut Policy, select: &Selector) -> Result<&'a mut EniPolicy, Failure> {
    let known: Vec<String> = policy
        .enis
        .iter()
        .filter(|eni| eni.managed)
        .map(|eni| eni.select.to_string())
        .collect();
    policy
        .enis
        .iter_mut()
        .find(|eni| eni.managed && eni.select == *select)
        .ok_or_else(|| {
            let hint = if known.is_empty() {
                format!("name the ENIs first: --eni {select} --eni ...")
            } else {
                format!(
                    "the ENIs named are {}; add --eni {select}",
                    known.join(", ")
                )
            };
            Failure::usage(
                format!("a flag speaks of {select}, which is no ENI of this policy"),
                hint,
            )
        })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};
    use eni_steer_core::policy::Section;

    /// A directory with an empty run directory; files are put into it by the tests.
    fn place() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    /// The policy in force for `plan` with these flags.
    fn plan(place: &tempfile::TempDir, flags: &[&str]) -> Result<InForce, Failure> {
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

    fn mode(in_force: &InForce) -> (Mode, String) {
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
