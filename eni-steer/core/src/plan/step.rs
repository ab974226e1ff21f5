//! Steps: the parts of a plan. Every change that eni-steer makes to a host is one of these.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    desired::WantedAttachment,
    model::{
        Attachment, EniRow, Hook, IfIndex, NextHop, Owner, Route, Rule, SavedValue, Settings,
        Tunable,
    },
};

/// A change of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<T> {
    /// The object before the step; `None`: it does not exist.
    pub from: Option<T>,
    /// The object after the step; `None`: it does not exist.
    pub to: Option<T>,
}

/// One step of a plan. The step with `from` and `to` swapped undoes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "object")]
pub enum Step {
    /// Writes the value that a tunable had before eni-steer to the state file, or removes it from
    /// there.
    SavedValue {
        /// The interface and which of its settings.
        tunable: Tunable,
        /// The entry in the state file before and after.
        change: Change<SavedValue>,
    },
    /// Sets a sysctl or the group of an interface.
    Tunable {
        /// The interface and which of its settings.
        tunable: Tunable,
        /// Its value before and after.
        change: Change<u32>,
        /// Whether the step restores the value from before eni-steer. Such a step comes after the
        /// removal of everything that needed eni-steer's value.
        restores: bool,
    },
    /// Adds, replaces or deletes one of eni-steer's routes.
    Route {
        /// The route before and after.
        change: Change<Route>,
    },
    /// Adds or deletes one of eni-steer's rules.
    Rule {
        /// The rule before and after.
        change: Change<Rule>,
    },
    /// Creates the programs' maps, removes them, or changes the settings that all programs read.
    Settings {
        /// The settings before and after; `None`: the maps do not exist.
        change: Change<Settings>,
    },
    /// Adds, changes or removes an ENI in the programs' maps.
    Eni {
        /// Interface index of the ENI.
        eni: IfIndex,
        /// The entry before and after.
        change: Change<EniRow>,
    },
    /// Adds, changes or removes the owner of an address or prefix in the programs' maps.
    Owner {
        /// The address (as a /32 or /128 prefix) or the delegated prefix.
        net: IpNet,
        /// The owner before and after.
        change: Change<Owner>,
    },
    /// Adds, changes or removes in the programs' maps how an ENI reaches a destination.
    NextHop {
        /// Interface index of the ENI.
        eni: IfIndex,
        /// Destination prefix.
        net: IpNet,
        /// The next hop before and after.
        change: Change<NextHop>,
    },
    /// Adds or removes an exempt destination, whose packets the programs never steer.
    Exempt {
        /// Destination prefix.
        net: IpNet,
        /// Whether the destination is exempt after the step.
        exempt: bool,
    },
    /// Attaches, replaces or detaches a program.
    Program {
        /// Place where the program is attached.
        #[serde(flatten)]
        hook: Hook,
        /// The program on the hook before and after.
        change: Change<Program>,
    },
    /// Deletes the pinned maps of another eni-steer version, with its programs and counters. This
    /// is the last step, after this version's programs are attached, because eni-steer cannot undo
    /// it.
    RemoveOldLayout {
        /// Number of the map layout of that version.
        layout: u32,
        /// Whether the step deletes the layout. `false` (the inverse) would restore it, which the
        /// executor refuses.
        removed: bool,
    },
}

/// A program before or after a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Program {
    /// A program that is attached, as read from the kernel.
    Seen(Attachment),
    /// A program that should be attached.
    Wanted(WantedAttachment),
}

impl<T> Change<T> {
    pub(super) fn new(from: Option<T>, to: Option<T>) -> Self {
        Self { from, to }
    }
}
