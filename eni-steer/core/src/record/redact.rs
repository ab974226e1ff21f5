//! Replaces addresses so that a report file can be given to others, and every relation between
//! addresses stays: two addresses share as many leading bits afterwards as before.
//!
//! Each bit of an address is turned or not, depending on the bits before it and on a key that is
//! never recorded. Turned are bits of prefixes that belong to no special range, so a private
//! address stays private, and what eni-steer knows by its number (loopback, link-local, multicast,
//! metadata services, the far destinations of probes) stays what it is. The last byte of an
//! address stays too: it tells a network, a host and a broadcast address apart.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde_json::Value;

use crate::{
    desired::METADATA,
    explain::far,
    model::{Family, Mac},
};

/// What stands for the host's name.
const HOST: &str = "redacted";

/// Ranges inside which addresses are replaced, and which they do not leave.
const CLASSES: [&str; 12] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "::/3",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "2000::/3",
    "2001:db8::/32",
    "fc00::/7",
    "fe80::/64",
];
/// Ranges and addresses that are not replaced, beside the metadata services that eni-steer knows
/// and the far destinations of probes.
const KEPT: [&str; 14] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "192.0.0.192/32",
    "224.0.0.0/3",
    "::/64",
    "64:ff9b::/127",
    "fd00:42::42/128",
    "fd20:ce::254/128",
    "fe80::/128",
    "fe80::1/128",
    "fe80::ec2:0:0:1/128",
    "ff00::/8",
];

/// Replaces addresses, the same way everywhere.
#[derive(Debug)]
pub struct Redaction<S> {
    key: S,
    /// The special ranges: width of the address, leading bits, and how many they are.
    ranges: Vec<(u32, u128, u32)>,
    /// Those of them that are not replaced.
    kept: Vec<(u32, u128, u32)>,
    known: HashMap<String, String>,
}

impl<S: BuildHasher> Redaction<S> {
    /// A redaction with this key.
    pub fn new(key: S) -> Self {
        let metadata = METADATA
            .into_iter()
            .chain(Family::BOTH.map(far))
            .map(|address| {
                let (width, bits) = number(address);
                (width, bits, width)
            });
        let kept = KEPT.iter().filter_map(|text| range(text));
        let kept: Vec<_> = kept.chain(metadata).collect();
        let classes = CLASSES.iter().filter_map(|text| range(text));
        Self {
            key,
            ranges: classes.chain(kept.iter().copied()).collect(),
            kept,
            known: HashMap::new(),
        }
    }

    /// What stands for an address.
    pub fn address(&self, address: IpAddr) -> IpAddr {
        let (width, bits) = number(address);
        address_of(width, self.turn(width, bits, false))
    }

    /// The address that another one stands for.
    pub fn original(&self, address: IpAddr) -> IpAddr {
        let (width, bits) = number(address);
        address_of(width, self.turn(width, bits, true))
    }

    fn mac(&self, mac: Mac) -> Mac {
        let mut bytes = [0; 16];
        bytes[10..].copy_from_slice(&mac.0);
        let bits = u128::from_be_bytes(bytes);
        // The first byte says whether it is a group's and whether a vendor gave it.
        if bits == 0 || mac.0 == [0xff; 6] {
            return mac;
        }
        let turned = self.turn(48, bits, false).to_be_bytes();
        let mut mac = [0; 6];
        mac.copy_from_slice(&turned[10..]);
        Mac(mac)
    }

    /// Turns bits, from the first to the last. `back`: `bits` is turned already, and its original
    /// is wanted.
    fn turn(&self, width: u32, bits: u128, back: bool) -> u128 {
        // Its leading bits are those of the range before and after.
        let is_kept = |(of, prefix, length): &(u32, u128, u32)| {
            *of == width && leading(width, bits, *length) == *prefix
        };
        if self.kept.iter().any(is_kept) {
            return bits;
        }
        let (mut original, mut turned) = (0u128, 0u128);
        // The first bit of a range that may be turned is, so that every address changes.
        let mut first = true;
        for at in 0..width {
            let place = width - 1 - at;
            let bit = bits >> place & 1;
            let free = match width {
                48 => at >= 8,
                _ => place >= 8 && self.is_free(width, original, at),
            };
            let flip = match (free, first) {
                (false, _) => 0,
                (true, true) => 1,
                (true, false) => u128::from(self.key.hash_one((width, at, original)) & 1 == 1),
            };
            first &= !free;
            let (was, is) = match back {
                true => (bit ^ flip, bit),
                false => (bit, bit ^ flip),
            };
            original |= was << place;
            turned |= is << place;
        }
        match back {
            true => original,
            false => turned,
        }
    }

    /// Whether both values of a bit are in the same special range, or both in none, whatever
    /// follows.
    fn is_free(&self, width: u32, original: u128, at: u32) -> bool {
        !self.ranges.iter().any(|(of, prefix, length)| {
            *of == width
                && *length > at
                && leading(width, original, at) == leading(width, *prefix, at)
        })
    }

    /// Replaces addresses in every string of a value, also in keys.
    pub fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(all) => all.into_iter().map(|value| self.value(value)).collect(),
            Value::Object(all) => all
                .into_iter()
                .map(|(key, value)| match (key.as_str(), value) {
                    ("host_name", Value::String(_)) => (key, Value::String(HOST.to_owned())),
                    // Numbers with dots that are no addresses.
                    ("versions", value) => (key, value),
                    (_, value) => (self.text(&key), self.value(value)),
                })
                .collect(),
            other => other,
        }
    }

    /// Replaces the addresses in a text.
    pub fn text(&mut self, text: &str) -> String {
        let part = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
        let word = |c: char| c.is_alphanumeric() || c == '_';
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut before: Option<char> = None;
        while let Some(first) = rest.chars().next() {
            let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
            if end == 0 || before.is_some_and(word) {
                let length = first.len_utf8();
                out.push_str(&rest[..length]);
                (before, rest) = (Some(first), &rest[length..]);
                continue;
            }
            let (run, after) = rest.split_at(end);
            let glued = after.chars().next().is_some_and(word);
            let prefix = after.strip_prefix('/').and_then(|after| {
                let digits = after.find(|c: char| !c.is_ascii_digit());
                let digits = &after[..digits.unwrap_or(after.len())];
                digits.parse::<u8>().ok()
            });
            match glued {
                true => out.push_str(run),
                false => out.push_str(&self.run(run, prefix)),
            }
            (before, rest) = (run.chars().last(), after);
        }
        out
    }

    /// Replaces a run of characters of which addresses are made. `prefix`: the length of a prefix
    /// that follows.
    fn run(&mut self, run: &str, prefix: Option<u8>) -> String {
        let key = match prefix {
            Some(length) => format!("{run}/{length}"),
            None => run.to_owned(),
        };
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let replaced = self.replace(run, prefix);
        self.known.insert(key, replaced.clone());
        replaced
    }

    fn replace(&self, run: &str, prefix: Option<u8>) -> String {
        if let Ok(address) = IpAddr::from_str(run) {
            let (width, bits) = number(address);
            let new = self.address(address);
            // A network stays a network: its host bits are zero.
            let length = prefix.map_or(width, u32::from);
            let is_network = length <= width && leading(width, bits, length) == bits;
            return match is_network {
                true => address_of(width, leading(width, number(new).1, length)).to_string(),
                false => new.to_string(),
            };
        }
        if let Ok(mac) = Mac::from_str(run) {
            return self.mac(mac).to_string();
        }
        // The end of a sentence, or a port.
        let trimmed = run.trim_end_matches(['.', ':']);
        if trimmed.len() < run.len() && !trimmed.is_empty() {
            return self.replace(trimmed, prefix) + &run[trimmed.len()..];
        }
        match run.split_once(':') {
            Some((address, port)) if Ipv4Addr::from_str(address).is_ok() => {
                format!("{}:{port}", self.replace(address, None))
            }
            _ => run.to_owned(),
        }
    }
}

/// A range: width of the address, leading bits, and how many they are.
fn range(text: &str) -> Option<(u32, u128, u32)> {
    let net = ipnet::IpNet::from_str(text).ok()?;
    let (width, bits) = number(net.addr());
    Some((width, bits, u32::from(net.prefix_len())))
}

/// An address as a number, and how many bits it has.
fn number(address: IpAddr) -> (u32, u128) {
    match address {
        IpAddr::V4(address) => (32, u128::from(address.to_bits())),
        IpAddr::V6(address) => (128, address.to_bits()),
    }
}

fn address_of(width: u32, bits: u128) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if width == 32 => Ipv4Addr::from_bits(bits).into(),
        _ => Ipv6Addr::from_bits(bits).into(),
    }
}

/// A number without the bits that follow the first `length`.
fn leading(width: u32, bits: u128, length: u32) -> u128 {
    match width.checked_sub(length) {
        None | Some(0) => bits,
        Some(rest) if rest >= 128 => 0,
        Some(rest) => bits >> rest << rest,
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn redaction() -> Redaction<BuildHasherDefault<DefaultHasher>> {
        Redaction::new(BuildHasherDefault::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn every_list_of_ranges_can_be_read() {
        for text in CLASSES.iter().chain(&KEPT) {
            assert!(range(text).is_some(), "{text}");
        }
    }

    #[test]
    fn addresses_inside_sentences_keys_and_prefixes_are_replaced_alike() {
        let mut redaction = redaction();
        let new = redaction.address(ip("172.16.20.177")).to_string();
        assert_ne!(new, "172.16.20.177");
        let value = redaction.value(json!({
            "host_name": "web-7",
            "versions": {"kernel": "6.6.87.2"},
            "rule from 172.16.20.177 lookup 21001": 1,
            "list": ["172.16.20.177/32", "172.16.20.177/24", "172.16.20.177:53 is busy",
                     "gateway 172.16.20.177.", "at 12:30:01, eth0:1, ab:12", "cafe::beef_x"],
        }));
        let text = value.to_string();
        assert!(!text.contains("172.16.20.177"), "{text}");
        assert!(!text.contains("web-7"), "{text}");
        assert!(text.contains("6.6.87.2"), "{text}");
        assert_eq!(text.matches(&new).count(), 5, "{text}");
        assert!(text.contains("12:30:01, eth0:1, ab:12"), "{text}");
        let mac = redaction.text("02:00:00:00:00:0a is on eth0");
        assert!(mac.starts_with("02:") && !mac.contains("00:00:0a"), "{mac}");
        let network = redaction.text("172.16.16.0/20 default 0.0.0.0/0");
        assert!(network.contains(".0/20 default 0.0.0.0/0"), "{network}");
    }

    #[test]
    fn what_has_a_meaning_by_its_number_stays() {
        let redaction = redaction();
        for text in [
            "127.0.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "203.0.113.113",
            "224.0.0.1",
            "0.0.0.0",
            "::",
            "::1",
            "ff02::1",
            "3fff:fff::71",
            "fd00:ec2::254",
        ] {
            assert_eq!(redaction.address(ip(text)), ip(text), "{text}");
        }
        let private = |text: &str| redaction.address(ip(text)).to_string();
        assert!(private("10.1.2.3").starts_with("10."));
        assert!(private("192.168.1.1").starts_with("192.168."));
        assert!(private("fe80::5054:ff:fe12:3456").starts_with("fe80::"));
    }

    proptest! {
        #[test]
        fn replaced_addresses_share_as_many_leading_bits_and_lead_back(
            a in any::<u32>(), b in any::<u32>(), keep in 0u32..32,
        ) {
            let redaction = redaction();
            let b = a >> (32 - keep).min(31) << (32 - keep).min(31) | b >> keep.min(31);
            let new = |bits: u32| redaction.address(Ipv4Addr::from_bits(bits).into());
            let bits = |address| number(address).1 as u32;
            let (x, y) = (bits(new(a)), bits(new(b)));
            prop_assert_eq!((a ^ b).leading_zeros(), (x ^ y).leading_zeros());
            prop_assert_eq!(bits(redaction.original(new(a))), a);
        }

        #[test]
        fn every_unicast_address_of_ipv6_changes_and_leads_back(a in any::<u64>(), b in any::<u64>()) {
            let redaction = redaction();
            for first in [0x2000u128, 0xfd00] {
                let bits = first << 112 | (u128::from(a) << 64 | u128::from(b)) & (u128::MAX >> 16);
                let address = IpAddr::from(Ipv6Addr::from_bits(bits));
                prop_assert_ne!(redaction.address(address), address);
                prop_assert_eq!(redaction.original(redaction.address(address)), address);
            }
        }
    }
}
