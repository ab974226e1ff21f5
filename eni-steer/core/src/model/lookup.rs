//! The kernel's answer to "where would this packet go?".

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{IfIndex, RouteKind, TableId};

/// The kernel's own answer for a [`super::Flow`]: `RTM_GETROUTE` for one destination, as
/// `ip route get` asks it. `verify` judges routing by this answer; eni-steer's own walk through
/// the rules only names the rule behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteLookup {
    /// The kernel sends the packet.
    Leaves {
        /// Interface by which it leaves.
        by: IfIndex,
        /// Gateway; `None`: the destination is a neighbour.
        gateway: Option<IpAddr>,
        /// Table that holds the deciding route.
        table: TableId,
        /// Unicast, or local if the destination is an address of this host.
        kind: RouteKind,
        /// The source that the kernel would choose, where the question names none.
        source: Option<IpAddr>,
    },
    /// The kernel refuses the packet: no route matches, or a route or rule refuses it.
    Refused {
        /// Positive errno that a socket would see: ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL or
        /// EXDEV.
        errno: i32,
    },
}

impl RouteLookup {
    /// The interface by which the packet leaves; `None`: the kernel refuses it.
    pub(crate) fn leaves_by(&self) -> Option<IfIndex> {
        match self {
            Self::Leaves { by, .. } => Some(*by),
            Self::Refused { .. } => None,
        }
    }
}
