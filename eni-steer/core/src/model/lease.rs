//! DHCP leases, as the lease files of DHCP clients hold them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::IfIndex;

/// A gateway that a DHCP server named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Interface that has the lease.
    pub index: IfIndex,
    /// The gateway: the first address of DHCP option 3, "routers".
    pub gateway: IpAddr,
    /// Path of the lease file, without the leading slash.
    pub file: String,
}
