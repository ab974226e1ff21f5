//! `status`: shows ENIs, differences from the policy, the daemon and findings.

use std::io::Write;

use eni_steer_core::report::StatusReport;

use super::{
    args::{Global, PolicyArgs},
    context::Context,
    failure::{Exit, Failure},
    verify::{begin_epoch, counted, inspect},
};
use crate::render;

pub(super) fn run(global: &Global) -> Result<Exit, Failure> {
    let context = Context::new(global, &PolicyArgs::default())?;
    let desired = context.desired()?;
    let verdict = inspect(&context.netlink, &desired, &context.host)?;
    let counters = counted(&context.paths, None)?;
    begin_epoch(&context.paths, &context.host, &desired, counters.as_ref());
    let report = StatusReport::new(
        context.source.to_string(),
        context.state.policy.is_some(),
        context.daemon.clone(),
        &context.host,
        &context.policy,
        context.absence,
        &desired,
        &verdict,
        counters,
    );
    let mut out = std::io::stdout().lock();
    if global.json {
        render::json(&report, &mut out)?;
    } else {
        render::status(&report, &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}
