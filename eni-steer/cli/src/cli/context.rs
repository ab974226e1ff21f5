//! What most commands begin with: the policy, the host, and what the host should have.

use std::{path::PathBuf, time::Duration};

use eni_steer_core::{
    desired::{Absence, Desired},
    findings,
    model::{Host, Protocol},
    policy::Policy,
    report::DaemonReport,
};
use eni_steer_linux::{
    bpf,
    configuration::CONFIG_PATH,
    daemon_report, executor,
    lock::{self, Lock, LockError, Scope},
    namespace,
    netlink::Netlink,
    observe::{observe, observe_changes, observe_despite_programs},
    paths::Paths,
    state::State,
};

use super::{
    args::{Global, PolicyArgs},
    failure::{Exit, Failure},
    policy::{EffectivePolicy, Source, policy_in_force, policy_to_undo},
};

/// The host and the policy. Most commands begin by reading both.
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
    /// The path of the configuration, and whether the user gave it. A file the user named must
    /// exist; the default file need not.
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
            root: self.root.clone(),
        }
    }
}

impl Context {
    /// Reads the host and the policy. Names that the user typed in this command must exist; an ENI
    /// of the configuration that is missing is left out, as the daemon does.
    pub(super) fn new(global: &Global, args: &PolicyArgs) -> Result<Self, Failure> {
        require_privilege()?;
        let mut context = Self::with(global, policy_in_force(global, args)?)?;
        context.absence = absence(args);
        Ok(context)
    }

    /// The same for a report, which must answer also if the programs and maps cannot be read. Then
    /// the policy is one without programs, and the error is returned.
    pub(super) fn for_report(
        global: &Global,
        policy: EffectivePolicy,
    ) -> Result<(Self, Option<bpf::BpfError>), Failure> {
        let netlink = Netlink::open()?;
        let (host, unread) = observe_despite_programs(&netlink, &global.paths())?;
        let mut context = Self::new_with(global, policy, netlink, host);
        if unread.is_some() {
            context.policy.programs = false;
        }
        Ok((context, unread))
    }

    /// Reads the host and the policy that was applied, to undo it.
    pub(super) fn to_undo(global: &Global) -> Result<Self, Failure> {
        require_privilege()?;
        Self::with(global, policy_to_undo(global)?)
    }

    fn with(global: &Global, in_force: EffectivePolicy) -> Result<Self, Failure> {
        let netlink = Netlink::open()?;
        let host = observe(&netlink, &global.paths())?;
        Ok(Self::new_with(global, in_force, netlink, host))
    }

    fn new_with(global: &Global, in_force: EffectivePolicy, netlink: Netlink, host: Host) -> Self {
        let paths = global.paths();
        Self {
            netlink,
            daemon: daemon_report::read(&paths),
            paths,
            state: in_force.state,
            host,
            policy: in_force.policy,
            absence: Absence::Wait,
            source: in_force.source,
        }
    }

    /// What the decisions about this host are made from.
    pub(super) fn basis(&self) -> Basis<'_> {
        Basis {
            host: &self.host,
            policy: &self.policy,
            absence: self.absence,
            build: bpf::BUILD,
            daemon_runs: self.daemon.is_some(),
        }
    }

    /// What the host should have.
    pub(super) fn desired(&self) -> Result<Desired, Failure> {
        self.basis().desired()
    }

    /// Reads again everything a plan may have changed. Of the routes, reads only those with the
    /// protocol number `ours`.
    pub(super) fn look_again(&self, ours: Protocol) -> Result<Host, Failure> {
        Ok(observe_changes(&self.netlink, &self.paths, ours)?)
    }
}

/// What to do about an ENI that is missing: names that the user typed in this command must exist.
pub(super) fn absence(args: &PolicyArgs) -> Absence {
    match args.names_enis() {
        true => Absence::Error,
        false => Absence::Wait,
    }
}

/// What decides about a host, now or as recorded.
#[derive(Clone, Copy)]
pub(super) struct Basis<'a> {
    pub host: &'a Host,
    pub policy: &'a Policy,
    pub absence: Absence,
    /// Hash of the programs that should be attached.
    pub build: u64,
    pub daemon_runs: bool,
}

impl Basis<'_> {
    /// What the host should have. Without any ENI there is nothing to do, which only a daemon waits
    /// for.
    pub(super) fn desired(self) -> Result<Desired, Failure> {
        let desired = Desired::for_host(self.host, self.policy, self.absence, self.build)?;
        match self.daemon_runs {
            true => Ok(desired),
            false => Ok(desired.with_enis()?),
        }
    }

    /// Prints what eni-steer leaves out on the host.
    pub(super) fn warn(self, desired: &Desired) {
        for finding in findings::left_out(self.host, self.policy, self.absence, desired) {
            eprintln!("warning: {finding}");
        }
    }
}

/// The lock of whoever changes the host, for `command`. Waits for another process as long as
/// `--wait` allows, and says for which.
pub(super) fn lock_changes(global: &Global, command: &str) -> Result<Lock, Failure> {
    require_privilege()?;
    let waiting = |held: &LockError| eprintln!("{held}: waiting for it to end");
    Ok(Lock::obtain(
        &global.paths(),
        Scope::Changes,
        command,
        global.wait,
        waiting,
    )?)
}

/// Sets a damaged state file aside, so that everything that does not depend on it goes on, and says
/// what is lost.
pub(super) fn set_damaged_state_aside(paths: &Paths) -> Result<(), Failure> {
    if let Some((error, kept)) = State::set_damaged_aside(paths)? {
        let cause = std::error::Error::source(&error);
        tracing::warn!(
            "{error}{}; it is now {}",
            cause.map_or_else(String::new, |cause| format!(" ({cause})")),
            kept.display()
        );
    }
    Ok(())
}

/// Removes what network namespaces that have ended left behind. Nothing here depends on it.
pub(super) fn sweep(paths: &Paths) {
    if let Err(error) = namespace::sweep(paths) {
        tracing::info!("cannot remove what ended network namespaces left behind: {error}");
    }
}

/// The lock of the daemon, for a command beside which none may start. Does not wait.
pub(super) fn lock_daemon(global: &Global, command: &str) -> Result<Lock, Failure> {
    let paths = global.paths();
    let lock = Lock::obtain(&paths, Scope::Daemon, command, Duration::ZERO, |_| {});
    lock.map_err(|error| match error {
        // It has obtained its lock since `require_no_daemon` looked.
        LockError::Held(Some(holder)) if holder.command == "run" => {
            beside_daemon(&format!("'{command}'"), holder.pid)
        }
        error => error.into(),
    })
}

/// Refuses `command` while the daemon runs, because the daemon would revert its changes. A daemon
/// that has just started holds its lock before it writes its first report.
pub(super) fn require_no_daemon(paths: &Paths, command: &str) -> Result<(), Failure> {
    let reported = daemon_report::read(paths).map(|daemon| daemon.pid);
    let running = reported.or_else(|| lock::holder(paths, Scope::Daemon).map(|daemon| daemon.pid));
    match running {
        None => Ok(()),
        Some(pid) => Err(beside_daemon(command, pid)),
    }
}

fn beside_daemon(command: &str, pid: u32) -> Failure {
    Failure::refused(
        format!(
            "{command} is refused while the daemon runs (pid {pid}), because the daemon would \
             revert it"
        ),
        "edit the configuration and run 'systemctl reload eni-steer' (SIGHUP), or stop the \
         daemon first: 'systemctl disable --now eni-steer' (SIGTERM)",
    )
}

/// Removes pins that cannot be read, and the programs that use them. A plan cannot list what they
/// hold, but `remove` must still work.
pub(super) fn clear_unreadable(global: &Global) -> Result<(), Failure> {
    require_privilege()?;
    if executor::clear_unreadable(&Netlink::open()?, &global.paths())? {
        tracing::warn!(
            "eni-steer could not read its BPF maps and removed them; their counters are lost"
        );
    }
    Ok(())
}

/// Checks that the user is root. Reading commands need it too: only root may read the pins.
pub(super) fn require_privilege() -> Result<(), Failure> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Unsupported,
        anyhow::anyhow!(
            "eni-steer needs root to read and change routing, BPF programs and their pins"
        ),
        "run it with sudo; it uses the capabilities CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON",
    ))
}
