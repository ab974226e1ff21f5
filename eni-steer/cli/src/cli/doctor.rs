//! `doctor`: everything that keeps eni-steer from working, with the commands that end it.

use std::{io::Write, path::Path};

use eni_steer_core::{
    doctor::{DoctorInputs, DoctorReport, codes},
    report::{Origin, traffic},
};

use super::{
    args::{DoctorArgs, Global},
    failure::{Exit, Failure},
    origin,
    seen::Seen,
};
use crate::render::{self, Escaped};

pub(super) fn run(global: &Global, args: &DoctorArgs) -> Result<Exit, Failure> {
    let mut out = render::stdout();
    if let Some(code) = &args.code {
        let Some(entry) = codes::entry(code) else {
            return Err(Failure::usage(
                format!("there is no code {code}"),
                "docs/codes.md lists them; a code looks like ES0206",
            ));
        };
        render::code(entry, &mut out)?;
        out.flush()?;
        return Ok(Exit::Fine);
    }
    let (report, origin, exit) = match examine(global, args.from.as_deref()) {
        Ok((report, origin)) => {
            let exit = Exit::first_of(&report.exits);
            (report, origin, exit)
        }
        // What can be said without the host is said all the same.
        Err(failure) if args.from.is_none() => {
            let facts = eni_steer_linux::doctor::read(None, &global.paths());
            let report = DoctorReport::unreadable(&facts, &failure.text());
            (report, origin::here(), failure.exit())
        }
        Err(failure) => return Err(failure),
    };
    if global.json {
        render::json(origin, &report, exit.code(), &mut out)?;
    } else {
        render::doctor(&report, &origin, &mut Escaped(&mut out))?;
    }
    out.flush()?;
    Ok(exit)
}

fn examine(global: &Global, from: Option<&Path>) -> Result<(DoctorReport, Origin), Failure> {
    let (seen, findings) = Seen::despite_errors(global, from)?;
    let (desired, errors) = seen.desired_despite_errors();
    let verdict = seen.inspect_with_gateways(&desired)?;
    let mut unreadable = seen.unreadable().to_vec();
    let counted = seen.counted_or_why(&mut unreadable);
    let traffic = counted
        .as_ref()
        .map(|counted| traffic(seen.host(), &desired, &verdict, counted));
    let report = DoctorReport::new(&DoctorInputs {
        facts: &seen.machine(),
        host: seen.host(),
        policy: seen.policy(),
        source: seen.source(),
        applied: seen.applied_policy(),
        desired: &desired,
        errors: &errors,
        findings,
        verdict: &verdict,
        traffic: traffic.as_ref(),
        daemon: seen.daemon().as_ref(),
        off: seen.is_off(),
        unconfirmed: seen.unconfirmed(),
        unreadable: &unreadable,
    });
    Ok((report, seen.origin()))
}
