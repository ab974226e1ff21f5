//! `verify`: checks that the rules are in effect and that traffic is symmetric.

use std::{io::Write, time::Duration};

use eni_steer_core::{
    counters::Snapshot,
    desired::Desired,
    model::Host,
    report::VerifyReport,
    symmetry::{TrafficVerdict, Verdict},
    verify::{Inspection, PolicyVerdict},
};
use eni_steer_linux::{
    bpf::{Maps, PinRoot},
    netlink::{Netlink, NetlinkError, Routes},
    paths::Paths,
};

use super::{
    args::{Global, VerifyArgs},
    context::Context,
    failure::{Exit, Failure},
};
use crate::render;

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let context = Context::new(global, &args.policy)?;
    let desired = context.desired()?;
    let policy = inspect(&context.netlink, &desired, &context.host)?;
    let counters = counted(&context.paths, args.window)?;
    let report = VerifyReport::new(&context.host, &desired, policy, counters.as_ref());
    let mut out = std::io::stdout().lock();
    if global.json {
        render::json(&report, &mut out)?;
    } else {
        render::verify(&report, context.policy.ownership.last, &mut out)?;
    }
    out.flush()?;
    let worst = report.traffic.as_ref().map(TrafficVerdict::worst);
    Ok(if !report.policy.holds() {
        Exit::Drift
    } else if worst == Some(Verdict::Asymmetric) {
        Exit::Asymmetric
    } else {
        Exit::Fine
    })
}

/// Asks the kernel which way packets would leave, and compares its answers with the policy.
fn inspect(
    netlink: &Netlink,
    desired: &Desired,
    host: &Host,
) -> Result<PolicyVerdict, NetlinkError> {
    let mut host = host.clone();
    // Routes that deliver a packet on this host (table local) may decide about it.
    host.routes.extend(netlink.routes(Routes::Delivery)?);
    let inspection = Inspection::new(desired, &host);
    let answers = inspection.flows().map(|flow| netlink.lookup(flow));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    Ok(inspection.judge(&answers))
}

/// Reads the counters since the programs were attached. With a window, waits that long and returns
/// what was counted meanwhile. `None`: eni-steer has no programs here.
pub(super) fn counted(
    paths: &Paths,
    window: Option<Duration>,
) -> Result<Option<Snapshot>, Failure> {
    let pins = PinRoot::here(&paths.bpffs)?;
    let Some(maps) = Maps::open(&pins)? else {
        return Ok(None);
    };
    let first = maps.read()?;
    let Some(window) = window else {
        return Ok(Some(first));
    };
    std::thread::sleep(window);
    Ok(Some(maps.read()?.since(&first)))
}
