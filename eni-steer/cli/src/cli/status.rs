//! `status`: shows ENIs, differences from the policy, the daemon and findings.

use std::io::Write;

use eni_steer_core::report::StatusReport;

use super::{
    args::{Global, PolicyArgs},
    context::Context,
    failure::{Exit, Failure},
    verify::counted,
};
use crate::render;

pub(super) fn run(global: &Global) -> Result<Exit, Failure> {
    let context = Context::new(global, &PolicyArgs::default())?;
    let desired = context.desired()?;
    let counters = counted(&context.paths, None)?;
    let report = StatusReport::new(
        context.source.to_string(),
        context.state.policy.is_some(),
        context.daemon.clone(),
        &context.host,
        &context.policy,
        context.absence,
        &desired,
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
