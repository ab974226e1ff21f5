//! Attaches programs with TCX links, which are pinned in bpffs. A pinned link outlives the process;
//! the kernel removes it from the hook together with the interface.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    rc::Rc,
};

use crate::{
    bpf::{
        error::BpfError,
        load::program_name,
        pin::{PinRoot, is_link_name, link_name},
        sys::{self, TcxLink},
    },
    own_dir::OwnDir,
};
use eni_steer_core::model::{Direction, IfIndex, Mac};

/// A TCX link and its pin.
#[derive(Debug)]
pub(in crate::bpf) struct PinnedLink {
    directory: Rc<OwnDir>,
    name: OsString,
    link: OwnedFd,
    tcx: TcxLink,
}

impl PinnedLink {
    /// Returns whether this link attaches its program to the hook.
    pub fn is_on(&self, ifindex: IfIndex, direction: Direction) -> bool {
        self.tcx.ifindex == Some(ifindex) && self.tcx.direction == direction
    }

    /// Kernel id of the link's program.
    pub fn program(&self) -> u32 {
        self.tcx.program
    }

    /// Whether its interface is there and the program is attached.
    pub fn is_attached(&self) -> bool {
        self.tcx.ifindex.is_some()
    }

    /// Detaches the program from its hook and removes the pin.
    fn remove(self) -> Result<(), BpfError> {
        let path = self.directory.path().join(&self.name);
        sys::detach_link(self.link.as_fd())
            .map_err(|cause| BpfError::io(format!("detach {}", path.display()), cause))?;
        Ok(self.directory.remove_file(&self.name)?)
    }
}

/// All pinned links, also those whose interface no longer exists.
pub(in crate::bpf) fn links(root: &PinRoot) -> Result<Vec<PinnedLink>, BpfError> {
    let Some(directory) = root.open_links()?.map(Rc::new) else {
        return Ok(Vec::new());
    };
    let mut links = Vec::new();
    for name in directory.names()? {
        if !is_link_name(&name) {
            continue;
        }
        let path = directory.path().join(&name);
        let opened = sys::open_pin(&directory.entry(&name))
            .and_then(|link| Ok((sys::tcx_link(link.as_fd())?, link)));
        match opened {
            Ok((Some(tcx), link)) => links.push(PinnedLink {
                directory: Rc::clone(&directory),
                name,
                link,
                tcx,
            }),
            Ok((None, _)) => {
                return Err(BpfError::LayoutMismatch {
                    pin: path,
                    what: "another object than a TCX link is pinned there".to_owned(),
                });
            }
            // The pin was removed after the directory was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => {
                return Err(BpfError::io(format!("open {}", path.display()), cause));
            }
        }
    }
    Ok(links)
}

/// Attaches a program, or replaces the program of the link that is on the hook. Returns the
/// kernel's error if the kernel has no TCX.
pub(super) fn attach(
    root: &PinRoot,
    ifindex: IfIndex,
    mac: Mac,
    direction: Direction,
    program: BorrowedFd<'_>,
) -> Result<Option<io::Error>, BpfError> {
    remove_stale_links(root)?;
    let what = || format!("attach {} to interface {ifindex}", program_name(direction));
    let existing = links(root)?
        .into_iter()
        .find(|link| link.is_on(ifindex, direction));
    if let Some(existing) = existing {
        sys::update_link(existing.link.as_fd(), program)
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
    let name = link_name(ifindex, mac, direction);
    let pinned = match root.open_links()? {
        Some(directory) => sys::pin(link.as_fd(), &directory.entry(&name)),
        None => Err(io::ErrorKind::NotFound.into()),
    };
    // If pinning fails, the link is closed, and with that the kernel detaches the program.
    pinned.map_err(|cause| BpfError::io(format!("pin link {name}"), cause))?;
    Ok(None)
}

/// Removes the pins of links whose interface no longer exists. They only keep their program in
/// memory.
pub(crate) fn remove_stale_links(root: &PinRoot) -> Result<(), BpfError> {
    remove_links(root, |link| link.tcx.ifindex.is_none())
}

/// Removes the links that satisfy `which`.
pub(in crate::bpf) fn remove_links(
    root: &PinRoot,
    which: impl Fn(&PinnedLink) -> bool,
) -> Result<(), BpfError> {
    for link in links(root)? {
        if which(&link) {
            link.remove()?;
        }
    }
    Ok(())
}
