//! What most commands begin with: the policy in force, the host, and what it should have.

use std::path::PathBuf;

use crate::{
    bpf,
    daemon::DaemonReport,
    desired::Desired,
    model::Protocol,
    netlink::Netlink,
    observe::{CONFIG_PATH, Observed, Places, State, observe, observe_changes},
    policy::{Missing, Policy},
};

use super::{
    args::{Global, PolicyArgs},
    failure::{Exit, Failure},
    policy::{EffectivePolicy, Source, policy_in_force, policy_to_undo},
};

/// The host, the policy and what follows from both.
pub(super) struct Context {
    pub netlink: Netlink,
    pub places: Places,
    pub state: State,
    pub seen: Observed,
    pub policy: Policy,
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

    pub(super) fn places(&self) -> Places {
        Places {
            bpffs: self.bpffs.clone(),
            run: self.run_dir.clone(),
            ..Places::default()
        }
    }
}

impl Context {
    /// Reads the host and the policy in force. A daemon waits for an ENI that is not there; a
    /// command that names none judges as it does.
    pub(super) async fn new(global: &Global, args: &PolicyArgs) -> Result<Self, Failure> {
        require_privilege()?;
        let mut context = Self::with(global, policy_in_force(global, args)?).await?;
        if context.daemon.is_some() && !args.names_enis() {
            context.policy.missing = Missing::Skip;
        }
        Ok(context)
    }

    /// Reads the host, to undo what was applied.
    pub(super) async fn to_undo(global: &Global) -> Result<Self, Failure> {
        require_privilege()?;
        Self::with(global, policy_to_undo(global)?).await
    }

    async fn with(global: &Global, in_force: EffectivePolicy) -> Result<Self, Failure> {
        let places = global.places();
        let netlink = Netlink::open()?;
        let seen = observe(&netlink, &places).await?;
        Ok(Self {
            netlink,
            daemon: DaemonReport::read(&places),
            places,
            state: in_force.state,
            seen,
            policy: in_force.policy,
            source: in_force.source,
        })
    }

    /// What the host should have.
    pub(super) fn desired(&self) -> Result<Desired, Failure> {
        Ok(Desired::for_host(&self.seen, &self.policy, bpf::BUILD)?)
    }

    /// Observes again what a plan has changed, and of the routes those that carry `ours`.
    pub(super) async fn look_again(&self, ours: Protocol) -> Result<Observed, Failure> {
        Ok(observe_changes(&self.netlink, &self.places, ours).await?)
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
pub(super) async fn clear_unreadable(global: &Global) -> Result<(), Failure> {
    require_privilege()?;
    let places = global.places();
    let netlink = Netlink::open()?;
    let pins = bpf::PinRoot::here(&places.bpffs)?;
    let qdiscs = State::read(&places)?.clsact;
    let interfaces = netlink.interfaces().await?;
    let links = interfaces.iter().map(|(link, _)| link);
    let ethernet = links.filter(|link| link.mac.is_some());
    let ethernet = ethernet.map(|link| link.index).collect();
    if bpf::clear_unreadable(&pins, &netlink, &ethernet, &qdiscs).await? {
        tracing::warn!("maps that could not be read are removed, with their counters");
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
