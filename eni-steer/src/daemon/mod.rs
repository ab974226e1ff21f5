//! `eni-steer run`: applies the policy, then keeps it.
//!
//! | event | what it costs |
//! |---|---|
//! | link, address | a pass within milliseconds; IPv4 routes of a downed link vanish without any route event |
//! | rule or route of ours | the same; our own changes are recognised by their port and cost nothing |
//! | rule of others | the same: it may have come before ours |
//! | route of others | a pass when it is quiet: main's routes through an ENI are mirrored |
//! | neighbour that can not be resolved | a pass when it is quiet; of all others the kernel tells nothing |
//! | qdisc, filter | a pass: clsact may be gone |
//! | overrun | a pass: anything may have changed |
//! | timer, a minute after the last pass | a pass: heals what no event told of |
//! | SIGHUP | the policy is read again; a bad one keeps the old one in force |
//! | SIGTERM, SIGINT | stops and leaves everything in force |
//!
//! Events only set a flag; a debounced pass does the work. The subscription stands before
//! the first observation, so nothing falls between.

mod fight;
mod pass;
mod report;
mod triggers;

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    model::Protocol,
    netlink::{Event, Netlink, Notification, Watch},
    observe::{Places, State},
    policy::{Missing, Policy},
};

pub use fight::{Decision, Fights};
pub use pass::{Done, Memory, PassError, pass};
pub use report::DaemonReport;
pub use triggers::{Triggers, Urgency, backoff};

/// How long after a pass the next one is done without any event.
const TIMER: Duration = Duration::from_secs(60);

/// What the daemon is given.
pub struct Setup<F> {
    /// Where things are.
    pub places: Places,
    /// Reads the policy: at start, and at each SIGHUP.
    pub policy: F,
    /// Gives up what is not needed any more, once everything is set up.
    pub drop_privileges: fn() -> anyhow::Result<()>,
}

/// Runs until it is told to stop.
pub async fn run<F>(setup: Setup<F>) -> anyhow::Result<()>
where
    F: Fn() -> anyhow::Result<Policy>,
{
    let mut daemon = Daemon::start(&setup)?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut timer = tokio::time::interval(TIMER);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    timer.reset();
    let mut watchdog = watchdog();

    daemon.pass().await;
    (setup.drop_privileges)()?;
    notify(&[sd_notify::NotifyState::Ready]);
    loop {
        let due = daemon.triggers.due();
        tokio::select! {
            notification = daemon.watch.next() => match notification {
                Some(notification) => daemon.note(notification),
                // The kernel closed the subscription: without it we would be blind.
                None => daemon.watch = Watch::open()?,
            },
            () = until(due) => {
                daemon.pass().await;
                timer.reset();
            }
            _ = timer.tick() => daemon.pass().await,
            Some(()) = hangup.recv() => {
                notify(&[sd_notify::NotifyState::Reloading]);
                daemon.reload(&setup.policy);
                daemon.pass().await;
                timer.reset();
                notify(&[sd_notify::NotifyState::Ready]);
            }
            () = beat(watchdog.as_mut()) => notify(&[sd_notify::NotifyState::Watchdog]),
            Some(()) = terminate.recv() => break,
            Some(()) = interrupt.recv() => break,
        }
    }
    notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!(
        "stopping; rules, routes and programs stay in force ('eni-steer remove' undoes)"
    );
    DaemonReport::remove(&daemon.places)?;
    Ok(())
}

/// Half of the watchdog's time, if systemd asks for signs of life.
fn watchdog() -> Option<tokio::time::Interval> {
    let time = sd_notify::watchdog_enabled()?;
    Some(tokio::time::interval(time / 2))
}

async fn beat(interval: Option<&mut tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Tells systemd, where there is one.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot notify systemd: {error}");
    }
}

struct Daemon {
    places: Places,
    netlink: Netlink,
    watch: Watch,
    policy: Policy,
    /// The policy as commands find it.
    remembered: Option<Policy>,
    triggers: Triggers,
    memory: Memory,
    report: DaemonReport,
    failures: u32,
}

impl Daemon {
    /// Subscribes first, then opens everything else.
    fn start<F>(setup: &Setup<F>) -> anyhow::Result<Self>
    where
        F: Fn() -> anyhow::Result<Policy>,
    {
        let watch = Watch::open()?;
        let policy = (setup.policy)()?;
        Ok(Self {
            places: setup.places.clone(),
            netlink: Netlink::open()?,
            watch,
            policy,
            remembered: None,
            triggers: Triggers::default(),
            memory: Memory::default(),
            report: DaemonReport::new(),
            failures: 0,
        })
    }

    fn note(&mut self, notification: Notification) {
        if notification.port == self.netlink.port() {
            return; // our own change
        }
        let own = self.policy.ownership.protocol;
        let ours = |protocol: Protocol| protocol == own;
        let urgency = match notification.event {
            Event::Route { protocol, deleted } => {
                if ours(protocol) && deleted {
                    self.note_remover(notification.port);
                }
                if ours(protocol) {
                    Urgency::Urgent
                } else {
                    Urgency::Relaxed
                }
            }
            Event::Rule { protocol, deleted } => {
                if ours(protocol) && deleted {
                    self.note_remover(notification.port);
                }
                Urgency::Urgent
            }
            Event::Link | Event::Address | Event::TrafficControl => Urgency::Urgent,
            Event::NeighbourLost => Urgency::Relaxed,
            Event::Overrun => {
                self.report.overruns += 1;
                tracing::info!("notifications were lost: looking at everything again");
                Urgency::Urgent
            }
        };
        self.triggers.note(urgency, Instant::now());
    }

    /// Who took something of ours away. A port is the process id of most programs, and the
    /// process may be gone already.
    fn note_remover(&mut self, port: u32) {
        let name = match port {
            0 => "the kernel".to_owned(),
            port => std::fs::read_to_string(format!("/proc/{port}/comm")).map_or_else(
                |_gone| "a process that is gone".to_owned(),
                |name| name.trim().to_owned(),
            ),
        };
        *self.report.removed_by.entry(name).or_default() += 1;
    }

    async fn pass(&mut self) {
        self.triggers.clear();
        let before = self.report.clone();
        self.report.passes += 1;
        match pass(&self.netlink, &self.places, &self.policy, &mut self.memory).await {
            Ok(done) => self.passed(&done),
            Err(error) => self.failed(&error),
        }
        let now = Instant::now();
        self.report.fights = self
            .memory
            .fights
            .under_truce(now)
            .into_iter()
            .map(str::to_owned)
            .collect();
        if let Some(end) = self.memory.fights.next_end() {
            self.triggers.retry_at(end);
        }
        // Passes alone are not worth a write; what they found is.
        let said = DaemonReport {
            passes: before.passes,
            last_pass_us: before.last_pass_us,
            ..self.report.clone()
        };
        if (said != before || before.passes == 0)
            && let Err(error) = self.report.write(&self.places)
        {
            tracing::warn!("{error}: 'eni-steer status' will show an old state");
        }
    }

    fn passed(&mut self, done: &Done) {
        self.remember_policy();
        for line in &done.lines {
            tracing::info!("{line}");
        }
        for object in &done.restored {
            *self.report.restored.entry(object.clone()).or_default() += 1;
        }
        for object in &done.surrendered {
            tracing::warn!(
                "somebody removes this again and again, leaving it for a while: {object}"
            );
        }
        for warning in done
            .warnings
            .iter()
            .filter(|w| !self.report.warnings.contains(w))
        {
            tracing::warn!("{warning}");
        }
        for failure in done
            .failed
            .iter()
            .filter(|f| !self.report.failed.contains(f))
        {
            tracing::warn!("not done: {failure}");
        }
        self.report.error = None;
        self.report.warnings.clone_from(&done.warnings);
        self.report.failed.clone_from(&done.failed);
        self.report.last_pass_us = u64::try_from(done.took.as_micros()).unwrap_or(u64::MAX);
        if done.failed.is_empty() {
            self.failures = 0;
        } else {
            self.triggers
                .retry_at(Instant::now() + backoff(self.failures));
            self.failures = self.failures.saturating_add(1);
        }
    }

    /// Commands without flags go by the policy that is in force.
    fn remember_policy(&mut self) {
        let policy = Policy {
            missing: Missing::Refuse,
            ..self.policy.clone()
        };
        if self.remembered.as_ref() == Some(&policy) {
            return;
        }
        match State::change(&self.places, |state| {
            state.policy = Some(policy.clone());
        }) {
            Ok(()) => self.remembered = Some(policy),
            Err(error) => tracing::warn!("{error}: commands will not know the policy in force"),
        }
    }

    fn failed(&mut self, error: &PassError) {
        let text = pass::chain(error);
        let wait = if error.is_race() && self.failures == 0 {
            tracing::debug!("looking again: {text}");
            Duration::ZERO
        } else {
            if self.report.error.as_ref() != Some(&text) {
                tracing::warn!("nothing was changed: {text}");
            }
            self.report.error = Some(text);
            backoff(self.failures)
        };
        self.triggers.retry_at(Instant::now() + wait);
        self.failures = self.failures.saturating_add(1);
    }

    fn reload(&mut self, policy: &impl Fn() -> anyhow::Result<Policy>) {
        match policy() {
            Ok(policy) => {
                tracing::info!("policy read again");
                self.policy = policy;
                self.report.error = None;
            }
            Err(error) => {
                tracing::warn!("the old policy stays in force, the new one is bad: {error:#}");
                self.report.error = Some(format!("reload: {error:#}"));
            }
        }
    }
}
