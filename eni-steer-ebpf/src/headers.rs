//! A bounded walk over the headers, for what only some packets need: ports of events, and the
//! header length of a super-packet's segments. No decision about ownership depends on it.

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

/// Extension headers that are followed; a packet with more has no ports that we know of.
const EXTENSIONS: u32 = 8;
/// VLAN tags that are followed.
const TAGS: u32 = 2;
/// A BIG TCP super-packet carries a hop-by-hop header of this length, with a jumbo payload
/// option, that segmentation takes out again: it is never on the wire.
const JUMBO: u32 = 8;

/// Where the walk ended.
#[derive(Clone, Copy)]
pub struct Headers {
    /// Protocol of the upper layer, or of the last header that could be read.
    pub protocol: u8,
    /// Offset of the upper layer's header, from the Ethernet header on.
    pub upper: u16,
    /// Whether the upper layer's header is there: not in a later fragment.
    pub whole: bool,
    /// Bytes of the BIG TCP header that is not on the wire.
    pub phantom: u8,
}

impl Headers {
    /// In one register: a subprogram can return no more.
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

    /// Source and destination port in host byte order; zeros where there are none.
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

    /// Bytes of all headers that each segment of a super-packet repeats. Headers inside a
    /// tunnel are not known here.
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

/// Walks the headers of the packet.
#[inline(always)]
pub fn walk(skb: *mut __sk_buff) -> Headers {
    Headers::unpack(eni_steer_walk(skb))
}

/// A global function, to the verifier: it is verified once and by itself, and whoever calls it
/// sees any number come back. A static one is followed from each caller, and verifiers before
/// 6.4 then stop merging what they have seen: a million instructions instead of fifty thousand.
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
