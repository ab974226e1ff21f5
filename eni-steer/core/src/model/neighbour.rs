//! Whether a next hop answers.

use serde::{Deserialize, Serialize};

/// What the kernel's neighbour table says of a next hop (ip-neighbour(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reachability {
    /// It answered ARP or neighbour discovery lately, or its entry is permanent.
    Reachable,
    /// The kernel asked and got no answer.
    Failed,
    /// Nothing is known: the question is still open, or the kernel does not ask there.
    Unknown,
}
