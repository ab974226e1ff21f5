//! Reads what `doctor` judges beside the host. A part that cannot be read is taken for what it is
//! on most machines: `doctor` is for machines on which something is broken.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use eni_steer_core::doctor::{Device, Facts, managers, networkd_setting};
use nix::sys::{
    resource::{RLIM_INFINITY, Resource, getrlimit},
    statfs::statfs,
};

use crate::{ethtool::Ethtool, netfilter, netlink::Netlink, paths::Paths};

/// `BPF_FS_MAGIC`
const BPF_FS: u32 = 0xcafe_4a11;
/// The capabilities that eni-steer needs, by their bits in `CapEff`, and those that stand for them.
const CAPABILITIES: [(&str, u64, u64); 3] = [
    ("CAP_NET_ADMIN", 1 << 12, 0),
    ("CAP_PERFMON", 1 << 38, SYS_ADMIN),
    ("CAP_BPF", 1 << 39, SYS_ADMIN),
];
const SYS_ADMIN: u64 = 1 << 21;

/// Reads everything. Of the network, what the calling thread's network namespace has.
pub fn read(netlink: Option<&Netlink>, paths: &Paths) -> Facts {
    let root = &paths.root;
    let networkd = networkd_texts(root);
    let (memlock, _) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or((RLIM_INFINITY, 0));
    // eni-steer raises the soft limit to the hard one.
    let (_, open_files) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, RLIM_INFINITY));
    let mut facts = Facts {
        kernel: line("/proc/sys/kernel/osrelease"),
        machine: machine(),
        root: nix::unistd::geteuid().is_root(),
        missing_capabilities: missing_capabilities(),
        bpffs: paths.bpffs.display().to_string(),
        bpffs_mounted: statfs(&paths.bpffs)
            .is_ok_and(|found| found.filesystem_type().0 as u32 == BPF_FS),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        memlock: (memlock != RLIM_INFINITY).then_some(memlock),
        open_files,
        cpus: std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        devices: Default::default(),
        processes: processes(),
        files: managers::FILES
            .into_iter()
            .filter(|file| root.join(file).exists())
            .map(str::to_owned)
            .collect(),
        networkd_deletes_rules: networkd_setting(&networkd, "ManageForeignRoutingPolicyRules"),
        networkd_deletes_routes: networkd_setting(&networkd, "ManageForeignRoutes"),
        service_enabled: service_enabled(root),
    };
    let Some(netlink) = netlink else {
        return facts;
    };
    let mut chains = netfilter::chains().unwrap_or_else(|error| {
        tracing::debug!("cannot list the chains of netfilter: {error}");
        Default::default()
    });
    let mut ethtool = Ethtool::open().ok();
    match netlink.devices() {
        Ok(devices) => {
            for (index, name, queues, xdp) in devices {
                let blinding = ethtool.as_mut().map(|ethtool| ethtool.blinding(&name));
                let device = Device {
                    xdp,
                    queues,
                    offloads: blinding.and_then(Result::ok).unwrap_or_default(),
                    chains: chains.remove(&name).unwrap_or_default(),
                };
                if device != Device::default() {
                    facts.devices.insert(index, device);
                }
            }
        }
        Err(error) => tracing::debug!("cannot read the devices: {error}"),
    }
    facts
}

/// The first line of a file; empty if there is none.
fn line(path: impl AsRef<Path>) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// The maker and the product, as the firmware names them: of a cloud mostly the cloud's name.
fn machine() -> String {
    let vendor = line("/sys/class/dmi/id/sys_vendor");
    match vendor.is_empty() {
        true => line("/sys/class/dmi/id/product_name"),
        false => vendor,
    }
}

/// Capabilities that this process lacks (proc_pid_status(5)).
fn missing_capabilities() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    let Some(effective) = effective else {
        return Vec::new();
    };
    let missing = CAPABILITIES.iter();
    let missing = missing.filter(|(_, bit, instead)| effective & (bit | instead) == 0);
    missing.map(|(name, _, _)| (*name).to_owned()).collect()
}

/// Known programs that run in the network namespace of the calling thread.
fn processes() -> BTreeSet<String> {
    let own = fs::read_link("/proc/thread-self/ns/net").ok();
    let known: BTreeSet<&str> = managers::processes().collect();
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    let directories = entries.filter_map(Result::ok).map(|entry| entry.path());
    let is_process = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.as_encoded_bytes());
        name.is_some_and(|name| name.iter().all(u8::is_ascii_digit))
    };
    directories
        .filter(is_process)
        .map(|path| (line(path.join("comm")), path))
        .filter(|(name, _)| known.contains(name.as_str()))
        .filter(|(_, path)| fs::read_link(path.join("ns/net")).ok() == own)
        .map(|(name, _)| name)
        .collect()
}

/// The texts of networkd.conf and of the files in networkd.conf.d, in the order in which networkd
/// reads them (networkd.conf(5)): a file in /etc replaces one of the same name in /run and /usr/lib.
fn networkd_texts(root: &Path) -> Vec<String> {
    const PLACES: [&str; 4] = [
        "usr/lib/systemd",
        "usr/local/lib/systemd",
        "run/systemd",
        "etc/systemd",
    ];
    let main = PLACES.iter().rev();
    let main = main
        .map(|place| root.join(place).join("networkd.conf"))
        .find_map(|path| fs::read_to_string(path).ok());
    let mut drop_ins = std::collections::BTreeMap::new();
    for place in PLACES {
        let entries = fs::read_dir(root.join(place).join("networkd.conf.d"));
        for entry in entries.into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if path.extension().is_some_and(|end| end == "conf") {
                drop_ins.insert(entry.file_name(), path);
            }
        }
    }
    let drop_ins = drop_ins.into_values();
    let drop_ins = drop_ins.filter_map(|path| fs::read_to_string(path).ok());
    main.into_iter().chain(drop_ins).collect()
}

/// Whether systemd starts the service at boot: some target wants it.
pub fn service_enabled(root: &Path) -> bool {
    let places = [
        "etc/systemd/system",
        "run/systemd/system",
        "usr/lib/systemd/system",
    ];
    let targets = places.iter().flat_map(|place| {
        let entries = fs::read_dir(root.join(place));
        entries.into_iter().flatten().filter_map(Result::ok)
    });
    targets
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "wants" || end == "requires")
        })
        // A link to a unit that is elsewhere in a container's view is one all the same.
        .any(|path| path.join("eni-steer.service").symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    #[test]
    fn networkd_reads_its_drop_ins_last_and_those_of_etc_replace_others() {
        let root = place();
        let root = root.path();
        let key = "ManageForeignRoutingPolicyRules";
        let effective = || networkd_setting(&networkd_texts(root), key);
        let no = format!("[Network]\n{key}=no\n");
        let yes = format!("[Network]\n{key}=yes\n");
        assert!(effective(), "by default it does");
        write(root, "etc/systemd/networkd.conf", &no);
        assert!(!effective());
        write(root, "usr/lib/systemd/networkd.conf.d/50-x.conf", &yes);
        assert!(effective());
        write(root, "etc/systemd/networkd.conf.d/50-x.conf", "");
        assert!(!effective(), "the empty file hides the other");
        write(root, "run/systemd/networkd.conf.d/90-x.conf", &yes);
        assert!(effective());
        write(root, "run/systemd/networkd.conf.d/90-x.conf~", &no);
        assert!(effective());
    }

    #[test]
    fn a_service_that_a_target_wants_service_enabled() {
        let root = place();
        assert!(!service_enabled(root.path()));
        write(root.path(), "etc/systemd/system/eni-steer.service", "");
        assert!(!service_enabled(root.path()));
        let wants = root
            .path()
            .join("etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).expect("a directory");
        let link = wants.join("eni-steer.service");
        std::os::unix::fs::symlink("/nowhere", link).expect("a link");
        assert!(service_enabled(root.path()));
    }
}
