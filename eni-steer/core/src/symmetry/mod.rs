//! Is traffic symmetric? A verdict for each owned address, from the counters of one period.
//!
//! The period is a window that `verify` waited for, or the *epoch*: the time since the policy, the
//! owners of addresses or the host's routing last changed. What was counted before the epoch is
//! history; it is shown apart and decides nothing.
//!
//! Only [`Verdict::Symmetric`] is success. Silence is never shown as success, and neither is a
//! packet that eni-steer had to redirect.

mod judge;

use std::time::Duration;

use ipnet::IpNet;
use serde::Serialize;

use crate::counters::Count;

pub use judge::{Owned, OwnerOf, Period, judge};

/// The verdict on one address, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every packet that was seen came in and left by the owner.
    Symmetric,
    /// No packet was seen, so nothing can be said.
    NoTraffic,
    /// The programs do not see every packet of the owner: nothing can be said.
    NotMeasured,
    /// Two ENIs have the address, so there is no owner to agree with.
    NoOwner,
    /// Packets were about to leave by another ENI, and the programs redirected them to the
    /// owner: traffic is right, but the rules do not bring it there.
    Steered,
    /// Packets were about to leave by another ENI, and the programs dropped them (mode `drop`).
    Dropped,
    /// The programs redirected packets to the owner, but they never left there: the owner's next
    /// hop does not answer.
    Unsent,
    /// Packets came in for the address, and the answers left from another address of this host.
    WrongSource,
    /// Packets came in, and nothing left.
    NoReplies,
    /// Packets came in or left by another ENI than the owner.
    Asymmetric,
}

/// What a verdict means for whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Traffic was seen and is right.
    Success,
    /// Nothing was seen, or not everything: unknown.
    Unknown,
    /// Traffic was seen and is wrong.
    Wrong,
}

impl Verdict {
    /// What it means.
    pub fn class(self) -> Class {
        match self {
            Self::Symmetric => Class::Success,
            Self::NoTraffic | Self::NotMeasured | Self::NoOwner => Class::Unknown,
            Self::Steered
            | Self::Dropped
            | Self::Unsent
            | Self::WrongSource
            | Self::NoReplies
            | Self::Asymmetric => Class::Wrong,
        }
    }

    /// The verdict in words, as the reports print it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Symmetric => "symmetric",
            Self::NoTraffic => "no traffic",
            Self::NotMeasured => "not measured",
            Self::NoOwner => "no owner",
            Self::Steered => "steered",
            Self::Dropped => "dropped",
            Self::Unsent => "unsent",
            Self::WrongSource => "wrong source",
            Self::NoReplies => "no replies",
            Self::Asymmetric => "asymmetric",
        }
    }
}

/// What one ENI saw of an address in the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sighting {
    /// The ENI's name.
    pub eni: String,
    /// Packets that came in by it.
    pub ingress: Count,
    /// Packets that left by it.
    pub egress: Count,
    /// Packets that were about to leave by it and were redirected to the owner.
    pub steered: Count,
    /// Packets that were about to leave by it and were dropped.
    pub dropped: Count,
    /// Packets that left by it because the configuration or the protocol says so.
    pub exempt: Count,
}

/// Packets by another ENI than the owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Strays {
    /// Packets that came in.
    pub ingress: u64,
    /// Packets that left.
    pub egress: u64,
    /// How long before the counters were read the first of them was seen.
    pub first: Option<Duration>,
    /// Likewise the last one.
    pub last: Option<Duration>,
}

impl Strays {
    /// Packets in both directions.
    pub fn packets(&self) -> u64 {
        self.ingress + self.egress
    }
}

/// The verdict on one address, with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddressVerdict {
    /// The address or delegated prefix.
    pub address: IpNet,
    /// Name of its owner.
    pub owner: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on, as a sentence; empty where the numbers say it all.
    pub why: String,
    /// ENI by ENI, the owner first.
    pub seen: Vec<Sighting>,
    /// Packets of the period by other ENIs.
    pub strays: Strays,
    /// Packets by other ENIs before the period: history, which decides nothing.
    pub history: Strays,
}

/// All addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct TrafficVerdict {
    /// What the counters were compared with.
    pub period: Period,
    /// Length of the period, if its beginning is known.
    pub length: Option<Duration>,
    /// Address by address, as the owners were given.
    pub addresses: Vec<AddressVerdict>,
}

/// How much silence is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RequireTraffic {
    /// No address needs to have traffic.
    None,
    /// At least one address must have been judged.
    #[default]
    Any,
    /// Every address must have been judged.
    All,
}

impl TrafficVerdict {
    /// The worst verdict there is; no traffic if there are no addresses.
    pub fn worst(&self) -> Verdict {
        let verdicts = self.addresses.iter().map(|address| address.verdict);
        verdicts.max().unwrap_or(Verdict::NoTraffic)
    }

    /// How many addresses have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        let all = self.addresses.iter();
        all.filter(|address| address.verdict == verdict).count()
    }

    /// What all verdicts together mean. Wrong traffic outweighs everything; else `required` says
    /// how much silence is accepted.
    pub fn class(&self, required: RequireTraffic) -> Class {
        let classes = || self.addresses.iter().map(|address| address.verdict.class());
        let judged = match required {
            RequireTraffic::None => true,
            RequireTraffic::Any => classes().any(|class| class == Class::Success),
            RequireTraffic::All => {
                !self.addresses.is_empty() && classes().all(|class| class == Class::Success)
            }
        };
        if classes().any(|class| class == Class::Wrong) {
            Class::Wrong
        } else if judged {
            Class::Success
        } else {
            Class::Unknown
        }
    }
}
