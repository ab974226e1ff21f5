//! The model: what the programs of an ENI must do with a packet, according to the tables.

use std::net::IpAddr;

use eni_steer_common::{Class, Fate};
use eni_steer_core::{
    counters::Count,
    model::{Datapath, Direction, EniRow, IfIndex, Mode, NextHop, Owner, Settings},
};
use ipnet::IpNet;

use super::{
    headers::{Content, Headers, Ip},
    ledger::Ledger,
    probe::{Answer, Probe, Report},
};
use crate::bench::{HERE, eni_word, index, short};

/// The owner of a local address, and the entry that names it.
#[derive(Clone, Copy)]
struct Owned {
    owner: Owner,
    by: IpNet,
}

/// The tables of a host, seen from the ENI whose programs run.
pub struct Judge<'a> {
    tables: &'a Datapath,
    settings: Settings,
    here: &'a EniRow,
}

impl<'a> Judge<'a> {
    pub fn new(tables: &'a Datapath) -> Self {
        Self {
            tables,
            settings: tables.settings.expect("the host has settings"),
            here: &tables.enis[&index(HERE)],
        }
    }

    /// Returns the answer and the report, and adds what is counted to the ledger.
    pub fn packet(&self, probe: &Probe, ledger: &mut Ledger) -> (Answer, Option<Report>) {
        let headers = Headers::read(&probe.frame, probe.tag_beside.is_some());
        let size = Size::of(probe, &headers);
        match probe.direction {
            Direction::Ingress => (Answer::Next, self.ingress(probe, &headers, &size, ledger)),
            Direction::Egress => self.egress(probe, &headers, &size, ledger),
        }
    }

    fn ingress(
        &self,
        probe: &Probe,
        headers: &Headers,
        size: &Size,
        ledger: &mut Ledger,
    ) -> Option<Report> {
        ledger.add(total("in", headers.class), size.count);
        let Content::Ip(ip) = &headers.content else {
            return None;
        };
        let owned = self.owned(ip.destination);
        let stranger = owned.and_then(|owned| self.stranger(owned.owner));
        let length = match ip.source {
            IpAddr::V4(_) => self.settings.source_length4,
            IpAddr::V6(_) => self.settings.source_length6,
        };
        let source = IpNet::new(ip.source, length).expect("a length").trunc();
        let source = format!("source {} in", short(source));
        ledger.add_source(source, size.count, stranger.is_some());
        if let Some(owned) = owned {
            ledger.add(cell(owned, "in", "passed"), size.count);
        }
        self.report(probe, ip, size, stranger?, None)
    }

    fn egress(
        &self,
        probe: &Probe,
        headers: &Headers,
        size: &Size,
        ledger: &mut Ledger,
    ) -> (Answer, Option<Report>) {
        let (ip, owned) = match &headers.content {
            // An unspecified source belongs to nobody, even if a prefix covers it.
            Content::Ip(ip) if ip.source.is_unspecified() => (Some(ip), None),
            Content::Ip(ip) => (Some(ip), self.owned(ip.source)),
            _ => (None, None),
        };
        let (fate, answer) = match (&headers.content, owned) {
            (Content::Ip(_), Some(owned)) if owned.owner == Owner::Eni(index(HERE)) => {
                (None, Answer::Next)
            }
            (Content::Ip(ip), owned) => {
                let (fate, answer) = self.fate(probe, headers, ip, owned, size);
                (Some(fate), answer)
            }
            (Content::Tagged, _) => (Some(Fate::Vlan), Answer::Next),
            (Content::NotIp, _) => (Some(Fate::NotIp), Answer::Next),
            (Content::Malformed, _) => (Some(Fate::Malformed), Answer::Next),
        };
        if answer == Answer::Next {
            ledger.add(total("out", headers.class), size.count);
        }
        if let Some(fate) = fate {
            ledger.add(format!("fate {}", fate.label()), size.count);
        }
        let Some(ip) = ip else {
            return (answer, None);
        };
        if let Some(owned) = owned {
            ledger.add(cell(owned, "out", column(fate)), size.count);
        }
        let stranger = owned.and_then(|owned| self.stranger(owned.owner));
        let listed_by_itself = owned.is_none_or(|owned| !is_address(owned.by));
        if answer == Answer::Next && listed_by_itself {
            let source = format!("source {} out", ip.source);
            ledger.add_source(source, size.count, stranger.is_some());
        }
        let report = match (stranger, fate) {
            (Some(owner), Some(fate)) if column(Some(fate)) != "exempt" => {
                self.report(probe, ip, size, owner, Some(fate.label()))
            }
            _ => None,
        };
        (answer, report)
    }

    /// Returns what happens to a packet that does not simply leave by its owner, and why. First
    /// it decides whether the packet is a mismatch, then what the packet is, then what the
    /// configuration says.
    fn fate(
        &self,
        probe: &Probe,
        headers: &Headers,
        ip: &Ip,
        owned: Option<Owned>,
        size: &Size,
    ) -> (Fate, Answer) {
        let pass = |fate| (fate, Answer::Next);
        let owner = match owned.map(|owned| owned.owner) {
            None if ip.source.is_unspecified() => return pass(Fate::Unspecified),
            None if link_local(ip.source) => return pass(Fate::LinkLocal),
            None => return pass(Fate::NoOwner),
            Some(Owner::Ambiguous) => return pass(Fate::Ambiguous),
            Some(Owner::Eni(owner)) => owner,
        };
        if link_local(ip.source) || link_local(ip.destination) {
            return pass(Fate::LinkLocal);
        }
        let broadcast = ip.destination == IpAddr::from([255; 4]);
        if headers.to_group || broadcast || ip.destination.is_multicast() {
            return pass(Fate::Multicast);
        }
        if let Some((mark, mask)) = self.settings.exempt_mark
            && mask != 0
            && probe.metadata.mark & mask == mark
        {
            return pass(Fate::ExemptMark);
        }
        let mut exempt = self.tables.exempt.iter();
        if exempt.any(|net| net.contains(&ip.destination)) {
            return pass(Fate::ExemptDestination);
        }
        match self.here.mode {
            Mode::Count => pass(Fate::CountOnly),
            Mode::Drop => (Fate::Dropped, Answer::Drop),
            Mode::Steer => self.steer(owner, ip.destination, size),
        }
    }

    fn steer(&self, owner: IfIndex, destination: IpAddr, size: &Size) -> (Fate, Answer) {
        let pass = |fate| (fate, Answer::Next);
        let Some(row) = self.tables.enis.get(&owner).filter(|row| row.up) else {
            return pass(Fate::OwnerAbsent);
        };
        let routes = self.tables.next_hops.iter();
        let route = routes
            .filter(|((eni, net), _)| *eni == owner && net.contains(&destination))
            .max_by_key(|((_, net), _)| net.prefix_len());
        let (neighbour, mtu) = match route.map(|(_, hop)| *hop) {
            None => return pass(Fate::NoNextHop),
            Some(NextHop::Refuse) => return pass(Fate::Refused),
            Some(NextHop::OnLink { mtu }) => (destination, mtu),
            // IPv6 has no neighbours with IPv4 addresses.
            Some(NextHop::Via { gateway, .. }) if destination.is_ipv6() && gateway.is_ipv4() => {
                return pass(Fate::NoNextHop);
            }
            Some(NextHop::Via { gateway, mtu }) => (gateway, mtu),
        };
        let mtu = mtu.map_or(row.mtu, |mtu| mtu.min(row.mtu));
        if size.largest > u64::from(mtu) {
            return pass(Fate::Mtu);
        }
        (Fate::Steered, Answer::Redirect(owner, neighbour))
    }

    /// Returns the owner of an address, by its own entry or by the longest prefix that contains
    /// it.
    fn owned(&self, address: IpAddr) -> Option<Owned> {
        let owners = self.tables.owners.iter();
        owners
            .filter(|(net, _)| net.contains(&address))
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(net, owner)| Owned {
                owner: *owner,
                by: *net,
            })
    }

    /// Returns the owner if it is another ENI.
    fn stranger(&self, owner: Owner) -> Option<IfIndex> {
        match owner {
            Owner::Eni(eni) if eni != index(HERE) => Some(eni),
            _ => None,
        }
    }

    fn report(
        &self,
        probe: &Probe,
        ip: &Ip,
        size: &Size,
        owner: IfIndex,
        fate: Option<&'static str>,
    ) -> Option<Report> {
        (self.settings.events_per_second > 0).then_some(Report {
            direction: probe.direction,
            owner,
            ip: *ip,
            mark: probe.metadata.mark,
            bytes: size.count.bytes,
            fate,
        })
    }
}

/// Size of a packet on the wire.
struct Size {
    count: Count,
    /// Size of the largest segment without Ethernet headers, as the kernel judges it
    /// (`skb_gso_validate_network_len`): by the size that the segments are to have.
    largest: u64,
}

impl Size {
    fn of(probe: &Probe, headers: &Headers) -> Self {
        let length = probe.frame.len() as u64;
        let beside = if probe.tag_beside.is_some() { 4 } else { 0 };
        let metadata = probe.metadata;
        let size = u64::from(metadata.gso_size);
        let layer3 = headers.layer3 as u64;
        if size == 0 {
            return Self {
                count: Count {
                    packets: 1,
                    bytes: length + beside,
                },
                largest: length - layer3.min(length),
            };
        }
        let (repeated, jumbo) = (headers.repeated as u64, headers.jumbo as u64);
        let payload = length.saturating_sub(repeated + jumbo);
        let packets = match metadata.gso_segs {
            0 => payload.div_ceil(size).max(1),
            segments => segments.into(),
        };
        let summed_up = u64::from(metadata.wire_len);
        // The kernel's sum includes the header that segmentation removes.
        let bytes = if probe.direction == Direction::Egress && summed_up > length {
            summed_up
        } else {
            length + (packets - 1) * (repeated + jumbo)
        };
        Self {
            count: Count {
                packets,
                bytes: (bytes + packets * beside).saturating_sub(packets * jumbo),
            },
            largest: repeated - layer3 + size,
        }
    }
}

/// Returns the column of its cell that counts a packet.
fn column(fate: Option<Fate>) -> &'static str {
    match fate {
        Some(Fate::Steered) => "steered",
        Some(Fate::Dropped) => "dropped",
        Some(Fate::LinkLocal | Fate::Multicast | Fate::ExemptMark | Fate::ExemptDestination) => {
            "exempt"
        }
        _ => "passed",
    }
}

fn total(way: &str, class: Class) -> String {
    let class = match class {
        Class::Ipv4 => "ipv4",
        Class::Ipv6 => "ipv6",
        Class::Other => "other",
    };
    format!("total {way} {class}")
}

fn cell(owned: Owned, way: &str, column: &str) -> String {
    let owner = match owned.owner {
        Owner::Eni(eni) if eni == index(HERE) => "home".to_owned(),
        Owner::Eni(eni) => format!("of {}", eni_word(Some(eni))),
        Owner::Ambiguous => "of nobody".to_owned(),
    };
    format!("cell {} {owner} {way} {column}", short(owned.by))
}

fn is_address(net: IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
