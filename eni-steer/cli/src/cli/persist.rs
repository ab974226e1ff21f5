//! `persist`: installs the systemd service that runs the daemon at each boot.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    args::{Global, PersistArgs},
    config::lost_at_boot,
    context::require_privilege,
    failure::{Exit, Failure},
};

/// The unit file, as it is shipped.
const UNIT: &str = include_str!("../../../../contrib/systemd/eni-steer.service");
const NAME: &str = "eni-steer.service";
/// Where the shipped unit looks for the command.
const SHIPPED: &str = "/usr/local/bin/eni-steer";

pub(super) fn run(global: &Global, args: &PersistArgs) -> Result<Exit, Failure> {
    let command = std::env::current_exe()?;
    let unit = unit(&command)?;
    if args.dry_run {
        print!("{unit}");
        return Ok(Exit::Fine);
    }
    require_privilege()?;
    let lost = lost_at_boot(global)?;
    if let Some(first) = lost.first() {
        let more = match lost.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        return Err(Failure::new(
            Exit::Usage,
            anyhow::anyhow!(
                "the policy in force is not in the configuration, so it would be lost at the next \
                 boot: {first}{more}"
            ),
            "'eni-steer config save' writes it there, 'eni-steer apply' without options goes back \
             to the configuration",
        ));
    }
    // sd_booted(3): this directory exists where systemd is the init system, and nowhere else.
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Failure::new(
            Exit::Unsupported,
            anyhow::anyhow!("systemd does not run here, so eni-steer cannot install its service"),
            format!(
                "let your init system start '{} run' at boot, after the network interfaces and \
                 before services that need the network",
                command.display()
            ),
        ));
    }
    let path = args.unit_dir.join(NAME);
    match fs::read_to_string(&path) {
        Ok(there) if there == unit => {}
        // An administrator may have changed the unit: do not overwrite it.
        Ok(_) => {
            return Err(Failure::new(
                Exit::Failed,
                anyhow::anyhow!(
                    "{} exists with other contents, so eni-steer does not overwrite it",
                    path.display()
                ),
                "compare it with 'eni-steer persist --dry-run'; delete it if you do not need it, \
                 and run 'eni-steer persist' again",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::write(&path, &unit)?,
        Err(error) => return Err(error.into()),
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--now", NAME])?;
    println!(
        "Installed {}. The daemon runs now and starts at each boot; 'systemctl status {NAME}' \
         shows it.",
        path.display()
    );
    Ok(Exit::Fine)
}

/// The unit file with the path of this command in it.
fn unit(command: &Path) -> Result<String, Failure> {
    let path = command
        .to_str()
        .filter(|path| !path.contains(char::is_whitespace))
        .ok_or_else(|| {
            Failure::usage(
                format!(
                    "the path of this command, {}, has spaces, so systemd cannot start it",
                    command.display()
                ),
                format!("copy the command to {SHIPPED} and run it there"),
            )
        })?;
    Ok(UNIT.replace(SHIPPED, path))
}

fn systemctl(args: &[&str]) -> Result<(), Failure> {
    let status = Command::new("systemctl")
        .args(args)
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        return Ok(());
    }
    Err(anyhow::anyhow!("systemctl {} failed: {status}", args.join(" ")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_runs_the_command_that_installed_it() {
        let unit = unit(Path::new("/opt/bin/eni-steer")).expect("a plain path");
        assert!(unit.contains("ExecStart=/opt/bin/eni-steer run\n"));
        assert!(!unit.contains(SHIPPED));
    }
}
