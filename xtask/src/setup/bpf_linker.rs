//! Provides a bpf-linker whose LLVM reads what the compiler writes.

use std::{
    env, fs,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    process::{self, Command},
};

use super::{Apt, State, Step, Way, native_target};
use bpf_toolchain::{Missing, Toolchain, cargo_home};

use crate::run;

/// The release that setup installs, and the LLVM versions it can be built with.
const VERSION: &str = "0.13.0";
const LLVMS: RangeInclusive<u32> = 21..=23;

pub const STEP: Step = Step {
    name: "bpf-linker",
    check,
    ways,
    by_hand: || {
        let needed = needed_llvm();
        let llvm = needed.map_or_else(String::new, |llvm| format!(" with LLVM >= {llvm}"));
        let build = needed.unwrap_or(*LLVMS.end()).max(*LLVMS.start());
        format!(
            "put a bpf-linker{llvm} on the PATH: a binary from \
             https://github.com/aya-rs/bpf-linker/releases, or, with the development files of \
             LLVM {build}: LLVM_PREFIX=/usr/lib/llvm-{build} {}",
            run::shown(&cargo_install(build))
        )
    },
};

fn check() -> State {
    let toolchain = match Toolchain::find(native_target()) {
        Ok(toolchain) => toolchain,
        Err(missing @ Missing::Core { .. }) => return State::Needed(format!("first: {missing}")),
        Err(missing @ Missing::Linker { .. }) => return State::Needed(missing.to_string()),
    };
    let Toolchain { compiler, linker } = &toolchain;
    match link_a_program(&compiler.rustc, &linker.path) {
        Ok(()) => State::Ready(linker.to_string()),
        Err(why) => State::Needed(format!(
            "{linker} does not link what {compiler} wrote: {why}"
        )),
    }
}

/// Links a program that needs no `core`, in a tenth of a second.
fn link_a_program(rustc: &Path, linker: &Path) -> Result<(), String> {
    let dir = env::temp_dir().join(format!("eni-steer-setup-{}", process::id()));
    let result = link_a_program_in(&dir, rustc, linker);
    fs::remove_dir_all(&dir)
        .map_err(|error| error.to_string())
        .and(result)
}

fn link_a_program_in(dir: &Path, rustc: &Path, linker: &Path) -> Result<(), String> {
    let [source, bitcode, object] =
        ["rs", "bc", "o"].map(|kind| dir.join("program").with_extension(kind));
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&source, include_str!("program_without_core.txt")))
        .map_err(|error| format!("can not write {}: {error}", source.display()))?;
    let compiled = Command::new(rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["--edition", "2024", "--crate-type", "lib"])
        .args(["--target", native_target(), "--emit", "llvm-bc", "-o"])
        .args([&bitcode, &source])
        .output();
    if !compiled.is_ok_and(|output| output.status.success()) {
        // What a program without `core` must declare varies with the compiler. A failure here
        // proves nothing about the linker.
        return Ok(());
    }
    let linked = Command::new(linker)
        .arg("--output")
        .args([&object, &bitcode])
        .output()
        .map_err(|error| error.to_string())?;
    if linked.status.success() && object.is_file() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&linked.stderr).trim().to_owned())
    }
}

fn ways(apt: &Apt) -> Vec<Way> {
    let Some(needed) = needed_llvm() else {
        return Vec::new(); // without a compiler nobody knows which LLVM is needed
    };
    let mut ways = Vec::new();
    for llvm in LLVMS.filter(|llvm| *llvm >= needed) {
        if let Some(prefix) = llvm_prefix(llvm) {
            let mut install = cargo_install(llvm);
            install.env("LLVM_PREFIX", prefix);
            let (why, commands) = (
                "building it (a minute or two) with the LLVM that is here",
                vec![install],
            );
            ways.push(Way { why, commands });
        } else if let Some(packages) = apt.install(&[&format!("llvm-{llvm}-dev")]) {
            let mut install = cargo_install(llvm);
            install.env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
            let (why, commands) = (
                "building it (a minute or two) with an LLVM from the distribution",
                vec![packages, install],
            );
            ways.push(Way { why, commands });
        }
    }
    ways
}

fn needed_llvm() -> Option<u32> {
    match Toolchain::find(native_target()) {
        Ok(toolchain) => Some(toolchain.compiler.llvm),
        Err(Missing::Linker { compiler, .. }) => Some(compiler.llvm),
        Err(Missing::Core { .. }) => None,
    }
}

/// Returns where LLVM of exactly this version has its development files.
fn llvm_prefix(llvm: u32) -> Option<PathBuf> {
    let config = [
        format!("/usr/lib/llvm-{llvm}/bin/llvm-config"),
        format!("/usr/lib/llvm{llvm}/bin/llvm-config"),
        format!("/usr/lib64/llvm{llvm}/bin/llvm-config"),
        "llvm-config".to_owned(),
    ];
    config.iter().find_map(|config| {
        let said =
            run::output(Command::new(config).args(["--version", "--prefix", "--includedir"]))?;
        let mut lines = said.lines();
        let (version, prefix, include) = (lines.next()?, lines.next()?, lines.next()?);
        let fits = version.split('.').next()? == llvm.to_string();
        let has_headers = Path::new(include).join("llvm-c/Core.h").is_file();
        (fits && has_headers).then(|| prefix.into())
    })
}

fn cargo_install(llvm: u32) -> Command {
    let mut command = run::cargo();
    command
        .args([
            "install",
            "--quiet",
            "bpf-linker",
            "--version",
            VERSION,
            "--locked",
        ])
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{llvm}"))
        .arg("--force")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    if let Some(home) = cargo_home() {
        // Setup looks there, whatever cargo's configuration says.
        command.arg("--root").arg(home);
    }
    command
}
