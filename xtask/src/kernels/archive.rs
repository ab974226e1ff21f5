//! Fetches kernels from Debian's archive. It gives apt a state of its own, so it neither reads
//! nor changes the machine's package lists, and installs nothing.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use super::catalog::{Archive, Kernel};
use crate::run;

/// The keys with which Debian signs its archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel whose packages are unpacked on this machine.
#[derive(Debug)]
pub struct Unpacked {
    /// Its release, as `uname -r` prints it.
    pub release: String,
    /// Version of its package.
    pub version: String,
    /// Root of the tree of its packages.
    pub root: PathBuf,
    /// Path of the kernel itself.
    pub image: PathBuf,
}

impl Unpacked {
    /// Returns the upstream version, the name that people use: `6.1.192`.
    pub fn title(&self) -> String {
        let end = self
            .version
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(self.version.len());
        self.version[..end].to_owned()
    }
}

/// Returns the directory of the kernel: `target/kernels/<name>`.
fn home(kernel: &Kernel) -> PathBuf {
    run::target_dir().join("kernels").join(kernel.name)
}

/// Returns the kernel, from an earlier run if there is one, otherwise from the archive.
pub fn provide(kernel: &Kernel) -> Result<Unpacked> {
    match unpacked(kernel) {
        Some(there) => Ok(there),
        None => fetch(kernel),
    }
}

/// Returns the kernel that an earlier run has unpacked. That run wrote the file `version` last,
/// so what has the file is complete.
pub fn unpacked(kernel: &Kernel) -> Option<Unpacked> {
    let home = home(kernel);
    let text = fs::read_to_string(home.join("version")).ok()?;
    let (release, version) = text.trim_end().split_once(' ')?;
    let root = home.join("root");
    let image = image(&root, release)?;
    Some(Unpacked {
        release: release.to_owned(),
        version: version.to_owned(),
        root,
        image,
    })
}

/// Asks the archive for the newest package, and unpacks it unless it is there already.
pub fn fetch(kernel: &Kernel) -> Result<Unpacked> {
    println!("kernel {}: asking {} of Debian", kernel.name, kernel.suite);
    let apt = Apt::new(kernel)?;
    let (package, version) = apt.newest(kernel)?;
    if let Some(there) = unpacked(kernel)
        && there.version == version
    {
        return Ok(there);
    }
    let home = home(kernel);
    let (packages, root) = (home.join("packages"), home.join("root"));
    for stale in [&home.join("version"), &packages, &root] {
        remove(stale)?;
    }
    fs::create_dir_all(&packages)
        .with_context(|| format!("can not make {}", packages.display()))?;
    println!("kernel {}: fetching {package} {version}", kernel.name);
    let parts = apt.parts(&package)?;
    quietly(
        apt.command("apt-get")
            .args(["-qq", "download"])
            .args(&parts)
            .current_dir(&packages),
    )?;
    for file in list(&packages)? {
        quietly(
            Command::new("dpkg-deb")
                .arg("--extract")
                .args([&file, &root]),
        )?;
    }
    let release = release_in(&root)?;
    if !root.join("lib").exists() {
        // depmod and modprobe look in lib; newer packages have only usr/lib.
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).context("can not link lib")?;
    }
    quietly(Command::new("depmod").arg("-b").arg(&root).arg(&release))?;
    remove(&packages)?;
    fs::write(home.join("version"), format!("{release} {version}\n"))
        .context("can not note the version")?;
    unpacked(kernel).ok_or_else(|| anyhow!("{package} has no kernel in it"))
}

/// apt with a state of its own, for one suite.
struct Apt {
    state: PathBuf,
}

impl Apt {
    fn new(kernel: &Kernel) -> Result<Self> {
        let base = base_address(kernel.archive)?;
        let apt = Self {
            state: run::target_dir().join("kernels/apt").join(kernel.suite),
        };
        for dir in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.state.join(dir)).context("can not make apt's directories")?;
        }
        let source = format!("deb [signed-by={KEYRING}] {base} {} main\n", kernel.suite);
        fs::write(apt.state.join("sources.list"), source).context("can not write the source")?;
        // An empty status file: no package counts as installed.
        fs::write(apt.state.join("status"), "").context("can not write apt's status")?;
        quietly(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let state = self.state.display();
        let mut command = Command::new(program);
        for option in [
            format!("Dir::Etc::sourcelist={state}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={state}/lists"),
            format!("Dir::State::status={state}/status"),
            format!("Dir::Cache={state}/cache"),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // A suite that does not answer is then an error, not a warning.
            "APT::Update::Error-Mode=any".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    /// Returns the newest package of the kernel and its version.
    fn newest(&self, kernel: &Kernel) -> Result<(String, String)> {
        let names = run::output(self.command("apt-cache").args(["pkgnames", "linux-image-"]))
            .unwrap_or_default();
        let package = kernel
            .newest(names.lines())
            .ok_or_else(|| anyhow!("{} has no kernel {}", kernel.suite, kernel.name))?;
        let version = self
            .field(package, "Version")
            .ok_or_else(|| anyhow!("{package} has no version"))?;
        Ok((package.to_owned(), version))
    }

    /// Returns the packages to unpack. If the image package is empty (6.19 and later), these are
    /// the ones it depends on.
    fn parts(&self, package: &str) -> Result<Vec<String>> {
        let depends = self.field(package, "Depends").unwrap_or_default();
        let parts: Vec<String> = depends
            .split(',')
            .filter_map(|dependency| dependency.split_whitespace().next())
            .filter(|name| {
                ["linux-base-", "linux-binary-", "linux-modules-"]
                    .iter()
                    .any(|part| name.starts_with(part))
            })
            .map(str::to_owned)
            .collect();
        if parts.iter().any(|part| part.starts_with("linux-binary-")) {
            return Ok(parts);
        }
        Ok(vec![package.to_owned()])
    }

    fn field(&self, package: &str, name: &str) -> Option<String> {
        let shown =
            run::output(
                self.command("apt-cache")
                    .args(["show", "--no-all-versions", package]),
            )?;
        let prefix = format!("{name}: ");
        let value = shown.lines().find_map(|line| line.strip_prefix(&prefix))?;
        Some(value.to_owned())
    }
}

/// Returns the address of Debian's archive that this machine's own sources name.
fn base_address(archive: Archive) -> Result<String> {
    let targets = run::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]))
    .ok_or_else(|| anyhow!("apt does not tell its sources"))?;
    address_among(&targets, archive).ok_or_else(|| {
        anyhow!("this machine's apt sources do not name Debian's archive, where the kernels are")
    })
}

/// Returns the mirror among the addresses that apt knows. If only the main part is named, the
/// security part is beside it.
fn address_among(addresses: &str, archive: Archive) -> Option<String> {
    let ending = |directory: &str| {
        addresses
            .lines()
            .map(|line| line.trim_end_matches('/'))
            .find(|line| line.rsplit('/').next() == Some(directory))
            .map(str::to_owned)
    };
    match archive {
        Archive::Main => ending("debian"),
        Archive::Security => {
            ending("debian-security").or_else(|| Some(ending("debian")? + "-security"))
        }
    }
}

/// Returns the path of the kernel itself, which depends on the packaging.
fn image(root: &Path, release: &str) -> Option<PathBuf> {
    [
        root.join(format!("boot/vmlinuz-{release}")),
        root.join(format!("usr/lib/modules/{release}/vmlinuz")),
    ]
    .into_iter()
    .find(|path| path.is_file())
}

/// Returns the only release that has modules in this tree.
fn release_in(root: &Path) -> Result<String> {
    for modules in ["usr/lib/modules", "lib/modules"] {
        let Ok(entries) = list(&root.join(modules)) else {
            continue;
        };
        if let Some(name) = entries.iter().find_map(|entry| entry.file_name()) {
            return Ok(name.to_string_lossy().into_owned());
        }
    }
    bail!("the package has no modules")
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    listed().with_context(|| format!("can not list {}", directory.display()))
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can not remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Runs a command and shows its output only if it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("can not run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // The first line names the problem; in apt's case the others say what apt does about it.
    let first = said.lines().next().unwrap_or_default();
    ensure!(output.status.success(), "{name} failed: {first}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIRROR: &str = "http://mirror.example/debian/\nhttp://other.example/node_20.x/\n";

    #[test]
    fn the_mirror_is_the_one_that_this_machine_uses() {
        let both = format!("{MIRROR}http://security.example/debian-security/\n");
        let main = address_among(&both, Archive::Main);
        assert_eq!(main.as_deref(), Some("http://mirror.example/debian"));
        let security = address_among(&both, Archive::Security);
        assert_eq!(
            security.as_deref(),
            Some("http://security.example/debian-security")
        );
    }

    #[test]
    fn security_updates_lie_beside_the_releases() {
        let security = address_among(MIRROR, Archive::Security);
        assert_eq!(
            security.as_deref(),
            Some("http://mirror.example/debian-security")
        );
        assert_eq!(
            address_among("http://other.example/x/\n", Archive::Main),
            None
        );
    }
}
