//! `verify`: are the rules in effect, do the gateways answer, and is traffic symmetric?

use std::{io::Write, time::Duration};

use eni_steer_core::{
    counters::Snapshot,
    desired::Desired,
    epoch,
    report::{Counted, VerifyReport},
    symmetry::{Class, Period, RequireTraffic, TrafficVerdict},
    verify::PolicyVerdict,
};
use eni_steer_linux::{
    bpf::{Maps, PinRoot},
    epoch as epoch_file,
    paths::Paths,
};

use super::{
    args::{Global, VerifyArgs},
    context::Context,
    failure::{Exit, Failure},
    seen::Seen,
};
use crate::render::{self, Escaped};

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let Some(time) = args.watch else {
        return once(global, args);
    };
    loop {
        once(global, args)?;
        std::thread::sleep(time);
    }
}

fn once(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let seen = Seen::new(global, args.from.as_deref(), &args.policy)?;
    let desired = seen.desired()?;
    seen.warn(&desired);
    let policy = seen.inspect_with_gateways(&desired)?;
    let counted = seen.counted(args.window)?;
    let required = args.require_traffic.into();
    let report = VerifyReport::new(seen.host(), &desired, policy, counted.as_ref(), required);
    seen.begin_epoch(&desired, &report.policy, report.traffic.as_ref());
    let exit = Exit::first_of(&report.exits);
    let mut out = render::stdout();
    if args.watch.is_some() {
        render::clear_terminal(&mut out)?;
    }
    if global.json {
        render::json(seen.origin(), &report, exit.code(), &mut out)?;
    } else {
        render::verify(&report, desired.ownership.last, &mut Escaped(&mut out))?;
    }
    out.flush()?;
    Ok(exit)
}

/// The counters of a window that begins now and that this function waits for; without a window,
/// those of the epoch, or of all time if no epoch is known. `None`: no programs are attached.
pub(super) fn counted(paths: &Paths, window: Option<Duration>) -> Result<Option<Counted>, Failure> {
    let Some(first) = read(paths)? else {
        return Ok(None);
    };
    if let Some(window) = window {
        super::progress::wait(window);
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
