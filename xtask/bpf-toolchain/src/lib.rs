//! Finds the compiler and the linker that build the eBPF object.
//!
//! The build script of `eni-steer-linux` builds with what this package finds; `cargo xtask setup`
//! asks it what is missing. No file stores the choice: both look at the machine, with the same
//! code.
//!
//! Two things are needed besides an ordinary Rust:
//!
//! - `core` for the BPF target: either prebuilt in a compiler's sysroot, or as source (rust-src),
//!   to be built with `-Z build-std=core`;
//! - bpf-linker, whose LLVM reads the bitcode that the compiler writes. Newer LLVM reads older
//!   bitcode, but not the other way round.

use std::{
    collections::BTreeSet,
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The oldest compiler that builds this workspace.
pub const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Returns the BPF target with the byte order of the machine that the object is for.
pub fn target(big_endian: bool) -> &'static str {
    if big_endian {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    }
}

/// Where `core` for the BPF target comes from. The order is the preference: a prebuilt `core`
/// saves a minute in every cold build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Core {
    /// It is a library in the compiler's sysroot.
    Prebuilt,
    /// Its source is in the compiler's sysroot.
    Source,
}

/// A Rust compiler that has a `core` for the BPF target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Path of the real `rustc`, not of rustup's proxy.
    pub rustc: PathBuf,
    /// The directory that contains its libraries.
    pub sysroot: PathBuf,
    /// Its major and minor version.
    pub release: (u32, u32),
    /// The major version of the LLVM inside.
    pub llvm: u32,
    /// Where this compiler finds `core`.
    pub core: Core,
}

/// A bpf-linker that starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// Path of the executable.
    pub path: PathBuf,
    /// The major version of its LLVM; `None` if LLVM is linked statically.
    pub llvm: Option<u32>,
}

/// A compiler and a linker that work together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler to build with.
    pub compiler: Compiler,
    /// The linker to link with.
    pub linker: Linker,
}

/// What is missing on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No compiler has a `core` for the BPF target.
    Core {
        /// The BPF target.
        target: String,
    },
    /// No bpf-linker has an LLVM that is new enough.
    Linker {
        /// The compiler that needs one.
        compiler: Compiler,
        /// The linkers that were found, whose LLVM is too old.
        refused: Vec<Linker>,
    },
}

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core { target } => write!(
                f,
                "no Rust compiler (>= {OLDEST}) has a `core` for {target}, prebuilt or as source"
            ),
            Self::Linker { compiler, refused } => {
                write!(f, "no bpf-linker with LLVM >= {}", compiler.llvm)?;
                for linker in refused {
                    let has = linker.llvm.unwrap_or_default();
                    write!(f, "; {} has LLVM {has}", linker.path.display())?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = match self.core {
            Core::Prebuilt => "prebuilt core",
            Core::Source => "core from source",
        };
        let ((major, minor), llvm) = (self.release, self.llvm);
        let rustc = self.rustc.display();
        write!(f, "{rustc} ({major}.{minor}, LLVM {llvm}, {core})")
    }
}

impl fmt::Display for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.llvm {
            Some(llvm) => write!(f, "{} (LLVM {llvm})", self.path.display()),
            None => write!(f, "{} (LLVM built in)", self.path.display()),
        }
    }
}

impl Toolchain {
    /// Searches this machine.
    pub fn find(target: &str) -> Result<Self, Missing> {
        choose(target, &compilers(target), &linkers())
    }
}

/// Returns the best compiler for which there is a linker.
fn choose(target: &str, compilers: &[Compiler], linkers: &[Linker]) -> Result<Toolchain, Missing> {
    let mut compilers: Vec<_> = compilers
        .iter()
        .filter(|compiler| Some(compiler.release) >= release(OLDEST))
        .collect();
    // The sort is stable: among equals the first one found stays first.
    compilers.sort_by_key(|compiler| compiler.core);
    for compiler in &compilers {
        // Prefer a linker whose LLVM is known to one whose LLVM is not.
        let mut fit: Vec<_> = linkers
            .iter()
            .filter(|linker| linker.llvm.is_none_or(|llvm| llvm >= compiler.llvm))
            .collect();
        fit.sort_by_key(|linker| linker.llvm.is_none());
        if let Some(linker) = fit.first() {
            return Ok(Toolchain {
                compiler: (*compiler).clone(),
                linker: (*linker).clone(),
            });
        }
    }
    Err(match compilers.first() {
        None => Missing::Core {
            target: target.to_owned(),
        },
        Some(compiler) => Missing::Linker {
            compiler: (*compiler).clone(),
            refused: linkers.to_vec(),
        },
    })
}

/// Returns the compilers that have a `core`: cargo's own, then rustup's, then the distribution's.
fn compilers(target: &str) -> Vec<Compiler> {
    let own = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let own = output(Command::new(own).args(["--print", "sysroot"]));
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home()?.join(".rustup")));
    let mut sysroots: Vec<PathBuf> = own.iter().map(|path| path.trim().into()).collect();
    sysroots.extend(
        rustup
            .iter()
            .flat_map(|home| entries(&home.join("toolchains"))),
    );
    sysroots.extend(["/usr/local".into(), "/usr".into()]);

    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for sysroot in sysroots {
        let Ok(sysroot) = fs::canonicalize(sysroot) else {
            continue; // a toolchain that is linked to nothing
        };
        if let Some(core) = core_in(&sysroot, target)
            && seen.insert(sysroot.clone())
        {
            let rustc = sysroot.join("bin/rustc");
            let text = output(Command::new(&rustc).arg("-vV"));
            if let Some((release, llvm)) = text.as_deref().and_then(versions) {
                found.push(Compiler {
                    rustc,
                    sysroot,
                    release,
                    llvm,
                    core,
                });
            }
        }
    }
    found
}

fn core_in(sysroot: &Path, target: &str) -> Option<Core> {
    let rustlib = sysroot.join("lib/rustlib");
    let prebuilt = entries(&rustlib.join(target).join("lib"))
        .iter()
        .filter_map(|path| path.file_name()?.to_str())
        .any(|name| name.starts_with("libcore-") && name.ends_with(".rlib"));
    let source = rustlib.join("src/rust/library/core/Cargo.toml");
    if prebuilt {
        Some(Core::Prebuilt)
    } else {
        source.is_file().then_some(Core::Source)
    }
}

/// Reads the release and the LLVM major version from the output of `rustc -vV`.
fn versions(text: &str) -> Option<((u32, u32), u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    Some((release(field("release: ")?)?, llvm))
}

/// Parses the major and minor version.
pub fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Returns every bpf-linker that starts: the one in cargo's directory, then those on the PATH.
fn linkers() -> Vec<Linker> {
    let mut dirs: Vec<_> = cargo_home().iter().map(|home| home.join("bin")).collect();
    dirs.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
    dirs.extend(home().map(|home| home.join(".cargo/bin")));
    let mut seen = BTreeSet::new();
    dirs.iter()
        .filter_map(|dir| fs::canonicalize(dir.join("bpf-linker")).ok())
        .filter(|path| seen.insert(path.clone()))
        .filter(|path| output(Command::new(path).arg("--version")).is_some())
        .map(|path| {
            let libraries = output(Command::new("ldd").arg(&path)).unwrap_or_default();
            let llvm = llvm_library(&libraries);
            Linker { path, llvm }
        })
        .collect()
}

/// Reads the major version of the LLVM library from the output of `ldd`: `libLLVM.so.22.1 =>
/// ...`, before LLVM 18 `libLLVM-17.so.1 => ...`.
fn llvm_library(ldd: &str) -> Option<u32> {
    ldd.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("libLLVM")?;
        let rest = rest.strip_prefix(".so.").or(rest.strip_prefix('-'))?;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    })
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME").map(PathBuf::from)
}

/// Returns the directory where cargo keeps what it downloads and installs.
pub fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home()?.join(".cargo")))
}

/// Returns the entries of a directory, sorted; nothing if the directory can not be read.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// Returns what a command prints; `None` unless it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiler(sysroot: &str, release: (u32, u32), llvm: u32, core: Core) -> Compiler {
        Compiler {
            rustc: Path::new(sysroot).join("bin/rustc"),
            sysroot: sysroot.into(),
            release,
            llvm,
            core,
        }
    }

    fn linker(path: &str, llvm: Option<u32>) -> Linker {
        let path = path.into();
        Linker { path, llvm }
    }

    fn chosen(compilers: &[Compiler], linkers: &[Linker]) -> Result<[String; 2], Missing> {
        let Toolchain { compiler, linker } = choose("bpfel-unknown-none", compilers, linkers)?;
        Ok([&compiler.sysroot, &linker.path].map(|path| path.display().to_string()))
    }

    #[test]
    fn the_output_of_rustc_gives_release_and_llvm() {
        let said = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
                    host: x86_64-unknown-linux-gnu\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(versions(said), Some(((1, 97), 22)));
        assert_eq!(versions("rustc 1.97.0"), None);
    }

    #[test]
    fn the_library_a_linker_loads_gives_its_llvm() {
        let new = "\tlinux-vdso.so.1 (0x7f)\n\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x7f)\n";
        let old = "\tlibLLVM-14.so.1 => /lib/x86_64-linux-gnu/libLLVM-14.so.1 (0x7f)\n";
        assert_eq!(llvm_library(new), Some(22));
        assert_eq!(llvm_library(old), Some(14));
        assert_eq!(llvm_library("\tnot a dynamic executable\n"), None);
    }

    #[test]
    fn a_prebuilt_core_is_better_than_an_earlier_compiler() {
        let compilers = [
            compiler("/stable", (1, 95), 22, Core::Source),
            compiler("/usr", (1, 96), 22, Core::Prebuilt),
        ];
        let linkers = [linker("/bin/bpf-linker", Some(22))];
        assert_eq!(chosen(&compilers, &linkers).unwrap()[0], "/usr");
    }

    #[test]
    fn a_compiler_that_no_linker_fits_is_passed_over() {
        let compilers = [
            compiler("/nightly", (1, 99), 23, Core::Prebuilt),
            compiler("/stable", (1, 95), 22, Core::Source),
        ];
        let linkers = [linker("/bin/bpf-linker", Some(22))];
        assert_eq!(chosen(&compilers, &linkers).unwrap()[0], "/stable");
    }

    #[test]
    fn a_linker_with_an_older_llvm_is_refused_by_name() {
        let wanting = compiler("/stable", (1, 95), 22, Core::Source);
        let old = linker("/bin/bpf-linker", Some(21));
        let missing = chosen(&[wanting], &[old]).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "no bpf-linker with LLVM >= 22; /bin/bpf-linker has LLVM 21"
        );
    }

    #[test]
    fn a_linker_with_a_known_llvm_is_better_than_one_without() {
        let compilers = [compiler("/stable", (1, 95), 22, Core::Source)];
        let linkers = [linker("/static", None), linker("/dynamic", Some(23))];
        assert_eq!(chosen(&compilers, &linkers).unwrap()[1], "/dynamic");
        assert_eq!(chosen(&compilers, &linkers[..1]).unwrap()[1], "/static");
    }

    #[test]
    fn a_compiler_older_than_the_workspace_allows_does_not_count() {
        let compilers = [compiler("/usr", (1, 85), 19, Core::Prebuilt)];
        let missing = chosen(&compilers, &[linker("/bin/bpf-linker", Some(22))]).unwrap_err();
        assert!(matches!(missing, Missing::Core { .. }), "{missing}");
    }
}
