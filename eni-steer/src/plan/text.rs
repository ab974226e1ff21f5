//! Steps as text: one line each, as `ip`, `tc` or `sysctl` would say it, with `+` for what
//! comes, `-` for what goes and `~` for what changes.

use std::fmt::Write;

use super::{Change, Program, Step};
use crate::model::{
    AttachKind, Direction, EniRow, IfIndex, KnobKind, Mode, NextHop, Owner, Route, RouteKind,
    destination_text,
};

/// Names of interfaces.
pub trait Names {
    /// Name of an interface, or something that identifies it if it is gone.
    fn name(&self, index: IfIndex) -> String;
}

impl Names for crate::observe::Observed {
    fn name(&self, index: IfIndex) -> String {
        Self::name(self, index)
    }
}

fn sign<T>(change: &Change<T>) -> char {
    match change {
        Change { from: None, .. } => '+',
        Change { to: None, .. } => '-',
        Change { .. } => '~',
    }
}

/// What a change is about: the new state, or the old one if it goes.
fn subject<T>(change: &Change<T>) -> Option<&T> {
    change.to.as_ref().or(change.from.as_ref())
}

/// One line for a step.
pub fn line(step: &Step, names: &impl Names) -> String {
    let name = |index| names.name(index);
    match step {
        Step::Memory { knob, change } => {
            let (interface, kind) = (name(knob.index), knob.kind);
            match change.to {
                Some(memory) => format!("+ remember {interface} {kind} was {}", memory.previous),
                None => format!("- forget what {interface} {kind} was"),
            }
        }
        Step::Knob { knob, change, .. } => {
            let to = change.to.unwrap_or_default();
            let from = change.from.unwrap_or_default();
            let interface = name(knob.index);
            match knob.kind {
                KnobKind::Group => format!("~ ip link set dev {interface} group {to} (was {from})"),
                kind => {
                    format!("~ sysctl net.ipv4.conf.{interface}.{kind}={to} (was {from})")
                }
            }
        }
        Step::Route { change } => match subject(change) {
            Some(route) => {
                let was = match change {
                    Change {
                        from: Some(from),
                        to: Some(_),
                    } => {
                        format!(" (was {})", route_text(from, name))
                    }
                    _ => String::new(),
                };
                format!(
                    "{} ip {} route {}{was}",
                    sign(change),
                    route.family(),
                    route_text(route, name)
                )
            }
            None => String::new(),
        },
        Step::Rule { change } => {
            // There are thousands of them: each is written where there is room for it.
            let mut text = String::with_capacity(96);
            if let Some(rule) = subject(change) {
                let (sign, family) = (sign(change), rule.family);
                let _never_fails = write!(text, "{sign} ip {family} rule {rule}");
            }
            text
        }
        Step::Settings { change } => match change {
            Change { from: None, .. } => "+ bpf maps".to_owned(),
            Change { to: None, .. } => "- bpf maps, with their counters".to_owned(),
            Change { .. } => "~ bpf settings".to_owned(),
        },
        Step::Eni { eni, change } => {
            let row = subject(change).map(row_text).unwrap_or_default();
            format!("{} bpf eni {}{row}", sign(change), name(*eni))
        }
        Step::Owner { net, change } => {
            let owner = match subject(change) {
                Some(Owner::Eni(eni)) => name(*eni),
                Some(Owner::Ambiguous) => "nobody (on two ENIs)".to_owned(),
                None => String::new(),
            };
            format!(
                "{} bpf owner {} {owner}",
                sign(change),
                destination_text(*net)
            )
        }
        Step::NextHop { eni, net, change } => {
            let hop = subject(change).map(next_hop_text).unwrap_or_default();
            let (eni, net) = (name(*eni), destination_text(*net));
            format!("{} bpf next-hop {net}{hop} dev {eni}", sign(change))
        }
        Step::Retire { layout, .. } => {
            format!("- bpf layout {layout} of another version, with its programs and counters")
        }
        Step::Exempt { net, exempt } => {
            format!(
                "{} bpf exempt {}",
                if *exempt { '+' } else { '-' },
                destination_text(*net)
            )
        }
        Step::Program {
            eni,
            direction,
            change,
        } => {
            let kind = match subject(change) {
                Some(Program::Seen(seen)) => Some(seen.kind),
                Some(Program::Wanted(wanted)) => wanted.kind,
                None => None,
            };
            let hook = match direction {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            };
            let kind = match kind {
                Some(AttachKind::Tcx) => " tcx",
                Some(AttachKind::Clsact) => " clsact",
                None => "",
            };
            format!(
                "{} tc program dev {} {hook}{kind}",
                sign(change),
                name(*eni)
            )
        }
    }
}

fn row_text(row: &EniRow) -> String {
    let mode = match row.mode {
        Mode::Count => "count",
        Mode::Steer => "steer",
        Mode::Drop => "drop",
    };
    let down = if row.up { "" } else { " down" };
    format!(" mode {mode} mtu {}{down}", row.mtu)
}

fn next_hop_text(hop: &NextHop) -> String {
    match hop {
        NextHop::OnLink { .. } => String::new(),
        NextHop::Via { gateway, .. } => format!(" via {gateway}"),
        NextHop::Refuse => " refused".to_owned(),
    }
}

/// A route as an argument list of `ip route add`.
pub fn route_text(route: &Route, name: impl Fn(IfIndex) -> String) -> String {
    let mut words = Vec::new();
    if route.kind != RouteKind::Unicast {
        words.push(route.kind.to_string());
    }
    words.push(destination_text(route.destination).to_string());
    let single = route.hops.len() == 1;
    for hop in &route.hops {
        if !single {
            words.push("nexthop".to_owned());
        }
        if let Some(gateway) = hop.gateway {
            let inet6 = gateway.is_ipv6() && route.destination.addr().is_ipv4();
            words.push(format!(
                "via {}{gateway}",
                if inet6 { "inet6 " } else { "" }
            ));
        }
        words.push(format!("dev {}", name(hop.out)));
        if !single {
            words.push(format!("weight {}", hop.weight));
        }
        if hop.onlink {
            words.push("onlink".to_owned());
        }
    }
    words.push(format!("table {}", route.table));
    if let Some(source) = route.source {
        words.push(format!("src {source}"));
    }
    if route.metric != 0 {
        words.push(format!("metric {}", route.metric));
    }
    if let Some(mtu) = route.mtu {
        words.push(format!("mtu {mtu}"));
    }
    if route.scope == 253 && route.hops.iter().all(|hop| hop.gateway.is_none()) {
        words.push("scope link".to_owned());
    }
    words.push(format!("proto {}", route.protocol));
    words.join(" ")
}
