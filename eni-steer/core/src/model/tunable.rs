//! Tunables: settings of an interface that eni-steer changes and later restores.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::IfIndex;

/// Which setting of an interface a tunable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunableKind {
    /// The interface group (`IFLA_GROUP`).
    Group,
    /// `net.ipv4.conf.<interface>.rp_filter`: 0 off, 1 strict, 2 loose.
    RpFilter,
    /// `net.ipv4.conf.<interface>.arp_ignore`: 0 answers ARP requests for every address of the
    /// host, 1 only for addresses of this interface.
    ArpIgnore,
    /// `net.ipv4.conf.<interface>.arp_announce`: 0 uses any source address in ARP requests, 2 the
    /// best one of this interface.
    ArpAnnounce,
}

impl TunableKind {
    /// The kinds that are sysctls.
    pub const SYSCTLS: [TunableKind; 3] = [Self::RpFilter, Self::ArpIgnore, Self::ArpAnnounce];

    /// Last part of the sysctl's name; `None`: the group, which is not a sysctl.
    pub fn sysctl(self) -> Option<&'static str> {
        match self {
            Self::Group => None,
            Self::RpFilter => Some("rp_filter"),
            Self::ArpIgnore => Some("arp_ignore"),
            Self::ArpAnnounce => Some("arp_announce"),
        }
    }
}

/// One setting of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tunable {
    /// Index of the interface.
    pub index: IfIndex,
    /// Which of its settings.
    pub kind: TunableKind,
}

/// What eni-steer saves before it changes a tunable, so that `remove` can restore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SavedValue {
    /// Value before eni-steer changed it.
    pub previous: u32,
    /// Value that eni-steer set. If the tunable has another value now, another program has changed
    /// it since, and eni-steer leaves that value alone.
    pub ours: u32,
}

impl fmt::Display for TunableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sysctl().unwrap_or("group"))
    }
}
