//! `status`: the state of eni-steer on this host. It always answers: a configuration with a mistake,
//! an ENI that is missing, another program's rule in the band are findings, not errors.

use std::{io::Write, path::Path};

use eni_steer_core::{
    desired::Absence,
    report::{Origin, StatusInputs, StatusReport},
};

use super::{
    args::{Global, StatusArgs},
    failure::{Exit, Failure},
    seen::Seen,
};
use crate::render::{self, Escaped, StatusView};

pub(super) fn run(global: &Global, args: &StatusArgs) -> Result<Exit, Failure> {
    loop {
        let (report, origin) = report(global, args.from.as_deref())?;
        if let Some(name) = &args.eni
            && !report.enis.iter().any(|one| one.eni.name == *name)
        {
            return Err(Failure::refused(
                format!("{name} is not a managed ENI"),
                "'eni-steer status' lists the ENIs",
            ));
        }
        let exit = match args.check {
            true => Exit::Monitor(report.verdict.exit()),
            false => Exit::Fine,
        };
        print(global, args, &report, origin, exit)?;
        match args.watch {
            Some(time) => std::thread::sleep(time),
            None => return Ok(exit),
        }
    }
}

fn report(global: &Global, from: Option<&Path>) -> Result<(StatusReport, Origin), Failure> {
    let (seen, findings) = Seen::despite_errors(global, from)?;
    let (desired, errors) = seen.desired_despite_errors();
    let verdict = seen.inspect(&desired)?;
    let counters = seen.counted(None)?;
    let report = StatusReport::new(StatusInputs {
        source: seen.source(),
        applied: seen.applied(),
        off: seen.is_off(),
        unconfirmed: seen.unconfirmed(),
        daemon: seen.daemon(),
        host: seen.host(),
        policy: seen.policy(),
        absence: Absence::Wait,
        desired: &desired,
        errors: &errors,
        findings,
        verdict: &verdict,
        counters,
    });
    seen.begin_epoch(&desired, &verdict, report.traffic.as_ref());
    Ok((report, seen.origin()))
}

fn print(
    global: &Global,
    args: &StatusArgs,
    report: &StatusReport,
    origin: Origin,
    exit: Exit,
) -> Result<(), Failure> {
    let mut out = render::stdout();
    if args.watch.is_some() {
        render::clear_terminal(&mut out)?;
    }
    if global.json {
        render::json(origin, report, exit.code(), &mut out)?;
    } else {
        let view = StatusView {
            eni: args.eni.clone(),
            bad: args.bad,
            all: args.all,
            details: global.verbose > 0,
        };
        render::status(report, &view, &mut Escaped(&mut out))?;
    }
    out.flush()?;
    Ok(())
}
