//! A packet as a program receives it, and what the program does with it.

use std::{fmt, net::IpAddr};

use eni_steer_core::model::{Direction, IfIndex};

use super::{headers::Ip, tagger::Tag};
use crate::bench::Metadata;

/// A program's answer to TC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on to the next program.
    Next,
    /// Drop it.
    Drop,
    /// Send it out of this ENI to this neighbour.
    Redirect(IfIndex, IpAddr),
}

/// A reported mismatch, without what depends on the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub direction: Direction,
    pub owner: IfIndex,
    pub ip: Ip,
    pub mark: u32,
    pub bytes: u64,
    pub fate: Option<&'static str>,
}

/// A packet as a program receives it.
#[derive(Clone)]
pub struct Probe {
    pub direction: Direction,
    pub metadata: Metadata,
    /// The VLAN tag that the driver has removed from the frame and keeps in the metadata.
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
