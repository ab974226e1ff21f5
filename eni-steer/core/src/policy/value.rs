//! Readers and writers of single values: each kind of value has one function that reads it
//! and one that writes it as people do. An error message names the value and the mistake.

use std::net::IpAddr;

use ipnet::IpNet;

use super::GatewayChoice;
use crate::model::{
    Family, PortRange, Priority, Protocol, UidRange, destination_text, host_prefix, link_local,
};

/// Protocol numbers that iproute2 lists in `rt_protos` or that a routing daemon is known to
/// use. eni-steer deletes what carries its number, so it must not share one with them.
const PROTOCOLS_IN_USE: [std::ops::RangeInclusive<u8>; 7] =
    [0..=4, 8..=18, 42..=42, 66..=66, 80..=80, 99..=99, 186..=192];

/// The names of IP protocols that `ip rule` knows.
const IP_PROTOCOLS: [(&str, u8); 7] = [
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ipv6-icmp", 58),
    ("sctp", 132),
];

/// Units of sizes, the largest first.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

/// The words that a key accepts, each with what it stands for.
pub(super) struct Words<T: 'static> {
    pub words: &'static [(&'static str, T)],
}

impl<T: Clone + PartialEq> Words<T> {
    /// The words, in the order in which the reference lists them.
    pub fn names(&self) -> Vec<&'static str> {
        self.words.iter().map(|(word, _)| *word).collect()
    }

    /// Reads one of the words.
    pub fn read(&self, text: &str) -> Result<T, String> {
        self.words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| value.clone())
            .ok_or_else(|| format!("'{text}' is not {}", alternatives(&self.names())))
    }

    /// The word for a value; `None` if no word stands for it.
    pub fn word(&self, value: &T) -> Option<&'static str> {
        self.words
            .iter()
            .find(|(_, known)| known == value)
            .map(|(word, _)| *word)
    }
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn alternatives<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}

/// An address that an ENI can own.
pub(super) fn owned_address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_no_address| format!("'{text}' is not an IP address"))?;
    match unownable(address) {
        Some(kind) => Err(format!("an ENI can not own {address}, which is {kind}")),
        None => Ok(address),
    }
}

/// A prefix that a cloud can delegate to an ENI.
pub(super) fn owned_prefix(text: &str) -> Result<IpNet, String> {
    let net = prefix(text)?;
    if net.prefix_len() == 0 {
        return Err(format!("{net} covers all addresses"));
    }
    match unownable(net.addr()) {
        Some(kind) => Err(format!("an ENI can not own {net}, which is {kind}")),
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

/// A prefix, or an address, which stands for the prefix that holds only this address. A
/// prefix with host bits is refused: it is not clear which of the two the author meant.
pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
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
            "{text} has bits set after the first {bits}; the prefix is {whole}"
        ))
    }
}

/// Writes a prefix; one that holds a single address as that address.
pub(super) fn prefix_text(net: IpNet) -> String {
    match net.prefix_len() {
        0 => net.to_string(),
        _ => destination_text(net).to_string(),
    }
}

/// A prefix that a rule can match. The prefix of all addresses is refused, because it
/// restricts nothing.
pub(super) fn rule_prefix(text: &str) -> Result<IpNet, String> {
    match prefix(text)? {
        net if net.prefix_len() == 0 => Err(format!("{net} covers all addresses; omit the key")),
        net => Ok(net),
    }
}

/// The gateway of a family; `None`: eni-steer looks for it.
pub(super) fn gateway(text: &str, family: Family) -> Result<Option<GatewayChoice>, String> {
    match (text, family) {
        ("auto", _) => Ok(None),
        ("first", Family::V4) => Ok(Some(GatewayChoice::First)),
        ("last", Family::V4) => Ok(Some(GatewayChoice::Last)),
        _ => {
            let words = match family {
                Family::V4 => "an IPv4 address, 'first', 'last' or 'auto'",
                Family::V6 => "an IPv6 address or 'auto'",
            };
            gateway_address(text, |address| Family::of(address) == family, words).map(Some)
        }
    }
}

/// The gateway of whichever family the text is of.
pub(super) fn gateway_of_any_family(text: &str) -> Result<GatewayChoice, String> {
    match text {
        "first" => Ok(GatewayChoice::First),
        "last" => Ok(GatewayChoice::Last),
        _ => gateway_address(text, |_| true, "an IP address, 'first' or 'last'"),
    }
}

fn gateway_address(
    text: &str,
    fits: impl Fn(IpAddr) -> bool,
    words: &str,
) -> Result<GatewayChoice, String> {
    let address = text
        .parse::<IpAddr>()
        .ok()
        .filter(|address| fits(*address))
        .ok_or_else(|| format!("'{text}' is not {words}"))?;
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(format!("{address} can not be a gateway"));
    }
    Ok(GatewayChoice::Address(address))
}

/// Writes the gateway of a family.
pub(super) fn gateway_text(choice: Option<GatewayChoice>) -> String {
    match choice {
        None => "auto".to_owned(),
        Some(GatewayChoice::First) => "first".to_owned(),
        Some(GatewayChoice::Last) => "last".to_owned(),
        Some(GatewayChoice::Address(address)) => address.to_string(),
    }
}

/// A number, decimal or hexadecimal with `0x`.
pub(super) fn number(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|_no_number| format!("'{text}' is not a number from 0 to {}", u32::MAX))
}

/// `MARK` or `MARK/MASK`.
pub(super) fn mark(text: &str) -> Result<(u32, u32), String> {
    let (mark, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    match (number(mark)?, number(mask)?) {
        (_, 0) => Err(format!("{text}: a mask of 0 matches every packet")),
        (mark, mask) if mark & !mask != 0 => Err(format!(
            "{text} never matches: the mark has bits outside the mask"
        )),
        pair => Ok(pair),
    }
}

/// Writes a mark and its mask.
pub(super) fn mark_text((mark, mask): (u32, u32)) -> String {
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
        (start, end) if start > end => Err(format!("{text} ends before it starts")),
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

/// The priorities of eni-steer's rules.
pub(super) fn band(text: &str) -> Result<(Priority, Priority), String> {
    if !text.contains('-') {
        return Err(format!("'{text}' is not FIRST-LAST"));
    }
    let (first, last) = range(text, number)?;
    Ok((Priority(first), Priority(last)))
}

/// A port or a range of ports. The kernel refuses a rule for port 65535
/// (`fib_rule_port_range_valid` in include/net/fib_rules.h).
pub(super) fn ports(text: &str) -> Result<PortRange, String> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && port < u16::MAX => Ok(port),
        _ => Err(format!(
            "'{text}' is not a port that a rule can match (1 to 65534)"
        )),
    };
    let (start, end) = range(text, port)?;
    Ok(PortRange { start, end })
}

/// Writes ports.
pub(super) fn ports_text(ports: PortRange) -> String {
    range_text(ports.start, ports.end)
}

/// A user id or a range of them.
pub(super) fn uids(text: &str) -> Result<UidRange, String> {
    let uid = |text: &str| match text.parse::<u32>() {
        // The kernel takes -1 for "no user".
        Ok(uid) if uid < u32::MAX => Ok(uid),
        _ => Err(format!("'{text}' is not a user id")),
    };
    let (start, end) = range(text, uid)?;
    Ok(UidRange { start, end })
}

/// Writes user ids.
pub(super) fn uids_text(uids: UidRange) -> String {
    range_text(uids.start, uids.end)
}

/// An IP protocol, by name or number.
pub(super) fn ip_protocol(text: &str) -> Result<u8, String> {
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

/// Writes an IP protocol.
pub(super) fn ip_protocol_text(number: u8) -> String {
    IP_PROTOCOLS
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// A protocol number of routes and rules that no other program is known to use.
pub(super) fn protocol(text: &str) -> Result<Protocol, String> {
    let number: u8 = text
        .parse()
        .map_err(|_no_number| format!("'{text}' is not a protocol number (0 to 255)"))?;
    if PROTOCOLS_IN_USE.iter().any(|range| range.contains(&number)) {
        return Err(format!(
            "the kernel, 'ip' or a routing daemon uses protocol {number} already"
        ));
    }
    Ok(Protocol(number))
}

/// A number of bytes, with or without a unit.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a size (examples: 32MiB, 500kB, 1048576)");
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

/// Writes a number of bytes in the largest unit that needs no fraction.
pub(super) fn size_text(bytes: u64) -> String {
    UNITS
        .iter()
        .find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor))
        .map_or_else(
            || format!("{bytes}B"),
            |(name, factor)| format!("{}{name}", bytes / factor),
        )
}

/// The length of a prefix, from 0 to `longest`.
pub(super) fn prefix_length(number: u32, longest: u8) -> Result<u8, String> {
    u8::try_from(number)
        .ok()
        .filter(|length| *length <= longest)
        .ok_or_else(|| format!("a prefix length is from 0 to {longest}, not {number}"))
}

/// A name that an interface can have; `longest`: 15 bytes for a name, 127 for an alternative
/// name.
pub(super) fn interface(text: &str, longest: usize) -> Result<String, String> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.len() > longest || text.contains(bad) || text == "." || text == ".."
    {
        return Err(format!("an interface can not have the name '{text}'"));
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
    fn an_address_that_no_eni_can_own_is_refused() {
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
    fn a_prefix_with_host_bits_is_refused_and_the_message_names_the_prefix() {
        let error = prefix("10.0.0.1/24").expect_err("host bits");
        assert!(error.contains("10.0.0.0/24"), "{error}");
        assert_eq!(
            prefix("10.0.0.0/24").map(prefix_text),
            Ok("10.0.0.0/24".to_owned())
        );
        for all in ["0.0.0.0/0", "::/0"] {
            assert_eq!(prefix(all).map(prefix_text), Ok(all.to_owned()));
        }
        assert_eq!(
            prefix("10.0.0.1").map(prefix_text),
            Ok("10.0.0.1".to_owned())
        );
    }

    #[test]
    fn the_protocol_number_of_a_known_routing_daemon_is_refused() {
        for taken in [
            "0", "2", "3", "4", "11", "12", "16", "18", "42", "66", "80", "186", "192",
        ] {
            assert!(protocol(taken).is_err(), "{taken}");
        }
        assert_eq!(protocol("229"), Ok(Protocol(229)));
        assert!(protocol("256").is_err());
    }

    #[test]
    fn ports_users_and_protocols_end_where_the_kernel_ends_them() {
        assert!(ports("1-65534").is_ok() && ports("0").is_err() && ports("65535").is_err());
        let last = u32::MAX - 1;
        assert_eq!(
            uids(&last.to_string()),
            Ok(UidRange {
                start: last,
                end: last
            })
        );
        assert!(uids("0").is_ok() && uids("4294967295").is_err() && uids("-1").is_err());
        assert_eq!((ip_protocol("1"), ip_protocol("255")), (Ok(1), Ok(255)));
        assert!(ip_protocol("0").is_err() && ip_protocol("256").is_err());
    }

    #[test]
    fn a_name_that_no_interface_can_have_is_refused() {
        for name in ["eth0", "eth0.5", "wan\u{e9}", "a", "...", "123456789012345"] {
            assert_eq!(interface(name, 15), Ok(name.to_owned()));
        }
        for wrong in [
            "",
            ".",
            "..",
            "a/b",
            "a:b",
            "a b",
            "a\n",
            "a\u{7f}",
            "1234567890123456",
        ] {
            assert!(interface(wrong, 15).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_words_of_a_list_are_joined_as_in_a_sentence() {
        assert_eq!(alternatives::<&str>(&[]), "");
        assert_eq!(alternatives(&["a"]), "a");
        assert_eq!(alternatives(&["a", "b"]), "a or b");
        assert_eq!(alternatives(&["a", "b", "c"]), "a, b or c");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [0, 1, 1024, 1500].map(size_text),
            ["0B", "1B", "1KiB", "1500B"]
        );
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
