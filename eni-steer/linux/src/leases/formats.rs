//! The formats in which DHCP clients write their leases. They are simple enough that no parser
//! library is needed. What cannot be parsed counts as no lease.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

/// A lease, as far as it matters for a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The leased address.
    pub address: IpAddr,
    /// The gateway of the default route.
    pub gateway: Option<IpAddr>,
    /// Destinations that are neighbours, by option 121: routes without a gateway.
    pub on_link: Vec<IpNet>,
    /// When it ends.
    pub end: End,
}

/// When a lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The file does not say so, or never.
    Unknown,
    /// This many seconds after the file was written.
    AfterFile(u64),
    /// At this time, in seconds since 1970.
    At(u64),
}

/// The routers (option 3) and the classless static routes (option 121) of a lease.
#[derive(Clone, Debug, Default)]
struct Routes {
    routers: Vec<Ipv4Addr>,
    /// `None`: the lease does not have the option.
    classless: Option<Vec<(Ipv4Net, Ipv4Addr)>>,
}

impl Routes {
    /// The lease of an address with these options. A client that has classless static routes must
    /// ignore the routers (RFC 3442).
    fn lease(self, address: Ipv4Addr, end: End) -> Entry {
        let (gateway, on_link) = match self.classless {
            None => (self.routers.first().copied(), Vec::new()),
            Some(routes) => {
                let on_link = |(_, gateway): &&(Ipv4Net, Ipv4Addr)| gateway.is_unspecified();
                let neighbours = routes.iter().filter(on_link);
                let neighbours = neighbours.map(|(net, _)| IpNet::V4(*net)).collect();
                let mut defaults = routes
                    .iter()
                    .filter(|(net, gateway)| net.prefix_len() == 0 && !gateway.is_unspecified());
                (defaults.next().map(|(_, gateway)| *gateway), neighbours)
            }
        };
        Entry {
            address: address.into(),
            gateway: gateway.map(IpAddr::V4),
            on_link,
            end,
        }
    }
}

/// A file of systemd-networkd, or of NetworkManager's internal client before version 1.26.
pub(super) fn networkd(text: &str) -> Option<Entry> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    // Older versions write options 33 and 121 under one name; option 33 cannot hold a default route.
    let classless = value("CLASSLESS_ROUTES=").or_else(|| value("ROUTES="));
    let classless = classless.filter(|routes| !routes.trim().is_empty());
    let route = |word: &str| {
        let (net, gateway) = word.split_once(',')?;
        Some((net.parse().ok()?, gateway.parse().ok()?))
    };
    let routers = value("ROUTER=").unwrap_or_default().split_whitespace();
    let routes = Routes {
        routers: routers.filter_map(|word| word.parse().ok()).collect(),
        classless: classless.map(|all| all.split_whitespace().filter_map(route).collect()),
    };
    let lifetime = value("LIFETIME=").and_then(|seconds| seconds.trim().parse().ok());
    let end = lifetime.map_or(End::Unknown, after_file);
    Some(routes.lease(value("ADDRESS=")?.trim().parse().ok()?, end))
}

/// A device of NetworkManager in /run/NetworkManager/devices: the group `[dhcp4]` of a key file.
pub(super) fn network_manager(text: &str) -> Option<Entry> {
    let lines = text.lines().map(str::trim);
    let group = lines.skip_while(|line| *line != "[dhcp4]").skip(1);
    let group: Vec<&str> = group.take_while(|line| !line.starts_with('[')).collect();
    let value = |key: &str| {
        let pairs = group.iter().filter_map(|line| line.split_once('='));
        let mut values = pairs.filter(|(name, _)| name.trim() == key);
        values.next().map(|(_, value)| value.trim())
    };
    let routers = value("routers").unwrap_or_default();
    let classless = ["rfc3442_classless_static_routes", "classless_static_routes"];
    let routes = Routes {
        routers: words(routers)
            .filter_map(|word| word.parse().ok())
            .collect(),
        classless: classless
            .iter()
            .find_map(|key| value(key))
            .map(classless_routes),
    };
    let end = value("expiry").and_then(|time| time.parse().ok());
    let end = end.map_or(End::Unknown, End::At);
    Some(routes.lease(value("ip_address")?.parse().ok()?, end))
}

/// The interface's last lease in a file of dhclient (dhclient.leases(5)).
pub(super) fn dhclient(text: &str, interface: &str) -> Option<Entry> {
    let wanted = format!("interface \"{interface}\";");
    let leases = text
        .split("lease {")
        .filter(|lease| lease.contains(&wanted));
    let parse = |lease: &str| {
        let value = |key: &str| {
            let mut lines = lease.lines().map(str::trim);
            let value = lines.find_map(|line| line.strip_prefix(key))?;
            Some(value.split(';').next().unwrap_or_default().trim())
        };
        let routers = value("option routers ").unwrap_or_default();
        let classless = value("option rfc3442-classless-static-routes ")
            .or_else(|| value("option classless-static-routes "));
        let routes = Routes {
            routers: words(routers)
                .filter_map(|word| word.parse().ok())
                .collect(),
            classless: classless.map(classless_routes),
        };
        let end = value("expire ").map_or(End::Unknown, dhclient_time);
        Some(routes.lease(value("fixed-address ")?.parse().ok()?, end))
    };
    leases.filter_map(parse).last()
}

/// A file of dhcpcd: the message with which the server acknowledged the lease (RFC 2131).
pub(super) fn dhcpcd(message: &[u8]) -> Option<Entry> {
    const YOUR_ADDRESS: usize = 16;
    const COOKIE: usize = 236;
    let address = <[u8; 4]>::try_from(message.get(YOUR_ADDRESS..YOUR_ADDRESS + 4)?).ok()?;
    if message.get(COOKIE..COOKIE + 4)? != [99, 130, 83, 99] {
        return None;
    }
    let mut routes = Routes::default();
    let mut end = End::Unknown;
    let mut rest = &message[COOKIE + 4..];
    // An option that is split over several parts (RFC 3396) is the parts one after the other.
    let mut classless: Option<Vec<u8>> = None;
    while let Some((code, after)) = rest.split_first() {
        match code {
            0 => rest = after,
            255 => break,
            code => {
                let (length, after) = after.split_first()?;
                let (value, after) = after.split_at_checked(usize::from(*length))?;
                match code {
                    3 => {
                        let (addresses, _) = value.as_chunks::<4>();
                        let addresses = addresses.iter().map(|octets| Ipv4Addr::from(*octets));
                        routes.routers.extend(addresses);
                    }
                    51 => end = after_file(u32::from_be_bytes(value.try_into().ok()?).into()),
                    121 => classless.get_or_insert_default().extend(value),
                    _ => {}
                }
                rest = after;
            }
        }
    }
    routes.classless = classless.map(|bytes| compact_routes(&bytes));
    Some(routes.lease(address.into(), end))
}

/// The end of a lease that lasts so many seconds; the largest number means for ever.
fn after_file(seconds: u64) -> End {
    match seconds >= u64::from(u32::MAX) {
        true => End::Unknown,
        false => End::AfterFile(seconds),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_space = |c: char| c.is_whitespace() || c == ',';
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Classless static routes as text: pairs of `10.0.0.0/8` and a gateway, or the bytes of the option
/// as decimal numbers.
fn classless_routes(text: &str) -> Vec<(Ipv4Net, Ipv4Addr)> {
    let words: Vec<&str> = words(text).collect();
    let bytes: Option<Vec<u8>> = words.iter().map(|word| word.parse().ok()).collect();
    if let Some(bytes) = bytes {
        return compact_routes(&bytes);
    }
    let (pairs, _) = words.as_chunks::<2>();
    let pairs = pairs.iter();
    pairs
        .filter_map(|[net, gateway]| Some((net.parse().ok()?, gateway.parse().ok()?)))
        .collect()
}

/// Classless static routes as the option has them: a prefix length, as many octets of the
/// destination as matter, and the gateway (RFC 3442).
fn compact_routes(mut bytes: &[u8]) -> Vec<(Ipv4Net, Ipv4Addr)> {
    let mut routes = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let octets = usize::from(length.div_ceil(8));
        let (Some((significant, rest)), 0..=32) = (rest.split_at_checked(octets), *length) else {
            break;
        };
        let Some((gateway, rest)) = rest.split_first_chunk::<4>() else {
            break;
        };
        let mut destination = [0; 4];
        destination[..octets].copy_from_slice(significant);
        if let Ok(net) = Ipv4Net::new(destination.into(), *length) {
            routes.push((net.trunc(), Ipv4Addr::from(*gateway)));
        }
        bytes = rest;
    }
    routes
}

/// The value of `expire`: `4 2026/11/28 05:40:01`, `epoch 1795844401` or `never`.
fn dhclient_time(text: &str) -> End {
    let mut words = text.split_whitespace();
    let time = match (words.next(), words.next(), words.next()) {
        (Some("epoch"), Some(seconds), _) => seconds.parse().ok(),
        (Some(_weekday), Some(date), Some(time)) => utc(date, time),
        _ => None,
    };
    time.map_or(End::Unknown, End::At)
}

/// Seconds since 1970 of a date and a time in UTC, `2026/11/28` and `05:40:01`.
fn utc(date: &str, time: &str) -> Option<u64> {
    let numbers = |text: &str, by: char| {
        let numbers = text.split(by).map(|number| number.parse::<u64>().ok());
        <[u64; 3]>::try_from(numbers.collect::<Option<Vec<_>>>()?).ok()
    };
    let [year, month, day] = numbers(date, '/')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let is_date = (1970..10_000).contains(&year) && (1..=12).contains(&month);
    if !is_date || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March end with the leap day.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1;
    let days_until_1970 = 719_468;
    Some((days - days_until_1970) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Parses a file in all formats and returns the results as text: the entry point of the fuzzer.
pub(crate) fn parse_in_all_formats(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    format!(
        "{:?} {:?} {:?} {:?}",
        networkd(&text),
        network_manager(&text),
        dhclient(&text, "eth1"),
        dhcpcd(bytes)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, gateway: Option<&str>, end: End) -> Entry {
        let ip = |text: &str| text.parse().expect("an address");
        Entry {
            address: ip(address),
            gateway: gateway.map(ip),
            on_link: Vec::new(),
            end,
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
  expire 6 2026/11/28 05:40:01;
}
"#;
        let last = entry("10.0.2.9", Some("10.0.2.1"), End::At(1_795_844_401));
        assert_eq!(dhclient(text, "eth1"), Some(last));
        assert_eq!(dhclient(text, "eth2"), None);
    }

    #[test]
    fn times_of_dhclient_are_read() {
        for (text, end) in [
            ("4 1970/01/01 00:00:00", End::At(0)),
            ("4 2000/02/29 00:00:01", End::At(951_782_401)),
            ("4 2000/03/01 00:00:00", End::At(951_868_800)),
            ("epoch 1795844401; # Sat", End::At(1_795_844_401)),
            ("never", End::Unknown),
            ("4 2026/13/01 00:00:00", End::Unknown),
        ] {
            assert_eq!(
                dhclient_time(text.trim_end_matches("; # Sat")),
                end,
                "{text}"
            );
        }
    }

    #[test]
    fn networkd_names_its_router() {
        let text = "# This is private data. Do not parse.\nADDRESS=172.16.20.177\nROUTER=172.16.20.253 172.16.20.252\nLIFETIME=3600\n";
        let lease = entry("172.16.20.177", Some("172.16.20.253"), End::AfterFile(3600));
        assert_eq!(networkd(text), Some(lease));
        let lease = entry("172.16.20.177", None, End::Unknown);
        let text = "ADDRESS=172.16.20.177\nROUTER=\nLIFETIME=4294967295\n";
        assert_eq!(networkd(text), Some(lease));
    }

    #[test]
    fn network_manager_names_its_router() {
        let text = "[device]\nmanaged=full\nip_address=9.9.9.9\n\n[dhcp4]\nexpiry=1795844401\nip_address=10.0.1.9\nrouters=10.0.1.1 10.0.1.2\n[dhcp6]\nip_address=fd00::1\n";
        let lease = entry("10.0.1.9", Some("10.0.1.1"), End::At(1_795_844_401));
        assert_eq!(network_manager(text), Some(lease));
        assert_eq!(network_manager("[device]\nmanaged=full\n"), None);
    }

    /// A message of a server with these options.
    fn message(options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 236];
        message[16..20].copy_from_slice(&[10, 0, 1, 9]);
        message.extend([99, 130, 83, 99]);
        message.extend(options);
        message
    }

    #[test]
    fn dhcpcd_names_its_router() {
        let options = [53, 1, 5, 0, 51, 4, 0, 0, 14, 16, 3, 4, 10, 0, 1, 1, 255, 3];
        let lease = entry("10.0.1.9", Some("10.0.1.1"), End::AfterFile(3600));
        assert_eq!(dhcpcd(&message(&options)), Some(lease));
        // Cut off at any place it is a lease without what is cut off, or none.
        let whole = message(&options);
        for length in 0..whole.len() {
            let _no_panic = dhcpcd(&whole[..length]);
        }
    }

    #[test]
    fn classless_routes_come_before_routers_in_every_format() {
        let networkd_text = "ADDRESS=10.0.1.9\nROUTER=10.0.1.254\nROUTES=10.0.0.0/8,10.0.1.253 0.0.0.0/0,10.0.1.253\n";
        let newer = networkd_text.replace("ROUTES=", "CLASSLESS_ROUTES=");
        let manager = "[dhcp4]\nip_address=10.0.1.9\nrouters=10.0.1.254\nrfc3442_classless_static_routes=10.0.0.0/8 10.0.1.253 0.0.0.0/0 10.0.1.253\n";
        let client = "lease {\n interface \"eth1\";\n fixed-address 10.0.1.9;\n option routers 10.0.1.254;\n option rfc3442-classless-static-routes 8,10,10,0,1,253,0,10,0,1,253;\n}";
        let bytes = [
            3, 4, 10, 0, 1, 254, 121, 6, 8, 10, 10, 0, 1, 253, 121, 5, 0, 10, 0, 1, 253, 255,
        ];
        let wanted = Some(entry("10.0.1.9", Some("10.0.1.253"), End::Unknown));
        assert_eq!(networkd(networkd_text), wanted);
        assert_eq!(networkd(&newer), wanted);
        assert_eq!(network_manager(manager), wanted);
        assert_eq!(dhclient(client, "eth1"), wanted);
        assert_eq!(dhcpcd(&message(&bytes)), wanted);
    }

    #[test]
    fn with_classless_routes_but_no_default_there_is_no_gateway_and_neighbours_are_known() {
        let text = "ADDRESS=10.0.1.9\nROUTER=10.0.1.254\nCLASSLESS_ROUTES=10.0.1.1/32,0.0.0.0\n";
        let lease = networkd(text).expect("a lease");
        assert_eq!(lease.gateway, None);
        assert_eq!(lease.on_link, ["10.0.1.1/32".parse().expect("a prefix")]);
    }
}
