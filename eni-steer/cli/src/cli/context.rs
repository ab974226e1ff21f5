//! What most commands begin with: the policy in force, the host, and what it should have.

use std::path::PathBuf;

use eni_steer_core::{
    desired::{Absence, Desired},
    model::{Host, Protocol},
    policy::Policy,
    report::DaemonReport,
};
use eni_steer_linux::{
    bpf,
    configuration::CONFIG_PATH,
    daemon_report, executor,
    netlink::Netlink,
    observe::{observe, observe_changes},
    paths::Paths,
    state::State,
};

use super::{
    args::{Global, PolicyArgs},
    failure::{Exit, Failure},
    policy::{EffectivePolicy, Source, policy_in_force, policy_to_undo},
};

/// The host, the policy and what follows from both.
pub(super) struct Context {
    pub netlink: Netlink,
    pub paths: Paths,
    pub state: State,
    pub host: Host,
    pub policy: Policy,
    /// What to do about an ENI that is missing.
    pub absence: Absence,
    pub source: Source,
    /// The daemon, if one runs.
    pub daemon: Option<DaemonReport>,
}

impl Global {
    /// Where the configuration is, and whether somebody has named it.
    pub(super) fn config_path(&self) -> (PathBuf, bool) {
        match &self.config {
            Some(path) => (path.clone(), true),
            None => (CONFIG_PATH.into(), false),
        }
    }

    pub(super) fn paths(&self) -> Paths {
        Paths {
            bpffs: self.bpffs.clone(),
            run: self.run_dir.clone(),
            ..Paths::default()
        }
    }
}

impl Context {
    /// Reads the host and the policy in force. A daemon waits for an ENI that is not there; a
    /// command that names none judges as it does.
    pub(super) fn new(global: &Global, args: &PolicyArgs) -> Result<Self, Failure> {
        require_privilege()?;
        let mut context = Self::with(global, policy_in_force(global, args)?)?;
        if context.daemon.is_some() && !args.names_enis() {
            context.absence = Absence::Wait;
        }
        Ok(context)
    }

    /// Reads the host, to undo what was applied.
    pub(super) fn to_undo(global: &Global) -> Result<Self, Failure> {
        require_privilege()?;
        Self::with(global, policy_to_undo(global)?)
    }

    fn with(global: &Global, in_force: EffectivePolicy) -> Result<Self, Failure> {
        let paths = global.paths();
        let netlink = Netlink::open()?;
        let host = observe(&netlink, &paths)?;
        Ok(Self {
            netlink,
            daemon: daemon_report::read(&paths),
            paths,
            state: in_force.state,
            host,
            policy: in_force.policy,
            absence: Absence::Error,
            source: in_force.source,
        })
    }

    /// What the host should have.
    pub(super) fn desired(&self) -> Result<Desired, Failure> {
        Ok(Desired::for_host(
            &self.host,
            &self.policy,
            self.absence,
            bpf::BUILD,
        )?)
    }

    /// Observes again what a plan has changed, and of the routes those that carry `ours`.
    pub(super) fn look_again(&self, ours: Protocol) -> Result<Host, Failure> {
        Ok(observe_changes(&self.netlink, &self.paths, ours)?)
    }
}

/// Refuses what a daemon that runs would undo at once.
pub(super) fn require_no_daemon(daemon: &Option<DaemonReport>, what: &str) -> Result<(), Failure> {
    match daemon {
        None => Ok(()),
        Some(daemon) => Err(Failure::usage(
            format!("the daemon runs (pid {}) and would undo {what}", daemon.pid),
            "change the configuration and 'systemctl reload eni-steer' (SIGHUP), or stop the \
             daemon first: 'systemctl disable --now eni-steer' (SIGTERM)",
        )),
    }
}

/// Takes away pins that can not be read, and the programs that hang on them: no plan can name
/// what they hold, and `remove` must work all the same.
pub(super) fn clear_unreadable(global: &Global) -> Result<(), Failure> {
    require_privilege()?;
    if executor::clear_unreadable(&Netlink::open()?, &global.paths())? {
        tracing::warn!("removed maps that could not be read, with their counters");
    }
    Ok(())
}

/// Root, or the capabilities that root is needed for: every command reads pins that only
/// root may read.
pub(super) fn require_privilege() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Unsupported,
        anyhow::anyhow!(
            "eni-steer needs root: it reads and writes routing, bpf programs and their pins"
        ),
        "run it with sudo (capabilities used: CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON)",
    ))
}
