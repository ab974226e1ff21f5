//! Gateways that DHCP clients have written down: systemd-networkd, NetworkManager,
//! dhclient. Read only, and only believed for an interface that is there.

use eni_steer_core::model::Fetched;
use eni_steer_core::model::Lease;
use std::{collections::BTreeMap, fs, io, net::IpAddr, path::Path};

use eni_steer_core::model::{Address, IfIndex, Link};

/// Reads what there is, and believes a lease whose address the interface has: the files know
/// interfaces by number or name only, and those may have been another interface's once, or
/// in another network namespace. A file that can not be understood says nothing: a lease is
/// one hint among several, and its absence is reported where a gateway is missed.
pub(crate) fn read(
    root: &Path,
    links: &BTreeMap<IfIndex, Link>,
    addresses: &[Address],
) -> (Vec<Lease>, Vec<String>) {
    let (mut leases, mut unavailable) = (Vec::new(), Vec::new());
    let written_by = [
        "run/systemd/netif/leases",
        "var/lib/dhcp",
        "var/lib/dhclient",
        "var/lib/NetworkManager",
    ];
    let written_by = written_by.map(|path| Directory::list(root, path, &mut unavailable));
    for link in links.values().filter(|link| link.mac.is_some()) {
        let index = link.index;
        let name = &link.name;
        let [networkd_files, dhcp, dhclient_files, manager] = &written_by;
        // dhclient's leases below NetworkManager: `dhclient-<connection uuid>-<interface>.lease`.
        let managed = format!("-{name}.lease");
        let managed = |file: &str| file.starts_with("dhclient-") && file.ends_with(&managed);
        let files = dhcp
            .files(|file| file == format!("dhclient.{name}.leases"))
            .chain(dhclient_files.files(|file| file == format!("dhclient--{name}.lease")))
            .chain(dhcp.files(|file| file == "dhclient.leases"))
            .chain(manager.files(managed));
        let written = networkd_files
            .files(|file| file == index.to_string())
            .map(|file| (ask(root, &file, networkd), file))
            .chain(files.map(|file| (ask(root, &file, |text| dhclient(text, name)), file)));
        for (answer, file) in written {
            let has = |wanted: IpAddr| {
                let mut own = addresses.iter().filter(|address| address.index == index);
                own.any(|address| address.ip() == wanted)
            };
            match answer {
                Fetched::Found(written) if has(written.address) => leases.push(Lease {
                    index,
                    gateway: written.gateway,
                    file,
                }),
                Fetched::Found(_) | Fetched::Absent => {}
                Fetched::Unavailable(why) => unavailable.push(why),
            }
        }
    }
    unavailable.dedup();
    (leases, unavailable)
}

fn ask(root: &Path, file: &str, read: impl Fn(&str) -> Option<LeaseEntry>) -> Fetched<LeaseEntry> {
    match fs::read_to_string(root.join(file)) {
        Ok(text) => read(&text).map_or(Fetched::Absent, Fetched::Found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Fetched::Absent,
        Err(error) => Fetched::Unavailable(format!("/{file}: {error}")),
    }
}

/// What a lease says.
#[derive(Debug, PartialEq, Eq)]
struct LeaseEntry {
    address: IpAddr,
    gateway: IpAddr,
}

/// The files in a directory.
struct Directory {
    path: &'static str,
    names: Vec<String>,
}

impl Directory {
    fn list(root: &Path, path: &'static str, unavailable: &mut Vec<String>) -> Self {
        let listed = fs::read_dir(root.join(path)).and_then(Iterator::collect::<io::Result<_>>);
        let entries: Vec<fs::DirEntry> = match listed {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                unavailable.push(format!("/{path}: {error}"));
                Vec::new()
            }
        };
        let names = entries.into_iter().map(|entry| entry.file_name());
        Self {
            path,
            names: names.filter_map(|name| name.into_string().ok()).collect(),
        }
    }

    /// Paths of those with such a name.
    fn files(&self, is: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
        let names = self.names.iter().filter(move |name| is(name));
        names.map(|name| format!("{}/{name}", self.path))
    }
}

/// What a file says of an interface, read as either client's; for fuzzing.
pub(crate) fn read_text(text: &str) -> String {
    format!("{:?} {:?}", networkd(text), dhclient(text, "eth1"))
}

/// The address and the first router of systemd-networkd's lease.
fn networkd(text: &str) -> Option<LeaseEntry> {
    let first = |key: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse().ok()
    };
    Some(LeaseEntry {
        address: first("ADDRESS=")?,
        gateway: first("ROUTER=")?,
    })
}

/// The last lease of an interface that has a routers option (dhclient.leases(5)).
fn dhclient(text: &str, interface: &str) -> Option<LeaseEntry> {
    let wanted = format!("interface \"{interface}\";");
    text.split("lease {")
        .filter(|lease| lease.contains(&wanted))
        .filter_map(|lease| {
            let first = |key: &str| {
                let value = lease.lines().find_map(|l| l.trim().strip_prefix(key))?;
                let value = value.trim_end_matches(';').split(',').next()?;
                value.trim().parse().ok()
            };
            Some(LeaseEntry {
                address: first("fixed-address ")?,
                gateway: first("option routers ")?,
            })
        })
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eni_steer_core::fake::fake_host;

    fn written(address: &str, gateway: &str) -> LeaseEntry {
        let ip = |text: &str| text.parse().expect("an address");
        LeaseEntry {
            address: ip(address),
            gateway: ip(gateway),
        }
    }

    #[test]
    fn the_last_lease_of_the_interface_counts() {
        let text = r#"
lease {
  interface "eth1";
  fixed-address 10.0.1.9;
  option routers 10.0.1.1;
}
lease {
  interface "eth0";
  fixed-address 10.0.0.9;
  option routers 10.0.0.1;
}
lease {
  interface "eth1";
  fixed-address 10.0.2.9;
  option routers 10.0.2.1,10.0.2.2;
}
"#;
        let last = written("10.0.2.9", "10.0.2.1");
        assert_eq!(dhclient(text, "eth1"), Some(last));
        assert_eq!(dhclient(text, "eth2"), None);
    }

    #[test]
    fn networkd_names_its_router() {
        let text = "# This is private data. Do not parse.\nADDRESS=172.16.20.177\nROUTER=172.16.20.253 172.16.20.252\n";
        let lease = written("172.16.20.177", "172.16.20.253");
        assert_eq!(networkd(text), Some(lease));
        assert_eq!(networkd("ADDRESS=172.16.20.177\nROUTER=\n"), None);
    }

    #[test]
    fn a_lease_of_an_address_the_interface_does_not_have_is_not_believed_and_one_unread_is_told() {
        let seen = fake_host().eni(2, "eth0", &["172.16.20.176/24"]);
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("run/systemd/netif/leases/2");
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("it can be made");
        for (address, believed) in [("172.16.20.176", 1), ("10.0.0.9", 0)] {
            let text = format!("ADDRESS={address}\nROUTER=172.16.20.253\n");
            std::fs::write(&file, text).expect("it can be written");
            let (leases, unavailable) = read(root.path(), &seen.links, &seen.addresses);
            assert_eq!(leases.len(), believed, "{address}");
            assert!(unavailable.is_empty(), "{unavailable:?}");
        }
        // A directory is no file: what cannot be asked is not what says nothing.
        std::fs::remove_file(&file).expect("it is there");
        std::fs::create_dir(&file).expect("it can be made");
        let (leases, unavailable) = read(root.path(), &seen.links, &seen.addresses);
        assert!(leases.is_empty());
        assert_eq!(unavailable.len(), 1, "{unavailable:?}");
        assert!(
            unavailable[0].starts_with("/run/systemd/netif/leases/2: "),
            "{unavailable:?}"
        );
    }
}
