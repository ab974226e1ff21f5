//! Asks the kernel for the route of one packet (`RTM_GETROUTE` for one destination, which is
//! `ip route get`).

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{RouteAttribute, RouteFlags, RouteMessage},
};

use super::{
    connection::{Netlink, Request},
    errno::NetlinkError,
    route::from_answer,
    wire::{address_to_wire, family_to_wire},
};
use eni_steer_core::model::{Family, Flow, RouteKind, RouteLookup};

impl Netlink {
    /// Asks the kernel which route a packet of this flow would take.
    ///
    /// # Errors
    /// The request failed, or the answer contains no route. A kernel without a route for the flow
    /// is not an error: the result is then [`RouteLookup::Refused`].
    pub fn lookup(&self, flow: &Flow) -> Result<RouteLookup, NetlinkError> {
        let family = Family::of(flow.to);
        let what = format!("ip {family} route get {}", flow.to);
        let mut request = RouteMessage::default();
        request.header.address_family = family_to_wire(family);
        request.header.destination_prefix_length = family.bits();
        if family == Family::V4 {
            // Without this flag the answer names table main, whichever table has the route. IPv6
            // always names the right table, and refuses the flag (inet6_rtm_valid_getroute_req).
            request.header.flags = RouteFlags::LookupTable;
        }
        request
            .attributes
            .push(RouteAttribute::Destination(address_to_wire(flow.to)));
        if let Some(from) = flow.from {
            request.header.source_prefix_length = family.bits();
            request
                .attributes
                .push(RouteAttribute::Source(address_to_wire(from)));
        }
        if flow.mark != 0 {
            request.attributes.push(RouteAttribute::Mark(flow.mark));
        }
        if let Some(iif) = flow.iif {
            request.attributes.push(RouteAttribute::Iif(iif.get()));
        }
        let selectors = [
            flow.uid.map(RouteAttribute::Uid),
            flow.ip_protocol.map(RouteAttribute::IpProto),
            flow.sport.map(RouteAttribute::Sport),
            flow.dport.map(RouteAttribute::Dport),
        ];
        request.attributes.extend(selectors.into_iter().flatten());
        let request = Request::new(RouteNetlinkMessage::GetRoute(request), 0);
        let mut answers = self.ask_all(vec![request], |_| what.clone(), from_answer);
        let answers = match answers.swap_remove(0) {
            Ok(answers) => answers,
            Err(NetlinkError::Refused { errno, .. })
                if [
                    libc::ENETUNREACH,
                    libc::EHOSTUNREACH,
                    libc::EACCES,
                    libc::EINVAL,
                    // rp_filter would drop a packet that arrives on this interface.
                    libc::EXDEV,
                ]
                .contains(&errno) =>
            {
                return Ok(RouteLookup::Refused { errno });
            }
            Err(error) => return Err(error),
        };
        for route in answers {
            if route.kind.refuses() {
                let errno = match route.kind {
                    RouteKind::Prohibit => libc::EACCES,
                    RouteKind::Blackhole => libc::EINVAL,
                    _ => libc::EHOSTUNREACH,
                };
                return Ok(RouteLookup::Refused { errno });
            }
            if let Some(hop) = route.hops.first() {
                return Ok(RouteLookup::Leaves {
                    by: hop.out,
                    gateway: hop.gateway,
                    table: route.table,
                    kind: route.kind,
                });
            }
        }
        Err(NetlinkError::Unexpected { what })
    }
}
