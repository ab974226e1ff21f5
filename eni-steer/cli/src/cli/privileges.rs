//! The capabilities that the daemon keeps after its start: CAP_NET_ADMIN for routing and TC,
//! CAP_BPF and CAP_PERFMON for programs and maps (capabilities(7)). Where the last two are missing
//! (kernels before 5.8 do not have them), it keeps all it has.

use std::collections::HashSet;

use anyhow::Context as _;
use caps::{CapSet, Capability};

const KEPT: [Capability; 3] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
];

/// Drops every other capability for good.
pub(super) fn drop_all_but_needed() -> anyhow::Result<()> {
    let kept: HashSet<Capability> = KEPT.into_iter().collect();
    let permitted = caps::read(None, CapSet::Permitted).context("cannot read the capabilities")?;
    if !kept.is_subset(&permitted) {
        tracing::warn!(
            "the daemon lacks CAP_NET_ADMIN, CAP_BPF or CAP_PERFMON, so it cannot drop its other \
             capabilities and keeps them all"
        );
        return Ok(());
    }
    let bounding = caps::read(None, CapSet::Bounding).context("cannot read the bounding set")?;
    for capability in bounding.difference(&kept) {
        // The list of the crate has capabilities that older kernels do not have.
        if let Err(error) = caps::drop(None, CapSet::Bounding, *capability) {
            tracing::debug!("could not drop {capability} from the bounding set: {error}");
        }
    }
    caps::set(None, CapSet::Inheritable, &HashSet::new()).context("cannot drop capabilities")?;
    caps::set(None, CapSet::Effective, &kept).context("cannot drop capabilities")?;
    caps::set(None, CapSet::Permitted, &kept).context("cannot drop capabilities")?;
    Ok(())
}

/// Raises the limits that many ENIs need. If a limit cannot be raised, what does not fit is an error
/// of its own later.
pub(super) fn raise_limits() {
    use nix::sys::resource::{Resource, rlim_t, setrlimit};
    // Kernels before 5.11 count maps as locked memory.
    let unlimited: rlim_t = libc::RLIM_INFINITY;
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, unlimited, unlimited) {
        tracing::debug!("could not raise RLIMIT_MEMLOCK: {error}");
    }
    raise_descriptors();
}

/// Loading the programs of one ENI takes about 40 descriptors; the usual soft limit is 1024.
pub(super) fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!("could not raise RLIMIT_NOFILE: {error}");
    }
}
