//! `persist`: the service that keeps the policy over reboots, in the place of rc.local.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    args::PersistArgs,
    context::require_privilege,
    failure::{Exit, Failure},
};

/// The unit, as it is shipped.
const UNIT: &str = include_str!("../../../../contrib/systemd/eni-steer.service");
const NAME: &str = "eni-steer.service";
/// Where the shipped unit looks for the command.
const SHIPPED: &str = "/usr/local/bin/eni-steer";

pub(super) fn run(args: &PersistArgs) -> Result<Exit, Failure> {
    let command = std::env::current_exe()?;
    let unit = unit(&command)?;
    if args.dry_run {
        print!("{unit}");
        return Ok(Exit::Fine);
    }
    require_privilege()?;
    // sd_booted(3): this directory exists where systemd is the init system, and nowhere else.
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Failure::new(
            Exit::Unsupported,
            anyhow::anyhow!("systemd does not run here"),
            format!(
                "start '{} run' at boot by the init system's own means, after the network \
                     interfaces and before services that need the network",
                command.display()
            ),
        ));
    }
    let path = args.unit_dir.join(NAME);
    match fs::read_to_string(&path) {
        Ok(there) if there == unit => {}
        // Somebody's own version of the unit is theirs.
        Ok(_) => {
            return Err(Failure::new(
                Exit::Failed,
                anyhow::anyhow!(
                    "{} exists and is not what this version would write",
                    path.display()
                ),
                "compare with 'eni-steer persist --dry-run'; remove it to have it written anew",
            ));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::write(&path, &unit)?,
        Err(error) => return Err(error.into()),
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--now", NAME])?;
    println!(
        "{} is enabled and runs; 'systemctl status {NAME}' shows it",
        path.display()
    );
    Ok(Exit::Fine)
}

/// The unit with the path of this command in it.
fn unit(command: &Path) -> Result<String, Failure> {
    let path = command
        .to_str()
        .filter(|path| !path.contains(char::is_whitespace))
        .ok_or_else(|| {
            Failure::usage(
                format!("{} can not stand in a unit file", command.display()),
                format!("install the command as {SHIPPED}"),
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
