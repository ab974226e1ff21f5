//! One pass: observe, desire, plan, do what can be done. A step that fails does not undo
//! the others: a daemon holds what it can and tries the rest again.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::fight::{Decision, Fights};
use crate::{
    apply::{Host, settle, warm_gateways},
    bpf,
    desired::{Desired, Refusal},
    model::Family,
    netlink::{Netlink, NetlinkError},
    observe::{ObserveError, Observed, Places, observe},
    plan::{Change, Plan, Step, line},
    policy::Policy,
};

/// Why a pass came to nothing. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The host could not be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// What the host should have can not be said.
    #[error("{0} ({hint})", hint = .0.hint())]
    Refused(#[from] Refusal),
    /// The pins could not be opened.
    #[error(transparent)]
    Bpf(#[from] bpf::BpfError),
}

/// What a pass did.
#[derive(Debug, Default)]
pub struct Done {
    /// Steps that were done, as lines.
    pub lines: Vec<String>,
    /// Of these, objects of ours that had been taken away.
    pub restored: Vec<String>,
    /// Steps that failed, and why.
    pub failed: Vec<String>,
    /// Fights that were recognised in this pass.
    pub surrendered: Vec<String>,
    /// What the administrator should hear about the host.
    pub warnings: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// What passes remember of each other.
#[derive(Debug, Default)]
pub struct Memory {
    /// Objects of ours that were in place after the last pass, as lines.
    in_place: BTreeSet<String>,
    /// Fights.
    pub fights: Fights,
}

/// Does one pass.
pub async fn pass(
    netlink: &Netlink,
    places: &Places,
    policy: &Policy,
    memory: &mut Memory,
) -> Result<Done, PassError> {
    let began = Instant::now();
    let seen = observe(netlink, places).await?;
    let desired = Desired::for_host(&seen, policy, bpf::BUILD)?;
    let mut plan = Plan::between(&desired, &seen);
    let mut done = Done {
        warnings: warnings(&seen),
        ..Done::default()
    };
    plan.steps
        .retain(|step| wanted(step, &seen, memory, &mut done, began));
    if !plan.is_empty() {
        let mut host = Host::new(netlink.clone(), places.clone(), &seen, &policy.sizes)?;
        let report = settle(&plan, &mut host).await;
        done.lines = report.done.iter().map(|step| line(step, &seen)).collect();
        done.failed = report
            .failed
            .iter()
            .map(|(step, error)| format!("{}: {}", line(step, &seen), chain(error)))
            .collect();
        warm_gateways(netlink, &desired).await;
    }
    memory.in_place = desired
        .rules
        .iter()
        .map(|rule| Step::Rule {
            change: Change {
                from: None,
                to: Some(rule.clone()),
            },
        })
        .chain(desired.routes.iter().map(|route| Step::Route {
            change: Change {
                from: None,
                to: Some(route.clone()),
            },
        }))
        .map(|step| line(&step, &seen))
        .collect();
    memory.fights.forget_old(began);
    done.took = began.elapsed();
    Ok(done)
}

/// Whether a step is to be done now, or a truce forbids it.
fn wanted(
    step: &Step,
    seen: &Observed,
    memory: &mut Memory,
    done: &mut Done,
    now: Instant,
) -> bool {
    let text = line(step, seen);
    if !memory.in_place.contains(&text) {
        return true;
    }
    match memory.fights.missing(&text, now) {
        Decision::Restore => {
            done.restored.push(text);
            true
        }
        Decision::Surrender => {
            done.surrendered.push(text);
            false
        }
        Decision::Wait => false,
    }
}

/// Without main's own rule nothing of the host's default routing works.
fn warnings(seen: &Observed) -> Vec<String> {
    let unasked = seen.unasked.iter();
    let unasked = unasked.map(|source| format!("could not be asked: {source}"));
    Family::BOTH
        .into_iter()
        .filter(|family| !seen.has_main_rule(*family))
        .map(|family| {
            format!("the kernel's own rule is gone: ip {family} rule add pref 32766 lookup main")
        })
        .chain(unasked)
        .collect()
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(error.to_string().lines().next().unwrap_or_default());
        cause = error.source();
    }
    text
}

impl PassError {
    /// Whether the kernel's answer says that an interface went away meanwhile: the next pass
    /// sees it as it is.
    pub fn is_race(&self) -> bool {
        match self {
            Self::Observe(ObserveError::Netlink(error)) => NetlinkError::is_gone(error),
            Self::Observe(ObserveError::Bpf(error)) | Self::Bpf(error) => error.is_gone(),
            _ => false,
        }
    }
}
