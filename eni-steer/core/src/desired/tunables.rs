//! The interface group and the sysctls of the ENIs.
//!
//! eni-steer changes a sysctl only if its effective value would break what eni-steer installs. The
//! effective value is the larger of the interface's value and that of `all`
//! (Documentation/networking/ip-sysctl.rst in the kernel).

use std::collections::BTreeMap;

use super::{
    context::Context,
    elsewhere::elsewhere,
    eni::{Eni, share_subnet},
};
use crate::model::{Mode, Tunable, TunableKind};

/// `rp_filter`: the kernel drops a packet that arrives by another interface than its reply would
/// leave by.
const STRICT: u32 = 1;
/// `rp_filter`: the kernel drops only packets whose source has no route at all.
const LOOSE: u32 = 2;

/// The tunables that should have a certain value, and that value.
pub(super) fn tunables(cx: &Context<'_>, enis: &[Eni]) -> BTreeMap<Tunable, u32> {
    let mut tunables = BTreeMap::new();
    let shared = share_subnet(enis);
    let steered = cx.policy.programs && enis.iter().any(|eni| eni.mode == Mode::Steer);
    let indexes = enis.iter().map(|eni| eni.index).collect();
    let elsewhere = elsewhere(cx.host, &cx.policy.ownership, &indexes);
    for eni in enis {
        let answers_for_others = elsewhere
            .iter()
            .any(|one| one.answering.contains(&eni.index));
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
        // Without these two, an ENI answers ARP requests for the address of another ENI on its
        // subnet, and its own requests may carry that address, so neighbours learn a wrong MAC
        // address. A steered packet also makes the owner send an ARP request, with the packet's
        // source address.
        //
        // An ENI also answers for addresses that are not on any ENI, such as one on the loopback.
        // With the first of the two it would stop, so it stays as it is.
        if shared && !answers_for_others && effective(TunableKind::ArpIgnore) == Some(0) {
            tunables.insert(tunable(TunableKind::ArpIgnore), 1);
        }
        if (shared || steered) && effective(TunableKind::ArpAnnounce).is_some_and(|value| value < 2)
        {
            tunables.insert(tunable(TunableKind::ArpAnnounce), 2);
        }
    }
    tunables
}
