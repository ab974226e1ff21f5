//! `counters`: what the programs have counted. It needs only the pinned maps: no configuration,
//! and no policy that fits the host.

use std::io::Write;

use eni_steer_core::report::CountersReport;

use super::{
    args::{CountersArgs, Global},
    context::require_privilege,
    failure::{Exit, Failure},
    verify::counted,
};
use crate::render;

/// Sources shown of each ENI and direction unless all are asked for.
const TOP: usize = 10;

pub(super) fn run(global: &Global, args: &CountersArgs) -> Result<Exit, Failure> {
    require_privilege()?;
    let Some(counted) = counted(&global.paths(), args.window)? else {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!(
                "there are no counters: no programs are attached in this network namespace"
            ),
            "'eni-steer apply --rules off' attaches programs that only count",
        ));
    };
    // All since the programs were attached, or those of the window.
    let counters = match args.window {
        Some(_) => counted.counted,
        None => counted.all,
    };
    for name in &args.eni {
        if !counters
            .enis
            .iter()
            .any(|eni| eni.name.as_ref() == Some(name))
        {
            return Err(Failure::usage(
                format!("there are no counters of {name}"),
                "'eni-steer status' lists the ENIs",
            ));
        }
    }
    let top = (!args.all).then_some(TOP);
    let report = CountersReport::new(&counters, top, args.eni.clone());
    let mut out = std::io::stdout().lock();
    if global.json {
        render::json(&report, &mut out)?;
    } else {
        render::counters(&report, &mut out)?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}
