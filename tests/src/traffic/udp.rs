//! UDP: a server that echoes or only counts, an exchange with it, and a sender that sends as fast
//! as it can.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::{Conversation, Exchange, PATIENCE, bind_soon, is_timeout};
use crate::NetNs;

/// How often a server checks whether it should stop.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Large enough that a server loses nothing while it is not scheduled: what it counts is what
/// arrived.
const RECEIVE_BUFFER: usize = 64 << 20;

/// A server on its own thread; it ends when the value is dropped.
#[derive(Debug)]
pub struct UdpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<IpAddr, u64>>>,
    thread: Option<JoinHandle<()>>,
}

impl UdpServer {
    /// Sends everything back to where it came from. A server that is bound to one address answers
    /// from that; otherwise the kernel chooses the source.
    #[track_caller]
    pub fn echo(ns: &NetNs, listen: SocketAddr) -> Self {
        Self::start(ns, listen, true)
    }

    /// Counts and never answers.
    #[track_caller]
    pub fn sink(ns: &NetNs, listen: SocketAddr) -> Self {
        Self::start(ns, listen, false)
    }

    #[track_caller]
    fn start(ns: &NetNs, listen: SocketAddr, answer: bool) -> Self {
        let socket = ns
            .run(|| {
                let socket = bind_soon(|| UdpSocket::bind(listen))?;
                socket.set_read_timeout(Some(LOOK_AGAIN))?;
                setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
                io::Result::Ok(socket)
            })
            .unwrap_or_else(|e| panic!("no UDP server on {listen} in {}: {e}", ns.name()));
        let address = socket.local_addr().expect("a bound socket has an address");
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(BTreeMap::new()));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = ns.spawn(move || {
            let mut buffer = vec![0u8; 1 << 16];
            while !stopped.load(Ordering::Acquire) {
                // The error is an ICMP one about an earlier answer. It matters to the asker, not
                // to the server.
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                *counted
                    .lock()
                    .expect("nobody panics with it")
                    .entry(from.ip())
                    .or_insert(0u64) += 1;
                if answer {
                    // The asker notices an answer that does not come.
                    drop(socket.send_to(&buffer[..length], from));
                }
            }
        });
        Self {
            address,
            stop,
            seen,
            thread: Some(thread),
        }
    }

    /// Returns where it listens, which matters for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns how many datagrams it received.
    pub fn received(&self) -> u64 {
        self.received_by_source().values().sum()
    }

    /// Returns how many datagrams it received from each source address.
    pub fn received_by_source(&self) -> BTreeMap<IpAddr, u64> {
        self.seen.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Sends numbered datagrams to an echo server from an unconnected socket, and counts those that
/// come back from the address they were sent to.
#[track_caller]
pub fn udp_exchange(
    ns: &NetNs,
    from: Option<IpAddr>,
    to: SocketAddr,
    count: u16,
    interval: Duration,
) -> Exchange {
    let talk = || -> io::Result<Exchange> {
        let socket = UdpSocket::bind(local(from, to))?;
        let mut buffer = [0u8; 64];
        let conversation = Conversation {
            count,
            interval,
            patience: PATIENCE,
        };
        Ok(conversation.hold(
            |n| socket.send_to(&n.to_be_bytes(), to).map(drop),
            |left| {
                socket.set_read_timeout(Some(left))?;
                let (length, whence) = socket.recv_from(&mut buffer)?;
                let number = buffer[..length].try_into().ok().map(u16::from_be_bytes);
                Ok(number.filter(|_| whence == to))
            },
        ))
    };
    ns.run(talk)
        .unwrap_or_else(|e| panic!("UDP from {:?} in {}: {e}", from, ns.name()))
}

/// When a sender stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After this many datagrams.
    Count(u64),
    /// After this time.
    Elapsed(Duration),
}

/// What a fast sender did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Blast {
    /// Datagrams that the kernel accepted.
    pub sent: u64,
    /// Datagrams that the kernel refused.
    pub refused: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Blast {
    /// Returns datagrams per second.
    pub fn per_second(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends datagrams to each destination in turn, as fast as the kernel accepts them, from an
/// unconnected socket, so that the kernel routes each one. Without `from` the socket is not bound
/// and the kernel chooses the source each time.
#[track_caller]
pub fn udp_blast(
    ns: &NetNs,
    from: Option<IpAddr>,
    to: &[SocketAddr],
    payload: usize,
    until: Until,
) -> Blast {
    let blast = || -> io::Result<Blast> {
        let first = *to.first().ok_or(io::ErrorKind::InvalidInput)?;
        let socket = UdpSocket::bind(local(from, first))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let bytes = vec![0x5a; payload];
        let started = Instant::now();
        let (mut sent, mut refused) = (0, 0);
        for destination in to.iter().cycle() {
            let enough = match until {
                Until::Count(count) => sent + refused >= count,
                // The clock is read only now and then, because that costs as much as a datagram.
                Until::Elapsed(time) => (sent + refused) % 64 == 0 && started.elapsed() >= time,
            };
            if enough {
                break;
            }
            match socket.send_to(&bytes, destination) {
                Ok(_) => sent += 1,
                Err(e) if is_timeout(&e) => return Err(e),
                Err(_) => refused += 1,
            }
        }
        Ok(Blast {
            sent,
            refused,
            elapsed: started.elapsed(),
        })
    };
    ns.run(blast)
        .unwrap_or_else(|e| panic!("UDP blast from {:?} in {}: {e}", from, ns.name()))
}

/// Returns the address to bind to: the one wanted, or the unspecified one of the destination's
/// family.
pub(crate) fn local(from: Option<IpAddr>, to: SocketAddr) -> SocketAddr {
    let unspecified = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(from.unwrap_or(unspecified), 0)
}
