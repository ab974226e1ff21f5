//! The connection to rtnetlink: sends requests, and assembles the kernel's answers to each.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST},
    packet_route::RouteNetlinkMessage,
};

use super::{
    errno::{KernelRefusal, NetlinkError},
    socket::Socket,
    wire::{self, DONE, ERROR, Message},
};

/// `NLM_F_DUMP_INTR`: the table changed while the kernel sent it.
const DUMP_INTERRUPTED: u16 = 0x10;
/// How often a dump is tried before eni-steer gives up.
const DUMP_TRIES: u32 = 8;
/// How many requests go to the kernel in one datagram. Even if the kernel refuses all of them, its
/// answers fit into the smallest receive buffer that a system grants.
const REQUESTS_PER_DATAGRAM: usize = 64;

/// A connection to the kernel's routing. It belongs to the network namespace that the opening
/// thread was in, even if the thread moves to another namespace later.
#[derive(Clone)]
pub struct Netlink {
    socket: Arc<Mutex<Socket>>,
    port: u32,
}

/// A request that changes something or asks one question.
pub(crate) struct Request {
    message: RouteNetlinkMessage,
    flags: u16,
}

impl Request {
    /// A request with these flags besides those that every request has.
    pub fn new(message: RouteNetlinkMessage, flags: u16) -> Self {
        Self { message, flags }
    }
}

impl Netlink {
    /// Opens a connection in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel refuses the socket or one of its options.
    pub fn open() -> Result<Self, NetlinkError> {
        let (socket, port) =
            Socket::open().map_err(|cause| NetlinkError::io("open a rtnetlink socket", cause))?;
        Ok(Self {
            socket: Arc::new(Mutex::new(socket)),
            port,
        })
    }

    /// Locks the socket for one exchange. If an exchange panics, its remaining answers stay in the
    /// socket; the next exchange skips them, because their sequence numbers are not its own.
    fn locked(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The netlink port of this connection: notifications of its own changes carry it
    /// ([`super::Notification::port`]).
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Reads a whole table and returns what `read` decodes from its messages. Returns an error
    /// rather than a part of the table.
    pub(crate) fn dump<T>(
        &self,
        what: &'static str,
        request: RouteNetlinkMessage,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut objects = Vec::new();
        self.dump_into(&mut objects, what, request, read)?;
        Ok(objects)
    }

    /// Reads a whole table like [`Netlink::dump`] and appends it to `objects`. After an error a
    /// part of the table may be in `objects`.
    pub(crate) fn dump_into<T>(
        &self,
        objects: &mut Vec<T>,
        what: &'static str,
        request: RouteNetlinkMessage,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<(), NetlinkError> {
        let append = |datagram: &mut Vec<u8>, flags, sequence| {
            wire::append(datagram, request.clone(), flags, sequence);
        };
        self.dump_with(objects, what, append, read)
    }

    /// Reads a whole table like [`Netlink::dump`], by a request that the wire library does not know:
    /// its number and what follows the header.
    pub(super) fn dump_raw<T>(
        &self,
        what: &'static str,
        kind: u16,
        payload: &[u8],
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let mut objects = Vec::new();
        let append = |datagram: &mut Vec<u8>, flags, sequence| {
            wire::append_raw(datagram, (kind, payload), flags, sequence);
        };
        self.dump_with(&mut objects, what, append, read)?;
        Ok(objects)
    }

    fn dump_with<T>(
        &self,
        objects: &mut Vec<T>,
        what: &'static str,
        append: impl Fn(&mut Vec<u8>, u16, u32),
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<(), NetlinkError> {
        let before = objects.len();
        let mut socket = self.locked();
        for attempt in 0..DUMP_TRIES {
            let sequence = socket.next_sequence();
            let mut datagram = Vec::new();
            let flags = NLM_F_REQUEST | NLM_F_DUMP;
            append(&mut datagram, flags, sequence);
            objects.truncate(before);
            let mut whole = true;
            let mut refused = None;
            let finished = socket.exchange(&datagram, |message| {
                if message.sequence != sequence {
                    return false; // left over from an exchange that was broken off
                }
                whole &= message.flags & DUMP_INTERRUPTED == 0;
                let last = matches!(message.kind, DONE | ERROR);
                if last {
                    refused = KernelRefusal::from_message(message);
                } else {
                    objects.extend(read(message));
                }
                last
            });
            finished.map_err(|error| error.to_error(what.to_owned()))?;
            if let Some(refused) = refused {
                return Err(refused.into_error(what.to_owned()));
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

    /// Sends requests that change something, many in one datagram, and returns the kernel's answer
    /// to each. The kernel executes them in order and continues after one that it refuses. `what`
    /// returns the text that an error gives for the request at an index.
    pub(crate) fn change_all(
        &self,
        requests: Vec<Request>,
        what: impl Fn(usize) -> String,
    ) -> Vec<Result<(), NetlinkError>> {
        let answers = self.ask_all(requests, what, |_| None::<()>);
        answers.into_iter().map(|answer| answer.map(drop)).collect()
    }

    /// Sends requests, many in one datagram, and returns what `read` decodes from the kernel's
    /// answers to each.
    pub(super) fn ask_all<T>(
        &self,
        requests: Vec<Request>,
        what: impl Fn(usize) -> String,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Vec<Result<Vec<T>, NetlinkError>> {
        let mut socket = self.locked();
        let mut answers = Vec::with_capacity(requests.len());
        let mut remaining = requests.into_iter().peekable();
        while remaining.peek().is_some() {
            let batch: Vec<Request> = remaining.by_ref().take(REQUESTS_PER_DATAGRAM).collect();
            let before = answers.len();
            answers.extend(ask_datagram(
                &mut socket,
                batch,
                |at| what(before + at),
                &read,
            ));
        }
        answers
    }
}

/// Sends the requests of one datagram and returns the answers to each. Only the last request asks
/// for an acknowledgement, because the kernel reports refusals in any case.
fn ask_datagram<T>(
    socket: &mut Socket,
    requests: Vec<Request>,
    what: impl Fn(usize) -> String,
    read: impl Fn(&Message<'_>) -> Option<T>,
) -> Vec<Result<Vec<T>, NetlinkError>> {
    let count = requests.len();
    let mut datagram = Vec::new();
    let mut sequences = Vec::new();
    for (at, request) in requests.into_iter().enumerate() {
        let sequence = socket.next_sequence();
        let ack = if at + 1 == count { NLM_F_ACK } else { 0 };
        let flags = NLM_F_REQUEST | request.flags | ack;
        wire::append(&mut datagram, request.message, flags, sequence);
        sequences.push(sequence);
    }
    let mut answers: Vec<Result<Vec<T>, _>> = sequences.iter().map(|_| Ok(Vec::new())).collect();
    let finished = socket.exchange(&datagram, |message| {
        let position = sequences
            .iter()
            .position(|sequence| *sequence == message.sequence);
        let Some(at) = position else {
            return false; // left over from an exchange that was broken off
        };
        if message.kind != ERROR {
            if let Ok(objects) = &mut answers[at] {
                objects.extend(read(message));
            }
            return false;
        }
        if let Some(refusal) = KernelRefusal::from_message(message) {
            answers[at] = Err(refusal.into_error(what(at)));
        }
        at + 1 == count
    });
    if let Err(error) = finished {
        // It is unknown which requests the kernel executed, so all of them count as failed.
        return (0..count).map(|at| Err(error.to_error(what(at)))).collect();
    }
    answers
}
