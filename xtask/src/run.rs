//! Runs other programs, and asks what this process is and may do.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// Every package but the eBPF programs. The build script of `eni-steer` builds those for the BPF
/// target.
pub const HOST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", "eni-steer-ebpf"];

/// Returns the directory of the checkout.
pub fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Returns the directory where cargo puts what it builds, and xtask what it keeps.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// Returns a command for the same cargo that runs xtask, in the checkout.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Returns the command as a person would type it.
pub fn shown(command: &Command) -> String {
    let environment = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        Some(format!("{}={value}", name.to_string_lossy()))
    });
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(program).chain(command.get_args());
    let words = words.map(|word| word.to_string_lossy().into_owned());
    environment.chain(words).collect::<Vec<_>>().join(" ")
}

/// Prints a command and runs it. An exit code other than 0 is an error.
pub fn succeed(command: &mut Command) -> Result<()> {
    let line = shown(command);
    println!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("can not run {line}"))?;
    ensure!(status.success(), "{line}: {status}");
    Ok(())
}

/// Returns what a command prints; `None` if it can not be run or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(text)
}

/// Returns the path of this program on the PATH.
pub fn on_path(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let program = program.as_ref();
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// Returns whether this process runs as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Returns an error with the command to type, unless this process runs as root.
pub fn require_root(what: &str, subcommand: &str) -> Result<()> {
    ensure!(
        is_root(),
        "{what} needs root: it makes network namespaces and loads eBPF programs\n\
         hint: sudo -E \"$(which cargo)\" xtask {subcommand}"
    );
    Ok(())
}
