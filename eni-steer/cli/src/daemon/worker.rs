//! The thread that does the passes. The daemon's loop only sends it a policy and later takes the
//! result, so that signals, the watchdog and notifications never wait for a pass.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use eni_steer_core::policy::Policy;
use eni_steer_linux::{netlink::Netlink, paths::Paths};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::pass::{Done, PassError, PassState, pass};

/// What does passes: the host, or in a test something that takes its time.
pub trait Passer: Send + 'static {
    /// Does one pass under this policy. Once `stop` is set, it should end soon.
    fn pass(&mut self, policy: &Policy, stop: &AtomicBool) -> Result<Done, PassError>;

    /// Gives up the privileges that only the first pass needs. Capabilities belong to a thread
    /// (capabilities(7)), so the worker gives up its own.
    fn drop_privileges(&mut self) -> anyhow::Result<()>;
}

/// Passes over this host.
pub struct HostPasser {
    /// The connection whose own changes the daemon's loop recognises by their port.
    pub netlink: Netlink,
    /// Where things are.
    pub paths: Paths,
    /// What passes need from each other.
    pub state: PassState,
    /// Gives up the calling thread's privileges.
    pub drop_privileges: fn() -> anyhow::Result<()>,
}

impl Passer for HostPasser {
    fn pass(&mut self, policy: &Policy, stop: &AtomicBool) -> Result<Done, PassError> {
        pass(&self.netlink, &self.paths, policy, &mut self.state, stop)
    }

    fn drop_privileges(&mut self) -> anyhow::Result<()> {
        (self.drop_privileges)()
    }
}

/// The worker, as the daemon's loop sees it.
pub struct Worker {
    policies: mpsc::Sender<Policy>,
    results: UnboundedReceiver<anyhow::Result<Result<Done, PassError>>>,
    stop: Arc<AtomicBool>,
    busy: bool,
}

impl Worker {
    /// Starts the thread. It is in the network namespace of the calling thread.
    pub fn start(mut passer: impl Passer) -> std::io::Result<Self> {
        let (policies, jobs) = mpsc::channel::<Policy>();
        let (sender, results) = unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::Builder::new()
            .name("eni-steer-pass".to_owned())
            .spawn(move || {
                let mut first = true;
                for policy in jobs {
                    let result = passer.pass(&policy, &stopped);
                    let dropped = match first {
                        true => passer.drop_privileges(),
                        false => Ok(()),
                    };
                    first = false;
                    if sender.send(dropped.map(|()| result)).is_err() {
                        return; // the loop has ended
                    }
                }
            })?;
        Ok(Self {
            policies,
            results,
            stop,
            busy: false,
        })
    }

    /// Whether a pass is under way.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins a pass; nothing if one is under way.
    pub fn begin(&mut self, policy: &Policy) {
        if !self.busy {
            // A worker that panicked is seen where its result is awaited.
            self.busy = self.policies.send(policy.clone()).is_ok();
        }
    }

    /// The result of the pass under way; waits for ever if there is none.
    ///
    /// # Errors
    /// The worker panicked, or could not give up its privileges: the daemon must end.
    pub async fn result(&mut self) -> anyhow::Result<Result<Done, PassError>> {
        if !self.busy {
            std::future::pending::<()>().await;
        }
        let result = self.results.recv().await;
        self.busy = false;
        result.unwrap_or_else(|| Err(anyhow::anyhow!("the thread that does the passes has ended")))
    }

    /// Tells a pass under way to end after the step it is at.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
