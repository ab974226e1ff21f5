//! What `doctor` judges beside the host itself. `eni-steer-linux` reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::IfIndex;

/// Facts about the machine, its interfaces and other software.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Release of the kernel, for example `6.1.0-18-amd64`.
    pub kernel: String,
    /// The cloud or machine, by its firmware.
    pub machine: String,
    /// Whether the user is root.
    pub root: bool,
    /// Capabilities that are missing.
    pub missing_capabilities: Vec<String>,
    /// Mount point of bpffs, as eni-steer uses it.
    pub bpffs: String,
    /// Whether a BPF file system is mounted there.
    pub bpffs_mounted: bool,
    /// Whether the kernel has type information.
    pub btf: bool,
    /// Limit of locked memory in bytes; `None`: unlimited.
    pub memlock: Option<u64>,
    /// Limit of open files.
    pub open_files: u64,
    /// Number of CPUs.
    pub cpus: u32,
    /// Facts about interfaces.
    pub devices: BTreeMap<IfIndex, Device>,
    /// Names of known programs that run in this network namespace ([`super::managers`]).
    pub processes: BTreeSet<String>,
    /// Files and directories of other software that exist ([`super::managers`]).
    pub files: BTreeSet<String>,
    /// networkd's effective `ManageForeignRoutingPolicyRules`.
    pub networkd_deletes_rules: bool,
    /// networkd's effective `ManageForeignRoutes`.
    pub networkd_deletes_routes: bool,
    /// Whether systemd starts eni-steer's service at boot.
    pub service_enabled: bool,
}

/// Facts about an interface that plans never need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Whether an XDP program is attached.
    pub xdp: bool,
    /// Offloads that are on, of those that hide packets from programs.
    pub offloads: Vec<String>,
    /// Number of receive queues.
    pub queues: u32,
    /// Chains of netfilter on the interface itself: `inet filter out (egress)`.
    pub chains: Vec<String>,
}

/// The effective value of a boolean of `[Network]` in networkd.conf: of the files' texts in the
/// order in which networkd reads them, the last one that sets it decides; by default it is yes.
pub fn networkd_setting(texts: &[String], key: &str) -> bool {
    let mut value = true;
    for text in texts {
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
            {
                section = name;
            }
            let Some((name, wanted)) = line.split_once('=') else {
                continue;
            };
            if section == "Network" && name.trim() == key {
                match wanted.trim().to_ascii_lowercase().as_str() {
                    "0" | "no" | "n" | "false" | "f" | "off" => value = false,
                    // An empty value is the default again.
                    "1" | "yes" | "y" | "true" | "t" | "on" | "" => value = true,
                    _ignored_by_networkd => {}
                }
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_file_that_sets_a_value_in_its_section_decides() {
        let key = "ManageForeignRoutes";
        let texts = |all: &[&str]| {
            all.iter()
                .map(|text| (*text).to_owned())
                .collect::<Vec<_>>()
        };
        assert!(networkd_setting(&[], key));
        let no = "[Network]\nManageForeignRoutes = no\n";
        assert!(!networkd_setting(&texts(&[no]), key));
        assert!(networkd_setting(
            &texts(&[no, "[Network]\nManageForeignRoutes=yes"]),
            key
        ));
        assert!(!networkd_setting(
            &texts(&[no, "[DHCPv4]\nManageForeignRoutes=yes"]),
            key
        ));
        assert!(!networkd_setting(
            &texts(&[no, "[Network]\n#ManageForeignRoutes=yes"]),
            key
        ));
        assert!(networkd_setting(
            &texts(&[no, "[Network]\nManageForeignRoutes="]),
            key
        ));
    }
}
