//! `counters`: what the programs have counted. Needs only the pins.

use std::io::Write;

use super::{
    args::{CountersArgs, Global, PolicyArgs},
    context::Context,
    failure::{Exit, Failure},
    verify::counted,
};
use crate::render::{self, CountersReport};

/// Sources shown of each ENI and direction unless all are asked for.
const TOP: usize = 10;

pub(super) async fn run(global: &Global, args: &CountersArgs) -> Result<Exit, Failure> {
    let context = Context::new(global, &PolicyArgs::default()).await?;
    let Some(counters) = counted(&context, args.window).await? else {
        return Err(Failure::new(
            Exit::Failed,
            anyhow::anyhow!(
                "there are no counters: no programs are attached in this network namespace"
            ),
            "'eni-steer apply --rules off' attaches them and touches nothing else",
        ));
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
