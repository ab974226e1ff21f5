//! Rules, routes, packets and outcomes in the words of `ip`.

use crate::{
    explain::{Outcome, errno as numbers},
    model::{Flow, Host, Route, RouteKind, Rule, RuleAction, destination_text},
};

/// A rule without its priority and protocol.
pub(super) fn rule(rule: &Rule) -> String {
    let text = rule.to_string();
    let priority = format!("pref {} ", rule.priority);
    let protocol = format!(" protocol {}", rule.protocol);
    let text = text.strip_prefix(&priority).unwrap_or(&text);
    text.strip_suffix(&protocol).unwrap_or(text).to_owned()
}

/// A rule for `ip rule del` or `ip rule add`, at a priority.
pub(super) fn selectors(rule: &Rule) -> String {
    let text = self::rule(rule);
    text.strip_prefix("from all ").unwrap_or(&text).to_owned()
}

/// A route in a few words: `default dev eth0`, `unreachable 10.0.0.0/8`.
pub(super) fn route(host: &Host, route: &Route) -> String {
    let mut words = Vec::new();
    if route.kind != RouteKind::Unicast {
        words.push(route.kind.to_string());
    }
    words.push(destination_text(route.destination).to_string());
    let mut names: Vec<String> = route.hops.iter().map(|hop| host.name(hop.out)).collect();
    names.dedup();
    if !names.is_empty() {
        words.push(format!("dev {}", names.join(" or ")));
    }
    words.join(" ")
}

/// What a rule did.
pub(super) fn outcome(host: &Host, outcome: &Outcome) -> String {
    match outcome {
        Outcome::NoMatch("not") => "no match: not".to_owned(),
        Outcome::NoMatch(selector) => format!("no match: {selector}"),
        Outcome::NoRoute(_) => "no route, continue".to_owned(),
        Outcome::Suppressed(found) => format!("suppressed: {}", route(host, found)),
        Outcome::MaySuppress(found) => {
            format!("may suppress: {}", route(host, found))
        }
        Outcome::Thrown => "throw route, continue".to_owned(),
        Outcome::Jumps(target) => format!("goto {target}"),
        Outcome::JumpsNowhere(target) => format!("no rule {target}, continue"),
        Outcome::Nothing => "nothing, continue".to_owned(),
        Outcome::Decides(found) => format!("WINS: {}", route(host, found)),
        Outcome::Refuses => "WINS: refuses".to_owned(),
        Outcome::Unresolved(found) => format!(
            "WINS: {}, whose nexthop object cannot be read",
            route(host, found)
        ),
        Outcome::CannotTell { selectors, then } => {
            let selectors: Vec<String> = selectors.iter().map(ToString::to_string).collect();
            let then = self::outcome(host, then);
            format!(
                "CANNOT TELL ({}): continue, or if it matches {then}",
                selectors.join(", ")
            )
        }
        Outcome::NotReached => "not reached".to_owned(),
    }
}

/// What an errno of a lookup means.
pub(super) fn errno(errno: i32) -> &'static str {
    match errno {
        numbers::ACCESS => "a rule or route prohibits it",
        numbers::NO_DEVICE => "the interface is gone",
        numbers::INVALID => "a rule or route drops it, or its source is not accepted",
        numbers::NET_UNREACHABLE => "no route",
        numbers::HOST_UNREACHABLE => "unreachable",
        _ => "the kernel refuses it",
    }
}

/// A packet in the words of `ip route get`.
pub(super) fn packet(host: &Host, flow: &Flow) -> String {
    let mut words = flow.to.to_string();
    let mut say = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push_str(&format!(" {word} {value}"));
        }
    };
    say("from", flow.from.map(|from| from.to_string()));
    say("iif", flow.iif.map(|index| host.name(index)));
    say("oif", flow.oif.map(|index| host.name(index)));
    say(
        "mark",
        (flow.mark != 0).then(|| format!("{:#x}", flow.mark)),
    );
    say("tos", (flow.tos != 0).then(|| format!("{:#x}", flow.tos)));
    say("uid", flow.uid.map(|uid| uid.to_string()));
    say("ipproto", flow.ip_protocol.map(|number| number.to_string()));
    say("sport", flow.sport.map(|port| port.to_string()));
    say("dport", flow.dport.map(|port| port.to_string()));
    words
}

/// What the action of a rule that refuses is called.
pub(super) fn refusal(rule: &Rule) -> &'static str {
    match rule.action {
        RuleAction::Prohibit => "prohibit",
        RuleAction::Unreachable => "unreachable",
        _ => "blackhole",
    }
}
