//! Offloads of an interface, as `ethtool -k` shows them (linux/ethtool.h).

use std::{io, mem, os::fd::AsRawFd};

use socket2::{Domain, Socket, Type};

/// `ETHTOOL_GSTRINGS`
const GET_STRINGS: u32 = 0x1b;
/// `ETHTOOL_GSSET_INFO`
const GET_SET_INFO: u32 = 0x37;
/// `ETHTOOL_GFEATURES`
const GET_FEATURES: u32 = 0x3a;
/// `ETH_SS_FEATURES`
const FEATURES: u32 = 4;
/// `ETH_GSTRING_LEN`
const NAME: usize = 32;
/// Features beyond this many are not read; Linux 6.18 has 64.
const MOST: usize = 256;

/// Offloads that hide packets from programs, or merge them in a way that cannot be counted back.
const BLINDING: [&str; 3] = ["hw-tc-offload", "l2-fwd-offload", "rx-lro"];

/// Asks about interfaces of the calling thread's network namespace.
pub(crate) struct Ethtool {
    socket: Socket,
    /// The names of all features, in the order of their bits; empty: the kernel does not tell.
    names: Vec<String>,
}

/// `struct ifreq`, of which only the pointer is used.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut libc::c_void,
    rest: [u8; 16],
}

impl Ethtool {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::new(Domain::IPV4, Type::DGRAM, None)?,
            names: Vec::new(),
        })
    }

    /// Sends a command, a sequence of numbers in which the kernel puts its answer.
    fn ask(&self, interface: &str, command: &mut [u32]) -> io::Result<()> {
        let mut request = Request {
            name: [0; libc::IFNAMSIZ],
            data: command.as_mut_ptr().cast(),
            rest: [0; 16],
        };
        let length = interface.len().min(libc::IFNAMSIZ - 1);
        request.name[..length].copy_from_slice(&interface.as_bytes()[..length]);
        // SAFETY: the request lives as long as the call, and `data` points to a command whose length
        // field says how much room for the answer follows it.
        let result = unsafe {
            libc::ioctl(
                self.socket.as_raw_fd(),
                libc::SIOCETHTOOL as _,
                &raw mut request,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The names of all features. They are the same for every interface.
    fn read_names(&self, interface: &str) -> io::Result<Vec<String>> {
        // struct ethtool_sset_info: command, reserved, mask of sets (64 bits), one length.
        let mut info = [GET_SET_INFO, 0, 0, 0, 0];
        let mask = (1u64 << FEATURES).to_ne_bytes();
        info[2] = u32::from_ne_bytes([mask[0], mask[1], mask[2], mask[3]]);
        info[3] = u32::from_ne_bytes([mask[4], mask[5], mask[6], mask[7]]);
        self.ask(interface, &mut info)?;
        let count = (info[4] as usize).min(MOST);
        // struct ethtool_gstrings: command, set, length, names.
        let words = NAME / mem::size_of::<u32>();
        let mut strings = vec![0; 3 + MOST * words];
        (strings[0], strings[1]) = (GET_STRINGS, FEATURES);
        self.ask(interface, &mut strings)?;
        let name = |words: &[u32]| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            let end = bytes.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
        };
        Ok(strings[3..].chunks(words).take(count).map(name).collect())
    }

    /// The offloads of an interface that are on and hide packets.
    pub(crate) fn blinding(&mut self, interface: &str) -> io::Result<Vec<String>> {
        if self.names.is_empty() {
            self.names = self.read_names(interface)?;
        }
        let blocks = self.names.len().div_ceil(32);
        // struct ethtool_gfeatures: command, number of blocks, blocks of available, requested,
        // active, never changed.
        let mut features = vec![0; 2 + blocks * 4];
        (features[0], features[1]) = (GET_FEATURES, u32::try_from(blocks).unwrap_or(0));
        self.ask(interface, &mut features)?;
        let is_on = |bit: usize| features[2 + bit / 32 * 4 + 2] >> (bit % 32) & 1 == 1;
        let all = self.names.iter().enumerate();
        let on = all.filter(|(bit, name)| BLINDING.contains(&name.as_str()) && is_on(*bit));
        Ok(on.map(|(_, name)| name.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_its_offloads_and_says_which_are_on() {
        let mut ethtool = Ethtool::open().expect("a socket");
        assert_eq!(
            ethtool.blinding("lo").expect("lo is there"),
            Vec::<String>::new()
        );
        let known = |name: &&str| ethtool.names.iter().any(|known| known == name);
        assert!(BLINDING.iter().all(known), "{:?}", ethtool.names);
        let gone = Ethtool::open().expect("a socket").blinding("no-such-link");
        assert!(gone.is_err());
    }
}
