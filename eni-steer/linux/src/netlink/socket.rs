//! One conversation with the kernel at a time: a datagram of requests goes out, its answers come
//! in. The kernel answers while the request is sent, so that reading hardly ever waits.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv, send},
};
use rtnetlink::sys::{self, SocketAddr, protocols::NETLINK_ROUTE};

use super::{NetlinkError, wire::Message};

/// How long the kernel may take for one answer; a lost one must not hang us.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The kernel's limit, where the system's own is lower: a dump while we are not scheduled.
const RECEIVE_BUFFER: u32 = 4 << 20;
/// Twice the longest datagram of a dump (`netlink_dump` of net/netlink/af_netlink.c).
const LONGEST: usize = 64 << 10;

pub(super) struct Socket {
    socket: sys::Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// The socket and its port.
    pub fn open() -> io::Result<(Self, u32)> {
        let mut socket = sys::Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        // Nobody but the kernel may answer.
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

    /// The number of a new request, by which its answers are known.
    pub fn number(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sends requests, and reads messages until `is_last` says that one was the last.
    pub fn converse(
        &mut self,
        requests: &[u8],
        mut is_last: impl FnMut(&Message<'_>) -> bool,
    ) -> Result<(), ConversationError> {
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
            // All of them, so that what follows the last one is not taken for another's.
            if Message::all(datagram).fold(false, |last, message| last | is_last(&message)) {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Result<(), ConversationError> {
        // SAFETY: the socket owns the descriptor and outlives this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(self.fd()) };
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(TIMEOUT).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) => Err(ConversationError::Timeout),
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(errno) => Err(io::Error::from(errno).into()),
        }
    }
}

/// Why a conversation has broken off.
#[derive(Debug)]
pub(super) enum ConversationError {
    /// The socket failed.
    Io(io::Error),
    /// No answer in time.
    Timeout,
}

impl From<io::Error> for ConversationError {
    fn from(cause: io::Error) -> Self {
        Self::Io(cause)
    }
}

impl ConversationError {
    /// The error of a request that was under way.
    pub fn of_request(&self, what: String) -> NetlinkError {
        match self {
            Self::Io(cause) => {
                // An io::Error can not be cloned, and several requests may share this one.
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
