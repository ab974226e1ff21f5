//! What the daemon may do once everything is set up: CAP_NET_ADMIN for routing and TC,
//! CAP_BPF and CAP_PERFMON for programs and maps (capabilities(7)). On kernels before 5.8,
//! which know neither, nothing is dropped.

use std::collections::HashSet;

use anyhow::Context as _;
use caps::{CapSet, Capability};

const KEPT: [Capability; 3] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
];

/// Drops every capability but those, for good.
pub(super) fn drop_all_but_needed() -> anyhow::Result<()> {
    let kept: HashSet<Capability> = KEPT.into_iter().collect();
    let permitted = caps::read(None, CapSet::Permitted).context("cannot read the capabilities")?;
    if !kept.is_subset(&permitted) {
        tracing::warn!("capabilities are kept: CAP_BPF or CAP_PERFMON is not among them");
        return Ok(());
    }
    let bounding = caps::read(None, CapSet::Bounding).context("cannot read the bounding set")?;
    for capability in bounding.difference(&kept) {
        // A kernel older than the list of capabilities does not know the last ones.
        if let Err(error) = caps::drop(None, CapSet::Bounding, *capability) {
            tracing::debug!("{capability} stays in the bounding set: {error}");
        }
    }
    caps::set(None, CapSet::Inheritable, &HashSet::new()).context("cannot drop capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("cannot drop capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("cannot drop capabilities")?;
    Ok(())
}

/// Kernels before 5.11 count maps as locked memory. Where the limit can not be raised, a map
/// that does not fit says so by itself.
pub(super) fn raise_memlock() {
    use nix::sys::resource::{Resource, rlim_t, setrlimit};
    let unlimited: rlim_t = libc::RLIM_INFINITY;
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, unlimited, unlimited) {
        tracing::debug!("RLIMIT_MEMLOCK stays: {error}");
    }
}
