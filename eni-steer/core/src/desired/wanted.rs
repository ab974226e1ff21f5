//! What the programs' maps should hold, and which programs should be attached.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{AttachKind, Attachment, EniRow, Hook, IfIndex, NextHop, Owner, Settings};

/// What the programs' maps should hold, and which programs should be attached. It mirrors
/// [`crate::model::Datapath`], which is what the kernel has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedDatapath {
    /// Settings of the programs on all ENIs.
    pub settings: Settings,
    /// The ENIs that the programs should know.
    pub enis: BTreeMap<IfIndex, EniRow>,
    /// Programs that should be attached: two for each ENI.
    #[serde(with = "crate::model::pairs")]
    pub attachments: BTreeMap<Hook, WantedAttachment>,
    /// Owners of addresses (as /32 or /128 prefixes) and of delegated prefixes.
    pub owners: BTreeMap<IpNet, Owner>,
    /// Copy of each ENI's routing table, by ENI and destination.
    #[serde(with = "crate::model::pairs")]
    pub next_hops: BTreeMap<(IfIndex, IpNet), NextHop>,
    /// Destinations whose packets the programs should never steer.
    pub exempt: BTreeSet<IpNet>,
}

/// A program that should be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WantedAttachment {
    /// Mechanism; `None`: any. eni-steer tries TCX first.
    pub kind: Option<AttachKind>,
    /// Hash of the object file to load the program from.
    pub build: u64,
    /// Log level of the program (aya-log: 0 off, 1 error to 5 trace); `None`: any will do.
    pub log_level: Option<u32>,
}

impl WantedAttachment {
    /// Whether an attached program is the wanted one.
    pub(crate) fn satisfied_by(&self, attached: &Attachment) -> bool {
        self.kind.is_none_or(|kind| kind == attached.kind)
            && self.build == attached.build
            && self
                .log_level
                .is_none_or(|level| level == attached.log_level)
    }
}
