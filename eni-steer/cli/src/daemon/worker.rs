//! The thread that does the passes. The daemon's loop only sends it a job and later receives
//! the result, so signals, the watchdog and notifications never wait for a pass.

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

/// What a pass is to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// The policy.
    pub policy: Policy,
    /// What is missing may have been removed by a process, which may remove it again.
    pub removed_by_process: bool,
}

/// Does passes: on the host, or in a test something slow.
pub trait Passer: Send + 'static {
    /// Does one pass. Once `stop` is set, it should end soon.
    fn pass(&mut self, job: &Job, stop: &AtomicBool) -> Result<Done, PassError>;

    /// Drops the capabilities that only the first pass needs. Capabilities belong to a thread
    /// (capabilities(7)), so the worker must drop its own.
    fn drop_privileges(&mut self) -> anyhow::Result<()>;
}

/// Passes over this host.
pub struct HostPasser {
    /// The connection for all changes. The daemon's loop ignores events with its port.
    pub netlink: Netlink,
    /// Paths of bpffs and the run directory.
    pub paths: Paths,
    /// What a pass keeps for the next one.
    pub state: PassState,
    /// Drops capabilities of the calling thread.
    pub drop_privileges: fn() -> anyhow::Result<()>,
}

impl Passer for HostPasser {
    fn pass(&mut self, job: &Job, stop: &AtomicBool) -> Result<Done, PassError> {
        pass(&self.netlink, &self.paths, job, &mut self.state, stop)
    }

    fn drop_privileges(&mut self) -> anyhow::Result<()> {
        (self.drop_privileges)()
    }
}

/// The worker, as the daemon's loop sees it.
pub struct Worker {
    jobs: mpsc::Sender<Job>,
    results: UnboundedReceiver<anyhow::Result<Result<Done, PassError>>>,
    stop: Arc<AtomicBool>,
    busy: bool,
}

impl Worker {
    /// Starts the thread, in the network namespace of the calling thread.
    pub fn start(mut passer: impl Passer) -> std::io::Result<Self> {
        let (sender_of_jobs, jobs) = mpsc::channel::<Job>();
        let (sender, results) = unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::Builder::new()
            .name("eni-steer-pass".to_owned())
            .spawn(move || {
                let mut first = true;
                for job in jobs {
                    let result = passer.pass(&job, &stopped);
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
            jobs: sender_of_jobs,
            results,
            stop,
            busy: false,
        })
    }

    /// Whether a pass is under way.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins a pass, unless one is under way.
    pub fn begin(&mut self, policy: &Policy, removed_by_process: bool) {
        if !self.busy {
            let job = Job {
                policy: policy.clone(),
                removed_by_process,
            };
            // If the worker has panicked, `result` reports it.
            self.busy = self.jobs.send(job).is_ok();
        }
    }

    /// Waits for the result of the pass under way; without a pass, waits for ever.
    ///
    /// # Errors
    /// The worker has panicked, or could not drop its capabilities. The daemon must end.
    pub async fn result(&mut self) -> anyhow::Result<Result<Done, PassError>> {
        if !self.busy {
            std::future::pending::<()>().await;
        }
        let result = self.results.recv().await;
        self.busy = false;
        result.unwrap_or_else(|| {
            Err(anyhow::anyhow!(
                "the thread that applies the policy has crashed"
            ))
        })
    }

    /// Asks a pass under way to end after its current step.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
