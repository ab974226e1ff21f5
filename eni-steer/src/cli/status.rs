//! `status`: everything at a glance.

use std::io::Write;

use super::{
    args::{Global, PolicyArgs},
    context::Context,
    failure::{Exit, Failure},
    verify::{blind, counted, owners},
};
use crate::{
    desired::Desired,
    model::{Direction, Family, Owner},
    plan::{Plan, line},
    render::{self, EniStatus, StatusReport},
    symmetry::judge,
};

pub(super) async fn run(global: &Global) -> Result<Exit, Failure> {
    let context = Context::new(global, &PolicyArgs::default()).await?;
    let desired = context.desired()?;
    let plan = Plan::between(&desired, &context.seen);
    let counters = counted(&context, None).await?;
    let traffic = counters
        .as_ref()
        .map(|counters| judge(counters, &owners(&desired, counters)));
    let applied = context.state.policy.is_some();
    let report = StatusReport {
        policy: context.source.to_string(),
        applied,
        daemon: context.daemon.clone(),
        enis: enis(&context, &desired),
        drift: plan
            .steps
            .iter()
            .map(|step| line(step, &context.seen))
            .collect(),
        notes: notes(&context, &desired),
        traffic,
        maps: counters.map(|counters| counters.maps).unwrap_or_default(),
    };
    let mut out = std::io::stdout().lock();
    if global.json {
        render::json(&report, &mut out)?;
    } else {
        render::status(&report, &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}

fn enis(context: &Context, desired: &Desired) -> Vec<EniStatus> {
    let seen = &context.seen;
    let hooks = [Direction::Ingress, Direction::Egress];
    desired
        .enis
        .iter()
        .map(|eni| EniStatus {
            eni: eni.clone(),
            programs: hooks.map(|direction| {
                let attached = seen.datapath.attachments.get(&(eni.index, direction));
                attached.map(|attachment| attachment.kind.to_string())
            }),
            others: hooks
                .iter()
                .filter_map(|direction| {
                    seen.others
                        .get(&(eni.index, *direction))
                        .map(|p| (direction, p))
                })
                .flat_map(|(direction, positions)| {
                    positions.iter().map(move |position| {
                        let place = if position.before_ours {
                            "before"
                        } else {
                            "after"
                        };
                        format!(
                            "{} {direction:?}: {} ({}, id {}) runs {place} ours",
                            eni.name, position.name, position.kind, position.id
                        )
                    })
                })
                .collect(),
        })
        .collect()
}

fn notes(context: &Context, desired: &Desired) -> Vec<String> {
    let seen = &context.seen;
    let mut notes = blind(context, desired);
    if let Some(datapath) = &desired.datapath {
        for (net, owner) in &datapath.owners {
            if *owner == Owner::Ambiguous {
                let holders: Vec<&str> = desired
                    .enis
                    .iter()
                    .filter(|eni| eni.owned.contains(net))
                    .map(|eni| eni.name.as_str())
                    .collect();
                notes.push(format!(
                    "{} is on {}: it has no owner, its packets are counted and never steered",
                    net.addr(),
                    holders.join(" and ")
                ));
            }
        }
    }
    for handmade in desired.handmade(seen) {
        notes.push(format!(
            "somebody's rule for an address of {} does what eni-steer's own does: {}; to remove it: {}",
            handmade.eni,
            handmade.rule,
            handmade.commands.join("; ")
        ));
    }
    for link in desired.left_out(seen, &context.policy) {
        notes.push(format!(
            "{link} has a global address, but no gateway is known: it is no ENI unless it is named (--eni {link} --gateway {link}=ADDRESS)"
        ));
    }
    for source in &seen.unasked {
        notes.push(format!(
            "could not be asked, what it said before is kept: {source}"
        ));
    }
    // Without main's own rule a host has no default routing; remove it and nothing works.
    for family in Family::BOTH {
        if !seen.has_main_rule(family) {
            notes.push(format!(
                "the kernel's own rule is gone: ip {family} rule add pref 32766 lookup main"
            ));
        }
    }
    notes
}
