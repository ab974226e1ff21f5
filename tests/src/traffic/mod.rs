//! Real packets, sent and answered by sockets in the namespaces. Every tool has a time limit and
//! returns what it saw.

pub mod attempt;
pub mod icmp;
pub mod tcp;
pub mod udp;

use std::io;
use std::time::{Duration, Instant};

use crate::command::slowness;

/// How many questions were asked, and how they were answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Exchange {
    /// Questions that the kernel accepted.
    pub sent: u64,
    /// Distinct questions that were answered.
    pub received: u64,
    /// Answers beyond the first to the same question.
    pub duplicates: u64,
    /// Why the kernel refused a question or reported one undeliverable, in order.
    pub errors: Vec<io::ErrorKind>,
}

impl Exchange {
    /// Returns whether something was sent, everything was answered exactly once, and the kernel
    /// refused nothing.
    pub fn all_answered(&self) -> bool {
        self.sent > 0
            && self.received == self.sent
            && self.duplicates == 0
            && self.errors.is_empty()
    }

    /// Panics with the numbers unless everything was answered.
    #[track_caller]
    pub fn expect_all_answered(&self) {
        assert!(self.all_answered(), "not all answered: {self:?}");
    }

    /// Returns whether something was sent and nothing came back.
    pub fn none_answered(&self) -> bool {
        self.sent + self.errors.len() as u64 > 0 && self.received == 0
    }
}

/// Checks again and again until the condition is true or the time is over, for what the kernel
/// does a moment later. The time is for a machine of usual speed.
pub fn eventually(timeout: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout * slowness();
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tries again for a moment while the address is in use. A socket that was closed here stays open
/// in a child process that another thread is just starting, until the child executes its program.
pub(crate) fn bind_soon<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bind() {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            settled => return settled,
        }
    }
}

/// How long a question may remain unanswered: longer than ARP and ND take to ask a second time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// The shortest timeout of a socket. Zero would mean for ever, and the kernel counts in
/// microseconds.
const SHORTEST: Duration = Duration::from_micros(100);

/// A conversation for ICMP echo and UDP echo: it asks a question each `interval`, reads answers
/// meanwhile, and goes on reading for up to `patience` after the last question.
pub(crate) struct Conversation {
    pub count: u16,
    pub interval: Duration,
    pub patience: Duration,
}

impl Conversation {
    /// Holds the conversation. `ask` sends question n. `listen` waits at most as long as its
    /// argument says and returns the number of the question whose answer it received; `None` if
    /// it received something else.
    pub(crate) fn hold(
        &self,
        mut ask: impl FnMut(u16) -> io::Result<()>,
        mut listen: impl FnMut(Duration) -> io::Result<Option<u16>>,
    ) -> Exchange {
        let mut told = Exchange::default();
        let mut answered = vec![false; usize::from(self.count)];
        let mut listen_until = |deadline: Instant, told: &mut Exchange, all: bool| {
            loop {
                let outstanding = told.sent > told.received;
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || (all && !outstanding) {
                    return;
                }
                match listen(left.max(SHORTEST)) {
                    Ok(Some(n)) => match answered.get_mut(usize::from(n)) {
                        Some(first) if !*first => {
                            *first = true;
                            told.received += 1;
                        }
                        Some(_) => told.duplicates += 1,
                        None => {}
                    },
                    Ok(None) => {}
                    Err(e) if is_timeout(&e) => {}
                    // An ICMP error about an earlier question.
                    Err(e) => told.errors.push(e.kind()),
                }
            }
        };
        for n in 0..self.count {
            let next = Instant::now() + self.interval;
            match ask(n) {
                Ok(()) => told.sent += 1,
                Err(e) => told.errors.push(e.kind()),
            }
            if n + 1 < self.count {
                listen_until(next, &mut told, false);
            }
        }
        listen_until(Instant::now() + self.patience, &mut told, true);
        told
    }
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
