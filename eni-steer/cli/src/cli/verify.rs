//! `verify`: are the rules in effect, do the gateways answer, and is traffic symmetric?

use std::{io::Write, time::Duration};

use eni_steer_core::{
    counters::Snapshot,
    desired::Desired,
    epoch,
    model::Host,
    report::{Counted, VerifyReport},
    symmetry::{Class, Period, RequireTraffic, TrafficVerdict},
    verify::{Inspection, PolicyVerdict, gateway_checks, gateways_to_ask},
};
use eni_steer_linux::{
    bpf::{Maps, PinRoot},
    epoch as epoch_file,
    netlink::{Netlink, NetlinkError, Routes},
    paths::Paths,
};

use super::{
    args::{Global, VerifyArgs},
    context::Context,
    failure::{Exit, Failure},
};
use crate::render::{self, Escaped};

/// How long the kernel may ask a gateway: three requests, a second apart.
const PATIENCE: Duration = Duration::from_millis(3300);

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let context = Context::new(global, &args.policy)?;
    let desired = context.desired()?;
    context.warn(&desired);
    let mut policy = inspect(&context.netlink, &desired, &context.host)?;
    let asked = gateways_to_ask(&desired);
    let states = context.netlink.probe_neighbours(&asked, PATIENCE)?;
    policy.gateways = gateway_checks(&desired, &states);
    let counted = counted(&context.paths, args.window)?;
    let required = args.require_traffic.into();
    let report = VerifyReport::new(&context.host, &desired, policy, counted.as_ref(), required);
    begin_epoch(&context, &desired, &report.policy, report.traffic.as_ref());
    let mut out = std::io::stdout().lock();
    if global.json {
        render::json(&report, &mut out)?;
    } else {
        render::verify(&report, desired.ownership.last, &mut Escaped(&mut out))?;
    }
    out.flush()?;
    Ok(report
        .exits
        .first()
        .map_or(Exit::Fine, |code| Exit::of(*code)))
}

/// Asks the kernel where packets would go, and judges its answers.
pub(super) fn inspect(
    netlink: &Netlink,
    desired: &Desired,
    host: &Host,
) -> Result<PolicyVerdict, NetlinkError> {
    let mut host = host.clone();
    // A route that keeps a packet on this host may decide about it.
    host.routes.extend(netlink.routes(Routes::Delivery)?);
    let inspection = Inspection::new(desired, &host);
    let answers = inspection.flows().map(|flow| netlink.lookup(flow));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    Ok(inspection.judge(&answers))
}

/// The counters of a window that begins now and that this function waits for; without a window,
/// those of the epoch, or of all time if no epoch is known. `None`: no programs are attached.
pub(super) fn counted(paths: &Paths, window: Option<Duration>) -> Result<Option<Counted>, Failure> {
    let Some(first) = read(paths)? else {
        return Ok(None);
    };
    if let Some(window) = window {
        std::thread::sleep(window);
        let Some(all) = read(paths)? else {
            return Ok(None);
        };
        return Ok(Some(Counted {
            counted: all.since(&first),
            all,
            period: Period::Window,
        }));
    }
    let epoch = epoch_file::read(paths).and_then(|epoch| epoch.counted(&first));
    let (counted, period) = match epoch {
        Some(counted) => (counted, Period::Epoch),
        None => (first.clone(), Period::Attached),
    };
    Ok(Some(Counted {
        counted,
        all: first,
        period,
    }))
}

fn read(paths: &Paths) -> Result<Option<Snapshot>, Failure> {
    let pins = PinRoot::here(&paths.bpffs)?;
    match Maps::open(&pins)? {
        Some(maps) => Ok(Some(maps.read()?)),
        None => Ok(None),
    }
}

/// Begins a new epoch if the host is not as it was when the last one began, something counted in
/// that one is wrong, and the host is right now: what is counted from now on is judged by how the
/// host is now. A file that cannot be written costs no more than that.
pub(super) fn begin_epoch(
    context: &Context,
    desired: &Desired,
    policy: &PolicyVerdict,
    traffic: Option<&TrafficVerdict>,
) {
    let fingerprint = epoch::fingerprint(&context.host, desired);
    let is_wrong = |traffic: &TrafficVerdict| traffic.class(RequireTraffic::None) == Class::Wrong;
    // While the host is wrong, traffic that went wrong is no history.
    let goes_on = !policy.holds() || !traffic.is_some_and(is_wrong);
    if let Err(error) = epoch_file::renew(&context.paths, Some(fingerprint), goes_on) {
        tracing::debug!("cannot begin a new epoch: {error}");
    }
}
