//! Gateways that DHCP clients have written down: systemd-networkd, NetworkManager,
//! dhclient. Read only, and only believed for an interface that is there.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use serde::{Deserialize, Serialize};

use crate::model::{IfIndex, Link};

/// A gateway from a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The interface.
    pub index: IfIndex,
    /// The gateway (DHCP option 3, "routers"; the first).
    pub gateway: IpAddr,
    /// The file it stands in.
    pub file: String,
}

/// Reads what there is. A file that can not be read or understood says nothing: a lease is
/// one hint among several, and its absence is reported where a gateway is missed.
pub(super) fn read(root: &Path, links: &BTreeMap<IfIndex, Link>) -> Vec<Lease> {
    let mut leases = Vec::new();
    for link in links.values().filter(|link| link.mac.is_some()) {
        let index = link.index;
        let file = format!("run/systemd/netif/leases/{index}");
        if let Ok(text) = fs::read_to_string(root.join(&file)) {
            let gateway = key_value(&text, "ROUTER=");
            leases.extend(gateway.map(|gateway| Lease {
                index,
                gateway,
                file,
            }));
        }
        let mut files = vec![
            format!("var/lib/dhcp/dhclient.{}.leases", link.name),
            format!("var/lib/dhclient/dhclient--{}.lease", link.name),
            "var/lib/dhcp/dhclient.leases".to_owned(),
        ];
        files.extend(network_manager(root, &link.name));
        for file in files {
            let Ok(text) = fs::read_to_string(root.join(&file)) else {
                continue;
            };
            leases.extend(dhclient(&text, &link.name).map(|gateway| Lease {
                index,
                gateway,
                file,
            }));
        }
    }
    leases
}

/// dhclient's leases below NetworkManager: `dhclient-<connection uuid>-<interface>.lease`.
fn network_manager(root: &Path, interface: &str) -> Vec<String> {
    let directory = "var/lib/NetworkManager";
    let end = format!("-{interface}.lease");
    let Ok(entries) = fs::read_dir(root.join(directory)) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("dhclient-") && name.ends_with(&end))
        .map(|name| format!("{directory}/{name}"))
        .collect()
}

/// First address behind `KEY=`, in a list separated by spaces.
fn key_value(text: &str, key: &str) -> Option<IpAddr> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_whitespace().next()?.parse().ok()
}

/// The routers option of the last lease of an interface (dhclient.leases(5)).
fn dhclient(text: &str, interface: &str) -> Option<IpAddr> {
    let wanted = format!("interface \"{interface}\";");
    text.split("lease {")
        .filter(|lease| lease.contains(&wanted))
        .filter_map(|lease| {
            let routers = lease
                .lines()
                .find_map(|l| l.trim().strip_prefix("option routers "))?;
            routers
                .trim_end_matches(';')
                .split(',')
                .next()?
                .trim()
                .parse()
                .ok()
        })
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lease_of_the_interface_counts() {
        let text = r#"
lease {
  interface "eth1";
  option routers 10.0.1.1;
}
lease {
  interface "eth0";
  option routers 10.0.0.1;
}
lease {
  interface "eth1";
  option routers 10.0.2.1,10.0.2.2;
}
"#;
        assert_eq!(dhclient(text, "eth1"), "10.0.2.1".parse().ok());
        assert_eq!(dhclient(text, "eth2"), None);
    }

    #[test]
    fn networkd_names_its_router() {
        let text = "# This is private data. Do not parse.\nADDRESS=172.16.20.177\nROUTER=172.16.20.253 172.16.20.252\n";
        assert_eq!(key_value(text, "ROUTER="), "172.16.20.253".parse().ok());
        assert_eq!(key_value("ROUTER=\n", "ROUTER="), None);
    }
}
