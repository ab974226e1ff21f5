//! Builds the test programs and the command, linked statically, because the machine has none of
//! this host's libraries.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{
    build::{STATIC, STATIC_HINT},
    run,
};

/// The target to build for. If cargo is given a target, it does not link build scripts and
/// macros, which run here, statically.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The package that contains the lab.
const TESTS: &str = "eni-steer-tests";

/// A program that cargo built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
}

/// The programs that go into a machine.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The machine's first process.
    pub init: PathBuf,
    /// The command under test.
    pub command: PathBuf,
    /// The test programs.
    pub tests: Vec<Program>,
}

impl Program {
    /// Returns the full names of the program's tests. The program is linked statically for this
    /// processor, so it runs here too, and listing tests does not depend on the kernel.
    pub fn list(&self) -> Result<Vec<String>> {
        let listed = run::output(Command::new(&self.path).arg("--list"))
            .with_context(|| format!("{} does not list its tests", self.path.display()))?;
        let tests = listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"));
        Ok(tests.map(str::to_owned).collect())
    }
}

/// Builds the programs; of the test programs those with these names, or all.
pub fn build(tests: &[&str]) -> Result<Programs> {
    let commands = artifacts(
        &mut cargo(&["build"], &["--package", "eni-steer", "--bins"]),
        "bin",
    )?;
    let mut which: Vec<&str> = tests.iter().flat_map(|name| ["--test", *name]).collect();
    if which.is_empty() {
        // Not `--tests`, which would include the unit tests.
        which.extend(["--test", "*"]);
    }
    let tests = artifacts(&mut cargo(&["test", "--no-run"], &which), "test")?;
    let command = |name: &str| {
        commands
            .iter()
            .find(|program| program.name == name)
            .map(|program| program.path.clone())
            .ok_or_else(|| anyhow!("cargo built no {name}"))
    };
    ensure!(!tests.is_empty(), "cargo built no test program");
    Ok(Programs {
        init: command("vm-init")?,
        command: command("eni-steer")?,
        tests,
    })
}

fn cargo(what: &[&str], which: &[&str]) -> Command {
    let mut cargo = run::cargo();
    cargo
        .args(what)
        .args(["--package", TESTS])
        .args(which)
        .args(["--target", TARGET])
        .env("RUSTFLAGS", STATIC.join(" "))
        // A quarter of the size; backtraces still have names.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_PROFILE_TEST_DEBUG", "false")
        // On an emulated processor every instruction counts. Tests wait most for the kernel to
        // read and load programs.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "1");
    cargo
}

/// Runs cargo and returns the programs of this kind that it built.
fn artifacts(cargo: &mut Command, kind: &str) -> Result<Vec<Program>> {
    println!("$ {}", run::shown(cargo));
    let output = cargo
        .arg("--message-format=json-render-diagnostics")
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("can not run cargo")?;
    ensure!(
        output.status.success(),
        "the programs for the machines do not build: {}\n{STATIC_HINT}",
        output.status
    );
    let text =
        String::from_utf8(output.stdout).context("cargo printed something that is not text")?;
    let mut programs: Vec<Program> = text
        .lines()
        .filter_map(|line| artifact(line, kind))
        .collect();
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

/// Returns the program that one of cargo's messages names.
fn artifact(message: &str, kind: &str) -> Option<Program> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let target = &message["target"];
    let is_kind = target["kind"].as_array()?.iter().any(|k| k == kind);
    is_kind.then_some(())?;
    Some(Program {
        name: target["name"].as_str()?.to_owned(),
        path: message["executable"].as_str()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_read_from_cargos_messages() {
        let message = r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"lab"},
            "executable":"/target/lab-1"}"#;
        let lab = Program {
            name: "lab".to_owned(),
            path: "/target/lab-1".into(),
        };
        assert_eq!(artifact(message, "test"), Some(lab));
        assert_eq!(artifact(message, "bin"), None);
        assert_eq!(artifact(r#"{"reason":"build-finished"}"#, "test"), None);
    }
}
