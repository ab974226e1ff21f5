//! Builds the eBPF programs and tells the library where the object is.
//!
//! Sets for the crate's `env!`:
//! - `ENI_STEER_BPF_OBJECT_PATH`: the object, to be included;
//! - `ENI_STEER_BPF_OBJECT_HASH`: 16 hex digits that name this object, so
//!   that a running program can be told from a newer one.
//!
//! With `ENI_STEER_BPF_OBJECT=path` in the environment nothing is built and
//! that object is taken.

#[path = "../xtask/src/bpf_toolchain.rs"]
mod bpf_toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

use bpf_toolchain::Toolchain;

const GIVEN: &str = "ENI_STEER_BPF_OBJECT";

fn main() {
    if let Err(message) = run() {
        eprintln!("error: {message}");
        exit(1);
    }
}

fn run() -> Result<(), String> {
    println!("cargo:rerun-if-env-changed={GIVEN}");
    let out = dir("OUT_DIR")?.join("eni-steer.bpf.o");
    let object = match env::var_os(GIVEN) {
        Some(given) => {
            println!("cargo:rerun-if-changed={}", given.to_string_lossy());
            read(Path::new(&given))
                .map_err(|error| format!("{error}\nhint: {GIVEN} names an eBPF object"))?
        }
        None => read(&build(&out)?)?,
    };
    fs::write(&out, &object).map_err(|error| format!("can not write {out:?}: {error}"))?;
    println!(
        "cargo:rustc-env=ENI_STEER_BPF_OBJECT_PATH={}",
        out.display()
    );
    println!(
        "cargo:rustc-env=ENI_STEER_BPF_OBJECT_HASH={:016x}",
        fnv1a(&object)
    );
    Ok(())
}

/// Builds the object; returns where it is.
fn build(out: &Path) -> Result<PathBuf, String> {
    let manifest = dir("CARGO_MANIFEST_DIR")?;
    let workspace = manifest
        .parent()
        .ok_or("the package has no workspace around it")?;
    for path in [
        "Cargo.toml",
        "Cargo.lock",
        "eni-steer-ebpf/Cargo.toml",
        "eni-steer-ebpf/src",
        "eni-steer-common/Cargo.toml",
        "eni-steer-common/src",
    ] {
        println!("cargo:rerun-if-changed={}", workspace.join(path).display());
    }

    let var = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let arch = var("CARGO_CFG_TARGET_ARCH")?;
    let target = bpf_toolchain::target(var("CARGO_CFG_TARGET_ENDIAN")? == "big");
    let toolchain = Toolchain::find(target).map_err(|missing| {
        format!("can not build the eBPF programs: {missing}\nhint: run `cargo xtask setup`")
    })?;
    let (compiler, linker) = (&toolchain.compiler, &toolchain.linker);
    for tool in [&compiler.rustc, &linker.path] {
        println!("cargo:rerun-if-changed={}", tool.display());
    }

    // A target directory of its own: the cargo that runs this script holds
    // the lock on the other one until this script ends.
    let target_dir = target_dir(out).join("bpf").join(&arch);
    let mut cargo = toolchain.cargo("build", target, &arch, workspace);
    cargo
        .args(["--bin", "eni-steer", "--target-dir"])
        .arg(&target_dir);
    succeed(&mut cargo).map_err(|error| {
        format!(
            "the eBPF programs do not build: {error}\n  compiler: {compiler}\n  linker: {linker}"
        )
    })?;

    let built = target_dir.join(target).join("release/eni-steer");
    let Some(objcopy) = toolchain.objcopy() else {
        return Ok(built);
    };
    let stripped = out.with_extension("stripped");
    succeed(
        Command::new(objcopy)
            .arg("--strip-debug")
            .args([&built, &stripped]),
    )?;
    Ok(stripped)
}

/// The target directory of the cargo that runs this script, so that debug and
/// release builds share one build of the eBPF programs.
fn target_dir(out: &Path) -> PathBuf {
    let marked = out
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file());
    marked.or(out.parent()).unwrap_or(out).to_owned()
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|error| format!("can not run {program}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} failed ({status})"))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("can not read {}: {error}", path.display()))
}

fn dir(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{name} is not set: cargo runs this script"))
}

/// FNV-1a, 64 bits: a name for the bytes, not a defence against anyone.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
