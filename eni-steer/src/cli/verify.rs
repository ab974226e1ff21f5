//! `verify`: is the policy there, and does the traffic agree?

use std::{io::Write, time::Duration};

use ipnet::IpNet;

use super::{
    args::{Global, VerifyArgs},
    context::Context,
    failure::{Exit, Failure},
};
use crate::{
    bpf::{Maps, PinRoot},
    counters::{EniId, Snapshot},
    desired::Desired,
    model::Owner,
    render::{self, VerifyReport},
    symmetry::{TrafficVerdict, Verdict, judge},
    verify,
};

pub(super) async fn run(global: &Global, args: &VerifyArgs) -> Result<Exit, Failure> {
    let context = Context::new(global, &args.policy).await?;
    let desired = context.desired()?;
    let policy = verify::policy(&context.netlink, &desired, &context.seen).await?;
    let traffic = counted(&context, args.window)
        .await?
        .map(|counters| judge(&counters, &owners(&desired, &counters)));
    let report = VerifyReport {
        policy,
        traffic,
        blind: blind(&context, &desired),
    };
    let mut out = std::io::stdout().lock();
    if global.json {
        render::json(&report, &mut out)?;
    } else {
        render::verify(&report, &mut out)?;
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

/// The counters of a window, or of all time; `None`: there are none.
pub(super) async fn counted(
    context: &Context,
    window: Option<Duration>,
) -> Result<Option<Snapshot>, Failure> {
    let pins = PinRoot::here(&context.places.bpffs)?;
    let Some(maps) = Maps::open(&pins)? else {
        return Ok(None);
    };
    let first = maps.read()?;
    let Some(window) = window else {
        return Ok(Some(first));
    };
    tokio::time::sleep(window).await;
    Ok(Some(maps.read()?.since(&first)))
}

/// Who should own each address, in the counters' terms.
pub(super) fn owners(desired: &Desired, counters: &Snapshot) -> Vec<(IpNet, Option<EniId>)> {
    let Some(datapath) = &desired.datapath else {
        return Vec::new();
    };
    datapath
        .owners
        .iter()
        .map(|(net, owner)| match owner {
            Owner::Eni(index) => (*net, counters.interface(*index).map(|eni| eni.id)),
            Owner::Ambiguous => (*net, None),
        })
        .collect()
}

/// Programs that can keep packets from ours.
pub(super) fn blind(context: &Context, desired: &Desired) -> Vec<String> {
    let mut notes = Vec::new();
    for ((index, direction), positions) in &context.seen.others {
        if !desired.enis.iter().any(|eni| eni.index == *index) {
            continue;
        }
        let ours = context
            .seen
            .datapath
            .attachments
            .contains_key(&(*index, *direction));
        for position in positions
            .iter()
            .filter(|position| ours && position.before_ours)
        {
            notes.push(format!(
                "program {} ({}, id {}) runs before ours on {} {direction:?}: what it ends there is not counted",
                position.name,
                position.kind,
                position.id,
                context.seen.name(*index),
            ));
        }
    }
    notes
}
