//! `eni-steer run`: applies the policy, then repairs what other programs change. A pass reads the
//! host, computes the plan and carries it out.
//!
//! | event | what the daemon does |
//! |---|---|
//! | link, address | a pass within milliseconds; the kernel deletes the IPv4 routes of a downed link without a route event |
//! | rule or route with eni-steer's protocol number | the same; the daemon recognises its own changes by their port and ignores them |
//! | rule of another program | the same: it may now come before eni-steer's, whose band then moves in front of it |
//! | route of another program | a pass once no more events come: eni-steer copies the main table's routes through an ENI |
//! | nexthop object | a pass within milliseconds: routes that point to it lead elsewhere now, and the kernel reports no route |
//! | neighbour that cannot be resolved | a pass once no more events come; a socket filter drops all other neighbour events |
//! | qdisc, filter | a pass: clsact may be gone |
//! | overrun: the kernel dropped events | a pass: anything may have changed |
//! | file of a DHCP client | a pass: its router may be another one |
//! | the file `off` in the run directory | a pass, which takes rules and tables away or puts them back |
//! | timer, a minute after the last pass | a pass: repairs what no event reported |
//! | SIGHUP | reads the policy again; if it is wrong, keeps the old one |
//! | SIGTERM, SIGINT | stops; rules, routes and programs stay |
//!
//! Events only set a flag; a debounced pass does the work, on a thread of its own
//! ([`worker`]). The loop here never waits for a pass, so it answers signals and the watchdog at
//! once. It subscribes to events before the first pass reads the host, so it misses no change in
//! between.

mod backoff;
mod pass;
mod repairs;
mod triggers;
mod worker;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use eni_steer_core::{model::Protocol, policy::Policy, report::DaemonReport};
use eni_steer_linux::{
    daemon_report,
    file_watch::{FileEvent, FileWatch},
    netlink::{Event, Netlink, Notification, Watch},
    paths::Paths,
    process,
    state::State,
};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    pass::{Done, PassError, PassState},
    repairs::RepairLog,
    triggers::{Triggers, Urgency, backoff},
    worker::{HostPasser, Passer, Worker},
};

/// How long after a pass the next one begins without any event.
const TIMER: Duration = Duration::from_secs(60);

/// For how long an event explains what a pass finds missing.
const LATELY: Duration = Duration::from_secs(1);

/// What the daemon needs from the command.
pub struct Setup<F> {
    /// Where things are.
    pub paths: Paths,
    /// Reads the policy. Called at start and at each SIGHUP.
    pub policy: F,
    /// Drops the capabilities of the calling thread that only the start needs.
    pub drop_privileges: fn() -> anyhow::Result<()>,
}

/// Runs until a signal stops it.
///
/// # Errors
/// The policy is wrong at the start, a socket cannot be opened, or the worker has ended.
pub async fn run<F>(setup: Setup<F>) -> anyhow::Result<()>
where
    F: Fn() -> anyhow::Result<Policy>,
{
    let netlink = Netlink::open()?;
    let port = netlink.port();
    let passer = HostPasser {
        netlink,
        paths: setup.paths.clone(),
        state: PassState::default(),
        drop_privileges: setup.drop_privileges,
    };
    keep(&setup, port, passer, &Systemd).await
}

/// The program that started the daemon and watches it: systemd, or a test.
trait Supervisor {
    /// Receives a change of state, such as ready or stopping.
    fn notify(&self, state: sd_notify::NotifyState<'_>);
    /// How often it expects a sign of life; `None`: never.
    fn watchdog(&self) -> Option<Duration>;
}

struct Systemd;

impl Supervisor for Systemd {
    fn notify(&self, state: sd_notify::NotifyState<'_>) {
        if let Err(error) = sd_notify::notify(&[state]) {
            tracing::debug!("cannot notify systemd: {error}");
        }
    }

    fn watchdog(&self) -> Option<Duration> {
        sd_notify::watchdog_enabled().map(|time| time / 2)
    }
}

/// The loop. `port`: the netlink port of the passer; events of its own changes carry it.
async fn keep<F>(
    setup: &Setup<F>,
    port: u32,
    passer: impl Passer,
    supervisor: &impl Supervisor,
) -> anyhow::Result<()>
where
    F: Fn() -> anyhow::Result<Policy>,
{
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Before the worker reads the host for the first time.
    let watch = Watch::open()?;
    let mut files = FileWatch::open(&setup.paths)?;
    let policy = (setup.policy)()?;
    let worker = Worker::start(passer)?;
    let mut daemon = Daemon::new(setup.paths.clone(), port, watch, policy, worker);
    let mut timer = tokio::time::interval(TIMER);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    timer.reset();
    let mut watchdog = supervisor.watchdog().map(tokio::time::interval);
    // What the daemon reports to systemd when the pass under way ends.
    let mut ready = Ready::AfterStart;

    daemon.begin_pass();
    loop {
        let due = daemon.due();
        tokio::select! {
            notification = daemon.watch.next() => match notification {
                Some(notification) => daemon.note(notification),
                // The kernel closed the subscription; without one the daemon sees no change.
                None => daemon.watch = Watch::open()?,
            },
            event = files.next() => match event? {
                FileEvent::Lease | FileEvent::Off => {
                    daemon.triggers.note(Urgency::Urgent, Instant::now());
                }
            },
            result = daemon.worker.result() => {
                daemon.end_pass(result?);
                files.refresh();
                timer.reset();
                match ready {
                    Ready::AfterStart => {
                        (setup.drop_privileges)()?;
                        supervisor.notify(sd_notify::NotifyState::Ready);
                    }
                    Ready::AfterReload => supervisor.notify(sd_notify::NotifyState::Ready),
                    // AfterNextPass: the pass that has ended began with the old policy.
                    Ready::AfterNextPass | Ready::Reported => {}
                }
                ready = match ready {
                    Ready::AfterNextPass => Ready::AfterReload,
                    _ => Ready::Reported,
                };
                if ready == Ready::AfterReload {
                    daemon.begin_pass();
                }
            }
            () = until(due) => daemon.begin_pass(),
            _ = timer.tick() => daemon.begin_pass(),
            Some(()) = hangup.recv() => {
                supervisor.notify(sd_notify::NotifyState::Reloading);
                daemon.reload(&setup.policy);
                ready = match (ready, daemon.worker.is_busy()) {
                    (Ready::AfterStart, _) => Ready::AfterStart,
                    (_, true) => Ready::AfterNextPass,
                    (_, false) => Ready::AfterReload,
                };
                daemon.begin_pass();
            }
            () = beat(watchdog.as_mut()) => supervisor.notify(sd_notify::NotifyState::Watchdog),
            Some(()) = terminate.recv() => break,
            Some(()) = interrupt.recv() => break,
        }
    }
    supervisor.notify(sd_notify::NotifyState::Stopping);
    tracing::info!(
        "the daemon stops; rules, routes and programs stay until 'eni-steer remove' deletes them"
    );
    daemon.worker.stop();
    daemon_report::remove(&daemon.paths)?;
    Ok(())
}

/// When the daemon reports to its supervisor that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    /// After the first pass.
    AfterStart,
    /// After the pass under way, which began with the newest policy.
    AfterReload,
    /// After the pass that follows the one under way.
    AfterNextPass,
    /// The daemon has reported it.
    Reported,
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

/// The most names that a part of the report counts one by one.
const COUNTED: usize = 1000;

/// Counts something by its name, and together with others once there are many names.
fn count(counts: &mut BTreeMap<String, u64>, name: String) {
    let name = match counts.len() < COUNTED || counts.contains_key(&name) {
        true => name,
        false => "others".to_owned(),
    };
    *counts.entry(name).or_default() += 1;
}

struct Daemon {
    paths: Paths,
    /// The netlink port of the worker; events of its own changes carry it.
    port: u32,
    watch: Watch,
    policy: Policy,
    /// The policy in the state file, which commands read.
    written_policy: Option<Policy>,
    worker: Worker,
    triggers: Triggers,
    /// The report in the file, so that the daemon writes it only when it changes.
    reported: Option<DaemonReport>,
    report: DaemonReport,
    failures: u32,
    /// The emergency brake was on in the last pass.
    is_off: bool,
    /// Who removed something of eni-steer's since the pass under way began.
    removers: BTreeSet<String>,
    /// The same for the pass under way.
    removers_before: BTreeSet<String>,
    /// When a process removed something of eni-steer's, and when a link or an address changed, with
    /// which the kernel removes routes by itself.
    process_removed: Option<Instant>,
    link_changed: Option<Instant>,
    repairs: RepairLog,
}

impl Daemon {
    fn new(paths: Paths, port: u32, watch: Watch, policy: Policy, worker: Worker) -> Self {
        Self {
            paths,
            port,
            watch,
            policy,
            written_policy: None,
            worker,
            triggers: Triggers::default(),
            reported: None,
            report: daemon_report::new(),
            failures: 0,
            is_off: false,
            removers: BTreeSet::new(),
            removers_before: BTreeSet::new(),
            process_removed: None,
            link_changed: None,
            repairs: RepairLog::default(),
        }
    }

    /// When the next pass is due; `None` while a pass is under way.
    fn due(&self) -> Option<Instant> {
        let due = self.triggers.due();
        due.filter(|_| !self.worker.is_busy())
    }

    /// Notes a change on the host, and how soon a pass should follow.
    fn note(&mut self, notification: Notification) {
        if notification.port == self.port {
            return; // a change of our own
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
            Event::Link | Event::Address => {
                self.link_changed = Some(Instant::now());
                Urgency::Urgent
            }
            Event::Nexthop | Event::TrafficControl => Urgency::Urgent,
            Event::NeighbourLost => Urgency::Relaxed,
            Event::Overrun => {
                self.report.overruns += 1;
                // It may have been a process.
                self.process_removed = Some(Instant::now());
                tracing::info!(
                    "the kernel dropped notifications, so the daemon reads the whole host again"
                );
                Urgency::Urgent
            }
        };
        self.triggers.note(urgency, Instant::now());
    }

    /// Notes which program deleted a rule or route of eni-steer's. Most programs use their process
    /// id as port, but any process can choose another number, and it may have ended already.
    fn note_remover(&mut self, port: u32) {
        let name = match port {
            0 => "the kernel".to_owned(),
            port => process::name(port).unwrap_or_else(|| "a process that has ended".to_owned()),
        };
        let mut remover = name.clone();
        if port != 0 {
            remover.push_str(" (by its netlink port)");
            self.process_removed = Some(Instant::now());
        }
        // A storm of short-lived processes is one cause.
        if self.removers.len() < 3 {
            self.removers.insert(remover);
        }
        count(&mut self.report.removed_by, name);
    }

    /// Whether a process keeps removing what a pass restores. What the kernel removes by itself,
    /// with a link or an address, it does not remove again once it is back.
    fn removed_by_process(&self) -> bool {
        let lately = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < LATELY);
        lately(self.process_removed) && !lately(self.link_changed)
    }

    /// Begins a pass. If one is under way, another follows it.
    fn begin_pass(&mut self) {
        if self.worker.is_busy() {
            self.triggers.note(Urgency::Urgent, Instant::now());
            return;
        }
        self.triggers.clear();
        self.removers_before = std::mem::take(&mut self.removers);
        self.worker.begin(&self.policy, self.removed_by_process());
    }

    fn end_pass(&mut self, result: Result<Done, PassError>) {
        self.report.passes += 1;
        match result {
            Ok(done) => self.passed(done),
            Err(error) => self.failed(&error),
        }
        // Write the file only if something besides the number and the duration of passes changed.
        let without_numbers = |report: &DaemonReport| DaemonReport {
            passes: 0,
            last_pass_us: 0,
            ..report.clone()
        };
        let report = without_numbers(&self.report);
        if self.reported.as_ref() == Some(&report) {
            return;
        }
        match daemon_report::write(&self.report, &self.paths) {
            Ok(()) => self.reported = Some(report),
            Err(error) => tracing::warn!(
                "the daemon could not write its report, so 'eni-steer status' shows an old one: \
                 {error}"
            ),
        }
    }

    fn passed(&mut self, done: Done) {
        if done.is_off != self.is_off {
            self.is_off = done.is_off;
            tracing::warn!(
                "{}",
                match done.is_off {
                    true =>
                        "eni-steer is off: it has removed its rules and tables and restored sysctls, and programs only count, until 'eni-steer on'",
                    false => "eni-steer is on again",
                }
            );
        }
        self.write_policy();
        for line in &done.lines {
            tracing::info!("{line}");
        }
        let now = Instant::now();
        let mut cause: Vec<&str> = self.removers_before.iter().map(String::as_str).collect();
        if cause.is_empty() {
            cause.push("something");
        }
        let line = self.repairs.note(&cause.join(" or "), &done.restored, now);
        for line in line.into_iter().chain(self.repairs.summaries(now)) {
            tracing::warn!("{line}");
        }
        if let Some(due) = self.repairs.due() {
            self.triggers.retry_at(due);
        }
        for object in &done.restored {
            count(&mut self.report.restored, object.clone());
        }
        for object in &done.given_up {
            tracing::warn!(
                "another program keeps deleting this, so eni-steer pauses its repair: {object}"
            );
        }
        for warning in &done.warnings {
            if !self.report.warnings.contains(warning) {
                tracing::warn!("{warning}");
            }
        }
        for failure in &done.failed {
            if !self.report.failed.contains(failure) {
                tracing::warn!("this step failed, and the daemon will try it again: {failure}");
            }
        }
        self.report.error = None;
        self.report.warnings = done.warnings;
        self.report.paused = done.paused;
        self.report.last_pass_us = u64::try_from(done.took.as_micros()).unwrap_or(u64::MAX);
        if done.failed.is_empty() {
            self.failures = 0;
        } else {
            let retry = Instant::now() + backoff(self.failures);
            self.triggers.retry_at(retry);
            self.failures = self.failures.saturating_add(1);
        }
        self.report.failed = done.failed;
        if let Some(end) = done.pause_ends {
            self.triggers.retry_at(end);
        }
    }

    /// Writes the policy to the state file, because commands without options read it there.
    fn write_policy(&mut self) {
        if self.written_policy.as_ref() == Some(&self.policy) {
            return;
        }
        let policy = self.policy.clone();
        let written = State::change(&self.paths, |state| state.policy = Some(policy));
        match written {
            Ok(()) => self.written_policy = Some(self.policy.clone()),
            Err(error) => tracing::warn!(
                "the daemon could not save its policy, so 'eni-steer status' and 'plan' may compare \
                 the host with another policy: {error}"
            ),
        }
    }

    fn failed(&mut self, error: &PassError) {
        let text = pass::chain(error);
        let wait = if error.is_race() && self.failures == 0 {
            tracing::debug!("an interface vanished during the pass, so it begins again: {text}");
            Duration::ZERO
        } else {
            if self.report.error.as_ref() != Some(&text) {
                tracing::warn!(
                    "the daemon changed nothing in this pass and will try again: {text}"
                );
            }
            self.report.error = Some(text);
            backoff(self.failures)
        };
        self.triggers.retry_at(Instant::now() + wait);
        self.failures = self.failures.saturating_add(1);
    }

    /// Reads the policy again. If it is wrong, keeps the old one.
    fn reload(&mut self, policy: &impl Fn() -> anyhow::Result<Policy>) {
        match policy() {
            Ok(policy) => {
                tracing::info!("the daemon read the configuration again and applies it now");
                self.policy = policy;
                self.report.error = None;
            }
            Err(error) => {
                tracing::warn!(
                    "the new configuration is wrong, so the daemon keeps the old one: {error:#}"
                );
                self.report.error = Some(format!(
                    "the new configuration is wrong, so the daemon keeps the old one: {error:#}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests;
