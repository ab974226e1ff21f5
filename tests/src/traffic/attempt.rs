//! One attempt to send, and what the kernel says to the program that makes it.

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

/// How long an answer may take on a machine of usual speed; where none comes it is all waited
/// for.
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

/// What the kernel took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Sent {
    /// The address it sent it from.
    pub source: SocketAddr,
    /// An answer came.
    pub answered: bool,
}

impl Attempt {
    /// By UDP, as the user the test runs as.
    pub fn udp(to: SocketAddr) -> Self {
        Self {
            kind: Type::DGRAM,
            to,
            from: None,
            uid: None,
            mark: 0,
        }
    }

    /// By TCP.
    pub fn tcp(to: SocketAddr) -> Self {
        Self {
            kind: Type::STREAM,
            ..Self::udp(to)
        }
    }

    /// From this address and port; port 0 is any.
    pub fn from(mut self, from: SocketAddr) -> Self {
        self.from = Some(from);
        self
    }

    /// By a socket of this user.
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// The packets' firewall mark.
    pub fn mark(mut self, mark: u32) -> Self {
        self.mark = mark;
        self
    }

    /// Makes it. The error is what the program sees, from its own kernel or by ICMP.
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
            // Of this thread, which ends with the attempt.
            setfsuid(Uid::from_raw(uid));
        }
        let socket = Socket::new(Domain::for_address(self.to), self.kind, None)?;
        if self.mark != 0 {
            socket.set_mark(self.mark)?;
        }
        // Or UDP keeps the milder ICMP errors to itself: "network unreachable" is one.
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
