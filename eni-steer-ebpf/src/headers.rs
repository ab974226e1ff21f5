//! Finds the header of the upper layer (TCP, UDP, ...) behind VLAN tags, IP options and IPv6
//! extension headers.
//!
//! Only some packets need it: those that are reported as events (for the ports), and
//! super-packets (for the length of the headers that each segment repeats). Who owns a packet
//! never depends on it.

use aya_ebpf::bindings::__sk_buff;

use crate::{
    packet::{ETHERNET, TYPE_IPV4, TYPE_IPV6, TYPE_QINQ, TYPE_VLAN},
    skb,
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// How many IPv6 extension headers are followed. The verifier needs a bound; a packet with more
/// is reported without ports.
const EXTENSIONS: u32 = 8;
/// How many VLAN tags are followed.
const TAGS: u32 = 2;
/// Length in bytes of the hop-by-hop header with a jumbo payload option that the kernel puts into
/// an IPv6 BIG TCP super-packet. Segmentation removes it again, so it is never on the wire.
const JUMBO: u32 = 8;

/// What the parser found.
#[derive(Clone, Copy)]
pub struct Headers {
    /// IP protocol number of the upper layer, or of the last header that could be read.
    pub protocol: u8,
    /// Offset in bytes of the upper layer's header, counted from the start of the Ethernet
    /// header.
    pub upper: u16,
    /// Whether the upper layer's header is in this packet. Later fragments do not have it.
    pub whole: bool,
    /// Bytes of the BIG TCP hop-by-hop header, which is in the packet but never on the wire;
    /// usually 0.
    pub phantom: u8,
}

impl Headers {
    /// Packs the result into the one register in which a BPF subprogram returns its value.
    fn pack(self) -> u64 {
        u64::from(self.protocol)
            | u64::from(self.upper) << 8
            | u64::from(self.whole) << 24
            | u64::from(self.phantom) << 32
    }

    fn unpack(packed: u64) -> Self {
        Self {
            protocol: packed as u8,
            upper: (packed >> 8) as u16,
            whole: packed >> 24 & 1 != 0,
            phantom: (packed >> 32) as u8,
        }
    }

    /// Returns the source and the destination port in host byte order; zeros if the protocol has
    /// no ports or the packet does not contain them.
    #[inline(always)]
    pub fn ports(self, skb: *mut __sk_buff) -> (u16, u16) {
        match self.protocol {
            TCP | UDP | DCCP | SCTP | UDP_LITE if self.whole => {
                let [a, b, c, d] = skb::copy::<[u8; 4]>(skb, self.upper.into()).unwrap_or_default();
                (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
            }
            _ => (0, 0),
        }
    }

    /// Returns how many bytes of headers each segment of a super-packet repeats, from the
    /// Ethernet header to the end of the TCP or UDP header. It does not look into tunnels: the
    /// headers of an inner packet are not included.
    #[inline(always)]
    pub fn repeated(self, skb: *mut __sk_buff) -> u32 {
        let upper = u32::from(self.upper);
        let own = match self.protocol {
            TCP if self.whole => match skb::copy::<u8>(skb, upper + 12) {
                Some(offset) => u32::from(offset >> 4) * 4,
                None => 0,
            },
            UDP | UDP_LITE if self.whole => 8,
            _ => 0,
        };
        upper + own
    }
}

/// Parses the headers of the packet.
#[inline(always)]
pub fn parse_headers(skb: *mut __sk_buff) -> Headers {
    Headers::unpack(eni_steer_walk(skb))
}

/// Parses the headers of the packet and returns them packed, see [`Headers`].
///
/// It must stay a global function. The verifier checks a global function once, on its own, and
/// assumes at each call that any number may come back. It would follow a static function again
/// from each call, and verifiers before Linux 6.4 then stop merging equal states: they walk a
/// million instructions instead of fifty thousand, and refuse the program.
// SAFETY: no other symbol of the object has this name. Without it the function is not global.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn eni_steer_walk(skb: *mut __sk_buff) -> u64 {
    let mut at = ETHERNET as u32;
    let mut ether_type = skb::copy::<[u8; 2]>(skb, 12).unwrap_or_default();
    for _ in 0..TAGS {
        if !matches!(u16::from_be_bytes(ether_type), TYPE_VLAN | TYPE_QINQ) {
            break;
        }
        ether_type = skb::copy::<[u8; 2]>(skb, at + 2).unwrap_or_default();
        at += 4;
    }
    let headers = match u16::from_be_bytes(ether_type) {
        TYPE_IPV4 => ipv4(skb, at),
        TYPE_IPV6 => ipv6(skb, at),
        _ => None,
    };
    headers
        .unwrap_or(Headers {
            protocol: 0,
            upper: at as u16,
            whole: false,
            phantom: 0,
        })
        .pack()
}

#[inline(always)]
fn ipv4(skb: *mut __sk_buff, at: u32) -> Option<Headers> {
    let first: u8 = skb::copy(skb, at)?;
    let [fragment_high, fragment_low, _, protocol] = skb::copy::<[u8; 4]>(skb, at + 6)?;
    let offset = u16::from_be_bytes([fragment_high, fragment_low]) & 0x1fff;
    Some(Headers {
        protocol,
        upper: (at + u32::from(first & 0x0f) * 4) as u16,
        whole: offset == 0,
        phantom: 0,
    })
}

#[inline(always)]
fn ipv6(skb: *mut __sk_buff, at: u32) -> Option<Headers> {
    let [length_high, length_low, mut next, _] = skb::copy::<[u8; 4]>(skb, at + 4)?;
    let jumbo = next == HOP_BY_HOP && length_high | length_low == 0;
    let phantom = if jumbo { JUMBO } else { 0 };
    let mut upper = at + 40;
    let mut whole = true;
    for _ in 0..EXTENSIONS {
        let known = matches!(
            next,
            HOP_BY_HOP
                | ROUTING
                | FRAGMENT
                | AUTHENTICATION
                | DESTINATION_OPTIONS
                | MOBILITY
                | HIP
                | SHIM6
        );
        if !known || !whole {
            break;
        }
        let Some([after, length, third, fourth]) = skb::copy::<[u8; 4]>(skb, upper) else {
            whole = false;
            break;
        };
        let length = u32::from(length);
        upper += match next {
            FRAGMENT => 8,
            AUTHENTICATION => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        if next == FRAGMENT && u16::from_be_bytes([third, fourth]) & 0xfff8 != 0 {
            whole = false;
        }
        next = after;
    }
    Some(Headers {
        protocol: next,
        upper: upper as u16,
        whole,
        phantom: phantom as u8,
    })
}
