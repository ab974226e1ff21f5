//! Hooks: the places in the kernel where a program can be attached, and what is attached there.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Direction, IfIndex, Names};

/// A place where eni-steer attaches one program.
///
/// A new kind of program (a cgroup program, XDP) is a new variant: plans, steps, reports and the
/// executor work on hooks and need no second path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "hook")]
pub enum Hook {
    /// Traffic control (TC) of one ENI, in one direction.
    Tc {
        /// The ENI.
        eni: IfIndex,
        /// Packets that come in, or packets that leave.
        direction: Direction,
    },
}

impl Hook {
    /// The TC hook of an ENI.
    pub fn tc(eni: IfIndex, direction: Direction) -> Self {
        Self::Tc { eni, direction }
    }

    /// The TC hooks of an ENI, ingress first.
    pub fn tc_of(eni: IfIndex) -> [Self; 2] {
        Direction::BOTH.map(|direction| Self::tc(eni, direction))
    }

    /// The interface that the hook belongs to.
    pub fn interface(self) -> IfIndex {
        match self {
            Self::Tc { eni, .. } => eni,
        }
    }

    /// The hook in words: `eth1 ingress`.
    pub fn describe(self, names: &impl Names) -> String {
        match self {
            Self::Tc { eni, direction } => {
                format!("{} {}", names.name(eni), direction_word(direction))
            }
        }
    }
}

/// A direction as `tc` calls it: `ingress` or `egress`.
pub fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachKind {
    /// A TCX link (kernel 6.6 and later), pinned in bpffs.
    Tcx,
    /// A direct-action filter of cls_bpf on the clsact qdisc, at our priority and handle.
    Clsact,
}

impl fmt::Display for AttachKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// One of our programs on one hook, as read from the kernel, or as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// How.
    pub kind: AttachKind,
    /// Which object the program came from: hash of the object file, as the ENI's row
    /// remembers it. A difference means an upgrade.
    pub build: u64,
    /// aya-log level it was loaded with (0: off).
    pub log_level: u32,
}

/// Another tool's program on a hook that eni-steer uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignProgram {
    /// Kernel id of the program.
    pub id: u32,
    /// Its name (empty if it has none or may not be read).
    pub name: String,
    /// How it is attached.
    pub kind: AttachKind,
    /// It sees packets before ours does, and can keep them from ours.
    pub before_ours: bool,
}
