//! Writes the first file system of a machine, which is in memory: test programs, the tools that
//! the lab calls with their libraries, and the modules of its kernel.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::BufWriter,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{archive::Unpacked, cpio::Cpio, programs::Programs, selection::Group};
use crate::{run, setup};

/// The modules that the lab needs. If a kernel does not have one of them, it is built in or part
/// of another one.
const MODULES: [&str; 28] = [
    "veth",
    "bridge",
    "dummy",
    "vrf",
    "8021q",
    "macvlan",
    "ipvlan",
    "tun",
    "wireguard",
    "sch_ingress",
    "sch_netem",
    "sch_fq_codel",
    "cls_bpf",
    "cls_matchall",
    "act_bpf",
    "act_mirred",
    "nf_tables",
    "nf_tables_set",
    "nft_objref",
    "nft_counter",
    "nft_ct",
    "nft_limit",
    "nft_nat",
    "nft_masq",
    "nft_redir",
    "nft_chain_nat",
    "nft_reject_inet",
    "nf_conntrack_netlink",
];

/// What tests call besides the lab's tools.
const PROGRAMS: [&str; 8] = ["sh", "cat", "echo", "ls", "mkdir", "rm", "sleep", "true"];

/// Files with names of protocols and services, so that tools print the same in the machine as
/// here.
const NAMES: [&str; 4] = [
    "/etc/iproute2",
    "/usr/share/iproute2",
    "/etc/protocols",
    "/etc/services",
];

/// The file from which the first process reads what to do.
const ORDERS: &str = "/orders";

/// Writes the image of a kernel's machine, which runs these groups of tests one after another.
/// Each test program gets the arguments.
pub fn write(
    path: &Path,
    kernel: &Unpacked,
    programs: &Programs,
    groups: &[Group],
    arguments: &[String],
) -> Result<()> {
    let file = File::create(path).with_context(|| format!("can not write {}", path.display()))?;
    let mut image = Image {
        cpio: Cpio::new(BufWriter::new(file)),
        known: BTreeSet::new(),
    };
    image.skeleton()?;
    let mut orders = String::new();
    for module in modules(kernel)? {
        let (name, content) = load(&module)?;
        let place = format!("/modules/{name}");
        image.content(&place, 0o644, &content)?;
        orders += &format!("module {place}\n");
    }
    for tool in setup::lab_tools().chain(PROGRAMS) {
        // If a tool is missing here, no test on this machine has it either.
        if let Some(path) = run::on_path(tool) {
            image.program(&path)?;
        }
    }
    for names in NAMES {
        image.copy(Path::new(names))?;
    }
    image.installed("/init", &programs.init)?;
    image.installed("/usr/bin/eni-steer", &programs.command)?;
    for group in groups {
        let program = programs.tests.iter().find(|p| p.name == group.program);
        let program = program.ok_or_else(|| anyhow!("no program {}", group.program))?;
        let place = format!("/tests/{}", program.name);
        image.installed(&place, &program.path)?;
        orders += &format!("program {place}\ngroup {}\n", group.name);
        for test in &group.tests {
            orders += &format!("test {test}\n");
        }
    }
    for argument in arguments {
        ensure!(
            !argument.contains('\n'),
            "an argument of several lines can not be passed on"
        );
        orders += &format!("argument {argument}\n");
    }
    image.content(ORDERS, 0o644, orders.as_bytes())?;
    image.cpio.finish().context("can not write the image")
}

struct Image {
    cpio: Cpio<BufWriter<File>>,
    /// What the image already contains.
    known: BTreeSet<String>,
}

impl Image {
    fn skeleton(&mut self) -> Result<()> {
        for directory in ["/dev", "/proc", "/sys", "/run", "/tmp", "/etc"] {
            self.directory(directory)?;
        }
        self.cpio.device("/dev/console", (5, 1))?;
        // Make the links that most distributions have, whether this one has them or not.
        for directory in ["bin", "sbin", "lib", "lib64"] {
            self.directory(&format!("/usr/{directory}"))?;
            self.cpio
                .symlink(&format!("/{directory}"), &format!("usr/{directory}"))?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        if path.is_empty() || !self.known.insert(path.to_owned()) {
            return Ok(());
        }
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.directory(parent)?;
        self.cpio
            .directory(path)
            .with_context(|| format!("can not write {path} to the image"))
    }

    fn content(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.directory(parent)?;
        if self.known.insert(path.to_owned()) {
            self.cpio
                .file(path, mode, content)
                .with_context(|| format!("can not write {path} to the image"))?;
        }
        Ok(())
    }

    /// Copies one of this machine's files to another place.
    fn installed(&mut self, place: &str, from: &Path) -> Result<()> {
        if self.known.contains(place) {
            return Ok(());
        }
        let content = fs::read(from).with_context(|| format!("can not read {}", from.display()))?;
        self.content(place, 0o755, &content)
    }

    /// Copies a program and the libraries that it needs.
    fn program(&mut self, path: &Path) -> Result<()> {
        self.copy(path)?;
        // A static program needs no libraries, and neither does a script.
        let libraries = run::output(Command::new("ldd").arg(path)).unwrap_or_default();
        for word in libraries.split_whitespace() {
            if word.starts_with('/') {
                self.copy(Path::new(word))?;
            }
        }
        Ok(())
    }

    /// Copies a file or directory, if it exists here.
    fn copy(&mut self, path: &Path) -> Result<()> {
        let Ok(kind) = fs::metadata(path) else {
            return Ok(());
        };
        let place = place(path);
        if kind.is_dir() {
            let entries =
                fs::read_dir(path).with_context(|| format!("can not list {}", path.display()))?;
            for entry in entries {
                self.copy(&entry.context("can not list a directory")?.path())?;
            }
            return Ok(());
        }
        let mode = kind.permissions().mode() & 0o777;
        let content = fs::read(path).with_context(|| format!("can not read {}", path.display()))?;
        self.content(&place, mode, &content)
    }
}

/// Returns where a file of this machine is in the image: there `/bin` and the like are links.
fn place(path: &Path) -> String {
    let path = path.to_string_lossy();
    let first = path.split('/').nth(1).unwrap_or_default();
    match first {
        "bin" | "sbin" | "lib" | "lib64" => format!("/usr{path}"),
        _ => path.into_owned(),
    }
}

/// Returns the files of the modules, each after those that it depends on.
fn modules(kernel: &Unpacked) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for module in MODULES {
        let shown = run::output(
            Command::new("modprobe")
                .arg("-d")
                .arg(&kernel.root)
                .args(["-S", &kernel.release])
                .args(["--show-depends", module]),
        );
        // modprobe fails for a module that this kernel does not have.
        for line in shown.unwrap_or_default().lines() {
            let Some(file) = line
                .strip_prefix("insmod ")
                .and_then(|rest| rest.split_whitespace().next())
            else {
                continue;
            };
            if !files.iter().any(|known| known == Path::new(file)) {
                files.push(file.into());
            }
        }
    }
    ensure!(
        !files.is_empty(),
        "modprobe finds no module of {}",
        kernel.release
    );
    Ok(files)
}

/// Returns a module's name and its content, decompressed, because Linux 5.10 can not do that
/// itself.
fn load(file: &Path) -> Result<(String, Vec<u8>)> {
    let name = file
        .file_name()
        .ok_or_else(|| anyhow!("{} is not a module", file.display()))?
        .to_string_lossy();
    let (name, tool) = match name.rsplit_once('.') {
        Some((name, "xz")) => (name, "xz"),
        Some((name, "zst")) => (name, "zstd"),
        _ => {
            let content = fs::read(file).with_context(|| format!("can not read {name}"))?;
            return Ok((name.into_owned(), content));
        }
    };
    let output = Command::new(tool)
        .arg("-dc")
        .arg(file)
        .output()
        .with_context(|| format!("can not run {tool}"))?;
    ensure!(output.status.success(), "{tool} can not read {name}");
    Ok((name.to_owned(), output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_below_usr_whatever_the_distribution() {
        let placed = |path: &str| place(Path::new(path));
        assert_eq!(placed("/bin/sh"), "/usr/bin/sh");
        assert_eq!(placed("/lib64/ld.so"), "/usr/lib64/ld.so");
        assert_eq!(placed("/usr/bin/sh"), "/usr/bin/sh");
        assert_eq!(placed("/etc/protocols"), "/etc/protocols");
    }
}
