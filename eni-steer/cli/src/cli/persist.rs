//! `persist`: installs the systemd service that runs the daemon at each boot.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Command, Stdio},
};

use eni_steer_linux::{files, process};

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
    if let Some(lost) = lost_at_boot(global)? {
        return Err(Failure::new(
            Exit::Usage,
            anyhow::anyhow!(
                "the policy in force is not in the configuration, so it would be lost at the next \
                 boot: {lost}"
            ),
            "'eni-steer config save' writes it there, 'eni-steer apply' without options goes back \
             to the configuration",
        ));
    }
    if !process::systemd_runs() {
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
    require_trusted(&command)?;
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
        // systemd never reads half a unit.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            files::replace(&path, unit.as_bytes(), 0o644)?;
        }
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

/// Refuses a command that another user can replace: systemd would run it as root at each boot.
fn require_trusted(command: &Path) -> Result<(), Failure> {
    for path in command.ancestors() {
        let data = fs::metadata(path)?;
        // In a directory as /tmp, only the owner of an entry can replace it.
        let sticky = data.is_dir() && data.mode() & 0o1000 != 0;
        let Some(what) = files::distrust(&data, &[]).filter(|_| !sticky || data.uid() != 0) else {
            continue;
        };
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!(
                "{} {what}, so others decide what would run as root at each boot",
                path.display()
            ),
            format!("copy the command to {SHIPPED}, as root, and run it there"),
        ));
    }
    Ok(())
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
    // systemd replaces `%` and what follows it (systemd.unit(5), "Specifiers"). Quotes and backslashes
    // would need escapes too; a path of a command has none.
    if path.contains(['"', '\'', '\\', '$']) {
        return Err(Failure::usage(
            format!("the path of this command, {path}, has characters that systemd interprets"),
            format!("copy the command to {SHIPPED} and run it there"),
        ));
    }
    Ok(UNIT.replace(SHIPPED, &path.replace('%', "%%")))
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

    #[test]
    fn what_systemd_interprets_in_the_path_is_escaped_or_refused() {
        let escaped = unit(Path::new("/opt/100%/eni-steer")).expect("a path");
        assert!(escaped.contains("ExecStart=/opt/100%%/eni-steer run\n"));
        for path in [
            "/opt/a b/eni-steer",
            "/opt/$HOME/eni-steer",
            "/opt/'/eni-steer",
        ] {
            assert!(unit(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_command_that_others_can_replace_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        let place = tempfile::tempdir().expect("a directory");
        let command = place.path().join("eni-steer");
        fs::write(&command, "").expect("it is written");
        let why = || {
            require_trusted(&command)
                .err()
                .map(|failure| failure.text())
        };
        // Whoever runs this test as another user than root owns the file.
        let owned = || why().is_none_or(|why| why.contains("belongs to uid"));
        mode(&command, 0o755);
        assert!(owned(), "{:?}", why());
        mode(&command, 0o775);
        assert!(why().is_some_and(|why| why.contains("/eni-steer")));
        mode(&command, 0o755);
        mode(place.path(), 0o777);
        assert!(why().is_some());
    }
}
