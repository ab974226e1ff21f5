//! The chains of netfilter that are bound to interfaces (nft families netdev and inet, hooks
//! ingress and egress), through nfnetlink (linux/netfilter/nf_tables.h).

use std::{collections::BTreeMap, io, time::Duration};

use rtnetlink::sys::{Socket, SocketAddr};

use crate::netlink::wire::{Attributes, DONE, ERROR, Message, text};

/// `NETLINK_NETFILTER`
const NETFILTER: isize = 12;
/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
const TABLES: u16 = 10 << 8;
/// `NFT_MSG_NEWCHAIN`
const NEW_CHAIN: u16 = TABLES | 3;
/// `NFT_MSG_GETCHAIN`
const GET_CHAIN: u16 = TABLES | 4;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const FLAGS: u16 = 0x301;
/// `NFPROTO_INET`
const INET: u8 = 1;
/// `NFPROTO_NETDEV`
const NETDEV: u8 = 5;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const HOOK_NUMBER: u16 = 1;
const HOOK_DEVICE: u16 = 3;
const HOOK_DEVICES: u16 = 4;
const DEVICE_NAME: u16 = 1;
/// `NF_NETDEV_EGRESS`
const EGRESS: u32 = 1;

/// The chains, by name of the interface: `netdev filter out (egress)`. A kernel without nf_tables
/// has none.
pub(crate) fn chains() -> io::Result<BTreeMap<String, Vec<String>>> {
    let mut socket = Socket::new(NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let timeout = nix::sys::time::TimeVal::new(2, 0);
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::ReceiveTimeout, &timeout)?;
    // Header: length, type, flags, sequence, port; then family (any), version, resource.
    let mut request = Vec::with_capacity(20);
    request.extend(20u32.to_ne_bytes());
    request.extend(GET_CHAIN.to_ne_bytes());
    request.extend(FLAGS.to_ne_bytes());
    request.extend([1u32.to_ne_bytes(), 0u32.to_ne_bytes()].concat());
    request.extend([0; 4]);
    socket.send(&request, 0)?;
    let mut chains: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let began = std::time::Instant::now();
    loop {
        if began.elapsed() > Duration::from_secs(5) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (datagram, _) = socket.recv_from_full()?;
        for message in Message::all(&datagram) {
            match message.kind {
                DONE | ERROR => return Ok(chains),
                NEW_CHAIN => {
                    for (device, chain) in bound(&message).unwrap_or_default() {
                        chains.entry(device).or_default().push(chain);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The interfaces that a chain is bound to.
fn bound(message: &Message<'_>) -> Option<Vec<(String, String)>> {
    let (header, attributes) = message.split::<4>()?;
    let family = match header[0] {
        INET => "inet",
        NETDEV => "netdev",
        _ => return None,
    };
    let value = |kind: u16| {
        { attributes }
            .find(|(this, _)| *this == kind)
            .map(|(_, v)| v)
    };
    let hook = Attributes(value(CHAIN_HOOK)?);
    let of_hook = |kind: u16| { hook }.find(|(this, _)| *this == kind).map(|(_, v)| v);
    let number = of_hook(HOOK_NUMBER)?
        .first_chunk()
        .map(|be| u32::from_be_bytes(*be));
    let way = match (header[0], number?) {
        (NETDEV, EGRESS) => "egress",
        _ => "ingress",
    };
    let one = of_hook(HOOK_DEVICE).map(text);
    let many = of_hook(HOOK_DEVICES).map(Attributes);
    let many = many.into_iter().flatten();
    let many = many
        .filter(|(kind, _)| *kind == DEVICE_NAME)
        .map(|(_, name)| text(name));
    let chain = format!(
        "{family} {} {} ({way})",
        text(value(CHAIN_TABLE)?),
        text(value(CHAIN_NAME)?)
    );
    let mut devices: Vec<String> = one.into_iter().chain(many).collect();
    devices.dedup();
    Some(
        devices
            .into_iter()
            .map(|device| (device, chain.clone()))
            .collect(),
    )
}
