//! Reads gateways from the lease files of DHCP clients: systemd-networkd, NetworkManager, dhclient,
//! dhcpcd.
//!
//! Whoever writes such a file decides where an ENI's packets go. So a lease counts only if root or
//! the client's user wrote the file, in a directory that nobody else can write, if it has not
//! expired, and if its router is a neighbour. A lease that does not count becomes a finding.

mod formats;

use std::{
    fs,
    io::{self, Read},
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use eni_steer_core::model::{Host, IfIndex, Lease, Link, RejectedLease};
use ipnet::IpNet;

use self::formats::{End, Entry};
use crate::files;

pub(crate) use formats::parse_in_all_formats;

/// More than a file of leases has; dhclient appends to its files and rewrites them now and then.
const LARGEST: u64 = 1 << 20;
/// The directories of lease files, below the root, with the client that writes there.
const DIRECTORIES: [(&str, Client); 8] = [
    ("run/systemd/netif/leases", Client::Networkd),
    ("run/NetworkManager/devices", Client::ManagerDevice),
    ("var/lib/dhcp", Client::Dhclient),
    ("var/lib/dhclient", Client::Dhclient),
    ("var/lib/NetworkManager", Client::Manager),
    ("var/lib/dhcpcd", Client::Dhcpcd),
    ("var/lib/dhcpcd5", Client::Dhcpcd),
    ("var/db/dhcpcd", Client::Dhcpcd),
];

/// The directories of lease files below a root.
pub fn directories(root: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    DIRECTORIES.iter().map(move |(path, _)| root.join(path))
}

/// A DHCP client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Networkd,
    /// The devices of NetworkManager.
    ManagerDevice,
    /// The leases of NetworkManager: of its own client, or of dhclient.
    Manager,
    Dhclient,
    Dhcpcd,
}

impl Client {
    /// Users, besides root, that this client runs as.
    fn users(self) -> &'static [&'static str] {
        match self {
            Self::Networkd => &["systemd-network"],
            Self::Dhcpcd => &["dhcpcd", "_dhcpcd"],
            Self::ManagerDevice | Self::Manager | Self::Dhclient => &[],
        }
    }

    /// Whether a file with this name can have a lease of an interface.
    fn names(self, file: &str, link: &Link) -> bool {
        let Link { index, name, .. } = link;
        match self {
            Self::Networkd | Self::ManagerDevice => file == index.to_string(),
            // `dhclient-<connection uuid>-<interface>.lease`, `internal-<...>-<interface>.lease`
            Self::Manager => {
                let by_client = ["dhclient-", "internal-"];
                by_client.iter().any(|start| file.starts_with(start))
                    && file.ends_with(&format!("-{name}.lease"))
            }
            Self::Dhclient => {
                file == format!("dhclient.{name}.leases")
                    || file == format!("dhclient-{name}.leases")
                    || file == "dhclient.leases"
                    || (file.starts_with("dhclient-") && file.ends_with(&format!("-{name}.lease")))
            }
            Self::Dhcpcd => {
                file == format!("{name}.lease") || file == format!("dhcpcd-{name}.lease")
            }
        }
    }

    fn parse(self, file: &str, bytes: &[u8], interface: &str) -> Option<Entry> {
        let text = || String::from_utf8_lossy(bytes);
        match self {
            Self::Networkd => formats::networkd(&text()),
            Self::ManagerDevice => formats::network_manager(&text()),
            Self::Manager if file.starts_with("internal-") => formats::networkd(&text()),
            Self::Manager | Self::Dhclient => formats::dhclient(&text(), interface),
            Self::Dhcpcd => formats::dhcpcd(bytes),
        }
    }
}

/// What the lease files say.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    pub accepted: Vec<Lease>,
    pub rejected: Vec<RejectedLease>,
    /// A sentence for each file or directory that could not be read.
    pub unavailable: Vec<String>,
}

/// Reads the leases of all interfaces. `host` has its links, addresses and routes.
///
/// A lease counts only if the interface has the leased address: the files name interfaces by number
/// or name, which may have belonged to another interface before, or to one in another network
/// namespace. A file whose content cannot be parsed counts as no lease. A lease is only one of
/// several sources for a gateway; where no source has one, planning reports the missing gateway.
pub(crate) fn read(root: &Path, host: &Host) -> Leases {
    let mut leases = Leases::default();
    for (path, client) in DIRECTORIES {
        let names = match list(&root.join(path)) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                leases.unavailable.push(format!("/{path}: {error}"));
                continue;
            }
        };
        let untrusted = refuse_directory(&root.join(path), client);
        for link in host.links.values().filter(|link| link.mac.is_some()) {
            for name in names.iter().filter(|name| client.names(name, link)) {
                let file = format!("{path}/{name}");
                leases.add(host, link, client, root, &file, untrusted.as_deref());
            }
        }
    }
    leases.unavailable.sort();
    leases.unavailable.dedup();
    leases
}

impl Leases {
    fn add(
        &mut self,
        host: &Host,
        link: &Link,
        client: Client,
        root: &Path,
        file: &str,
        untrusted: Option<&str>,
    ) {
        let reject = |why: String, expired| RejectedLease {
            index: link.index,
            file: file.to_owned(),
            why,
            expired,
        };
        let (bytes, written, untrusted_file) = match open(&root.join(file), client) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.unavailable.push(format!("/{file}: {error}"));
                return;
            }
        };
        if let Some(why) = untrusted.map(str::to_owned).or(untrusted_file) {
            self.rejected.push(reject(why, false));
            return;
        }
        let name = file.rsplit('/').next().unwrap_or(file);
        let Some(entry) = client.parse(name, &bytes, &link.name) else {
            return;
        };
        let own = host.addresses.iter();
        let mut own = own.filter(|address| address.index == link.index);
        let (true, Some(gateway)) = (own.any(|own| own.ip() == entry.address), entry.gateway)
        else {
            return;
        };
        match refuse(host, link.index, &entry, gateway, written) {
            Some((why, expired)) => self.rejected.push(reject(why, expired)),
            None => self.accepted.push(Lease {
                index: link.index,
                gateway,
                file: file.to_owned(),
            }),
        }
    }
}

/// Why a lease does not count, and whether that is because it has expired.
fn refuse(
    host: &Host,
    index: IfIndex,
    entry: &Entry,
    gateway: IpAddr,
    written: u64,
) -> Option<(String, bool)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let end = match entry.end {
        End::Unknown => None,
        End::AfterFile(seconds) => Some(written.saturating_add(seconds)),
        End::At(time) => Some(time),
    };
    if let Some(end) = end.filter(|end| *end < now) {
        let ago = now - end;
        return Some((format!("it expired {ago} seconds ago"), true));
    }
    let wrong = |what: &str| Some((format!("its router {gateway} is {what}"), false));
    if gateway.is_loopback() {
        return wrong("a loopback address");
    }
    if gateway.is_unspecified() || gateway.is_multicast() {
        return wrong("no address of a host");
    }
    if host.addresses.iter().any(|own| own.ip() == gateway) {
        return wrong("an address of this host");
    }
    let of_addresses = host.addresses.iter().filter(|own| own.index == index);
    let of_addresses = of_addresses.map(|own| own.net);
    let is_neighbour =
        |hop: &&eni_steer_core::model::Hop| hop.out == index && hop.gateway.is_none();
    let of_routes = host.routes.iter().filter(|route| {
        // A default route by the device alone says nothing about who is a neighbour.
        !route.is_default() && route.hops.iter().any(|hop| is_neighbour(&hop))
    });
    let of_routes = of_routes.map(|route| route.destination);
    let mut neighbours = of_addresses.chain(of_routes).chain(
        entry
            .on_link
            .iter()
            .copied()
            .filter(|net| net.prefix_len() > 0),
    );
    if !neighbours.any(|net: IpNet| net.contains(&gateway)) {
        return wrong("not a neighbour: no on-link prefix of the interface has it");
    }
    None
}

fn list(directory: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<io::Result<Vec<_>>>()?;
    let names = names.into_iter().filter_map(|name| name.into_string().ok());
    let names = names.filter(|name| !name.contains(char::is_control));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// Why no file in a directory is believed.
fn refuse_directory(directory: &Path, client: Client) -> Option<String> {
    let data = fs::metadata(directory).ok()?;
    let what = files::distrust(&data, client.users())?;
    Some(format!("its directory {what}"))
}

/// Opens a file and reads it, with the time at which it was written and why it is not believed.
fn open(path: &Path, client: Client) -> io::Result<(Vec<u8>, u64, Option<String>)> {
    let file = files::open(path);
    let file = match file {
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            return Ok((Vec::new(), 0, Some("it is a symbolic link".to_owned())));
        }
        other => other?,
    };
    let data = file.metadata()?;
    let refused = match () {
        () if !data.is_file() => Some("it is not a regular file".to_owned()),
        () if data.len() > LARGEST => Some(format!("it has more than {LARGEST} bytes")),
        () => files::distrust(&data, client.users()).map(|what| format!("it {what}")),
    };
    let mut bytes = Vec::new();
    if refused.is_none() {
        file.take(LARGEST).read_to_end(&mut bytes)?;
    }
    let written = u64::try_from(data.mtime()).unwrap_or_default();
    Ok((bytes, written, refused))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use eni_steer_core::fake::fake_host;

    const FILE: &str = "run/systemd/netif/leases/2";
    const LEASE: &str = "ADDRESS=172.16.20.176\nROUTER=172.16.20.253\n";

    struct Place {
        root: tempfile::TempDir,
        host: Host,
    }

    impl Place {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a directory");
            let directory = root.path().join(FILE);
            let directory = directory.parent().expect("a parent");
            fs::create_dir_all(directory).expect("it can be made");
            Self {
                root,
                host: fake_host().eni(2, "eth0", &["172.16.20.176/24"]),
            }
        }

        fn file(&self) -> std::path::PathBuf {
            self.root.path().join(FILE)
        }

        fn write(&self, text: &str) {
            fs::write(self.file(), text).expect("it can be written");
        }

        fn read(&self) -> Leases {
            read(self.root.path(), &self.host)
        }

        #[track_caller]
        fn rejected(&self, because: &str) {
            let leases = self.read();
            assert_eq!(leases.accepted, [], "{because}");
            assert_eq!(leases.rejected.len(), 1, "{because}: {leases:?}");
            let why = &leases.rejected[0].why;
            assert!(why.contains(because), "{why}");
        }
    }

    #[test]
    fn a_lease_counts_only_with_its_address_on_the_interface() {
        let place = Place::new();
        for (address, count) in [("172.16.20.176", 1), ("10.0.0.9", 0)] {
            place.write(&format!("ADDRESS={address}\nROUTER=172.16.20.253\n"));
            let leases = place.read();
            assert_eq!(leases.accepted.len(), count, "{address}");
            assert!(leases.rejected.is_empty() && leases.unavailable.is_empty());
        }
    }

    #[test]
    fn what_others_made_or_can_write_is_rejected_with_the_reason() {
        let place = Place::new();
        place.write(LEASE);
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        };
        let file = place.file();
        mode(&file, 0o664);
        place.rejected("it can be written by other users (mode 0664)");
        mode(&file, 0o644);
        let directory = file.parent().expect("a parent");
        mode(directory, 0o775);
        place.rejected("its directory can be written by other users");
        mode(directory, 0o755);
        assert_eq!(place.read().accepted.len(), 1);
        let data = fs::metadata(&file).expect("it is there");
        assert_eq!(files::distrust(&data, Client::Networkd.users()), None);
    }

    #[test]
    fn a_fifo_a_link_a_directory_or_a_huge_file_is_rejected_and_keeps_nobody_waiting() {
        let place = Place::new();
        let file = place.file();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
        place.rejected("not a regular file");
        fs::remove_file(&file).expect("it is there");
        let target = place.root.path().join("target");
        fs::write(&target, LEASE).expect("it is written");
        symlink(&target, &file).expect("a link");
        place.rejected("symbolic link");
        fs::remove_file(&file).expect("it is there");
        fs::create_dir(&file).expect("it is made");
        place.rejected("not a regular file");
        fs::remove_dir(&file).expect("it is there");
        place.write(&(LEASE.to_owned() + &"#\n".repeat(1 << 20)));
        place.rejected("more than");
    }

    #[test]
    fn an_expired_lease_or_one_with_an_impossible_router_is_rejected() {
        let place = Place::new();
        place.write(&format!("{LEASE}LIFETIME=3600\n"));
        assert_eq!(place.read().accepted.len(), 1);
        let an_hour_ago = SystemTime::now() - std::time::Duration::from_secs(3700);
        let file = fs::File::options().write(true).open(place.file());
        let file = file.expect("it is there");
        file.set_modified(an_hour_ago).expect("it is ours");
        place.rejected("it expired 100 seconds ago");
        assert!(place.read().rejected[0].expired);
        for (router, because) in [
            ("127.0.0.1", "a loopback address"),
            ("172.16.20.176", "an address of this host"),
            ("224.0.0.1", "no address of a host"),
            ("10.9.9.9", "not a neighbour"),
        ] {
            place.write(&format!("ADDRESS=172.16.20.176\nROUTER={router}\n"));
            place.rejected(because);
        }
    }

    #[test]
    fn a_router_beyond_the_prefix_counts_where_a_route_or_the_lease_makes_it_a_neighbour() {
        let mut place = Place::new();
        let text = "ADDRESS=10.128.0.9\nROUTER=10.128.0.1\n";
        place.host = fake_host().eni(2, "eth0", &["10.128.0.9/32"]);
        place.write(text);
        place.rejected("not a neighbour");
        place.host = place.host.route("10.128.0.1 dev eth0");
        assert_eq!(place.read().accepted.len(), 1);
        place.host = fake_host().eni(2, "eth0", &["10.128.0.9/32"]);
        let classless = "CLASSLESS_ROUTES=10.128.0.1/32,0.0.0.0 0.0.0.0/0,10.128.0.1\n";
        place.write(&format!("{text}{classless}"));
        assert_eq!(place.read().accepted.len(), 1);
    }

    #[test]
    fn each_client_is_found_where_it_writes() {
        let mut message = vec![0; 236];
        message[16..20].copy_from_slice(&[172, 16, 20, 176]);
        message.extend([99, 130, 83, 99, 3, 4, 172, 16, 20, 253, 255]);
        let client = "lease {\n interface \"eth0\";\n fixed-address 172.16.20.176;\n option routers 172.16.20.253;\n}\n";
        let device = "[dhcp4]\nip_address=172.16.20.176\nrouters=172.16.20.253\n";
        for (file, bytes) in [
            ("run/systemd/netif/leases/2", LEASE.as_bytes()),
            ("run/NetworkManager/devices/2", device.as_bytes()),
            (
                "var/lib/NetworkManager/internal-0a-eth0.lease",
                LEASE.as_bytes(),
            ),
            (
                "var/lib/NetworkManager/dhclient-0a-eth0.lease",
                client.as_bytes(),
            ),
            ("var/lib/dhcp/dhclient.eth0.leases", client.as_bytes()),
            ("var/lib/dhclient/dhclient--eth0.lease", client.as_bytes()),
            ("var/lib/dhcpcd/eth0.lease", &message),
            ("var/lib/dhcpcd5/dhcpcd-eth0.lease", &message),
        ] {
            let place = Place::new();
            let path = place.root.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("it is made");
            fs::write(path, bytes).expect("it is written");
            let accepted = place.read().accepted;
            assert_eq!(accepted.len(), 1, "{file}");
            assert_eq!(accepted[0].gateway.to_string(), "172.16.20.253");
            assert_eq!(accepted[0].file, file);
        }
    }
}
