//! UDP: a server that echoes or only counts, an exchange with it, and a
//! sender as fast as it can be.

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

/// How often a server looks whether it should stop.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A server that is not scheduled for a while loses nothing: what it counts is
/// what arrived.
const RECEIVE_BUFFER: usize = 64 << 20;

/// A server on a thread of its own; it ends when dropped.
#[derive(Debug)]
pub struct UdpServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeMap<IpAddr, u64>>>,
    thread: Option<JoinHandle<()>>,
}

impl UdpServer {
    /// Sends everything back to where it came from. Bound to one address it
    /// answers from that; bound to the unspecified one the kernel chooses.
    #[track_caller]
    pub fn echo(ns: &NetNs, listen: SocketAddr) -> Self {
        Self::start(ns, listen, true)
    }

    /// Counts and says nothing.
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
                // An error is an ICMP one about an earlier answer: the asker's loss.
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                *counted
                    .lock()
                    .expect("nobody panics with it")
                    .entry(from.ip())
                    .or_insert(0u64) += 1;
                if answer {
                    // The asker notices what does not come.
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

    /// Where it listens; useful after listening on port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams received, from anybody.
    pub fn received(&self) -> u64 {
        self.received_by_source().values().sum()
    }

    /// Datagrams received, by source address.
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

/// Sends numbered datagrams to an echo server from an unconnected socket and
/// counts those that come back from where they were sent to.
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

/// When a sender has sent enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// So many datagrams.
    Count(u64),
    /// So long.
    Elapsed(Duration),
}

/// What a fast sender did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Blast {
    /// Datagrams the kernel took.
    pub sent: u64,
    /// Datagrams the kernel refused.
    pub refused: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Blast {
    /// Datagrams per second.
    pub fn per_second(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends datagrams to each destination in turn as fast as the kernel takes
/// them, from an unconnected socket: each one is routed anew. Without `from`
/// the socket is bound to nothing and the kernel chooses the source each time.
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
                // The clock is asked now and then: it costs as much as a datagram.
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

/// The address to bind to: the one wished for, or the unspecified one of the
/// destination's family.
pub(crate) fn local(from: Option<IpAddr>, to: SocketAddr) -> SocketAddr {
    let unspecified = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(from.unwrap_or(unspecified), 0)
}
