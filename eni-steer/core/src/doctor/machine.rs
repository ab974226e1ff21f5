//! The kernel, privileges, file systems and limits.

use super::{codes, facts::Facts, found::Found};

/// The oldest kernel that eni-steer's programs run on.
const OLDEST: (u32, u32) = (5, 10);
/// From this kernel on, BPF maps are not counted against the limit of locked memory.
const NO_MEMLOCK: (u32, u32) = (5, 11);
/// Locked memory that the maps need with default sizes.
const MEMLOCK: u64 = 256 << 20;
/// Files that eni-steer opens for its maps, with room to spare.
const FILES: u64 = 64;
/// Files that eni-steer opens for each ENI.
const FILES_PER_ENI: u64 = 4;

/// Major and minor version of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(super) fn check(facts: &Facts, enis: usize, found: &mut Found) {
    let version = version(&facts.kernel);
    if version.is_some_and(|version| version < OLDEST) {
        found.add(
            codes::KERNEL_TOO_OLD,
            &facts.kernel,
            format!("Linux {} is older than 5.10", facts.kernel),
            Some("eni-steer apply --programs off".to_owned()),
        );
    }
    found.fine("kernel", "BPF programs and policy routing");
    if !facts.btf {
        found.add(
            codes::NO_BTF,
            "/sys/kernel/btf/vmlinux",
            "no BTF: 'explain --live' cannot work".to_owned(),
            None,
        );
    }
    if !facts.root || !facts.missing_capabilities.is_empty() {
        let missing = match facts.missing_capabilities.is_empty() {
            true => "eni-steer does not run as root".to_owned(),
            false => format!("missing: {}", facts.missing_capabilities.join(", ")),
        };
        found.add(
            codes::PRIVILEGE_MISSING,
            "privileges",
            missing,
            Some("sudo eni-steer doctor".to_owned()),
        );
    }
    if !facts.bpffs_mounted {
        found.add(
            codes::BPFFS_MISSING,
            &facts.bpffs,
            format!("no BPF file system at {}", facts.bpffs),
            Some(format!("mount -t bpf bpf {}", facts.bpffs)),
        );
    }
    if let Some(limit) = facts.memlock
        && limit < MEMLOCK
        && version.is_some_and(|version| version < NO_MEMLOCK)
    {
        found.add(
            codes::MEMLOCK_LOW,
            "memlock",
            format!("{} KiB may be locked; maps need more", limit >> 10),
            Some("ulimit -l unlimited".to_owned()),
        );
    }
    let needed = FILES + FILES_PER_ENI * enis as u64;
    if facts.open_files < needed {
        found.add(
            codes::FILES_LOW,
            "open files",
            format!(
                "{} files may be open; {needed} are needed",
                facts.open_files
            ),
            Some("ulimit -n 1024".to_owned()),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            kernel: "5.10.134-16.al8.x86_64".to_owned(),
            root: true,
            bpffs: "/sys/fs/bpf".to_owned(),
            bpffs_mounted: true,
            btf: true,
            memlock: None,
            open_files: 1024,
            ..Facts::default()
        }
    }

    fn codes(facts: &Facts) -> Vec<&'static str> {
        let mut found = Found::default();
        check(facts, 15, &mut found);
        found.all.iter().map(|one| one.entry.code).collect()
    }

    #[test]
    fn a_machine_with_all_that_is_needed_has_nothing_to_report() {
        assert_eq!(codes(&good()), Vec::<&str>::new());
    }

    #[test]
    fn whatever_is_missing_has_its_code() {
        let one = |change: &dyn Fn(&mut Facts)| {
            let mut facts = good();
            change(&mut facts);
            codes(&facts)
        };
        assert_eq!(one(&|facts| facts.kernel = "5.4.0".to_owned()), ["ES0101"]);
        assert_eq!(
            one(&|facts| facts.kernel = "4.19.91-27.al7".to_owned()),
            ["ES0101"]
        );
        assert_eq!(
            one(&|facts| facts.kernel = "10.1".to_owned()),
            Vec::<&str>::new()
        );
        assert_eq!(one(&|facts| facts.root = false), ["ES0102"]);
        let missing = |facts: &mut Facts| facts.missing_capabilities = vec!["CAP_BPF".to_owned()];
        assert_eq!(one(&missing), ["ES0102"]);
        assert_eq!(one(&|facts| facts.bpffs_mounted = false), ["ES0103"]);
        assert_eq!(one(&|facts| facts.memlock = Some(65536)), ["ES0104"]);
        let newer = |facts: &mut Facts| {
            facts.memlock = Some(65536);
            facts.kernel = "5.11.1".to_owned();
        };
        assert_eq!(one(&newer), Vec::<&str>::new());
        assert_eq!(one(&|facts| facts.open_files = 100), ["ES0105"]);
        assert_eq!(one(&|facts| facts.btf = false), ["ES0106"]);
    }
}
