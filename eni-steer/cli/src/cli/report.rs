//! `report`: writes everything that the reading commands use into one file, for `--from`.

use std::{
    fs,
    hash::RandomState,
    io::{self, Write},
    net::IpAddr,
};

use eni_steer_core::{
    desired::Desired,
    explain::{Facts, far},
    findings::Code,
    model::{Family, Flow, Host, RouteLookup},
    record::{FORMAT, Record, Redaction, Versions},
    verify::{Inspection, gateways_to_ask},
};
use eni_steer_linux::{bpf, doctor, explain, netlink::Netlink};

use super::{
    args::{Global, PolicyArgs, ReportArgs},
    confirm,
    context::require_privilege,
    failure::{Exit, Failure},
    origin,
    policy::policy_in_force,
    seen::Seen,
};
use crate::render;

pub(super) fn run(global: &Global, args: &ReportArgs) -> Result<Exit, Failure> {
    require_privilege()?;
    let netlink = Netlink::open()?;
    let mut record = record(global)?;
    let redaction = args.redact.then(|| Redaction::new(RandomState::new()));
    let redaction = match redaction {
        None => None,
        Some(mut redaction) => {
            record = replace_addresses(&mut redaction, &record)?;
            Some(redaction)
        }
    };
    ask(&netlink, &mut record, redaction.as_ref())?;
    let text = text(&record)?;
    if args.output.as_os_str() == "-" {
        io::stdout().lock().write_all(&text)?;
        return Ok(Exit::Fine);
    }
    let fail = |error: io::Error| {
        let path = args.output.display();
        Failure::new(
            Exit::Failed,
            anyhow::Error::from(error).context(format!("cannot write {path}")),
            "name another file with -o FILE; '-o -' prints the report",
        )
    };
    fs::write(&args.output, &text).map_err(fail)?;
    eprintln!(
        "Wrote {} ({}). On any machine, as any user: eni-steer status --from FILE; plan, verify, \
         explain and doctor read it too.",
        args.output.display(),
        render::bytes(text.len() as u64)
    );
    Ok(Exit::Fine)
}

fn text(record: &Record) -> Result<Vec<u8>, Failure> {
    let mut text = serde_json::to_vec(record).map_err(io::Error::from)?;
    text.push(b'\n');
    Ok(text)
}

/// Reads the host. The kernel's answers for packets and the state of gateways are still missing.
fn record(global: &Global) -> Result<Record, Failure> {
    let mut unreadable = Vec::new();
    let configuration_error = policy_in_force(global, &PolicyArgs::default())
        .err()
        .map(|failure| failure.to_record());
    let (seen, mut findings) = Seen::despite_errors(global, None)?;
    // The file has the error itself.
    findings.retain(|finding| finding.code != Code::ConfigurationWrong);
    let Seen::Host(context, _) = &seen else {
        unreachable!("no file was named");
    };
    let (routing, facts) = match explain::read_routing(&context.netlink) {
        Ok((routing, facts)) => (routing.routes, facts),
        Err(error) => {
            unreadable.push(format!("neighbours and routes of every kind: {error}"));
            (context.host.routes.clone(), Facts::default())
        }
    };
    let counters = seen.counted_or_why(&mut unreadable);
    let origin = origin::here();
    let mut record = Record {
        format: FORMAT,
        host_name: origin.host,
        time: origin.time,
        versions: Versions {
            eni_steer: origin.version,
            build: bpf::BUILD,
            kernel: kernel(),
        },
        redacted: false,
        host: Host {
            routes: routing,
            ..context.host.clone()
        },
        facts,
        unreadable,
        policy: match configuration_error {
            Some(_) => None,
            None => Some(context.policy.clone()),
        },
        policy_source: context.source.to_string(),
        configuration_error,
        findings,
        applied: context.state.policy.clone(),
        daemon: context.daemon.clone(),
        off: seen.is_off(),
        unconfirmed: confirm::seconds_left(&context.paths),
        doctor: doctor::read(Some(&context.netlink), &context.paths),
        lookups: Vec::new(),
        gateways: Vec::new(),
        counters,
    };
    record.shorten();
    Ok(record)
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    release.unwrap_or_default().trim().to_owned()
}

/// The same record with other addresses.
fn replace_addresses(
    redaction: &mut Redaction<RandomState>,
    record: &Record,
) -> Result<Record, Failure> {
    let value = serde_json::to_value(record).map_err(io::Error::from)?;
    let value = redaction.value(value);
    let mut replaced: Record = serde_json::from_value(value).map_err(io::Error::from)?;
    replaced.redacted = true;
    Ok(replaced)
}

/// Asks the kernel about the packets that `verify` and `explain` will ask about, and the gateways
/// whether they answer. Addresses of the record that stand for others are turned back for the
/// question.
fn ask(
    netlink: &Netlink,
    record: &mut Record,
    redaction: Option<&Redaction<RandomState>>,
) -> Result<(), Failure> {
    let original = |address: IpAddr| match redaction {
        Some(redaction) => redaction.original(address),
        None => address,
    };
    let replaced = |address: IpAddr| match redaction {
        Some(redaction) => redaction.address(address),
        None => address,
    };
    let original_flow = |flow: &Flow| Flow {
        from: flow.from.map(original),
        to: original(flow.to),
        ..*flow
    };
    let replaced_answer = |answer: RouteLookup| match answer {
        RouteLookup::Leaves {
            by,
            gateway,
            table,
            kind,
            source,
        } => RouteLookup::Leaves {
            by,
            gateway: gateway.map(replaced),
            table,
            kind,
            source: source.map(replaced),
        },
        refused @ RouteLookup::Refused { .. } => refused,
    };
    let host = record.judged_host();
    let policy = record.policy.clone().or(record.applied.clone());
    let policy = policy.unwrap_or_default();
    let (desired, _errors) = Desired::despite_errors(&host, &policy, record.versions.build);
    let inspection = Inspection::new(&desired, &host);
    let mut flows: Vec<Flow> = inspection.flows().copied().collect();
    for to in Family::BOTH.map(far) {
        flows.push(Flow::to(to));
        // Also those that the programs know and that are gone.
        let owned = host.datapath.owners.keys();
        let addresses = host.addresses.iter().map(|address| address.ip());
        let addresses = addresses.chain(owned.map(|net| net.addr()));
        let sources = addresses.filter(|source| source.is_ipv4() == to.is_ipv4());
        flows.extend(sources.map(|source| Flow::to(to).from(source)));
    }
    let mut asked = std::collections::HashSet::new();
    flows.retain(|flow| asked.insert(*flow));
    let questions: Vec<Flow> = flows.iter().map(original_flow).collect();
    let answers = netlink.lookup_all(&questions);
    for (flow, answer) in flows.into_iter().zip(answers) {
        match answer {
            Ok(answer) => record.lookups.push((flow, replaced_answer(answer))),
            Err(error) => tracing::debug!("no answer about {}: {error}", flow.to),
        }
    }
    let asked = gateways_to_ask(&desired);
    let questions: Vec<_> = asked.iter().map(|(on, at)| (*on, original(*at))).collect();
    let states = netlink.probe_neighbours(&questions, super::seen::PATIENCE)?;
    let gateways = asked.into_iter().zip(states);
    record.gateways = gateways.map(|((on, at), state)| (on, at, state)).collect();
    Ok(())
}
