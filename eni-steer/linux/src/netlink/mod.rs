//! rtnetlink, the wire: both directions of one object stand in one file.
//!
//! One socket with strict checking and extended acks. A dump that the kernel marks as
//! interrupted (`NLM_F_DUMP_INTR`) is asked for again, so that nothing is ever planned on
//! half a table. Relied on: rtnetlink(7), netlink(7), and the kernel's
//! `Documentation/userspace-api/netlink/intro.rst` for extended acks and dump consistency.

mod address;
mod datagram;
mod errno;
pub(crate) mod link;
mod lookup;
mod neighbour;
mod probe;
pub(crate) mod route;
pub(crate) mod rule;
mod socket;
mod watch;
mod wire;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST},
    packet_route::RouteNetlinkMessage,
};

use self::{errno::KernelRefusal, socket::Socket};

pub(crate) use datagram::read as read_datagram;
pub use errno::NetlinkError;
pub use route::Routes;
pub use watch::{Event, GROUPS, Notification, Watch};
pub(crate) use wire::Message;

/// `NLM_F_DUMP_INTR`: the table changed while it was dumped.
const DUMP_INTERRUPTED: u16 = 0x10;
/// How often an interrupted dump is tried again.
const DUMP_TRIES: u32 = 8;
/// How many requests go to the kernel in one datagram: its answers fit the smallest receive
/// buffer that a system gives us, even if it refuses them all.
const AT_ONCE: usize = 64;

/// The kinds of messages that end an answer (netlink(7)).
const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DONE: u16 = libc::NLMSG_DONE as u16;

/// A connection to the kernel's routing of the network namespace the thread that opened it
/// was in; it stays there wherever its user goes.
#[derive(Clone)]
pub struct Netlink {
    socket: Arc<Mutex<Socket>>,
    port: u32,
}

/// A request for a change or an answer.
pub(crate) struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
}

impl Request {
    /// A message with flags of its own.
    pub fn new(message: RouteNetlinkMessage, flags: u16) -> Self {
        Self { message, flags }
    }
}

impl Netlink {
    /// Opens the socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let (socket, port) =
            Socket::open().map_err(|cause| NetlinkError::io("open a rtnetlink socket", cause))?;
        Ok(Self {
            socket: Arc::new(Mutex::new(socket)),
            port,
        })
    }

    /// The socket, for one conversation. A conversation that panicked leaves answers behind that
    /// the next one recognises by their numbers and passes over.
    fn locked(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port notifications of this connection's own changes carry.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Asks for a whole table and returns what `read` makes of its messages, or an error: never
    /// a part.
    pub(crate) fn dump<T>(
        &self,
        what: &'static str,
        request: RouteNetlinkMessage,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut found = Vec::new();
        self.dump_behind(&mut found, what, request, read)?;
        Ok(found)
    }

    /// The same, put behind what is found already. After an error there may be a part.
    pub(crate) fn dump_behind<T>(
        &self,
        found: &mut Vec<T>,
        what: &'static str,
        request: RouteNetlinkMessage,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<(), NetlinkError> {
        let before = found.len();
        let mut socket = self.locked();
        for attempt in 0..DUMP_TRIES {
            let number = socket.number();
            let mut datagram = Vec::new();
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            wire::append(&mut datagram, request.clone(), flags, number);
            found.truncate(before);
            let mut whole = true;
            let mut refused = None;
            let heard = socket.converse(&datagram, |message| {
                if message.sequence != number {
                    return false; // of a conversation that was broken off
                }
                whole &= message.flags & DUMP_INTERRUPTED == 0;
                let last = matches!(message.kind, DONE | ERROR);
                if last {
                    refused = KernelRefusal::of(message);
                } else {
                    found.extend(read(message));
                }
                last
            });
            heard.map_err(|broken| broken.of_request(what.to_owned()))?;
            if let Some(refused) = refused {
                return Err(refused.of_request(what.to_owned()));
            }
            if whole {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1 << attempt));
        }
        Err(NetlinkError::DumpInterrupted { what })
    }

    /// Sends a request that changes something and waits for the kernel's ack.
    pub(crate) fn change(&self, what: &str, request: Request) -> Result<(), NetlinkError> {
        let answers = self.change_all(vec![request], |_| what.to_owned());
        answers.into_iter().collect()
    }

    /// Sends requests that change something, many at once, and waits for what the kernel says to
    /// each. It takes them in their order, and goes on behind one that it refuses. `what`: the
    /// words in which a refusal speaks of a request.
    pub(crate) fn change_all(
        &self,
        requests: Vec<Request>,
        what: impl Fn(usize) -> String,
    ) -> Vec<Result<(), NetlinkError>> {
        let answers = self.ask_all(requests, what, |_| None::<()>);
        answers.into_iter().map(|answer| answer.map(drop)).collect()
    }

    /// Sends requests, many at once, and returns what `read` makes of the kernel's answers to
    /// each.
    fn ask_all<T>(
        &self,
        requests: Vec<Request>,
        what: impl Fn(usize) -> String,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Vec<Result<Vec<T>, NetlinkError>> {
        let mut socket = self.locked();
        let mut answers = Vec::with_capacity(requests.len());
        let mut left = requests.into_iter().peekable();
        while left.peek().is_some() {
            let some: Vec<Request> = left.by_ref().take(AT_ONCE).collect();
            let before = answers.len();
            answers.extend(ask_some(&mut socket, some, |at| what(before + at), &read));
        }
        answers
    }
}

/// The same of what goes in one datagram. Only the last request asks for an ack; what is refused
/// is told all the same.
fn ask_some<T>(
    socket: &mut Socket,
    requests: Vec<Request>,
    what: impl Fn(usize) -> String,
    read: impl Fn(&Message<'_>) -> Option<T>,
) -> Vec<Result<Vec<T>, NetlinkError>> {
    let count = requests.len();
    let mut datagram = Vec::new();
    let mut numbers = Vec::new();
    for (at, request) in requests.into_iter().enumerate() {
        let number = socket.number();
        let ack = if at + 1 == count { NLM_F_ACK } else { 0 };
        let flags = NLM_F_REQUEST | request.flags | ack;
        wire::append(&mut datagram, request.message, flags, number);
        numbers.push(number);
    }
    let mut answers: Vec<Result<Vec<T>, _>> = numbers.iter().map(|_| Ok(Vec::new())).collect();
    let heard = socket.converse(&datagram, |message| {
        let number = numbers
            .iter()
            .position(|number| *number == message.sequence);
        let Some(at) = number else {
            return false; // of a conversation that was broken off
        };
        if message.kind != ERROR {
            if let Ok(found) = &mut answers[at] {
                found.extend(read(message));
            }
            return false;
        }
        if let Some(refusal) = KernelRefusal::of(message) {
            answers[at] = Err(refusal.of_request(what(at)));
        }
        at + 1 == count
    });
    if let Err(broken) = heard {
        // What became of them is not known: none counts as done.
        return (0..count)
            .map(|at| Err(broken.of_request(what(at))))
            .collect();
    }
    answers
}
