//! Builds the eBPF programs and tells the library where the object is.
//!
//! Sets for the crate's `env!`:
//! - `ENI_STEER_BPF_OBJECT_PATH`: the object, to be included;
//! - `ENI_STEER_BPF_OBJECT_HASH`: 16 hex digits that name this object, so
//!   that a running program can be told from a newer one;
//! - `ENI_STEER_BPF_LOOKUPS_PATH`: the object of `explain --live`.
//!
//! With `ENI_STEER_BPF_OBJECT=path` in the environment nothing is built and
//! that object is taken, and beside it `lookups.bpf.o` if it is there; without
//! it `explain --live` says that it was built without.

#[path = "../../xtask/src/bpf_toolchain.rs"]
mod bpf_toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

use bpf_toolchain::{Compiler, Core, Toolchain};

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
    let lookups = dir("OUT_DIR")?.join("lookups.bpf.o");
    let object = match env::var_os(GIVEN) {
        Some(given) => {
            println!("cargo:rerun-if-changed={}", given.to_string_lossy());
            let beside = Path::new(&given).with_file_name("lookups.bpf.o");
            write(&lookups, &fs::read(beside).unwrap_or_default())?;
            read(Path::new(&given))
                .map_err(|error| format!("{error}\nhint: {GIVEN} names an eBPF object"))?
        }
        None => {
            let built = build()?;
            write(
                &lookups,
                &read(&built.stripped("eni-steer-lookups", &lookups)?)?,
            )?;
            read(&built.stripped("eni-steer", &out)?)?
        }
    };
    write(&out, &object)?;
    println!(
        "cargo:rustc-env=ENI_STEER_BPF_LOOKUPS_PATH={}",
        lookups.display()
    );
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

/// Where the objects are, and what takes their debug information out.
struct Built {
    directory: PathBuf,
    objcopy: Option<PathBuf>,
}

impl Built {
    /// An object without debug information, beside `out`.
    fn stripped(&self, name: &str, out: &Path) -> Result<PathBuf, String> {
        let built = self.directory.join(name);
        let Some(objcopy) = &self.objcopy else {
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
}

/// Builds the objects.
fn build() -> Result<Built, String> {
    let out = dir("OUT_DIR")?;
    let manifest = dir("CARGO_MANIFEST_DIR")?;
    let workspace = manifest
        .ancestors()
        .nth(2)
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
    let target_dir = target_dir(&out).join("bpf").join(&arch);
    let mut cargo = cargo(&toolchain, &rustflags(&toolchain, &arch, workspace));
    cargo
        .current_dir(workspace)
        .args(["--target", target, "--target-dir"])
        .arg(&target_dir);
    succeed(&mut cargo).map_err(|error| {
        format!(
            "the eBPF programs do not build: {error}\n  compiler: {compiler}\n  linker: {linker}"
        )
    })?;

    Ok(Built {
        directory: target_dir.join(target).join("release"),
        objcopy: objcopy(compiler),
    })
}

/// `cargo build` of the eBPF package, without what the cargo that runs this
/// script has put in the environment for the host's build.
fn cargo(toolchain: &Toolchain, rustflags: &[String]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let of_this_script = ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "DEP_"];
    let of_the_host = [
        "CARGO_BUILD_TARGET",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER", // clippy
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if of_the_host.contains(&&*text) || of_this_script.iter().any(|it| text.starts_with(it)) {
            command.env_remove(&name);
        }
    }
    command
        .args([
            "build",
            "--release",
            "--package",
            "eni-steer-ebpf",
            "--bins",
        ])
        .env("RUSTC", &toolchain.compiler.rustc)
        // aya-ebpf uses asm_experimental_arch; -Z build-std wants it as well.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f"));
    if toolchain.compiler.core == Core::Source {
        command.args(["-Z", "build-std=core"]);
    }
    command
}

fn rustflags(toolchain: &Toolchain, arch: &str, workspace: &Path) -> Vec<String> {
    let mut flags = vec![
        // Whose registers and structures the programs see.
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        format!("-Clinker={}", toolchain.linker.path.display()),
        // BTF is made from the debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    // The object is the same wherever it is built. The last match counts:
    // the checkout may lie inside one of the others.
    let remaps = [
        (Some(toolchain.compiler.sysroot.clone()), "/rust"),
        (bpf_toolchain::cargo_home(), "/cargo"),
        (Some(workspace.to_owned()), "/eni-steer"),
    ];
    for (from, to) in remaps {
        let from = from.map(|from| from.display().to_string());
        flags.extend(from.map(|from| format!("--remap-path-prefix={from}={to}")));
    }
    flags
}

/// An `llvm-objcopy` of an LLVM that is at least the compiler's: it takes the
/// DWARF out. Without one the object is ten times as large and loads as well.
fn objcopy(compiler: &Compiler) -> Option<PathBuf> {
    let host = env::var("HOST").unwrap_or_default();
    let rustlib = compiler.sysroot.join("lib/rustlib").join(host);
    let rustup = rustlib.join("bin/llvm-objcopy");
    let distributions = (compiler.llvm..compiler.llvm + 4).flat_map(|llvm| {
        [
            format!("/usr/lib/llvm-{llvm}/bin/llvm-objcopy").into(),
            format!("/usr/lib/llvm{llvm}/bin/llvm-objcopy").into(),
            format!("/usr/lib64/llvm{llvm}/bin/llvm-objcopy").into(),
        ]
    });
    std::iter::once(rustup)
        .chain(distributions)
        .find(|path: &PathBuf| path.is_file())
}

/// The target directory of the cargo that runs this script, so that debug and
/// release builds, and those for another target, share one build of the eBPF
/// programs. The part of each target is marked as well: the outermost counts.
fn target_dir(out: &Path) -> PathBuf {
    let marked = out
        .ancestors()
        .filter(|dir| dir.join("CACHEDIR.TAG").is_file())
        .last();
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

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("can not write {}: {error}", path.display()))
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
