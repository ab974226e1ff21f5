//! Captures the frames of a device with AF_PACKET.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};
use std::os::fd::AsFd;

use crate::{Frame, NetNs, PacketType, VlanTag};

/// Space for 100,000 small frames that the reader has not read yet. The kernel uses the memory
/// only for frames that are there.
const RECEIVE_BUFFER: usize = 256 << 20;

/// How often the reader checks whether it should stop, in milliseconds.
const LOOK_AGAIN_MS: u16 = 20;

/// How long frames that are still on their way may take to arrive after `stop` is called.
const GRACE: Duration = Duration::from_millis(20);

/// The longest super-packet that the lab's devices can be configured for.
const LONGEST: usize = 512 << 10;

/// A running capture of one device, in both directions.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<io::Result<Vec<Frame>>>>,
    what: String,
}

impl Capture {
    /// Starts the capture. It records every frame from now on.
    #[track_caller]
    pub fn start(ns: &NetNs, ifname: &str) -> Self {
        let what = format!("capture of {ifname} in {}", ns.name());
        let socket = ns
            .run(|| open(ifname))
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let stop = Arc::new(AtomicBool::new(false));
        let seen_by_reader = Arc::clone(&stop);
        // The socket belongs to its namespace, whichever thread reads it.
        let reader = std::thread::Builder::new()
            .name(what.clone())
            .spawn(move || record(&socket, &seen_by_reader))
            .expect("a thread can be started");
        Self {
            stop,
            reader: Some(reader),
            what,
        }
    }

    /// Ends the capture after reading what the kernel has seen so far, and returns the frames.
    ///
    /// # Panics
    ///
    /// If the kernel had to drop frames: the capture is then incomplete.
    #[track_caller]
    pub fn stop(mut self) -> Vec<Frame> {
        std::thread::sleep(GRACE);
        self.stop.store(true, Ordering::Release);
        let reader = self.reader.take().expect("a capture is stopped once");
        match reader.join().expect("the reader does not panic") {
            Ok(frames) => frames,
            Err(e) => panic!("{}: {e}", self.what),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn open(ifname: &str) -> io::Result<OwnedFd> {
    let index = if_nametoindex(ifname)?;
    // No protocol at first: an unbound socket with one would receive from all devices.
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None::<SockProtocol>,
    )?;
    setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    setsockopt(&fd, sockopt::ReceiveTimestampns, &true)?;
    set_packet_option(&fd, libc::PACKET_AUXDATA)?;
    set_packet_option(&fd, PACKET_VNET_HDR)?;
    // SAFETY: sockaddr_ll is plain data, for which all zeros is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = i32::try_from(index).expect("an interface index fits");
    // SAFETY: `address` is a sockaddr_ll with the length passed, and it outlives the call.
    let bound = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

/// From linux/if_packet.h; the libc crate does not have it.
const PACKET_VNET_HDR: libc::c_int = 15;

fn set_packet_option(fd: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` is an int with the length passed, and it outlives the call.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn record(socket: &OwnedFd, stop: &AtomicBool) -> io::Result<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut buffer = vec![0u8; LONGEST];
    loop {
        // Check before reading, so that nothing is left unread after the last round.
        let last_round = stop.load(Ordering::Acquire);
        while let Some(frame) = receive(socket, &mut buffer)? {
            frames.push(frame);
        }
        if last_round {
            break;
        }
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(LOOK_AGAIN_MS)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    match dropped(socket)? {
        0 => Ok(frames),
        lost => Err(io::Error::other(format!(
            "the kernel dropped {lost} frames, {} were recorded",
            frames.len()
        ))),
    }
}

/// Length of the kernel's struct virtio_net_hdr, which PACKET_VNET_HDR puts before each frame:
/// flags, gso_type, then hdr_len, gso_size, csum_start, csum_offset.
const VNET_HEADER: usize = 10;
const VIRTIO_NET_HDR_F_NEEDS_CSUM: u8 = 1;

/// Reads one frame; `None` if there is none now.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Frame>> {
    // SAFETY: sockaddr_ll is plain data, for which all zeros is a valid value.
    let mut from: libc::sockaddr_ll = unsafe { zeroed() };
    let mut control = [0u64; 32]; // u64, because a cmsghdr needs this alignment
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr is plain data, for which all zeros is a valid value.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer in `message` points to a live local or to `buffer`, with the true
    // length of each.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    if length < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(error),
        };
    }
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::Error::other("a frame was longer than the buffer"));
    }
    let received = &buffer[..length.unsigned_abs()];
    let (header, data) = received
        .split_at_checked(VNET_HEADER)
        .ok_or_else(|| io::Error::other(format!("{length} bytes are too short for a frame")))?;
    let (at, stripped_vlan) = read_control(&message);
    let mut data = data.to_vec();
    if let Some(VlanTag { tpid, tci }) = stripped_vlan {
        let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
        data.splice(12..12, tag);
    }
    Ok(Some(Frame {
        data,
        packet_type: match from.sll_pkttype {
            libc::PACKET_BROADCAST => PacketType::Broadcast,
            libc::PACKET_MULTICAST => PacketType::Multicast,
            libc::PACKET_OTHERHOST => PacketType::OtherHost,
            libc::PACKET_OUTGOING => PacketType::Outgoing,
            _ => PacketType::Host,
        },
        at: at.unwrap_or_else(SystemTime::now),
        stripped_vlan,
        gso_size: match header[1] {
            0 => 0, // VIRTIO_NET_HDR_GSO_NONE
            _ => u16::from_ne_bytes([header[4], header[5]]),
        },
        partial_checksum: header[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0,
    }))
}

/// What PACKET_AUXDATA puts into a control message (linux/if_packet.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct AuxData {
    status: u32,
    len: u32,
    snaplen: u32,
    mac: u16,
    net: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

/// Returns the timestamp, and the VLAN tag that the kernel has removed from the frame.
fn read_control(message: &libc::msghdr) -> (Option<SystemTime>, Option<VlanTag>) {
    let (mut at, mut vlan) = (None, None);
    // SAFETY: recvmsg has filled `message`, and its control buffer is alive.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a complete header inside the control
    // buffer.
    while let Some(header) = unsafe { next.as_ref() } {
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                // SAFETY: this type of message contains a tpacket_auxdata, whose fields AuxData
                // has; the read assumes no alignment.
                let aux: AuxData = unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
                if aux.status & TP_STATUS_VLAN_VALID != 0 {
                    let given = aux.status & TP_STATUS_VLAN_TPID_VALID != 0;
                    vlan = Some(VlanTag {
                        tpid: if given { aux.vlan_tpid } else { 0x8100 },
                        tci: aux.vlan_tci,
                    });
                }
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: this type of message contains a timespec; the read assumes no
                // alignment.
                let time: libc::timespec =
                    unsafe { ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
                let since = Duration::new(
                    u64::try_from(time.tv_sec).unwrap_or_default(),
                    u32::try_from(time.tv_nsec).unwrap_or_default(),
                );
                at = Some(SystemTime::UNIX_EPOCH + since);
            }
            _ => {}
        }
        // SAFETY: `header` is one of this message's own headers.
        next = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    (at, vlan)
}

/// Returns how many frames the kernel had to drop.
fn dropped(socket: &OwnedFd) -> io::Result<u32> {
    let mut stats = [0u32; 2]; // struct tpacket_stats: packets, drops
    let mut length = size_of_val(&stats) as libc::socklen_t;
    // SAFETY: `stats` is writable for the length passed, and both it and the length outlive the
    // call.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            stats.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stats[1])
}
