//! The ENIs: sysctls, MTU, gateways, what else is attached to them, and the interfaces that are
//! left out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    codes,
    facts::Facts,
    found::{Found, names},
};
use crate::{
    desired::{Desired, Eni},
    findings::{self, Code},
    model::{Host, Link, Reachability, Tunable, TunableKind},
    policy::{Discover, Policy},
    verify::{GatewayCheck, PolicyVerdict},
};

pub(super) fn check(
    host: &Host,
    facts: &Facts,
    policy: &Policy,
    desired: &Desired,
    verdict: &PolicyVerdict,
    found: &mut Found,
) {
    links(host, policy, desired, found);
    if desired.enis.is_empty() {
        return;
    }
    sysctls(host, policy, desired, found);
    mtus(host, desired, found);
    gateways(verdict, found);
    attached(host, facts, desired, found);
    devices(facts, desired, found);
}

/// Which ENIs there are, and why the other interfaces are not among them.
fn links(host: &Host, policy: &Policy, desired: &Desired, found: &mut Found) {
    let enis = &desired.enis;
    if enis.is_empty() {
        found.add(
            codes::NO_ENI,
            "ENIs",
            "no ENI was found".to_owned(),
            Some("eni-steer apply --eni NAME --gateway NAME=ADDRESS".to_owned()),
        );
    } else {
        found.fine("ENIs", format!("{} found", enis.len()));
    }
    for eni in enis {
        let link = host.links.get(&eni.index);
        let carrier = link.is_none_or(|link| link.carrier);
        if !eni.up {
            let fix = format!("ip link set {} up", eni.name);
            let text = format!("{} is down", eni.name);
            found.add(codes::ENI_DOWN, &eni.name, text, Some(fix));
        } else if !carrier {
            let text = format!("{} has no carrier", eni.name);
            found.add(codes::ENI_DOWN, &eni.name, text, None);
        }
    }
    let mut reasons: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    let is_eni = |link: &Link| enis.iter().any(|eni| eni.index == link.index);
    for link in host
        .links
        .values()
        .filter(|link| !link.loopback && !is_eni(link))
    {
        let reason = reason(host, policy, link);
        if reason == NO_GATEWAY {
            let name = &link.name;
            found.add(
                codes::LOOKS_LIKE_AN_ENI,
                name,
                format!("{name} looks like an ENI, but no gateway is known for it"),
                Some(format!(
                    "eni-steer apply --eni {name} --gateway {name}=ADDRESS"
                )),
            );
            continue;
        }
        reasons.entry(reason).or_default().push(&link.name);
    }
    for (reason, links) in reasons {
        let text = format!("left out: {} ({reason})", names(&links));
        found.add(codes::LEFT_OUT, &links.join(", "), text, None);
    }
}

const NO_GATEWAY: &str = "no gateway";

/// The first condition of an ENI that an interface does not satisfy.
fn reason(host: &Host, policy: &Policy, link: &Link) -> &'static str {
    let enis = &policy.enis;
    let names = |wanted: &crate::policy::EniPolicy| {
        let selector = wanted.select.to_string();
        let mac = link.mac.map(|mac| mac.to_string());
        selector == link.name
            || Some(&selector) == mac.as_ref()
            || link.altnames.contains(&selector)
    };
    if enis.iter().any(|eni| !eni.managed && names(eni)) {
        return "managed = false";
    }
    if !link.is_ethernet() {
        return "not Ethernet";
    }
    if link.master.is_some() {
        return "part of a bridge, bond or VRF";
    }
    if link.kind.is_some() {
        return "virtual";
    }
    if enis.iter().any(|eni| eni.managed) && policy.discover != Discover::Always {
        return "the policy names others";
    }
    if !link.up {
        return "down";
    }
    if host.usable_addresses(link.index).next().is_none() {
        return "no global address";
    }
    NO_GATEWAY
}

/// The effective value of a sysctl: the larger of the interface's and that of all.
fn effective(host: &Host, eni: &Eni, kind: TunableKind) -> u32 {
    let tunable = Tunable {
        index: eni.index,
        kind,
    };
    let own = host.tunables.get(&tunable).copied().unwrap_or(0);
    own.max(host.all.get(&kind).copied().unwrap_or(0))
}

fn sysctls(host: &Host, policy: &Policy, desired: &Desired, found: &mut Found) {
    let is_strict = |eni: &&Eni| effective(host, eni, TunableKind::RpFilter) == 1;
    let strict: Vec<&str> = names_of(desired, is_strict);
    if !strict.is_empty() {
        let by_all = host.all.get(&TunableKind::RpFilter) == Some(&1);
        let whose = if by_all {
            "'all' is strict"
        } else {
            "strict (1)"
        };
        found.add(
            codes::RP_FILTER_STRICT,
            &strict.join(", "),
            format!(
                "{whose} on {}: drops what comes in by another way",
                names(&strict)
            ),
            Some("eni-steer apply".to_owned()),
        );
    }
    found.fine("rp_filter", "off or loose on every ENI");
    // Where eni-steer leaves arp_ignore as it is, another finding says why; applying again would not
    // change it.
    let left = desired.arp_ignore_left_alone(host, policy);
    let left = left.map_or_else(Vec::new, |(enis, _)| enis);
    let mut shared: BTreeSet<&str> = BTreeSet::new();
    for (at, one) in desired.enis.iter().enumerate() {
        for other in &desired.enis[at + 1..] {
            let nets = |eni: &Eni| -> BTreeSet<_> {
                let all = eni.addresses.iter().map(|address| address.net.trunc());
                all.filter(|net| net.addr().is_ipv4()).collect()
            };
            let answers = |eni: &Eni| {
                let ignores = effective(host, eni, TunableKind::ArpIgnore) > 0;
                (!ignores && !left.contains(&eni.name.as_str()))
                    || effective(host, eni, TunableKind::ArpAnnounce) < 2
            };
            if !nets(one).is_disjoint(&nets(other)) {
                let wrong = [one, other].into_iter().filter(|eni| answers(eni));
                shared.extend(wrong.map(|eni| eni.name.as_str()));
            }
        }
    }
    if !shared.is_empty() {
        let shared: Vec<&str> = shared.into_iter().collect();
        let verb = if shared.len() == 1 {
            "answers"
        } else {
            "answer"
        };
        found.add(
            codes::ARP_SHARED,
            &shared.join(", "),
            format!(
                "{} {verb} ARP for other ENIs of the same subnet",
                names(&shared)
            ),
            Some("eni-steer apply".to_owned()),
        );
    }
    found.fine("ARP", "each ENI answers for its own addresses");
}

fn names_of(desired: &Desired, is: impl Fn(&&Eni) -> bool) -> Vec<&str> {
    let enis = desired.enis.iter().filter(is);
    enis.map(|eni| eni.name.as_str()).collect()
}

fn mtus(host: &Host, desired: &Desired, found: &mut Found) {
    let mut by_mtu: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for eni in &desired.enis {
        by_mtu.entry(eni.mtu).or_default().push(&eni.name);
    }
    if by_mtu.len() > 1 {
        let parts: Vec<String> = by_mtu
            .iter()
            .map(|(mtu, enis)| format!("{mtu} on {}", names(enis)))
            .collect();
        let largest = by_mtu.keys().max().copied().unwrap_or_default();
        let small = by_mtu.iter().find(|(mtu, _)| **mtu < largest);
        let first = small.and_then(|(_, enis)| enis.first());
        found.add(
            codes::MTU_DIFFERS,
            "MTU",
            parts.join(", "),
            first.map(|eni| format!("ip link set {eni} mtu {largest}")),
        );
    }
    let common: Vec<String> = by_mtu.keys().map(u32::to_string).collect();
    found.fine("MTU", format!("{} on every ENI", common.join(", ")));
    let mut said = BTreeSet::new();
    for route in &host.routes {
        let Some(mtu) = route.mtu else { continue };
        let mut enis = desired.enis.iter();
        let eni = enis.find(|eni| route.hop_by(eni.index).is_some() && eni.mtu < mtu);
        let Some(eni) = eni else { continue };
        if said.insert(&eni.name) {
            found.add(
                codes::ROUTE_MTU,
                &eni.name,
                format!(
                    "a route through {} has mtu {mtu}, the ENI {}",
                    eni.name, eni.mtu
                ),
                Some(format!("ip link set {} mtu {mtu}", eni.name)),
            );
        }
    }
}

fn gateways(verdict: &PolicyVerdict, found: &mut Found) {
    let all = &verdict.gateways;
    for check in all {
        let eni = &check.eni;
        let asks = if check.gateway.is_ipv4() { "ARP" } else { "ND" };
        match check.state {
            Reachability::Failed => found.add(
                codes::GATEWAY_SILENT,
                eni,
                format!("{eni}: {} does not answer {asks}", check.gateway),
                Some(format!("eni-steer apply --gateway {eni}=ADDRESS")),
            ),
            Reachability::Unknown => found.add(
                codes::GATEWAY_UNKNOWN,
                eni,
                format!("{eni}: nothing is known of {}", check.gateway),
                None,
            ),
            Reachability::Reachable => {}
        }
    }
    // One of which nothing is known is no success, and neither is none.
    let is_reachable = |check: &GatewayCheck| check.state == Reachability::Reachable;
    if !all.is_empty() && all.iter().all(is_reachable) {
        found.fine("gateway", format!("{} of {} answer", all.len(), all.len()));
    }
}

fn attached(host: &Host, facts: &Facts, desired: &Desired, found: &mut Found) {
    for finding in findings::foreign_programs(host, desired) {
        let entry = match finding.code {
            Code::ProgramRunsFirst => codes::PROGRAM_FIRST,
            _ => codes::PROGRAM_AFTER,
        };
        found.add(entry, &finding.object, finding.why, None);
    }
    let device = |eni: &Eni| facts.devices.get(&eni.index);
    let xdp = names_of(desired, |eni| device(eni).is_some_and(|device| device.xdp));
    if let Some(first) = xdp.first() {
        found.add(
            codes::XDP,
            &xdp.join(", "),
            format!("an XDP program runs first on {}", names(&xdp)),
            Some(format!("ip link set {first} xdp off")),
        );
    }
    for eni in &desired.enis {
        for chain in device(eni).into_iter().flat_map(|device| &device.chains) {
            let text = format!("netfilter chain {chain} on {}", eni.name);
            found.add(codes::NETFILTER_HOOK, &eni.name, text, None);
        }
    }
}

fn devices(facts: &Facts, desired: &Desired, found: &mut Found) {
    for eni in &desired.enis {
        let Some(device) = facts.devices.get(&eni.index) else {
            continue;
        };
        if !device.offloads.is_empty() {
            let off: Vec<String> = device
                .offloads
                .iter()
                .map(|name| format!("{name} off"))
                .collect();
            found.add(
                codes::OFFLOAD_BLINDS,
                &eni.name,
                format!(
                    "{}: {} hides packets from programs",
                    eni.name,
                    device.offloads.join(", ")
                ),
                Some(format!("ethtool -K {} {}", eni.name, off.join(" "))),
            );
        }
    }
    let has_one = |eni: &&Eni| {
        let device = facts.devices.get(&eni.index);
        device.is_some_and(|device| device.queues == 1)
    };
    let single = names_of(desired, has_one);
    if facts.cpus > 1 && !single.is_empty() {
        let text = format!("one queue on {}, for {} CPUs", names(&single), facts.cpus);
        found.add(codes::ONE_QUEUE, &single.join(", "), text, None);
    }
}
