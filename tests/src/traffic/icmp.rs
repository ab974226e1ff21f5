//! Pings with a raw socket.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Conversation, Exchange, PATIENCE};
use crate::NetNs;

/// Pings `count` times. It waits up to two seconds for answers after the last question, and
/// returns at once when all are there.
#[track_caller]
pub fn ping(
    ns: &NetNs,
    from: Option<IpAddr>,
    to: IpAddr,
    count: u16,
    interval: Duration,
) -> Exchange {
    let mut ping = Ping::to(to).count(count).interval(interval);
    ping.from = from;
    ping.run(ns)
}

/// A ping with its options.
#[derive(Debug, Clone)]
#[must_use]
pub struct Ping {
    to: IpAddr,
    from: Option<IpAddr>,
    count: u16,
    interval: Duration,
    payload: usize,
    patience: Duration,
    mark: u32,
    device: Option<String>,
}

impl Ping {
    /// One ping with 56 bytes, from the address that the kernel chooses.
    pub fn to(to: impl Into<IpAddr>) -> Self {
        Self {
            to: to.into(),
            from: None,
            count: 1,
            interval: Duration::from_millis(10),
            payload: 56,
            patience: PATIENCE,
            mark: 0,
            device: None,
        }
    }

    /// Sets the source address.
    pub fn from(mut self, from: impl Into<IpAddr>) -> Self {
        self.from = Some(from.into());
        self
    }

    /// Sets how many questions to send.
    pub fn count(mut self, count: u16) -> Self {
        self.count = count;
        self
    }

    /// Sets the time between two questions.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets how many bytes follow the ICMP header; the kernel fragments what is too long.
    pub fn payload(mut self, bytes: usize) -> Self {
        self.payload = bytes;
        self
    }

    /// Sets how long to wait for answers after the last question.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the packets' firewall mark.
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }

    /// Binds the socket to a device (SO_BINDTODEVICE).
    pub fn device(mut self, device: &str) -> Self {
        self.device = Some(device.to_owned());
        self
    }

    /// Sends the questions and collects the answers. Panics only if there is no socket for it.
    #[track_caller]
    pub fn run(&self, ns: &NetNs) -> Exchange {
        ns.run(|| self.exchange())
            .unwrap_or_else(|e| panic!("ping from {}: {e} ({self:?})", ns.name()))
    }

    fn exchange(&self) -> io::Result<Exchange> {
        let (domain, protocol) = match self.to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        if let Some(device) = &self.device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        if let Some(from) = self.from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        if self.mark != 0 {
            socket.set_mark(self.mark)?;
        }
        // A raw socket receives every echo reply of its namespace; the id shows whose it is.
        static NEXT_ID: AtomicU16 = AtomicU16::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let to = SocketAddr::new(self.to, 0).into();
        let mut buffer = vec![0u8; 1 << 16];
        let conversation = Conversation {
            count: self.count,
            interval: self.interval,
            patience: self.patience,
        };
        Ok(conversation.hold(
            |n| {
                let message = echo_request(self.to, id, n, self.payload);
                socket.send_to(&message, &to).map(drop)
            },
            |left| {
                socket.set_read_timeout(Some(left))?;
                let length = (&socket).read(&mut buffer)?;
                Ok(answer_to(self.to, id, &buffer[..length]))
            },
        ))
    }
}

fn echo_request(to: IpAddr, id: u16, sequence: u16, payload: usize) -> Vec<u8> {
    let kind = if to.is_ipv4() { 8 } else { 128 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend((0..payload).map(|i| i as u8));
    if to.is_ipv4() {
        // The kernel fills in the checksum of ICMPv6, but not that of ICMP.
        let sum = internet_checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Returns which question this answers. IPv4 raw sockets deliver the IP header too.
fn answer_to(asked: IpAddr, id: u16, received: &[u8]) -> Option<u16> {
    let (message, reply) = match asked {
        IpAddr::V4(asked) => {
            let header = received.get(..20)?;
            if header[12..16] != asked.octets() {
                return None;
            }
            (received.get(usize::from(header[0] & 0xf) * 4..)?, 0)
        }
        IpAddr::V6(_) => (received, 129),
    };
    let &[kind, _, _, _, id_high, id_low, high, low] = message.get(..8)? else {
        return None;
    };
    let ours = kind == reply && u16::from_be_bytes([id_high, id_low]) == id;
    ours.then(|| u16::from_be_bytes([high, low]))
}

fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
