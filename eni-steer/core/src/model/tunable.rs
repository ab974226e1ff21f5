//! Knobs of an interface that are set, remembered and put back.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::IfIndex;

/// Which tunable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunableKind {
    /// The interface group.
    Group,
    /// `net.ipv4.conf.<interface>.rp_filter`: 0 off, 1 strict, 2 loose.
    RpFilter,
    /// `net.ipv4.conf.<interface>.arp_ignore`
    ArpIgnore,
    /// `net.ipv4.conf.<interface>.arp_announce`
    ArpAnnounce,
}

impl TunableKind {
    /// Those that are sysctls.
    pub const SYSCTLS: [TunableKind; 3] = [Self::RpFilter, Self::ArpIgnore, Self::ArpAnnounce];

    /// Last part of the sysctl's name; `None` for the group.
    pub fn sysctl(self) -> Option<&'static str> {
        match self {
            Self::Group => None,
            Self::RpFilter => Some("rp_filter"),
            Self::ArpIgnore => Some("arp_ignore"),
            Self::ArpAnnounce => Some("arp_announce"),
        }
    }
}

/// A tunable of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tunable {
    /// The interface.
    pub index: IfIndex,
    /// Which tunable.
    pub kind: TunableKind,
}

/// What is written down before a tunable is turned, so that it can be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SavedValue {
    /// Value found.
    pub previous: u32,
    /// Value set by us. Another value now means that somebody else has turned it since:
    /// theirs stays.
    pub ours: u32,
}

impl fmt::Display for TunableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sysctl().unwrap_or("group"))
    }
}
