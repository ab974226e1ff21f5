//! Values as people write them, in flags and in the configuration: each is read by one
//! function and written back by another. The messages name the value and what is wrong.

use std::net::IpAddr;

use ipnet::IpNet;

use super::GatewayChoice;
use crate::model::{
    Family, Mode, PortRange, Priority, Protocol, UidRange, destination_text, host_prefix,
    link_local,
};

/// Numbers in iproute2's `rt_protos` and those other daemons are known to write: what
/// carries ours may be deleted, so ours must be nobody else's.
const OTHERS_PROTOCOLS: [std::ops::RangeInclusive<u8>; 7] =
    [0..=4, 8..=18, 42..=42, 66..=66, 80..=80, 99..=99, 186..=192];

/// IP protocols by name, as `ip rule` knows them.
const IP_PROTOCOLS: [(&str, u8); 7] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ipv6-icmp", 58),
    ("sctp", 132),
];

/// Units of sizes, the larger before the smaller.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

/// An address an ENI can own.
pub fn owned_address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_no_address| format!("'{text}' is not an IP address"))?;
    match unownable(address) {
        Some(kind) => Err(format!("{address} is {kind}: no ENI owns it")),
        None => Ok(address),
    }
}

/// A prefix that can be delegated to an ENI.
pub fn owned_prefix(text: &str) -> Result<IpNet, String> {
    let net = prefix(text)?;
    if net.prefix_len() == 0 {
        return Err(format!("{net} is every address there is"));
    }
    match unownable(net.addr()) {
        Some(kind) => Err(format!("{net} is {kind}: no ENI owns it")),
        None => Ok(net),
    }
}

fn unownable(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_loopback() {
        Some("a loopback address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if link_local(address) {
        Some("link-local")
    } else {
        None
    }
}

/// A prefix, or an address for the prefix that holds only it. Host bits are a mistake that
/// is better asked back than guessed at.
pub fn prefix(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(host_prefix(address));
    }
    let net: IpNet = text
        .parse()
        .map_err(|_no_prefix| format!("'{text}' is neither an address nor a prefix"))?;
    if net == net.trunc() {
        Ok(net)
    } else {
        let (whole, bits) = (net.trunc(), net.prefix_len());
        Err(format!(
            "{text} has bits set behind its length {bits}: the prefix is {whole}"
        ))
    }
}

/// A prefix as it is written: an address without its length.
pub fn prefix_text(net: IpNet) -> String {
    match net.prefix_len() {
        0 => net.to_string(),
        _ => destination_text(net).to_string(),
    }
}

/// The gateway of a family; `None`: it is found out.
pub fn gateway(text: &str, family: Family) -> Result<Option<GatewayChoice>, String> {
    match (text, family) {
        ("auto", _) => Ok(None),
        ("first", Family::V4) => Ok(Some(GatewayChoice::First)),
        ("last", Family::V4) => Ok(Some(GatewayChoice::Last)),
        _ => {
            let words = match family {
                Family::V4 => "an IPv4 address, 'first', 'last' or 'auto'",
                Family::V6 => "an IPv6 address or 'auto'",
            };
            let address = text
                .parse::<IpAddr>()
                .ok()
                .filter(|address| Family::of(*address) == family)
                .ok_or_else(|| format!("'{text}' is not {words}"))?;
            if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
                return Err(format!("{address} can not be a gateway"));
            }
            Ok(Some(GatewayChoice::Address(address)))
        }
    }
}

/// `count`, `steer` or `drop`.
pub fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "count" => Ok(Mode::Count),
        "steer" => Ok(Mode::Steer),
        "drop" => Ok(Mode::Drop),
        _ => Err(format!("'{text}' is not count, steer or drop")),
    }
}

/// A mode as it is written.
pub fn mode_text(mode: Mode) -> &'static str {
    match mode {
        Mode::Count => "count",
        Mode::Steer => "steer",
        Mode::Drop => "drop",
    }
}

/// A number, decimal or hexadecimal with `0x`.
pub fn number(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|_no_number| format!("'{text}' is not a number from 0 to {}", u32::MAX))
}

/// `MARK` or `MARK/MASK`.
pub fn mark(text: &str) -> Result<(u32, u32), String> {
    let (mark, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    match (number(mark)?, number(mask)?) {
        (_, 0) => Err(format!("{text}: a mask of 0 matches every packet")),
        (mark, mask) if mark & !mask != 0 => Err(format!(
            "{text} never matches: the mark has bits that are not in its mask"
        )),
        pair => Ok(pair),
    }
}

/// A mark as it is written.
pub fn mark_text((mark, mask): (u32, u32)) -> String {
    match mask {
        u32::MAX => format!("{mark:#x}"),
        mask => format!("{mark:#x}/{mask:#x}"),
    }
}

/// `FIRST-LAST`, or one number for both.
fn range<T: Copy + PartialOrd>(
    text: &str,
    one: impl Fn(&str) -> Result<T, String>,
) -> Result<(T, T), String> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    match (one(start.trim())?, one(end.trim())?) {
        (start, end) if start > end => Err(format!("{text} begins behind its end")),
        pair => Ok(pair),
    }
}

fn range_text<T: PartialEq + std::fmt::Display>(start: T, end: T) -> String {
    if start == end {
        start.to_string()
    } else {
        format!("{start}-{end}")
    }
}

/// The priorities of our rules.
pub fn band(text: &str) -> Result<(Priority, Priority), String> {
    if !text.contains('-') {
        return Err(format!("'{text}' is not FIRST-LAST"));
    }
    let (first, last) = range(text, number)?;
    Ok((Priority(first), Priority(last)))
}

/// A port or a range of them. The kernel takes no rule for port 65535
/// (`fib_rule_port_range_valid` in include/net/fib_rules.h).
pub fn ports(text: &str) -> Result<PortRange, String> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && port < u16::MAX => Ok(port),
        _ => Err(format!("'{text}' is no port a rule can have (1 to 65534)")),
    };
    let (start, end) = range(text, port)?;
    Ok(PortRange { start, end })
}

/// Ports as they are written.
pub fn ports_text(ports: PortRange) -> String {
    range_text(ports.start, ports.end)
}

/// A user id or a range of them.
pub fn uids(text: &str) -> Result<UidRange, String> {
    let uid = |text: &str| match text.parse::<u32>() {
        // -1 means "no user" to the kernel.
        Ok(uid) if uid < u32::MAX => Ok(uid),
        _ => Err(format!("'{text}' is not a user id")),
    };
    let (start, end) = range(text, uid)?;
    Ok(UidRange { start, end })
}

/// User ids as they are written.
pub fn uids_text(uids: UidRange) -> String {
    range_text(uids.start, uids.end)
}

/// An IP protocol by name or number.
pub fn ip_protocol(text: &str) -> Result<u8, String> {
    IP_PROTOCOLS
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, number)| *number)
        .or_else(|| text.parse().ok().filter(|number| *number > 0))
        .ok_or_else(|| {
            let names: Vec<&str> = IP_PROTOCOLS.iter().map(|(name, _)| *name).collect();
            format!("'{text}' is neither {} nor 1 to 255", names.join(", "))
        })
}

/// An IP protocol as it is written.
pub fn ip_protocol_text(number: u8) -> String {
    IP_PROTOCOLS
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// A protocol number of routes and rules that nobody else is known to write.
pub fn protocol(text: &str) -> Result<Protocol, String> {
    let number: u8 = text
        .parse()
        .map_err(|_no_number| format!("'{text}' is not a protocol number (0 to 255)"))?;
    if OTHERS_PROTOCOLS.iter().any(|range| range.contains(&number)) {
        return Err(format!(
            "protocol {number} belongs to somebody else (the kernel, 'ip' or a routing daemon)"
        ));
    }
    Ok(Protocol(number))
}

/// Bytes, with or without a unit.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size (as in 32MiB, 500kB or 1048576)");
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let count: u64 = digits.parse().map_err(|_no_number| wrong())?;
    let factor = match unit.trim() {
        "" => 1,
        unit => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
            .ok_or_else(wrong)?,
    };
    count.checked_mul(factor).ok_or_else(wrong)
}

/// Bytes as they are written: in the largest unit that holds them without a remainder.
pub fn size_text(bytes: u64) -> String {
    UNITS
        .iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes}B"),
            |(name, factor)| format!("{}{name}", bytes / factor),
        )
}

/// A name an interface can have; `longest`: 15 for names, 127 where alternative names count.
pub fn interface(text: &str, longest: usize) -> Result<String, String> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > longest || text.contains(bad) || text == "." || text == ".."
    {
        return Err(format!("'{text}' can not be the name of an interface"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn marks_are_read_as_ip_rule_reads_them() {
        assert_eq!(mark("0x80000/0xff0000"), Ok((0x80000, 0xff0000)));
        assert_eq!(mark("7"), Ok((7, u32::MAX)));
        for wrong in ["7/0", "x", "", "0x100/0xff", "1/2/3", "-1"] {
            assert!(mark(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_nobody_can_own_is_refused() {
        for wrong in [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.1",
            "169.254.1.1",
            "::",
            "::1",
            "fe80::1",
            "ff02::1",
            "10.0.0",
            "10.0.0.256",
            "",
        ] {
            assert!(owned_address(wrong).is_err(), "{wrong}");
        }
        assert!(owned_address("172.16.20.177").is_ok());
        assert!(owned_prefix("0.0.0.0/0").is_err());
    }

    #[test]
    fn a_prefix_with_host_bits_is_asked_back() {
        let error = prefix("10.0.0.1/24").expect_err("host bits");
        assert!(error.contains("10.0.0.0/24"), "{error}");
        assert_eq!(
            prefix("10.0.0.0/24").map(prefix_text),
            Ok("10.0.0.0/24".to_owned())
        );
        assert_eq!(
            prefix("10.0.0.1").map(prefix_text),
            Ok("10.0.0.1".to_owned())
        );
    }

    #[test]
    fn the_protocol_of_a_known_routing_daemon_is_never_taken_for_ours() {
        for taken in [
            "0", "2", "3", "4", "11", "12", "16", "18", "42", "66", "80", "186", "192",
        ] {
            assert!(protocol(taken).is_err(), "{taken}");
        }
        assert_eq!(protocol("229"), Ok(Protocol(229)));
        assert!(protocol("256").is_err());
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("32MiB"), Ok(32 << 20));
        assert_eq!(size("64 kB"), Ok(64_000));
        assert_eq!(size("17"), Ok(17));
        for wrong in ["", "MiB", "-1", "1.5GB", "1TB", "99999999999GiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_as_what_it_was(
            bytes in 0..=u64::MAX, uid in 0..u32::MAX, port in 2u16..u16::MAX, mark_bits: u32, mask in 1u32..,
            number in 1u8..,
        ) {
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
            let range = UidRange { start: uid / 2, end: uid };
            prop_assert_eq!(uids(&uids_text(range)), Ok(range));
            let range = PortRange { start: port / 2, end: port };
            prop_assert_eq!(ports(&ports_text(range)), Ok(range));
            let pair = (mark_bits & mask, mask);
            prop_assert_eq!(mark(&mark_text(pair)), Ok(pair));
            prop_assert_eq!(ip_protocol(&ip_protocol_text(number)), Ok(number));
        }
    }
}
