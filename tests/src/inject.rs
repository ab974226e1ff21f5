//! Sends frames, byte for byte, with AF_PACKET.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::NetNs;

/// Sends one complete frame out of a device. The frame passes the device's egress hooks and
/// arrives at the other end of the cable.
#[track_caller]
pub fn inject(ns: &NetNs, ifname: &str, frame: &[u8]) {
    Injector::new(ns, ifname).send(frame);
}

/// A socket for sending many frames.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
    index: u32,
    what: String,
}

impl Injector {
    /// Opens the socket on a device.
    #[track_caller]
    pub fn new(ns: &NetNs, ifname: &str) -> Self {
        let what = format!("injection into {ifname} of {}", ns.name());
        let (socket, index) = ns
            .run(|| -> io::Result<(OwnedFd, u32)> {
                // No protocol: this socket only sends.
                let fd = socket(
                    AddressFamily::Packet,
                    SockType::Raw,
                    SockFlag::SOCK_CLOEXEC,
                    None::<SockProtocol>,
                )?;
                Ok((fd, if_nametoindex(ifname)?))
            })
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        Self {
            socket,
            index,
            what,
        }
    }

    /// Sends a frame; panics if the kernel refuses it.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        if let Err(e) = self.try_send(frame) {
            panic!("{}: {e} (frame of {} bytes)", self.what, frame.len());
        }
    }

    /// Sends a frame; returns the error if the kernel refuses it.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: sockaddr_ll is plain data, for which all zeros is a valid value.
        let mut to: libc::sockaddr_ll = unsafe { zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = i32::try_from(self.index).expect("an interface index fits");
        // The kernel takes the protocol from this field, not from the frame.
        if let Some(&[high, low]) = frame.get(12..14) {
            to.sll_protocol = u16::from_ne_bytes([high, low]);
        }
        // SAFETY: `frame` and `to` are readable for the lengths passed and outlive the call.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
