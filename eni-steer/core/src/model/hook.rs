//! Hooks, the places in the kernel where programs are attached, and the programs on them.

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
        /// Interface index of the ENI.
        eni: IfIndex,
        /// Ingress: the program sees packets that come in. Egress: packets that leave.
        direction: Direction,
    },
}

impl Hook {
    /// The TC hook of an ENI in one direction.
    pub fn tc(eni: IfIndex, direction: Direction) -> Self {
        Self::Tc { eni, direction }
    }

    /// The two TC hooks of an ENI, ingress first.
    pub fn tc_of(eni: IfIndex) -> [Self; 2] {
        Direction::BOTH.map(|direction| Self::tc(eni, direction))
    }

    /// The interface that the hook belongs to.
    pub fn interface(self) -> IfIndex {
        match self {
            Self::Tc { eni, .. } => eni,
        }
    }

    /// The hook as text for people: `eth1 ingress`.
    pub fn describe(self, names: &impl Names) -> String {
        match self {
            Self::Tc { eni, direction } => {
                format!("{} {}", names.name(eni), direction_word(direction))
            }
        }
    }
}

/// A direction as `tc` calls it: `ingress` or `egress`.
fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// The kernel mechanism that attaches a program.
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

/// One of eni-steer's programs on one hook, as read from the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Mechanism.
    pub kind: AttachKind,
    /// Hash of the object file that the program was loaded from, as the ENI's map entry records
    /// it. If it differs from the hash of eni-steer's own object, the plan replaces the program.
    pub build: u64,
    /// aya-log level that the program was loaded with (0: off).
    pub log_level: u32,
}

/// Another tool's program on a hook that eni-steer uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignProgram {
    /// Kernel id of the program.
    pub id: u32,
    /// Its name; empty if it has none or eni-steer may not read it.
    pub name: String,
    /// Mechanism that attaches it.
    pub kind: AttachKind,
    /// Whether it runs before eni-steer's program. If it drops or redirects a packet, eni-steer's
    /// program does not see that packet.
    pub before_ours: bool,
}
