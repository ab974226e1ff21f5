//! Builds the eBPF programs and sets three variables that the crate reads with `env!`:
//!
//! - `ENI_STEER_BPF_OBJECT_PATH`: the object file that the crate includes;
//! - `ENI_STEER_BPF_OBJECT_HASH`: 16 hex digits that identify the object, so that eni-steer can
//!   tell whether an attached program is the one of this build;
//! - `ENI_STEER_BPF_LOOKUPS_PATH`: the object file of `explain --live`.
//!
//! If `ENI_STEER_BPF_OBJECT=path` is in the environment, the script builds nothing and uses that
//! object, and `lookups.bpf.o` beside it. If that file does not exist, `explain --live` reports
//! that it was built without.

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
            read(Path::new(&given)).map_err(|error| {
                format!("{error}\nhint: {GIVEN} must name a file with the eBPF programs")
            })?
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

/// Where the built objects are, and the tool that removes their debug information.
struct Built {
    directory: PathBuf,
    objcopy: Option<PathBuf>,
}

impl Built {
    /// Path of an object without debug information, which is written beside `out`.
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
        format!("cannot build the eBPF programs: {missing}\nhint: run `cargo xtask setup`")
    })?;
    let (compiler, linker) = (&toolchain.compiler, &toolchain.linker);
    for tool in [&compiler.rustc, &linker.path] {
        println!("cargo:rerun-if-changed={}", tool.display());
    }

    // A separate target directory: the cargo that runs this script holds the lock on the other one
    // until this script ends.
    let target_dir = target_dir(&out).join("bpf").join(&arch);
    let mut cargo = cargo(&toolchain, &rustflags(&toolchain, &arch, workspace));
    cargo
        .current_dir(workspace)
        .args(["--target", target, "--target-dir"])
        .arg(&target_dir);
    succeed(&mut cargo).map_err(|error| {
        format!(
            "the eBPF programs failed to build: {error}\n  compiler: {compiler}\n  linker: {linker}"
        )
    })?;

    Ok(Built {
        directory: target_dir.join(target).join("release"),
        objcopy: objcopy(compiler),
    })
}

/// `cargo build` of the eBPF package, without the variables that the outer cargo has put into the
/// environment for the build of the host's code.
fn cargo(toolchain: &Toolchain, rustflags: &[String]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let script_prefixes = ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "DEP_"];
    let host_variables = [
        "CARGO_BUILD_TARGET",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER", // clippy
        "RUSTC_WRAPPER",
        "RUSTFLAGS",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_of_script = script_prefixes.iter().any(|it| text.starts_with(it));
        if host_variables.contains(&&*text) || is_of_script {
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
        // Allows unstable features: aya-ebpf uses asm_experimental_arch, and -Z build-std is one.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags.join("\x1f"));
    if toolchain.compiler.core == Core::Source {
        command.args(["-Z", "build-std=core"]);
    }
    command
}

fn rustflags(toolchain: &Toolchain, arch: &str, workspace: &Path) -> Vec<String> {
    let mut flags = vec![
        // The architecture whose registers and structures the programs read.
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        format!("-Clinker={}", toolchain.linker.path.display()),
        // The linker generates BTF from the debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    // Without paths of this machine the object is the same wherever it is built. The last match
    // counts, because the checkout may be inside one of the other directories.
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

/// Finds an `llvm-objcopy` whose LLVM is at least as new as the compiler's, to remove the DWARF
/// sections. Without one the object is ten times as large, but works.
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

/// Finds the target directory of the outer cargo, so that debug builds, release builds and builds
/// for other targets share one build of the eBPF programs. The directory of each target is tagged
/// too, so the outermost tagged directory counts.
fn target_dir(out: &Path) -> PathBuf {
    let tagged = out
        .ancestors()
        .filter(|dir| dir.join("CACHEDIR.TAG").is_file())
        .last();
    tagged.or(out.parent()).unwrap_or(out).to_owned()
}

/// Runs a command; an error if it fails.
fn succeed(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{program} failed ({status})"))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn dir(name: &str) -> Result<PathBuf, String> {
    env::var_os(name)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{name} is not set: only cargo can run this script"))
}

/// FNV-1a with 64 bits. It identifies the object; it protects against nobody.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
