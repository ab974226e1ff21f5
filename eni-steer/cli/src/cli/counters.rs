//! `counters`: shows what the programs have counted. It reads only the pinned maps, so it works
//! with a wrong configuration too.

use std::io::Write;

use eni_steer_core::report::CountersReport;

use super::{
    args::{CountersArgs, Global},
    context::require_privilege,
    failure::{Exit, Failure},
    origin,
    verify::counted,
};
use crate::render::{self, Escaped};

/// How many sources of each ENI and direction are shown without `--all`.
const TOP: usize = 10;

pub(super) fn run(global: &Global, args: &CountersArgs) -> Result<Exit, Failure> {
    require_privilege()?;
    let Some(counted) = counted(&global.paths(), args.window)? else {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!(
                "there are no counters, because eni-steer has no programs in this network namespace"
            ),
            "'eni-steer apply --rules off' attaches programs that count packets and changes no \
             routing",
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
            return Err(Failure::refused(
                format!("there are no counters for {name}, because eni-steer does not manage it"),
                "'eni-steer status' lists the ENIs (the interfaces that eni-steer manages)",
            ));
        }
    }
    let top = (!args.all).then_some(TOP);
    let report = CountersReport::new(&counters, top, args.eni.clone());
    let mut out = render::stdout();
    if global.json {
        render::json(origin::here(), &report, Exit::Fine.code(), &mut out)?;
    } else {
        render::counters(&report, &mut Escaped(&mut out))?;
    }
    out.flush()?;
    Ok(Exit::Fine)
}
