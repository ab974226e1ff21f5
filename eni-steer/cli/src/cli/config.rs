//! `config`: checks the configuration, or shows the values in effect.

mod save;

use std::io::Write;

use super::{
    args::{ConfigCommand, Global},
    context::require_privilege,
    failure::{Exit, Failure},
    origin,
    policy::policy_in_force,
};
use crate::render::{self, CheckedReport, ConfigReport, Escaped};
use eni_steer_core::policy::config::LoadedConfig;
use eni_steer_linux::configuration::read_configuration;

pub(super) use save::{lost_at_boot, note_unsaved};

pub(super) fn run(global: &Global, command: &ConfigCommand) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Check => check(global),
        ConfigCommand::Save(args) => save::run(global, args),
        ConfigCommand::Show(args) => {
            require_privilege()?;
            let in_force = policy_in_force(global, &args.policy)?;
            let source = in_force.source.to_string();
            let report = ConfigReport::new(source, &in_force.policy, &in_force.origins());
            let mut out = std::io::stdout().lock();
            if global.json {
                render::json(origin::here(), &report, Exit::Fine.code(), &mut out)?;
            } else {
                render::config(&report, &mut Escaped(&mut out))?;
            }
            out.flush()?;
            Ok(Exit::Fine)
        }
    }
}

/// Checks the files alone. It does not compare them with this host, so any user who may read them
/// can run it, on any machine.
fn check(global: &Global) -> Result<Exit, Failure> {
    let (path, named) = global.config_path();
    let files = read_configuration(&path, named)?;
    LoadedConfig::from_files(&files)?;
    let names = || files.iter().map(|file| file.path.display().to_string());
    let mut out = std::io::stdout().lock();
    if global.json {
        let checked = CheckedReport {
            files: names().collect(),
        };
        render::json(origin::here(), &checked, Exit::Fine.code(), &mut out)?;
    } else if files.is_empty() {
        writeln!(
            out,
            "ok: there is no {}, so the defaults or the previous apply decide",
            path.display()
        )?;
    } else {
        writeln!(out, "ok: {}", names().collect::<Vec<_>>().join(", "))?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}
