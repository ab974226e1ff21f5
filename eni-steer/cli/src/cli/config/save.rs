//! `config save`: writes the policy into the configuration file. The configuration is the policy: what
//! only a flag says is lost at a reboot, and the daemon reverts it.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use eni_steer_core::policy::{
    Policy,
    config::{
        LoadedConfig, SourceFile,
        save::{Change, changed, changes, is_same},
    },
};
use eni_steer_linux::{configuration::read_configuration, files};

use crate::cli::{
    args::{Global, PolicyArgs, SaveArgs},
    context::require_privilege,
    failure::{Exit, Failure},
    policy::{EffectivePolicy, Source, policy_in_force},
};

pub(super) fn run(global: &Global, args: &SaveArgs) -> Result<Exit, Failure> {
    require_privilege()?;
    let in_force = policy_in_force(global, &args.policy)?;
    let wanted = wanted(&in_force, args);
    let changes = changes(&in_force.configured(), &wanted);
    let (path, named) = global.config_path();
    if changes.is_empty() {
        println!("The configuration holds this policy already: nothing to save.");
        return Ok(Exit::Fine);
    }
    let files = read_configuration(&path, named)?;
    let text = files.iter().find(|file| file.path == path);
    let text = text.map_or("", |file| file.text.as_str());
    let new = changed(text, &changes).map_err(|error| {
        Failure::new(
            Exit::Usage,
            error,
            format!(
                "change {} by hand; 'config save --dry-run' lists the keys",
                path.display()
            ),
        )
    })?;
    let new = with_heading(text, new);
    check(&path, files, &new, &wanted, &changes)?;
    for change in &changes {
        println!("{change}");
    }
    if args.dry_run {
        return Ok(Exit::Fine);
    }
    write(&path, &new)?;
    println!("Saved in {}.", path.display());
    Ok(Exit::Fine)
}

/// With flags, what they say; without, the policy that was applied last, which earlier flags may
/// have changed.
fn wanted(in_force: &EffectivePolicy, args: &SaveArgs) -> Policy {
    let applied = in_force.state.policy.clone();
    match applied {
        Some(applied) if args.policy.settings.is_empty() => applied,
        _ => in_force.policy.clone(),
    }
}

/// A new file begins with what it is.
fn with_heading(before: &str, text: String) -> String {
    match before.is_empty() {
        true => format!(
            "# Policy of eni-steer, written by 'eni-steer config save'. docs/configuration.md \
             explains the keys.\n\n{}\n",
            text.trim()
        ),
        false => text,
    }
}

/// Checks that all files together say what was wanted, once this one is changed: a file in conf.d
/// may override it.
fn check(
    path: &Path,
    mut files: Vec<SourceFile>,
    new: &str,
    wanted: &Policy,
    changes: &[Change],
) -> Result<(), Failure> {
    match files.iter_mut().find(|file| file.path == path) {
        Some(file) => new.clone_into(&mut file.text),
        None => files.insert(
            0,
            SourceFile {
                path: path.to_owned(),
                text: new.to_owned(),
            },
        ),
    }
    let loaded = LoadedConfig::from_files(&files)?;
    if is_same(&loaded.policy, wanted) {
        return Ok(());
    }
    let overridden = changes.iter().find_map(|change| {
        let origin = loaded.origins.of(&change.section, change.key).to_string();
        (!origin.starts_with(&format!("{}:", path.display())))
            .then(|| format!("{} is set in {origin}", change.key))
    });
    Err(Failure::new(
        Exit::Usage,
        anyhow::anyhow!(
            "{} cannot hold this policy: {}",
            path.display(),
            overridden
                .unwrap_or_else(|| "another file of the configuration contradicts it".to_owned())
        ),
        "change that file by hand; files in conf.d come after config.toml",
    ))
}

/// Replaces the file, and keeps its mode.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let replace = || -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        let mode = match fs::metadata(path) {
            Ok(data) => data.permissions().mode() & 0o7777,
            Err(_there_is_none) => 0o644,
        };
        files::replace(path, text.as_bytes(), mode)
    };
    replace().map_err(|error| {
        let what = format!("cannot write {}", path.display());
        Failure::from(anyhow::Error::from(error).context(what))
    })
}

/// Says after an `apply` with flags what the configuration does not hold.
pub(in crate::cli) fn note_unsaved(global: &Global, args: &PolicyArgs) -> Result<(), Failure> {
    if args.settings.is_empty() {
        return Ok(());
    }
    let in_force = policy_in_force(global, args)?;
    let changes = changes(&in_force.configured(), &in_force.policy);
    let Some(lacking) = first_of(&changes) else {
        return Ok(());
    };
    let lost = match in_force.source {
        Source::Files(_) => {
            "the next 'eni-steer apply' and the daemon go back to the configuration"
        }
        Source::AppliedLast | Source::Automatic => "a reboot forgets it",
    };
    eprintln!(
        "note: the configuration does not have {lacking}, so {lost}; 'eni-steer config save' \
         writes it there"
    );
    Ok(())
}

/// What the daemon would not do after a reboot although it is in force now: keys that only flags of
/// `apply` have set. `None`: nothing.
pub(in crate::cli) fn lost_at_boot(global: &Global) -> Result<Option<String>, Failure> {
    let in_force = policy_in_force(global, &PolicyArgs::default())?;
    let configured = in_force.configured();
    let applied = in_force.state.policy.as_ref();
    Ok(applied.and_then(|applied| first_of(&changes(&configured, applied))))
}

/// The first of some changes, and how many more there are; `None`: there are none.
fn first_of(changes: &[Change]) -> Option<String> {
    let first = changes.first()?.wanted();
    Some(match changes.len() {
        1 => first,
        n => format!("{first} and {} more", n - 1),
    })
}
