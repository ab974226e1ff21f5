//! One attempt to send, and what the kernel answers to the program that makes it.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{Uid, setfsuid};
use socket2::{Domain, Socket, Type};

use super::is_timeout;
use crate::NetNs;
use crate::command::slowness;

/// How long an answer may take on a machine of usual speed. If none comes, the attempt lasts this
/// long.
const PATIENCE: Duration = Duration::from_millis(500);

/// A connected socket that sends a datagram to an echo server, or connects to a listener.
#[derive(Debug, Clone)]
#[must_use]
pub struct Attempt {
    kind: Type,
    to: SocketAddr,
    from: Option<SocketAddr>,
    uid: Option<u32>,
    mark: u32,
}

/// Result of an attempt that the kernel accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Sent {
    /// The source address and port that the kernel used.
    pub source: SocketAddr,
    /// Whether an answer came.
    pub answered: bool,
}

impl Attempt {
    /// Sends a UDP datagram, as the user that runs the test.
    pub fn udp(to: SocketAddr) -> Self {
        Self {
            kind: Type::DGRAM,
            to,
            from: None,
            uid: None,
            mark: 0,
        }
    }

    /// Connects by TCP, as the user that runs the test.
    pub fn tcp(to: SocketAddr) -> Self {
        Self {
            kind: Type::STREAM,
            ..Self::udp(to)
        }
    }

    /// Uses this source address and port; port 0 lets the kernel choose one.
    pub fn from(mut self, from: SocketAddr) -> Self {
        self.from = Some(from);
        self
    }

    /// Uses a socket that belongs to this user.
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Sets the packets' firewall mark.
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }

    /// Makes the attempt. The error is the one that the program gets, from its own kernel or by
    /// ICMP.
    #[track_caller]
    pub fn run(&self, ns: &NetNs) -> Result<Sent, Errno> {
        match ns.run(|| self.make()) {
            Ok(sent) => Ok(sent),
            Err(e) => match e.raw_os_error() {
                Some(number) => Err(Errno::from_raw(number)),
                None => panic!("{self:?} in {}: {e}", ns.name()),
            },
        }
    }

    fn make(&self) -> io::Result<Sent> {
        if let Some(uid) = self.uid {
            // Only for this thread, which ends with the attempt.
            setfsuid(Uid::from_raw(uid));
        }
        let socket = Socket::new(Domain::for_address(self.to), self.kind, None)?;
        if self.mark != 0 {
            socket.set_mark(self.mark)?;
        }
        // Without this option UDP does not report the milder ICMP errors, for example "network
        // unreachable".
        match self.to {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true)?,
        }
        if let Some(from) = self.from {
            socket.bind(&from.into())?;
        }
        let patience = PATIENCE * slowness();
        socket.set_read_timeout(Some(patience))?;
        let heard = if self.kind == Type::STREAM {
            socket.connect_timeout(&self.to.into(), patience)
        } else {
            socket.connect(&self.to.into())?;
            socket.send(b"?")?;
            (&socket).read(&mut [0]).map(drop)
        };
        let answered = match heard {
            Ok(()) => true,
            Err(e) if is_timeout(&e) => false,
            Err(e) => return Err(e),
        };
        let source = socket.local_addr()?.as_socket();
        Ok(Sent {
            source: source.ok_or(io::ErrorKind::InvalidData)?,
            answered,
        })
    }
}
