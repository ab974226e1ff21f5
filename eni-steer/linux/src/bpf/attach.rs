//! Programs onto their hooks, and off them.
//!
//! TCX first: a pinned link that the kernel itself removes with the device, and whose program is
//! replaced in one step. Where the kernel has no TCX, a filter of clsact. What is possible is
//! found by trying: version numbers lie on kernels with backports.
//!
//! On a TCX hook ours is put before the programs that are there, in both directions: one that
//! ends the chain (a firewall, a container network) would otherwise keep packets from being
//! counted, and the counters would show a calm that is not there.

use std::{io, os::fd::AsFd};

use super::{
    clsact,
    error::BpfError,
    load::{self, BUILD, LoadedProgram, Wanted},
    maps::Maps,
    pin::{PinRoot, PinnedLink},
    sys,
};
use crate::netlink::Netlink;
use eni_steer_core::model::{AttachKind, Attachment, Direction, IfIndex, Mac};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// How the program is attached now.
    pub attachment: Attachment,
    /// A clsact qdisc was made for it: to be removed with it, and only then.
    pub qdisc_added: bool,
}

/// Attaches the program in this binary to a hook of an ENI that has been taken in, or puts it in
/// the place of ours that is there, without a packet passing between.
///
/// `kind`: how; `None` tries TCX first.
pub fn attach(
    maps: &mut Maps,
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
    kind: Option<AttachKind>,
    log_level: u8,
) -> Result<Attached, BpfError> {
    let program = load::load(maps, ifindex, direction, log_level)?;
    let wanted = Wanted {
        ifindex,
        direction,
        log_level,
    };
    attach_loaded(maps, netlink, wanted, kind, &program)
}

/// The same with a program that is loaded.
pub fn attach_loaded(
    maps: &mut Maps,
    netlink: &Netlink,
    wanted: Wanted,
    kind: Option<AttachKind>,
    program: &LoadedProgram,
) -> Result<Attached, BpfError> {
    let Wanted {
        ifindex,
        direction,
        log_level,
    } = wanted;
    let fd = program.as_fd()?;
    let mac = Mac(maps.known_slot(ifindex)?.1.mac);
    let by_tcx = match kind {
        Some(AttachKind::Clsact) => false,
        Some(AttachKind::Tcx) => match put_link(&maps.root, ifindex, mac, direction, fd)? {
            None => true,
            Some(cause) => {
                return Err(BpfError::KernelTooOld {
                    what: format!("attach {} by TCX", load::name(direction)),
                    cause,
                });
            }
        },
        None => put_link(&maps.root, ifindex, mac, direction, fd)?.is_none(),
    };
    let attached = if by_tcx {
        // Ours of an earlier run, when the kernel or the configuration was another one: after
        // the new one is there, so that nothing passes between.
        clsact::remove(netlink, ifindex, direction)?;
        false
    } else {
        let added = clsact::put(netlink, ifindex, direction, fd)?;
        remove_links(&maps.root, |link| link.is_on(ifindex, direction))?;
        added
    };
    maps.set_program(ifindex, direction, BUILD, log_level)?;
    Ok(Attached {
        attachment: Attachment {
            kind: if by_tcx {
                AttachKind::Tcx
            } else {
                AttachKind::Clsact
            },
            build: BUILD,
            log_level: log_level.into(),
        },
        qdisc_added: attached,
    })
}

/// Takes our program off a hook, however it is attached. `remove_qdisc`: we have made the clsact
/// qdisc, so it goes as well if nobody else has a filter on it.
pub fn detach(
    root: &PinRoot,
    netlink: &Netlink,
    ifindex: IfIndex,
    direction: Direction,
    remove_qdisc: bool,
) -> Result<(), BpfError> {
    remove_links(root, |link| link.is_on(ifindex, direction))?;
    clsact::remove(netlink, ifindex, direction)?;
    if remove_qdisc {
        clsact::remove_empty_qdisc(netlink, ifindex)?;
    }
    Ok(())
}

impl PinRoot {
    /// Takes away every pin there is, whole or not: links with their programs, then maps.
    pub fn clear(&self) -> Result<(), BpfError> {
        remove_links(self, |_| true)?;
        Maps::remove_pins(self)
    }
}

/// Takes away the pins of links whose interface is gone: they hold nothing but their program.
pub fn sweep(root: &PinRoot) -> Result<(), BpfError> {
    remove_links(root, |link| link.tcx.ifindex.is_none())
}

/// Attaches by TCX, or says why the kernel can not.
fn put_link(
    root: &PinRoot,
    ifindex: IfIndex,
    mac: Mac,
    direction: Direction,
    program: std::os::fd::BorrowedFd<'_>,
) -> Result<Option<io::Error>, BpfError> {
    sweep(root)?;
    let what = || format!("attach {} to interface {ifindex}", load::name(direction));
    let there = root
        .links()?
        .into_iter()
        .find(|link| link.is_on(ifindex, direction));
    if let Some(there) = there {
        sys::update_link(there.link.as_fd(), program)
            .map_err(|cause| BpfError::io(what(), cause))?;
        return Ok(None);
    }
    let link = match sys::create_tcx_link(program, ifindex, direction) {
        Ok(link) => link,
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            return Ok(Some(e));
        }
        Err(cause) => return Err(BpfError::io(what(), cause)),
    };
    let path = root.link(ifindex, mac, direction);
    // If this fails the link is closed, which takes the program off the hook again.
    sys::pin(link.as_fd(), &path)
        .map_err(|cause| BpfError::io(format!("pin {}", path.display()), cause))?;
    Ok(None)
}

fn remove_links(root: &PinRoot, which: impl Fn(&PinnedLink) -> bool) -> Result<(), BpfError> {
    for link in root.links()? {
        if which(&link) {
            link.remove()?;
        }
    }
    Ok(())
}
