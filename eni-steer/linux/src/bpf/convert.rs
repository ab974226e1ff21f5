//! Converts addresses, prefixes and next hops between the model and the maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::lpm_trie::Key;
use eni_steer_common::{
    Address, AddressRow, DestinationKey, Family, NextHop, NextHopKind, PrefixKey,
};
use ipnet::IpNet;

use eni_steer_core::model;

pub(super) fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

pub(super) fn common_family(family: model::Family) -> Family {
    match family {
        model::Family::V4 => Family::V4,
        model::Family::V6 => Family::V6,
    }
}

/// The family with this number in the maps; `None` if there is none.
pub(super) fn family_from(number: u8) -> Option<Family> {
    [Family::V4, Family::V6]
        .into_iter()
        .find(|family| *family as u8 == number)
}

pub(super) fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(ip) => Address::v4(ip.octets()),
        IpAddr::V6(ip) => Address::v6(ip.octets()),
    }
}

pub(super) fn ip(family: Family, address: Address) -> IpAddr {
    let bytes = address.bytes();
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(bytes)),
    }
}

/// The mask of a prefix length.
pub(super) fn mask(family: Family, length: u8) -> Address {
    let bits = u128::MAX
        .checked_shl(128 - u32::from(length))
        .unwrap_or(0)
        .to_be_bytes();
    match family {
        Family::V4 => Address::v4([bits[0], bits[1], bits[2], bits[3]]),
        Family::V6 => Address::v6(bits),
    }
}

/// The prefix length of a mask.
pub(super) fn length(family: Family, mask: Address) -> u8 {
    let bytes = mask.bytes();
    let bytes = match family {
        Family::V4 => &bytes[..4],
        Family::V6 => &bytes[..],
    };
    bytes.iter().map(|byte| byte.count_ones() as u8).sum()
}

pub(super) fn prefix_key(net: IpNet) -> Key<PrefixKey> {
    Key::new(
        PrefixKey::BITS + u32::from(net.prefix_len()),
        PrefixKey::new(family_of(net.addr()), address(net.trunc().addr())),
    )
}

/// The prefix of a key; `None` for a key that eni-steer never writes.
pub(super) fn prefix(key: &Key<PrefixKey>) -> Option<IpNet> {
    let data = key.data();
    net(
        data.family(),
        key.prefix_len(),
        PrefixKey::BITS,
        data.address(),
    )
}

pub(super) fn destination_key(eni: u16, destination: IpNet) -> Key<DestinationKey> {
    Key::new(
        DestinationKey::BITS + u32::from(destination.prefix_len()),
        DestinationKey::new(
            eni,
            family_of(destination.addr()),
            address(destination.trunc().addr()),
        ),
    )
}

/// The ENI slot and the destination of a key; `None` for a key that eni-steer never writes.
pub(super) fn destination(key: &Key<DestinationKey>) -> Option<(u16, IpNet)> {
    let data = key.data();
    let net = net(
        data.family(),
        key.prefix_len(),
        DestinationKey::BITS,
        data.destination(),
    )?;
    Some((data.eni(), net))
}

/// The prefix in a key, whose length also covers `before` bits of other fields.
fn net(family: u8, prefix_length: u32, before: u32, address: Address) -> Option<IpNet> {
    let length = u8::try_from(prefix_length.checked_sub(before)?).ok()?;
    IpNet::new(ip(family_from(family)?, address), length).ok()
}

/// The address or prefix that has an address slot; `None` if the slot is free.
pub(super) fn row_net(row: &AddressRow) -> Option<IpNet> {
    IpNet::new(ip(family_from(row.family)?, row.address), row.length).ok()
}

pub(super) fn next_hop(hop: model::NextHop) -> NextHop {
    match hop {
        model::NextHop::OnLink { mtu } => NextHop::new(
            NextHopKind::OnLink,
            Address::UNSPECIFIED,
            mtu.unwrap_or_default(),
        ),
        model::NextHop::Via { gateway, mtu } => {
            let kind = match gateway {
                IpAddr::V4(_) => NextHopKind::ViaV4,
                IpAddr::V6(_) => NextHopKind::ViaV6,
            };
            NextHop::new(kind, address(gateway), mtu.unwrap_or_default())
        }
        model::NextHop::Refuse => NextHop::new(NextHopKind::Refuse, Address::UNSPECIFIED, 0),
    }
}

pub(super) fn model_next_hop(hop: NextHop) -> model::NextHop {
    let mtu = (hop.mtu != 0).then_some(hop.mtu);
    match NextHopKind::from_u8(hop.kind) {
        NextHopKind::OnLink => model::NextHop::OnLink { mtu },
        NextHopKind::ViaV4 => model::NextHop::Via {
            gateway: ip(Family::V4, hop.gateway),
            mtu,
        },
        NextHopKind::ViaV6 => model::NextHop::Via {
            gateway: ip(Family::V6, hop.gateway),
            mtu,
        },
        NextHopKind::Refuse => model::NextHop::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_and_lengths_convert_into_each_other() {
        for length_in in 0..=32 {
            assert_eq!(length(Family::V4, mask(Family::V4, length_in)), length_in);
        }
        for length_in in 0..=128 {
            assert_eq!(length(Family::V6, mask(Family::V6, length_in)), length_in);
        }
        assert_eq!(mask(Family::V4, 20), Address::v4([255, 255, 240, 0]));
        assert_eq!(mask(Family::V4, 0), Address::UNSPECIFIED);
    }

    #[test]
    fn prefixes_and_destinations_survive_the_maps() {
        for text in [
            "0.0.0.0/0",
            "10.1.2.3/32",
            "172.16.20.0/24",
            "::/0",
            "fd00::1/128",
        ] {
            let net: IpNet = text.parse().expect("a prefix");
            assert_eq!(prefix(&prefix_key(net)), Some(net));
            assert_eq!(destination(&destination_key(7, net)), Some((7, net)));
        }
    }

    #[test]
    fn next_hops_survive_the_maps() {
        let gateway = |text: &str| text.parse().expect("an address");
        for hop in [
            model::NextHop::OnLink { mtu: None },
            model::NextHop::Via {
                gateway: gateway("172.16.20.253"),
                mtu: Some(1400),
            },
            model::NextHop::Via {
                gateway: gateway("fe80::1"),
                mtu: None,
            },
            model::NextHop::Refuse,
        ] {
            assert_eq!(model_next_hop(next_hop(hop)), hop);
        }
    }
}
