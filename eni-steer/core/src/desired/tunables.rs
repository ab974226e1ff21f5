//! Groups and sysctls of the ENIs. A sysctl is touched only where its effective value, the
//! larger of the interface's and that of `all` (Documentation/networking/ip-sysctl.rst),
//! would break what is installed.

use std::collections::BTreeMap;

use super::{Context, Eni, discover::share_subnet};
use crate::model::{Mode, Tunable, TunableKind};

/// `rp_filter`: strict drops what arrives by another ENI than the answer would take.
const STRICT: u32 = 1;
const LOOSE: u32 = 2;

pub(super) fn tunables(cx: &Context<'_>, enis: &[Eni]) -> BTreeMap<Tunable, u32> {
    let mut tunables = BTreeMap::new();
    let shared = share_subnet(enis);
    let steered = cx.policy.programs && enis.iter().any(|eni| eni.mode == Mode::Steer);
    for eni in enis {
        let tunable = |kind| Tunable {
            index: eni.index,
            kind,
        };
        if cx.policy.rules {
            tunables.insert(tunable(TunableKind::Group), cx.policy.ownership.group.0);
        }
        if !cx.policy.sysctls || !(cx.policy.rules || steered) {
            continue;
        }
        let effective = |kind| {
            let own = cx.host.baseline(tunable(kind))?;
            Some(own.max(cx.host.all.get(&kind).copied().unwrap_or(0)))
        };
        if effective(TunableKind::RpFilter) == Some(STRICT) {
            tunables.insert(tunable(TunableKind::RpFilter), LOOSE);
        }
        // Two ENIs on one subnet answer each other's ARP requests, and ask with each
        // other's addresses. A steered packet makes its new ENI ask with the old one's.
        if shared && effective(TunableKind::ArpIgnore) == Some(0) {
            tunables.insert(tunable(TunableKind::ArpIgnore), 1);
        }
        if (shared || steered) && effective(TunableKind::ArpAnnounce).is_some_and(|value| value < 2)
        {
            tunables.insert(tunable(TunableKind::ArpAnnounce), 2);
        }
    }
    tunables
}
