//! Reads gateways from the lease files of DHCP clients: systemd-networkd, NetworkManager, dhclient.
//! The two formats are simple enough that no parser library is needed.

use std::{collections::BTreeMap, fs, io, net::IpAddr, path::Path};

use eni_steer_core::model::{Address, Fetched, IfIndex, Lease, Link};

/// Reads the leases of all interfaces, and returns with them a sentence for each file that could
/// not be read.
///
/// A lease counts only if the interface has the leased address: the files name interfaces by number
/// or name, which may have belonged to another interface before, or to one in another network
/// namespace. A file whose content cannot be parsed counts as no lease. A lease is only one of
/// several sources for a gateway; where no source has one, planning reports the missing gateway.
pub(crate) fn read(
    root: &Path,
    links: &BTreeMap<IfIndex, Link>,
    addresses: &[Address],
) -> (Vec<Lease>, Vec<String>) {
    let (mut leases, mut unavailable) = (Vec::new(), Vec::new());
    let directories = [
        "run/systemd/netif/leases",
        "var/lib/dhcp",
        "var/lib/dhclient",
        "var/lib/NetworkManager",
    ];
    let directories = directories.map(|path| Directory::list(root, path, &mut unavailable));
    for link in links.values().filter(|link| link.mac.is_some()) {
        let index = link.index;
        let name = &link.name;
        let [networkd_files, dhcp, dhclient_files, manager] = &directories;
        // NetworkManager names dhclient's leases `dhclient-<connection uuid>-<interface>.lease`.
        let end = format!("-{name}.lease");
        let managed = |file: &str| file.starts_with("dhclient-") && file.ends_with(&end);
        let files = dhcp
            .files(|file| file == format!("dhclient.{name}.leases"))
            .chain(dhclient_files.files(|file| file == format!("dhclient--{name}.lease")))
            .chain(dhcp.files(|file| file == "dhclient.leases"))
            .chain(manager.files(managed));
        let fetched = networkd_files
            .files(|file| file == index.to_string())
            .map(|file| (read_lease_file(root, &file, networkd), file))
            .chain(files.map(|file| {
                let lease = read_lease_file(root, &file, |text| dhclient(text, name));
                (lease, file)
            }));
        for (lease, file) in fetched {
            let has = |wanted: IpAddr| {
                let mut own = addresses.iter().filter(|address| address.index == index);
                own.any(|address| address.ip() == wanted)
            };
            match lease {
                Fetched::Found(entry) if has(entry.address) => leases.push(Lease {
                    index,
                    gateway: entry.gateway,
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

/// Reads the lease in one file. A missing file, or one without a lease, is `Absent`; a file that
/// cannot be read is `Unavailable`.
fn read_lease_file(
    root: &Path,
    file: &str,
    parse: impl Fn(&str) -> Option<LeaseEntry>,
) -> Fetched<LeaseEntry> {
    match fs::read_to_string(root.join(file)) {
        Ok(text) => parse(&text).map_or(Fetched::Absent, Fetched::Found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Fetched::Absent,
        Err(error) => Fetched::Unavailable(format!("/{file}: {error}")),
    }
}

/// The address and the gateway that a DHCP server leased.
#[derive(Debug, PartialEq, Eq)]
struct LeaseEntry {
    address: IpAddr,
    gateway: IpAddr,
}

/// A directory of lease files, with the names of its files.
struct Directory {
    path: &'static str,
    names: Vec<String>,
}

impl Directory {
    /// Lists a directory. A missing one is empty; one that cannot be read is empty too and adds a
    /// sentence to `unavailable`.
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

    /// Paths of the files whose names satisfy `is`.
    fn files(&self, is: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
        let names = self.names.iter().filter(move |name| is(name));
        names.map(|name| format!("{}/{name}", self.path))
    }
}

/// Parses a file in both formats and returns the results as text: the entry point of the fuzzer.
pub(crate) fn parse_in_both_formats(text: &str) -> String {
    format!("{:?} {:?}", networkd(text), dhclient(text, "eth1"))
}

/// The address and the first router of a lease of systemd-networkd.
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

/// The interface's last lease that has the routers option (dhclient.leases(5)).
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

    fn entry(address: &str, gateway: &str) -> LeaseEntry {
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
        let last = entry("10.0.2.9", "10.0.2.1");
        assert_eq!(dhclient(text, "eth1"), Some(last));
        assert_eq!(dhclient(text, "eth2"), None);
    }

    #[test]
    fn networkd_names_its_router() {
        let text = "# This is private data. Do not parse.\nADDRESS=172.16.20.177\nROUTER=172.16.20.253 172.16.20.252\n";
        let lease = entry("172.16.20.177", "172.16.20.253");
        assert_eq!(networkd(text), Some(lease));
        assert_eq!(networkd("ADDRESS=172.16.20.177\nROUTER=\n"), None);
    }

    #[test]
    fn a_lease_counts_only_with_its_address_on_the_interface_and_an_unreadable_one_is_reported() {
        let host = fake_host().eni(2, "eth0", &["172.16.20.176/24"]);
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("run/systemd/netif/leases/2");
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("it can be made");
        for (address, count) in [("172.16.20.176", 1), ("10.0.0.9", 0)] {
            let text = format!("ADDRESS={address}\nROUTER=172.16.20.253\n");
            std::fs::write(&file, text).expect("it can be written");
            let (leases, unavailable) = read(root.path(), &host.links, &host.addresses);
            assert_eq!(leases.len(), count, "{address}");
            assert!(unavailable.is_empty(), "{unavailable:?}");
        }
        // A directory in the file's place cannot be read; that differs from a file without a lease.
        std::fs::remove_file(&file).expect("it is there");
        std::fs::create_dir(&file).expect("it can be made");
        let (leases, unavailable) = read(root.path(), &host.links, &host.addresses);
        assert!(leases.is_empty());
        assert_eq!(unavailable.len(), 1, "{unavailable:?}");
        assert!(
            unavailable[0].starts_with("/run/systemd/netif/leases/2: "),
            "{unavailable:?}"
        );
    }
}
