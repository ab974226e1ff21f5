//! Steps: the vocabulary of plans. Every change that eni-steer makes to a host is one of these.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    desired::WantedAttachment,
    model::{
        Attachment, EniRow, Hook, IfIndex, NextHop, Owner, Route, Rule, SavedValue, Settings,
        Tunable,
    },
};

/// One change of one object, from what it is to what it should be. `None`: not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<T> {
    /// What is there.
    pub from: Option<T>,
    /// What should be there.
    pub to: Option<T>,
}

/// One step of a plan. Each is undone by the step with `from` and `to` swapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "object")]
pub enum Step {
    /// Write the value that a tunable had before eni-steer into the state file, or remove it
    /// from there.
    SavedValue {
        /// The tunable.
        tunable: Tunable,
        /// The value in the state file, before and after.
        change: Change<SavedValue>,
    },
    /// Set a sysctl or the group of an interface.
    Tunable {
        /// The tunable.
        tunable: Tunable,
        /// Its value, before and after.
        change: Change<u32>,
        /// Whether the step restores the value from before eni-steer: such a step comes after
        /// everything that needed the other value is gone.
        restores: bool,
    },
    /// Add, replace or delete a route of ours.
    Route {
        /// The change.
        change: Change<Route>,
    },
    /// Add or delete a rule of ours.
    Rule {
        /// The change.
        change: Change<Rule>,
    },
    /// Create or remove the maps, or change what all programs read.
    Settings {
        /// The change.
        change: Change<Settings>,
    },
    /// Tell the programs of an ENI.
    Eni {
        /// The ENI.
        eni: IfIndex,
        /// The change.
        change: Change<EniRow>,
    },
    /// Tell the programs who owns an address or prefix.
    Owner {
        /// The address or prefix.
        net: IpNet,
        /// The change.
        change: Change<Owner>,
    },
    /// Tell the programs how an ENI reaches a destination.
    NextHop {
        /// The ENI.
        eni: IfIndex,
        /// The destination.
        net: IpNet,
        /// The change.
        change: Change<NextHop>,
    },
    /// Tell the programs of a destination that is never steered.
    Exempt {
        /// The destination.
        net: IpNet,
        /// Whether it is to be.
        exempt: bool,
    },
    /// Attach, replace or detach a program.
    Program {
        /// Where it is attached.
        #[serde(flatten)]
        hook: Hook,
        /// The program on the hook, before and after.
        change: Change<Program>,
    },
    /// Take away the pins of another version's layout, with its programs and counters, once
    /// the programs of this one are there. Nothing brings them back: it is the last step.
    RemoveOldLayout {
        /// The layout.
        layout: u32,
        /// It is taken away; `false`: it would be brought back, which nothing can.
        removed: bool,
    },
}

/// A program in a step: as seen, or as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// As read from the kernel.
    Seen(Attachment),
    /// As desired.
    Wanted(WantedAttachment),
}

impl<T> Change<T> {
    pub(super) fn new(from: Option<T>, to: Option<T>) -> Self {
        Self { from, to }
    }
}
