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
use eni_steer_core::model::{Family, Flow, Route, RouteKind, RouteLookup};

impl Netlink {
    /// Asks the kernel where a packet would go.
    pub fn lookup(&self, question: &Flow) -> Result<RouteLookup, NetlinkError> {
        self.lookup_all(std::slice::from_ref(question))
            .swap_remove(0)
    }

    /// Asks the kernel where packets would go, many at once.
    pub fn lookup_all(&self, questions: &[Flow]) -> Vec<Result<RouteLookup, NetlinkError>> {
        let requests = questions.iter().map(request).collect();
        let answers = self.ask_all(requests, |at| words(&questions[at]), from_answer);
        let judged = answers.into_iter().zip(questions);
        judged
            .map(|(answer, question)| judge(question, answer))
            .collect()
    }
}

fn words(question: &Flow) -> String {
    format!("ip {} route get {}", Family::of(question.to), question.to)
}

fn request(question: &Flow) -> Request {
    let family = Family::of(question.to);
    let mut request = RouteMessage::default();
    request.header.address_family = family_to_wire(family);
    request.header.destination_prefix_length = family.bits();
    request.header.tos = question.tos;
    if family == Family::V4 {
        // Without this flag the answer says "main" whatever the table. IPv6 always names
        // the table, and refuses the flag (inet6_rtm_valid_getroute_req).
        request.header.flags = RouteFlags::LookupTable;
    }
    request
        .attributes
        .push(RouteAttribute::Destination(address_to_wire(question.to)));
    if let Some(from) = question.from {
        request.header.source_prefix_length = family.bits();
        request
            .attributes
            .push(RouteAttribute::Source(address_to_wire(from)));
    }
    if question.mark != 0 {
        request.attributes.push(RouteAttribute::Mark(question.mark));
    }
    // For IPv6 the question has no user where the packets that are forwarded have root
    // (`inet6_rtm_getroute` and `ip6_route_input` in net/ipv6/route.c).
    let uid = match question.iif {
        Some(_) => Some(0),
        None => question.uid,
    };
    let more = [
        question.iif.map(|iif| RouteAttribute::Iif(iif.get())),
        question
            .oif
            .filter(|_| question.iif.is_none())
            .map(|oif| RouteAttribute::Oif(oif.get())),
        uid.map(RouteAttribute::Uid),
        question.ip_protocol.map(RouteAttribute::IpProto),
        question.sport.map(RouteAttribute::Sport),
        question.dport.map(RouteAttribute::Dport),
    ];
    request.attributes.extend(more.into_iter().flatten());
    Request::new(RouteNetlinkMessage::GetRoute(request), 0)
}

fn judge(
    question: &Flow,
    answers: Result<Vec<Route>, NetlinkError>,
) -> Result<RouteLookup, NetlinkError> {
    let answers = match answers {
        Ok(answers) => answers,
        Err(NetlinkError::Refused { errno, .. })
            if [
                libc::ENETUNREACH,
                libc::EHOSTUNREACH,
                libc::EACCES,
                libc::EINVAL,
                // rp_filter, for what comes in by an interface.
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
                source: route.source,
            });
        }
    }
    Err(NetlinkError::Unexpected {
        what: words(question),
    })
}
