//! What the reading commands see: this host, or the host of a report file (`--from`). The
//! commands compute their reports from the same values in both cases.

use std::{io::Read, net::IpAddr, path::Path, time::Duration};

use eni_steer_core::{
    desired::{Absence, Desired, PolicyError},
    doctor,
    findings::{self, Finding},
    model::{Host, IfIndex, Reachability},
    policy::Policy,
    record::{FORMAT, Record, RecordedError},
    report::{Counted, DaemonReport, Origin},
    symmetry::TrafficVerdict,
    verify::{Inspection, PolicyVerdict, gateway_checks, gateways_to_ask},
};
use eni_steer_linux::{
    netlink::{Netlink, NetlinkError, Routes},
    off,
};

use super::{
    args::{Global, PolicyArgs},
    confirm,
    context::{Basis, Context, absence, require_privilege},
    failure::{Exit, Failure},
    origin,
    policy::{policy_in_force, policy_to_undo},
    verify::{begin_epoch, counted},
};

/// How long the kernel may ask a gateway: three requests, a second apart.
pub(super) const PATIENCE: Duration = Duration::from_millis(3300);

/// A host, now or as recorded.
pub(super) enum Seen {
    /// This host, and whether its programs and maps could be read.
    Host(Box<Context>, bool),
    /// The host of a report file, without the routes that deliver packets to it.
    File(Box<Recorded>),
}

/// A record, and what commands change in it: the policy, by options.
pub(super) struct Recorded {
    record: Record,
    host: Host,
    policy: Policy,
    absence: Absence,
    with_options: bool,
}

impl Seen {
    /// This host, or that of a file, with the policy in effect.
    ///
    /// # Errors
    /// As on the host: also if its configuration is wrong.
    pub(super) fn new(
        global: &Global,
        from: Option<&Path>,
        args: &PolicyArgs,
    ) -> Result<Self, Failure> {
        let Some(file) = from else {
            return Ok(Self::Host(Box::new(Context::new(global, args)?), true));
        };
        let record = read(file)?;
        match (&record.policy, &record.configuration_error) {
            (Some(policy), _) => {
                let policy = policy.clone();
                Self::of_record(record, policy, args)
            }
            (None, Some(error)) => Err(Failure::recorded(error)),
            (None, None) => Self::of_record(record, Policy::default(), args),
        }
    }

    /// The same, but if the configuration is wrong, by the policy that was applied last, and with a
    /// finding.
    pub(super) fn despite_errors(
        global: &Global,
        from: Option<&Path>,
    ) -> Result<(Self, Vec<Finding>), Failure> {
        let args = PolicyArgs::default();
        let Some(file) = from else {
            require_privilege()?;
            let mut findings = Vec::new();
            let policy = match policy_in_force(global, &args) {
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
            findings.extend(confirm::findings(&context.paths));
            return Ok((Self::Host(Box::new(context), is_read), findings));
        };
        let record = read(file)?;
        let finding = record.configuration_error.as_ref().map(|error| {
            let text = error.chain.join(": ");
            findings::of_configuration(&text, error.hint.as_deref())
        });
        let policy = record.policy.clone().or(record.applied.clone());
        let findings = finding.into_iter().chain(record.findings.clone());
        let findings = findings.collect();
        let seen = Self::of_record(record, policy.unwrap_or_default(), &args)?;
        Ok((seen, findings))
    }

    fn of_record(record: Record, policy: Policy, args: &PolicyArgs) -> Result<Self, Failure> {
        let mut recorded = Recorded {
            host: record.planned_host(),
            absence: absence(args),
            with_options: !args.settings.is_empty(),
            policy,
            record,
        };
        args.put_into(&mut recorded.policy)?;
        Ok(Self::File(Box::new(recorded)))
    }

    /// The host as plans see it.
    pub(super) fn host(&self) -> &Host {
        self.basis().host
    }

    /// The policy.
    pub(super) fn policy(&self) -> &Policy {
        self.basis().policy
    }

    /// Where the policy comes from.
    pub(super) fn source(&self) -> String {
        match self {
            Self::Host(context, _) => context.source.to_string(),
            Self::File(recorded) => recorded.record.policy_source.clone(),
        }
    }

    /// Whether a policy is applied.
    pub(super) fn applied(&self) -> bool {
        self.applied_policy().is_some()
    }

    /// The daemon, if one runs.
    pub(super) fn daemon(&self) -> Option<DaemonReport> {
        match self {
            Self::Host(context, _) => context.daemon.clone(),
            Self::File(recorded) => recorded.record.daemon.clone(),
        }
    }

    /// Whether `eni-steer off` has switched everything off.
    pub(super) fn is_off(&self) -> bool {
        match self {
            Self::Host(context, _) => off::is_off(&context.paths),
            Self::File(recorded) => recorded.record.off,
        }
    }

    /// Seconds until a change is undone, if one waits for its confirmation.
    pub(super) fn unconfirmed(&self) -> Option<u64> {
        match self {
            Self::Host(context, _) => confirm::seconds_left(&context.paths),
            Self::File(recorded) => recorded.record.unconfirmed,
        }
    }

    /// Where and when the host was seen.
    pub(super) fn origin(&self) -> Origin {
        match self {
            Self::Host(..) => origin::here(),
            Self::File(recorded) => recorded.record.origin(),
        }
    }

    fn basis(&self) -> Basis<'_> {
        match self {
            Self::Host(context, _) => context.basis(),
            Self::File(recorded) => Basis {
                host: &recorded.host,
                policy: &recorded.policy,
                absence: recorded.absence,
                build: recorded.record.versions.build,
                daemon_runs: recorded.record.daemon.is_some(),
            },
        }
    }

    /// What the host should have.
    pub(super) fn desired(&self) -> Result<Desired, Failure> {
        self.basis().desired()
    }

    /// Prints what eni-steer leaves out on this host.
    pub(super) fn warn(&self, desired: &Desired) {
        self.basis().warn(desired);
    }

    /// What the host should have, as far as that can be said, and why the policy is not allowed.
    pub(super) fn desired_despite_errors(&self) -> (Desired, Vec<PolicyError>) {
        match self.desired() {
            Ok(desired) => (desired, Vec::new()),
            Err(_refused) => {
                let Basis {
                    host,
                    policy,
                    build,
                    ..
                } = self.basis();
                Desired::despite_errors(host, policy, build)
            }
        }
    }

    /// The kernel's answers where packets would go, judged.
    pub(super) fn inspect(&self, desired: &Desired) -> Result<PolicyVerdict, Failure> {
        match self {
            Self::Host(context, _) => {
                let mut host = context.host.clone();
                // A route that keeps a packet on this host may decide about it.
                host.routes
                    .extend(context.netlink.routes(Routes::Delivery)?);
                let inspection = Inspection::new(desired, &host);
                Ok(ask(&context.netlink, inspection, usize::MAX)?)
            }
            Self::File(recorded) => {
                let host = recorded.record.judged_host();
                let inspection = Inspection::new(desired, &host);
                let (answers, walked) = recorded.record.answers(inspection.flows());
                let mut verdict = inspection.judge(&answers);
                if walked > 0 && !recorded.with_options {
                    verdict.notes.push(format!(
                        "the file lacks {walked} of the kernel's answers; eni-steer's own \
                         evaluation of the rules stands in for them"
                    ));
                }
                Ok(verdict)
            }
        }
    }

    /// The same, with whether the gateways answer.
    pub(super) fn inspect_with_gateways(
        &self,
        desired: &Desired,
    ) -> Result<PolicyVerdict, Failure> {
        let mut verdict = self.inspect(desired)?;
        let states = self.reachability(&gateways_to_ask(desired))?;
        verdict.gateways = gateway_checks(desired, &states);
        Ok(verdict)
    }

    /// The machine, its interfaces and other software.
    pub(super) fn machine(&self) -> doctor::Facts {
        match self {
            Self::Host(context, _) => {
                eni_steer_linux::doctor::read(Some(&context.netlink), &context.paths)
            }
            Self::File(recorded) => recorded.record.doctor.clone(),
        }
    }

    /// The policy that was applied last.
    pub(super) fn applied_policy(&self) -> Option<&Policy> {
        match self {
            Self::Host(context, _) => context.state.policy.as_ref(),
            Self::File(recorded) => recorded.record.applied.as_ref(),
        }
    }

    /// What could not be read.
    pub(super) fn unreadable(&self) -> &[String] {
        match self {
            Self::Host(..) => &[],
            Self::File(recorded) => &recorded.record.unreadable,
        }
    }

    /// Whether gateways answer. On the host, the kernel asks those of which nothing is known.
    fn reachability(&self, asked: &[(IfIndex, IpAddr)]) -> Result<Vec<Reachability>, Failure> {
        match self {
            Self::Host(context, _) => Ok(context.netlink.probe_neighbours(asked, PATIENCE)?),
            Self::File(recorded) => Ok(recorded.record.reachability(asked)),
        }
    }

    /// The counters to judge by; `None`: no programs are attached.
    pub(super) fn counted(&self, window: Option<Duration>) -> Result<Option<Counted>, Failure> {
        match self {
            Self::Host(context, true) => counted(&context.paths, window),
            Self::Host(_, false) => Ok(None),
            Self::File(recorded) => Ok(recorded.record.counters.clone()),
        }
    }

    /// The counters of the epoch; if they cannot be read, the reason joins `unreadable`.
    pub(super) fn counted_or_why(&self, unreadable: &mut Vec<String>) -> Option<Counted> {
        self.counted(None).unwrap_or_else(|failure| {
            unreadable.push(format!("the counters: {}", failure.text()));
            None
        })
    }

    /// Begins a new epoch if the host has changed since the last one; does nothing for a file.
    pub(super) fn begin_epoch(
        &self,
        desired: &Desired,
        policy: &PolicyVerdict,
        traffic: Option<&TrafficVerdict>,
    ) {
        if let Self::Host(context, true) = self {
            begin_epoch(context, desired, policy, traffic);
        }
    }
}

/// Asks the kernel where the packets of an inspection would go, at most so many, and judges its
/// answers.
pub(super) fn ask(
    netlink: &Netlink,
    inspection: Inspection<'_>,
    most: usize,
) -> Result<PolicyVerdict, NetlinkError> {
    let flows: Vec<_> = inspection.flows().take(most).copied().collect();
    let answers = netlink.lookup_all(&flows).into_iter();
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    Ok(inspection.judge(&answers))
}

/// Reads a report file; `-` is standard input.
pub(super) fn read(file: &Path) -> Result<Record, Failure> {
    let fail = |error: anyhow::Error| {
        Failure::new(
            Exit::Usage,
            error.context(format!("cannot read the report file {}", file.display())),
            "'eni-steer report -o FILE' writes one, on the host that the report is about",
        )
    };
    let bytes = match file.as_os_str() == "-" {
        true => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .read_to_end(&mut bytes)
                .map(|_length| bytes)
        }
        false => std::fs::read(file),
    };
    let bytes = bytes.map_err(|error| fail(error.into()))?;
    /// What every format has.
    #[derive(serde::Deserialize)]
    struct Numbered {
        format: u32,
    }
    let numbered: Numbered = serde_json::from_slice(&bytes).map_err(|error| fail(error.into()))?;
    if numbered.format != FORMAT {
        let format = numbered.format;
        return Err(fail(anyhow::anyhow!(
            "it has format {format}, and this version of eni-steer reads format {FORMAT}"
        )));
    }
    let record: Record = serde_json::from_slice(&bytes).map_err(|error| fail(error.into()))?;
    eprintln!(
        "From a report of {} at {} (eni-steer {}); nothing is asked anew.",
        record.host_name, record.time, record.versions.eni_steer
    );
    Ok(record)
}

impl Failure {
    /// The failure of the command that made a record.
    pub(super) fn recorded(error: &RecordedError) -> Self {
        let mut chain = error.chain.iter().rev().cloned();
        let first = chain.next().unwrap_or_default();
        let cause = chain.fold(anyhow::Error::msg(first), anyhow::Error::context);
        let exit = Exit::of(error.exit);
        match &error.hint {
            Some(hint) => Self::new(exit, cause, hint.clone()),
            None => Self::from(cause),
        }
    }

    /// What a record keeps of it.
    pub(super) fn to_record(&self) -> RecordedError {
        RecordedError {
            chain: self.chain(),
            hint: self.hint().map(str::to_owned),
            exit: self.exit().code(),
        }
    }
}
