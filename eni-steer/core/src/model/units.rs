//! Numbers with units: indexes, priorities, tables, protocols, groups, addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// Kernel interface index. Valid only in one network namespace and only while the
/// interface lives: an ENI that is unplugged and comes back has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IfIndex(pub NonZeroU32);

impl IfIndex {
    /// `None` for 0, which the kernel uses for "no interface".
    pub fn new(index: u32) -> Option<Self> {
        NonZeroU32::new(index).map(Self)
    }

    /// The index as a plain number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for IfIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Something that knows the names of interfaces, such as [`super::Host`]. Text for people uses
/// names, never indexes.
pub trait Names {
    /// Name of an interface; `#` and its index if it is gone.
    fn name(&self, index: IfIndex) -> String;
}

/// Ethernet address, printed as six hex bytes with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let wrong = || format!("'{s}' is not a MAC address (six hex bytes with ':')");
        let mut bytes = [0u8; 6];
        let mut parts = s.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).ok().ok_or_else(wrong)?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(wrong()),
        }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Address family of a route or rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4, printed as `-4`.
    V4,
    /// IPv6, printed as `-6`.
    V6,
}

impl Family {
    /// Both families, in the order in which commands show them.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }

    /// The family of a prefix.
    pub fn of_net(net: IpNet) -> Self {
        Self::of(net.addr())
    }

    /// Number of bits in an address.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    /// The option of `ip` that selects the family: `-4`, `-6`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "-4",
            Family::V6 => "-6",
        })
    }
}

/// The prefix that holds every address of a family: `0.0.0.0/0` or `::/0`.
pub fn any(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::default()),
        Family::V6 => IpNet::V6(Ipv6Net::default()),
    }
}

/// The prefix that holds one address: its /32 or /128.
pub(crate) fn host_prefix(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// Whether `outer` holds every address of `inner`; both may have host bits set.
pub(crate) fn covers(outer: IpNet, inner: IpNet) -> bool {
    outer.prefix_len() <= inner.prefix_len() && outer.contains(&inner.addr())
}

/// Whether an address is link-local: 169.254.0.0/16 or fe80::/10.
pub fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => Ipv4Addr::is_link_local(&a),
        IpAddr::V6(a) => Ipv6Addr::is_unicast_link_local(&a),
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }
    };
}

number!(
    /// Rule priority (`FRA_PRIORITY`, "preference" in ip-rule(8)). The kernel evaluates lower
    /// ones first.
    Priority(u32)
);
number!(
    /// The number of the program that installed a route (`rtm_protocol`) or a rule
    /// (`FRA_PROTOCOL`).
    Protocol(u8)
);
impl Protocol {
    /// `RTPROT_KERNEL`: the kernel itself installed the object.
    pub const KERNEL: Self = Self(2);
}
number!(
    /// Interface group (`IFLA_GROUP`). Every interface starts in group 0.
    Group(u32)
);

/// Number of a routing table. eni-steer never reads names from rt_tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TableId(pub u32);

impl TableId {
    /// `RT_TABLE_DEFAULT`: the table `default`, normally empty.
    pub(crate) const DEFAULT: Self = Self(253);
    /// `RT_TABLE_MAIN`: the table `main`.
    pub const MAIN: Self = Self(254);
    /// `RT_TABLE_LOCAL`: the table `local`, which the kernel fills with the host's addresses.
    pub(crate) const LOCAL: Self = Self(255);

    /// Whether the table is one of the kernel's own: 0 (unspecified), `default`, `main` or
    /// `local`.
    pub(crate) fn is_kernel_own(self) -> bool {
        matches!(self, Self(0) | Self::DEFAULT | Self::MAIN | Self::LOCAL)
    }
}

impl FromStr for TableId {
    type Err = std::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DEFAULT => f.write_str("default"),
            Self::MAIN => f.write_str("main"),
            Self::LOCAL => f.write_str("local"),
            Self(n) => write!(f, "{n}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_address_survives_printing_and_parsing() {
        let mac = Mac([0x02, 0, 0xab, 0xcd, 0xef, 1]);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for wrong in [
            "",
            "02:00:ab:cd:ef",
            "02:00:ab:cd:ef:01:02",
            "2:0:ab:cd:ef:1",
            "x2:00:ab:cd:ef:01",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_covers_itself_and_what_is_narrower_in_the_same_family() {
        let net = |s: &str| s.parse::<IpNet>().expect("a prefix");
        assert!(covers(net("10.0.0.0/8"), net("10.1.2.3/32")));
        assert!(covers(net("10.0.0.0/8"), net("10.0.0.0/8")));
        assert!(!covers(net("10.0.0.0/9"), net("10.0.0.0/8")));
        assert!(!covers(net("0.0.0.0/0"), net("fd00::/8")));
    }
}
