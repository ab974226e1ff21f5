//! A netlink socket that sends one datagram of requests at a time and reads the answers. The kernel
//! answers while it takes the requests, so reading hardly ever waits.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv, send},
};
use rtnetlink::sys::{self, SocketAddr, protocols::NETLINK_ROUTE};

use super::{errno::NetlinkError, wire::Message};

/// How long to wait for one answer, so that a lost answer does not block eni-steer for ever.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Requested size of the receive buffer; the kernel grants at most net.core.rmem_max. The buffer
/// must hold the part of a dump that the kernel sends while this process is not scheduled.
const RECEIVE_BUFFER: u32 = 4 << 20;
/// Size of the read buffer: twice the longest datagram of a dump (`netlink_dump` of
/// net/netlink/af_netlink.c).
const LONGEST: usize = 64 << 10;

/// An open rtnetlink socket.
pub(super) struct Socket {
    socket: sys::Socket,
    /// Sequence number of the latest request.
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket and returns it with its netlink port.
    pub fn open() -> io::Result<(Self, u32)> {
        let mut socket = sys::Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        // Port 0 is the kernel: a connected socket drops messages of other senders.
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_non_blocking(true)?;
        socket.set_netlink_get_strict_chk(true)?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        let opened = Self {
            socket,
            sequence: 0,
            buffer: vec![0; LONGEST],
        };
        Ok((opened, port))
    }

    /// Returns the sequence number for a new request. Its answers carry the same number.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sends requests and reads messages until `is_last` returns true for one of them.
    pub fn exchange(
        &mut self,
        requests: &[u8],
        mut is_last: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<(), ExchangeError> {
        send(self.fd(), requests, MsgFlags::empty()).map_err(io::Error::from)?;
        loop {
            let length = match recv(self.fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) => length,
                Err(nix::Error::EINTR) => continue,
                Err(nix::Error::EAGAIN) => {
                    self.wait()?;
                    continue;
                }
                Err(errno) => return Err(io::Error::from(errno).into()),
            };
            let Some(datagram) = self.buffer.get(..length) else {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE).into());
            };
            // The whole datagram is read even behind the last answer, so that nothing of it is left
            // for the next exchange.
            if Message::all(datagram).fold(false, |last, message| last | is_last(&message)) {
                return Ok(());
            }
        }
    }

    /// Waits until the kernel has sent something.
    fn wait(&self) -> Result<(), ExchangeError> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(TIMEOUT).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) => Err(ExchangeError::Timeout),
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }
}

/// Why an exchange ended before the last answer.
#[derive(Debug)]
pub(super) enum ExchangeError {
    /// The socket could not be written or read.
    Io(io::Error),
    /// The kernel did not answer in time.
    Timeout,
}

impl From<io::Error> for ExchangeError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl ExchangeError {
    /// The error of a request whose answer was still outstanding.
    pub fn to_error(&self, what: String) -> NetlinkError {
        match self {
            Self::Io(cause) => {
                // Several requests may share this error, and an io::Error cannot be cloned.
                let cause = match cause.raw_os_error() {
                    Some(errno) => io::Error::from_raw_os_error(errno),
                    None => io::Error::new(cause.kind(), cause.to_string()),
                };
                NetlinkError::Io { what, cause }
            }
            Self::Timeout => NetlinkError::Timeout { what },
        }
    }
}
