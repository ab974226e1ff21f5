//! DHCP leases.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::IfIndex;

/// A gateway from a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The interface.
    pub index: IfIndex,
    /// The gateway (DHCP option 3, "routers"; the first).
    pub gateway: IpAddr,
    /// The file it stands in.
    pub file: String,
}
