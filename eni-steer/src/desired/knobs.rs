//! Groups and sysctls of the ENIs. A sysctl is touched only where its effective value, the
//! larger of the interface's and that of `all` (Documentation/networking/ip-sysctl.rst),
//! would break what is installed.

use std::collections::BTreeMap;

use super::{Eni, enis::share_subnet};
use crate::{
    model::{Knob, KnobKind, Mode},
    observe::Observed,
    policy::Policy,
};

/// `rp_filter`: strict drops what arrives by another ENI than the answer would take.
const STRICT: u32 = 1;
const LOOSE: u32 = 2;

pub(super) fn knobs(seen: &Observed, policy: &Policy, enis: &[Eni]) -> BTreeMap<Knob, u32> {
    let mut knobs = BTreeMap::new();
    let shared = share_subnet(enis);
    let steered = policy.programs && enis.iter().any(|eni| eni.mode == Mode::Steer);
    for eni in enis {
        let knob = |kind| Knob {
            index: eni.index,
            kind,
        };
        if policy.rules {
            knobs.insert(knob(KnobKind::Group), policy.ownership.group.0);
        }
        if !policy.sysctls || !(policy.rules || steered) {
            continue;
        }
        let effective = |kind| {
            let own = seen.baseline(knob(kind))?;
            Some(own.max(seen.all.get(&kind).copied().unwrap_or(0)))
        };
        if effective(KnobKind::RpFilter) == Some(STRICT) {
            knobs.insert(knob(KnobKind::RpFilter), LOOSE);
        }
        // Two ENIs on one subnet answer each other's ARP requests, and ask with each
        // other's addresses. A steered packet makes its new ENI ask with the old one's.
        if shared && effective(KnobKind::ArpIgnore) == Some(0) {
            knobs.insert(knob(KnobKind::ArpIgnore), 1);
        }
        if (shared || steered) && effective(KnobKind::ArpAnnounce).is_some_and(|value| value < 2) {
            knobs.insert(knob(KnobKind::ArpAnnounce), 2);
        }
    }
    knobs
}
