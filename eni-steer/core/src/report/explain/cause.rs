//! Why the packet goes where it goes, and the commands that change it.

use super::{ExplainReport, ExplainVerdict, Fix, KernelAnswer, Picture, words};
use crate::{
    explain::{Beside, Passage, SourceOwner},
    known_tools::{KERNEL, probable_owner},
    model::{Family, Mode, Priority, Protocol, RouteLookup, Rule},
};

/// Fills sentences and fixes of a report.
pub(super) fn explain(picture: &Picture<'_>, report: &mut ExplainReport) {
    if !report.walk_agrees {
        report.notes.push(
            "eni-steer's walk of the rules and the kernel differ: the kernel's answer counts, and \
             the rules shown do not explain it. Please report this, with the output of 'eni-steer \
             explain -j', 'ip rule', 'ip route show table all' and 'uname -r'."
                .to_owned(),
        );
    }
    beside(picture, report);
    rule(picture, report);
    passage(picture, report);
    nobody(picture, report);
    second(picture, report);
}

fn fix(command: String, why: impl Into<String>) -> Fix {
    Fix {
        command,
        why: why.into(),
    }
}

/// What the kernel does that no rule says.
fn beside(picture: &Picture<'_>, report: &mut ExplainReport) {
    let flow = picture.input.flow;
    let name = |index: Option<crate::model::IfIndex>| {
        index.map_or_else(|| "?".to_owned(), |index| picture.name(index))
    };
    match picture.walk.beside {
        None => {}
        Some(Beside::ForeignSource) => report.why.push(format!(
            "No interface of this host has {}: the kernel sends no packet of its own from it. Name \
             the interface by which it comes in (--iif) if this host forwards it.",
            flow.from.map_or_else(String::new, |from| from.to_string())
        )),
        Some(Beside::Senseless) => report
            .why
            .push("The kernel refuses such addresses before it looks at a rule.".to_owned()),
        Some(Beside::InterfaceDown) => report
            .why
            .push(format!("{} is down or gone.", name(flow.oif.or(flow.iif)))),
        Some(Beside::Group) => report.why.push(
            "Multicast and broadcast leave by the interface of their source or socket; no rule is \
             asked."
                .to_owned(),
        ),
        Some(Beside::BoundAllTheSame) => {
            let by = name(flow.oif);
            report.why.push(format!(
                "The rules have no way by {by}. A socket that is bound to {by} sends all the same: \
                 the kernel takes {} for a neighbour there and asks for it by ARP.",
                flow.to
            ));
            if report.verdict == ExplainVerdict::Refused {
                report.fixes.push(fix(
                    "eni-steer apply".to_owned(),
                    format!("installs a table for sockets bound to {by}"),
                ));
            }
        }
        Some(Beside::NotForwarding) => {
            let by = name(flow.iif);
            report.why.push(format!(
                "This host does not forward IPv4 packets that come in by {by}."
            ));
            report.fixes.push(fix(
                format!("sysctl -w net.ipv4.conf.{by}.forwarding=1"),
                "only if this host should forward packets",
            ));
        }
        Some(Beside::ReversePath) => {
            let by = name(flow.iif);
            report.why.push(format!(
                "The kernel does not accept the source: it would not send to it by {by}, by which \
                 the packet comes in (rp_filter), or the source is this host's own."
            ));
            report.fixes.push(fix(
                format!("sysctl -w net.ipv4.conf.{by}.rp_filter=2"),
                "loose mode: the way back may be any interface",
            ));
        }
    }
}

/// The rule that decides.
fn rule(picture: &Picture<'_>, report: &mut ExplainReport) {
    if !report.walk_agrees || picture.walk.beside == Some(Beside::BoundAllTheSame) {
        return;
    }
    let Some((rule, route)) = picture.walk.decision() else {
        if matches!(report.kernel, KernelAnswer::Refused { .. }) && picture.walk.beside.is_none() {
            report
                .why
                .push("No rule leads to a table with a route.".to_owned());
            fix_missing(picture, report);
        }
        return;
    };
    let ours = picture.input.ownership.rule(rule);
    let refused = matches!(report.kernel, KernelAnswer::Refused { .. });
    let priority = rule.priority;
    let wrong = report.verdict == ExplainVerdict::WrongEni || steered(report);
    if refused && picture.walk.beside.is_none() {
        let by = match route {
            Some(route) => format!(
                "the route '{}' of table {} that it leads to refuses",
                words::route(picture.input.host, route),
                route.table
            ),
            None => format!("it refuses ({})", words::refusal(rule)),
        };
        report.why.push(format!("Rule {priority} decides: {by}."));
    }
    if report.as_configured {
        report
            .why
            .push("It is an access rule of eni-steer's: this is as configured.".to_owned());
        return;
    }
    if !(wrong || refused && picture.walk.beside.is_none()) {
        return;
    }
    match (ours, probable_owner(rule)) {
        (true, _) => {
            report.why.push(format!(
                "Rule {priority} is eni-steer's own, and its table does not lead where it should."
            ));
            report.fixes.push(fix(
                "eni-steer plan".to_owned(),
                "shows what differs from the policy",
            ));
            report
                .fixes
                .push(fix("eni-steer apply".to_owned(), "repairs it"));
        }
        (false, Some(KERNEL)) => fix_missing(picture, report),
        (false, whose) => foreign(picture, report, rule, whose),
    }
}

/// Whether the programs hold what the rules get wrong.
fn steered(report: &ExplainReport) -> bool {
    let passage = report.passage.as_ref();
    passage.is_some_and(|passage| passage.steered.is_some())
}

/// The kernel's own rules decide because none of eni-steer's does.
fn fix_missing(picture: &Picture<'_>, report: &mut ExplainReport) {
    let family = Family::of(picture.input.flow.to);
    let mut rules = picture.input.host.rules_of(family);
    let source = match picture.source {
        Some(source) => source.to_string(),
        None => "packets without a source".to_owned(),
    };
    let why = if rules.any(|rule| picture.input.ownership.rule(rule)) {
        if report.rules.iter().any(|row| row.meant) {
            format!("eni-steer's rule for {source} leads to no route.")
        } else {
            format!("eni-steer has no rule for {source}.")
        }
    } else {
        "eni-steer has no rules here: the kernel's own decide.".to_owned()
    };
    report.why.push(why);
    report.fixes.push(fix(
        "eni-steer apply".to_owned(),
        "installs the rules and tables",
    ));
}

/// Another program's rule, or one made by hand, decides.
fn foreign(
    picture: &Picture<'_>,
    report: &mut ExplainReport,
    rule: &Rule,
    whose: Option<&'static str>,
) {
    let priority = rule.priority;
    let maker = match whose {
        Some(whose) => format!("most likely {whose}'s"),
        None => maker(rule.protocol),
    };
    report.why.push(format!(
        "Rule {priority} is not eni-steer's (protocol {}: {maker}).",
        rule.protocol
    ));
    let family = rule.family;
    let words = words::selectors(rule);
    let delete = if rule.partial {
        format!("ip {family} rule del pref {priority}")
    } else {
        format!("ip {family} rule del pref {priority} {words}")
    };
    report
        .fixes
        .push(fix(delete.clone(), "nobody needs this rule"));
    let main = picture.input.host.rules_of(family);
    let main = main.filter(|rule| probable_owner(rule) == Some(KERNEL));
    let last = main.map(|rule| rule.priority.0).max();
    let first = picture.input.ownership.last.0 + 1;
    let last = Priority(last.unwrap_or(32766).min(32766).saturating_sub(1));
    // What has selectors that eni-steer cannot write is for its maker to move.
    if !rule.partial && priority.0 < first && first <= last.0 {
        report.fixes.push(fix(
            format!("ip {family} rule add pref {first} {words} && {delete}"),
            format!("it is needed: behind eni-steer's rules ({first} to {last})"),
        ));
    }
    let mode = report.passage.as_ref().map(|passage| passage.mode);
    if mode.is_some_and(|mode| mode != Mode::Steer)
        && let Some(owner) = picture.owner()
    {
        report.fixes.push(fix(
            "eni-steer apply --mode steer".to_owned(),
            format!("keep it: eni-steer redirects to {}", picture.name(owner)),
        ));
    }
}

/// Who writes a protocol number (rt_protos of iproute2).
fn maker(protocol: Protocol) -> String {
    match protocol.0 {
        0 | 3 | 4 => "added by hand or by a script".to_owned(),
        2 => "the kernel's".to_owned(),
        9 => "from router advertisements".to_owned(),
        11 => "zebra's".to_owned(),
        12 => "bird's".to_owned(),
        16 => "a DHCP client's".to_owned(),
        18 => "keepalived's".to_owned(),
        186..=192 => "a routing daemon's".to_owned(),
        _ => "another program's".to_owned(),
    }
}

/// What eni-steer's program does where the packet leaves.
fn passage(picture: &Picture<'_>, report: &mut ExplainReport) {
    let RouteLookup::Leaves { by, .. } = picture.input.answer else {
        return;
    };
    let Some(passage) = report.passage.clone() else {
        if picture.is_wrong(*by) {
            let by = picture.name(*by);
            report.why.push(format!(
                "No program of eni-steer's is on {by}: the packet is neither counted nor steered. A \
                 cloud that checks source addresses drops it."
            ));
        }
        return;
    };
    let name = picture.name(passage.eni);
    for other in &passage.behind {
        report.notes.push(format!(
            "Program {other} runs before eni-steer's on {name} and may drop or redirect the packet."
        ));
    }
    if !passage.attached {
        report.why.push(format!(
            "eni-steer's program on {name} egress is not attached: nothing is counted or steered."
        ));
        return;
    }
    let does = what_it_does(picture, report, &passage);
    report
        .why
        .push(format!("{name} egress, mode {}: {does}", passage.mode));
}

fn what_it_does(picture: &Picture<'_>, report: &ExplainReport, passage: &Passage) -> String {
    let name = picture.name(passage.eni);
    let so_far = match report.counted {
        None => String::new(),
        Some(counted) => {
            let last = match counted.last_seconds_ago {
                Some(seconds) => format!(", the last {seconds} s ago"),
                None => String::new(),
            };
            format!(" ({} so far{last})", counted.packets)
        }
    };
    let drops = "A cloud that checks source addresses drops it.";
    if let Some(steered) = &passage.steered {
        let to = picture.way(steered.by, Some(steered.to), None);
        let answers = match to.neighbour {
            Some(crate::explain::NeighbourState::Failed) => ", which does not answer",
            _ => "",
        };
        return format!(
            "the packet is redirected to {}, to {}{answers}, unless it is larger than {} \
             bytes{so_far}.",
            to.by, steered.to, steered.mtu
        );
    }
    match passage.fate {
        None => format!("{name} owns the source; the packet leaves and is counted{so_far}."),
        Some("count-only") => {
            format!("the packet leaves by {name} and is counted{so_far}. {drops}")
        }
        Some("dropped") => format!("the packet is dropped{so_far}."),
        Some("no-owner") => {
            format!("no ENI owns the source; the packet leaves and is counted{so_far}.")
        }
        Some("ambiguous-owner") => format!(
            "two ENIs have the source, so the packet is never steered; it leaves and is \
             counted{so_far}."
        ),
        Some(fate) => {
            let meaning = eni_steer_common::Fate::ALL
                .iter()
                .find(|known| known.label() == fate)
                .map_or(fate, |known| crate::counters::describe::fate(*known));
            format!("{meaning}; the packet leaves by {name}{so_far}.")
        }
    }
}

/// Sources without one owner.
fn nobody(picture: &Picture<'_>, report: &mut ExplainReport) {
    let Some(source) = picture.source else {
        return;
    };
    match picture.owned.as_ref().map(|owned| &owned.owner) {
        Some(SourceOwner::Ambiguous(_)) => report.notes.push(format!(
            "{source} is on several ENIs: eni-steer cannot know which of them is right. Remove it \
             from all but one."
        )),
        Some(SourceOwner::Nobody) if picture.input.flow.iif.is_some() => {
            report.notes.push(format!(
                "{source} is not this host's: whatever leaves with it must be translated (SNAT) or \
             allowed by the cloud."
            ))
        }
        _ => {}
    }
}

/// A socket that connects asks a second time, with the source that the first answer chose.
fn second(picture: &Picture<'_>, report: &mut ExplainReport) {
    let Some(source) = picture.source.filter(|_| report.source_chosen) else {
        return;
    };
    match &report.kernel_with_source {
        None => {}
        Some(KernelAnswer::Leaves(way)) => report.why.push(format!(
            "A socket that connects asks again with the source {source}, and then leaves by {}.",
            way.by
        )),
        Some(KernelAnswer::Delivered) => report.why.push(format!(
            "A socket that connects asks again with the source {source}, and then stays here."
        )),
        Some(KernelAnswer::Refused { why, .. }) => report.why.push(format!(
            "A socket that connects asks again with the source {source}, and is then refused: \
             {why}."
        )),
    }
}
