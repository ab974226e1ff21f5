//! The loop during a slow pass. A passer that ends only when the test allows it takes the place of
//! a slow kernel, so no test depends on a clock.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::{worker::Job, *};

/// A pass that waits for the test.
struct SlowPasser {
    began: tokio::sync::mpsc::UnboundedSender<()>,
    go_on: mpsc::Receiver<()>,
    policies: Arc<Mutex<Vec<Policy>>>,
}

impl Passer for SlowPasser {
    fn pass(&mut self, job: &Job, _: &AtomicBool) -> Result<Done, PassError> {
        self.policies
            .lock()
            .expect("no test panicked with it")
            .push(job.policy.clone());
        if self.began.send(()).is_ok() {
            // An error means that the test has ended.
            let _released: Result<(), mpsc::RecvError> = self.go_on.recv();
        }
        Ok(Done::default())
    }

    fn drop_privileges(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// A supervisor that counts what the daemon reports.
#[derive(Default)]
struct Counting {
    ready: AtomicUsize,
    alive: AtomicUsize,
    watchdog: Option<Duration>,
}

impl Supervisor for Counting {
    fn notify(&self, state: sd_notify::NotifyState<'_>) {
        match state {
            sd_notify::NotifyState::Ready => self.ready.fetch_add(1, Ordering::SeqCst),
            sd_notify::NotifyState::Watchdog => self.alive.fetch_add(1, Ordering::SeqCst),
            _ => 0,
        };
    }

    fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }
}

struct Rig {
    began: tokio::sync::mpsc::UnboundedReceiver<()>,
    go_on: mpsc::Sender<()>,
    policies: Arc<Mutex<Vec<Policy>>>,
    passer: SlowPasser,
}

fn rig() -> Rig {
    let (began_sender, began) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, go_on_receiver) = mpsc::channel();
    let policies = Arc::new(Mutex::new(Vec::new()));
    Rig {
        began,
        go_on,
        policies: Arc::clone(&policies),
        passer: SlowPasser {
            began: began_sender,
            go_on: go_on_receiver,
            policies,
        },
    }
}

fn paths(run: &Path) -> Paths {
    Paths {
        run: run.to_owned(),
        ..Paths::default()
    }
}

fn raise(signal: nix::sys::signal::Signal) {
    nix::sys::signal::raise(signal).expect("a process may signal itself");
}

fn nothing() -> anyhow::Result<()> {
    Ok(())
}

/// Signals reach the whole process, so only one test may send them. Each part of this test runs a
/// loop of its own.
#[test]
fn signals_and_the_watchdog_are_answered_while_a_pass_is_under_way() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        sigterm_ends_the_loop_before_the_pass_ends().await;
        sighup_reads_the_policy_during_a_pass_and_the_next_pass_uses_it().await;
        the_watchdog_gets_signs_of_life_during_a_pass().await;
    });
}

async fn sigterm_ends_the_loop_before_the_pass_ends() {
    let run = tempfile::tempdir().expect("a directory");
    let mut rig = rig();
    let setup = Setup {
        paths: paths(run.path()),
        policy: || Ok(Policy::default()),
        drop_privileges: nothing,
    };
    let supervisor = Counting::default();
    let ended = keep(&setup, 0, rig.passer, &supervisor);
    let act = async {
        rig.began.recv().await.expect("a pass begins");
        raise(nix::sys::signal::Signal::SIGTERM);
    };
    let (result, ()) = tokio::join!(ended, act);
    result.expect("it ends well");
    // The pass has not ended, so the loop did not wait for it.
    assert_eq!(supervisor.ready.load(Ordering::SeqCst), 0);
    drop(rig.go_on);
}

async fn sighup_reads_the_policy_during_a_pass_and_the_next_pass_uses_it() {
    let run = tempfile::tempdir().expect("a directory");
    let mut rig = rig();
    let (read, reads) = tokio::sync::mpsc::unbounded_channel();
    let count = AtomicUsize::new(0);
    let setup = Setup {
        paths: paths(run.path()),
        policy: || {
            let n = count.fetch_add(1, Ordering::SeqCst);
            read.send(()).expect("the test listens");
            Ok(Policy {
                rules: n == 0,
                ..Policy::default()
            })
        },
        drop_privileges: nothing,
    };
    let mut reads = reads;
    let supervisor = Counting::default();
    let ended = keep(&setup, 0, rig.passer, &supervisor);
    let act = async {
        reads.recv().await.expect("it is read at the start");
        rig.began.recv().await.expect("a pass begins");
        raise(nix::sys::signal::Signal::SIGHUP);
        // Read again although the pass has not ended: this would wait for ever otherwise.
        reads.recv().await.expect("it is read again");
        rig.go_on.send(()).expect("the pass waits");
        rig.began.recv().await.expect("another pass begins");
        raise(nix::sys::signal::Signal::SIGTERM);
    };
    let (result, ()) = tokio::join!(ended, act);
    result.expect("it ends well");
    let policies = rig.policies.lock().expect("no test panicked with it");
    let rules: Vec<bool> = policies.iter().map(|policy| policy.rules).collect();
    assert_eq!(rules, [true, false]);
    drop(rig.go_on);
}

async fn the_watchdog_gets_signs_of_life_during_a_pass() {
    let run = tempfile::tempdir().expect("a directory");
    let mut rig = rig();
    let setup = Setup {
        paths: paths(run.path()),
        policy: || Ok(Policy::default()),
        drop_privileges: nothing,
    };
    let supervisor = Counting {
        watchdog: Some(Duration::from_millis(1)),
        ..Counting::default()
    };
    let ended = keep(&setup, 0, rig.passer, &supervisor);
    let act = async {
        rig.began.recv().await.expect("a pass begins");
        // The pass never ends here: without signs of life this would wait for ever.
        while supervisor.alive.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        raise(nix::sys::signal::Signal::SIGTERM);
    };
    let (result, ()) = tokio::join!(ended, act);
    result.expect("it ends well");
    drop(rig.go_on);
}
