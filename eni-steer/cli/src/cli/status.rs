//! `status`: the state of eni-steer on this host. It always answers: a configuration with a mistake,
//! an ENI that is missing, another program's rule in the band are findings, not errors.

use std::io::{IsTerminal, Write};

use eni_steer_core::{
    desired::{Absence, Desired},
    findings::{self, Finding},
    report::{StatusInputs, StatusReport},
};
use eni_steer_linux::{bpf, off};

use super::{
    args::{Global, PolicyArgs, StatusArgs},
    confirm,
    context::{Context, require_privilege},
    failure::{Exit, Failure},
    policy::{policy_in_force, policy_to_undo},
    verify::{begin_epoch, counted, inspect},
};
use crate::render::{self, Escaped, StatusView};

pub(super) fn run(global: &Global, args: &StatusArgs) -> Result<Exit, Failure> {
    require_privilege()?;
    loop {
        let report = report(global)?;
        if let Some(name) = &args.eni
            && !report.enis.iter().any(|one| one.eni.name == *name)
        {
            return Err(Failure::usage(
                format!("{name} is not a managed ENI"),
                "'eni-steer status' lists the ENIs",
            ));
        }
        print(global, args, &report)?;
        match args.watch {
            Some(time) => std::thread::sleep(time),
            None if args.check => return Ok(Exit::Monitor(report.verdict.exit())),
            None => return Ok(Exit::Fine),
        }
    }
}

fn report(global: &Global) -> Result<StatusReport, Failure> {
    let (context, mut findings, is_read) = context(global)?;
    findings.extend(confirm::findings(&context.paths));
    let (desired, errors) = match context.desired() {
        Ok(desired) => (desired, Vec::new()),
        Err(_refused) => Desired::despite_errors(&context.host, &context.policy, bpf::BUILD),
    };
    let verdict = inspect(&context.netlink, &desired, &context.host)?;
    let counters = match is_read {
        true => counted(&context.paths, None)?,
        false => None,
    };
    let report = StatusReport::new(StatusInputs {
        source: context.source.to_string(),
        applied: context.state.policy.is_some(),
        off: off::is_off(&context.paths),
        unconfirmed: confirm::seconds_left(&context.paths),
        daemon: context.daemon.clone(),
        host: &context.host,
        policy: &context.policy,
        absence: Absence::Wait,
        desired: &desired,
        errors: &errors,
        findings,
        verdict: &verdict,
        counters,
    });
    if is_read {
        begin_epoch(&context, &desired, &verdict, report.traffic.as_ref());
    }
    Ok(report)
}

/// The host and the policy in effect, findings, and whether the programs could be read. If the
/// configuration is wrong, the policy that was applied last counts.
fn context(global: &Global) -> Result<(Context, Vec<Finding>, bool), Failure> {
    let mut findings = Vec::new();
    let policy = match policy_in_force(global, &PolicyArgs::default()) {
        Ok(policy) => policy,
        Err(failure) => {
            findings.push(findings::of_configuration(&failure.text(), failure.hint()));
            policy_to_undo(global).or_else(|_also_wrong| super::policy::defaults(global))?
        }
    };
    let (context, unread) = Context::for_report(global, policy)?;
    let is_read = unread.is_none();
    findings.extend(unread.map(|error| {
        let error = Failure::from(error);
        findings::programs_unreadable(&error.text(), error.hint())
    }));
    Ok((context, findings, is_read))
}

fn print(global: &Global, args: &StatusArgs, report: &StatusReport) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    if args.watch.is_some() && out.is_terminal() {
        // Home, and clear what follows.
        write!(out, "\x1b[H\x1b[J")?;
    }
    if global.json {
        render::json(report, &mut out)?;
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
