//! The kernels that the lab is tested on, all of them Debian's. No other file names them.

use std::cmp::Ordering;

use anyhow::{Result, bail};

/// A part of Debian's archive with a root of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// Releases and backports.
    Main,
    /// Security updates.
    Security,
}

/// A kernel, and where Debian has it.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its name for `--kernel`.
    pub name: &'static str,
    /// Which systems it stands for.
    pub why: &'static str,
    pub archive: Archive,
    pub suite: &'static str,
    /// CI fails if it can not be fetched.
    pub needed_in_ci: bool,
    /// How the name of its package begins; a digit follows, and [`FLAVOUR`] ends it.
    package: &'static str,
}

/// Debian's kernels for virtual machines. They are small and have everything that the lab needs
/// as modules.
const FLAVOUR: &str = "-cloud-amd64";

/// All kernels. Debian removes old patch releases, so each suite is asked for the newest one.
pub const KERNELS: [Kernel; 4] = [
    Kernel {
        name: "5.10",
        why: "the oldest that is supported; Alibaba Cloud Linux 3 has a 5.10",
        archive: Archive::Security,
        suite: "bullseye-security",
        needed_in_ci: true,
        package: "linux-image-5.10.",
    },
    Kernel {
        name: "6.1",
        why: "the last without TCX; Amazon Linux 2023 has a 6.1",
        archive: Archive::Security,
        suite: "bookworm-security",
        needed_in_ci: true,
        package: "linux-image-6.1.",
    },
    Kernel {
        name: "6.12",
        why: "with TCX; Debian 13",
        archive: Archive::Security,
        suite: "bookworm-security",
        needed_in_ci: false,
        package: "linux-image-6.12.",
    },
    Kernel {
        name: "newest",
        why: "the newest in Debian's backports",
        archive: Archive::Main,
        suite: "trixie-backports",
        needed_in_ci: false,
        package: "linux-image-",
    },
];

impl Kernel {
    /// Returns the newest of these packages that belongs to this kernel.
    pub fn newest<'a>(&self, packages: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        packages
            .filter(|package| self.is(package))
            .max_by(|a, b| by_version(a, b))
    }

    fn is(&self, package: &str) -> bool {
        package
            .strip_prefix(self.package)
            .and_then(|rest| rest.strip_suffix(FLAVOUR))
            .is_some_and(|version| {
                // Release candidates are skipped, and packages that only depend on others.
                version.starts_with(|c: char| c.is_ascii_digit()) && !version.contains("rc")
            })
    }
}

/// Returns the kernels with these names; `all` stands for every one.
pub fn named(names: &[String]) -> Result<Vec<&'static Kernel>> {
    let mut found: Vec<&Kernel> = Vec::new();
    for name in names {
        let matching: Vec<&Kernel> = KERNELS
            .iter()
            .filter(|kernel| name == "all" || kernel.name == name)
            .collect();
        if matching.is_empty() {
            let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
            bail!(
                "no kernel {name} is known\nhint: {}, or all",
                known.join(", ")
            );
        }
        for kernel in matching {
            if !found.contains(&kernel) {
                found.push(kernel);
            }
        }
    }
    Ok(found)
}

/// Compares the numbers in two names from left to right.
fn by_version(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect()
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(name: &str) -> &'static Kernel {
        named(&[name.to_owned()]).expect("a name")[0]
    }

    #[test]
    fn the_newest_patch_release_of_the_flavour_is_taken() {
        let packages = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64-unsigned",
            "linux-image-6.1.0-57-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-cloud-amd64",
        ];
        let newest = |name| kernel(name).newest(packages.into_iter());
        assert_eq!(newest("6.1"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(
            newest("6.12"),
            Some("linux-image-6.12.117+deb12-cloud-amd64")
        );
        assert_eq!(newest("5.10"), None);
    }

    #[test]
    fn the_newest_kernel_is_a_release() {
        let packages = [
            "linux-image-6.18.15+deb13-cloud-amd64",
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-image-7.4~rc2-cloud-amd64",
            "linux-image-cloud-amd64",
        ];
        assert_eq!(
            kernel("newest").newest(packages.into_iter()),
            Some("linux-image-7.3.4+deb13-cloud-amd64")
        );
    }

    #[test]
    fn each_is_taken_once_and_an_unknown_one_is_refused() {
        let all = named(&["6.1".to_owned(), "all".to_owned()]).expect("names");
        assert_eq!(all.len(), KERNELS.len());
        assert!(named(&["5.11".to_owned()]).is_err());
    }
}
