//! DHCP leases, as the lease files of DHCP clients hold them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::IfIndex;

/// A gateway that a DHCP server named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Interface that has the lease.
    pub index: IfIndex,
    /// The gateway: of the default route in DHCP option 121, "classless static routes", else the
    /// first address of option 3, "routers".
    pub gateway: IpAddr,
    /// Path of the lease file, without the leading slash.
    pub file: String,
}

/// A lease that eni-steer does not believe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedLease {
    /// Interface that would have the lease.
    pub index: IfIndex,
    /// Path of the lease file, without the leading slash.
    pub file: String,
    /// Why: the end of a sentence that begins with "because".
    pub why: String,
    /// It counted until it expired.
    pub expired: bool,
}
