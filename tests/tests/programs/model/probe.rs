//! A packet as a program gets it, and what comes of it.

use std::{fmt, net::IpAddr};

use eni_steer::model::{Direction, IfIndex};

use super::{headers::Ip, tagger::Tag};
use crate::bench::Metadata;

/// What TC is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Next,
    /// Drop it.
    Drop,
    /// Send it out of this ENI to this neighbour.
    Redirect(IfIndex, IpAddr),
}

/// A mismatch as it is reported: all that does not depend on the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub direction: Direction,
    pub owner: IfIndex,
    pub ip: Ip,
    pub mark: u32,
    pub bytes: u64,
    pub fate: Option<&'static str>,
}

/// A packet as a program gets it.
#[derive(Clone)]
pub struct Probe {
    pub direction: Direction,
    pub metadata: Metadata,
    /// The driver has taken a VLAN tag off, and keeps it beside.
    pub tag_beside: Option<Tag>,
    pub frame: Vec<u8>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direction, metadata) = (self.direction, self.metadata);
        write!(
            f,
            "{direction:?} {metadata:?} beside: {:x?} [",
            self.tag_beside
        )?;
        for (at, byte) in self.frame.iter().enumerate() {
            let space = if at > 0 && at % 2 == 0 { " " } else { "" };
            write!(f, "{space}{byte:02x}")?;
        }
        write!(f, "] {} bytes", self.frame.len())
    }
}
