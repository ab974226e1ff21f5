//! Steps as text for people.
//!
//! Each line begins with `+` (eni-steer adds something), `-` (it removes something) or `~` (it
//! changes something). For routes, rules, groups and sysctls, the rest of the line is the command
//! that does the same, with the old value as a comment, so the reader can paste it into a shell.
//! For entries of the programs' maps and saved values, which no command can change, the line
//! describes the change.

use super::step::{Change, Program, Step};
use crate::model::{
    AttachKind, EniRow, Hook, Names, NextHop, Owner, TunableKind, destination_text,
};

fn sign<T>(change: &Change<T>) -> char {
    match change {
        Change { from: None, .. } => '+',
        Change { to: None, .. } => '-',
        Change { .. } => '~',
    }
}

/// The object of a change: as it will be, or as it was if the step removes it.
fn subject<T>(change: &Change<T>) -> Option<&T> {
    change.to.as_ref().or(change.from.as_ref())
}

impl Step {
    /// The step as one line.
    pub fn describe(&self, names: &impl Names) -> String {
        let name = |index| names.name(index);
        match self {
            Self::SavedValue { tunable, change } => {
                let (interface, kind) = (name(tunable.index), tunable.kind);
                match change.to {
                    Some(saved) => {
                        format!("+ save value: {interface} {kind} was {}", saved.previous)
                    }
                    None => format!("- drop saved value: {interface} {kind}"),
                }
            }
            Self::Tunable {
                tunable, change, ..
            } => {
                let to = change.to.unwrap_or_default();
                let from = change.from.unwrap_or_default();
                let interface = name(tunable.index);
                match tunable.kind {
                    TunableKind::Group => {
                        format!("~ ip link set dev {interface} group {to}  # was {from}")
                    }
                    // sysctl(8) takes a slash for a dot that is part of a name.
                    kind => format!(
                        "~ sysctl -w net.ipv4.conf.{}.{kind}={to}  # was {from}",
                        interface.replace('.', "/")
                    ),
                }
            }
            Self::Route { change } => {
                let Some(route) = subject(change) else {
                    return String::new();
                };
                let (verb, was) = match change {
                    Change { from: None, .. } => ("add", String::new()),
                    Change { to: None, .. } => ("del", String::new()),
                    Change {
                        from: Some(from), ..
                    } => ("replace", format!("  # was {}", from.describe(names))),
                };
                let (sign, family, route) = (sign(change), route.family(), route.describe(names));
                format!("{sign} ip {family} route {verb} {route}{was}")
            }
            Self::Rule { change } => {
                let Some(rule) = subject(change) else {
                    return String::new();
                };
                let verb = if change.to.is_some() { "add" } else { "del" };
                format!("{} ip {} rule {verb} {rule}", sign(change), rule.family)
            }
            Self::Settings { change } => match change {
                Change { from: None, .. } => "+ bpf maps".to_owned(),
                Change { to: None, .. } => "- bpf maps, with their counters".to_owned(),
                Change { .. } => "~ bpf settings".to_owned(),
            },
            Self::Eni { eni, change } => {
                let row = subject(change).map(row_text).unwrap_or_default();
                format!("{} bpf eni {}{row}", sign(change), name(*eni))
            }
            Self::Owner { net, change } => {
                let owner = match subject(change) {
                    Some(Owner::Eni(eni)) => name(*eni),
                    Some(Owner::Ambiguous) => "none (two ENIs have it)".to_owned(),
                    None => String::new(),
                };
                let net = destination_text(*net);
                format!("{} bpf owner {net} {owner}", sign(change))
            }
            Self::NextHop { eni, net, change } => {
                let hop = subject(change).map(next_hop_text).unwrap_or_default();
                let (eni, net) = (name(*eni), destination_text(*net));
                format!("{} bpf next-hop {net}{hop} dev {eni}", sign(change))
            }
            Self::RemoveOldLayout { layout, .. } => format!(
                "- bpf maps of another version (layout {layout}), with their programs and counters"
            ),
            Self::Exempt { net, exempt } => {
                let sign = if *exempt { '+' } else { '-' };
                format!("{sign} bpf exempt {}", destination_text(*net))
            }
            Self::Program { hook, change } => {
                let Hook::Tc { .. } = hook;
                let hook = hook.describe(names);
                format!("{} tc program {hook}{}", sign(change), kind_text(change))
            }
        }
    }

    /// How the step appears in a folded line: the sign and the heading of the line, and the text of
    /// the step in it. `None`: the step has its own line.
    fn fold(&self, names: &impl Names) -> Option<(char, &'static str, String)> {
        let name = |index| names.name(index);
        match self {
            Self::SavedValue { tunable, change } => Some((
                sign(change),
                "saved values that remove restores",
                format!("{} {}", name(tunable.index), tunable.kind),
            )),
            Self::Eni { eni, change } => {
                let mode = subject(change).map(|row| format!(" {}", row.mode));
                let words = name(*eni) + &mode.unwrap_or_default();
                Some((sign(change), "bpf ENIs", words))
            }
            Self::Owner { net, change } => Some((
                sign(change),
                "bpf owners of addresses",
                destination_text(*net).to_string(),
            )),
            Self::NextHop { eni, net, change } => Some((
                sign(change),
                "bpf next hops",
                format!("{} dev {}", destination_text(*net), name(*eni)),
            )),
            Self::Exempt { net, exempt } => Some((
                if *exempt { '+' } else { '-' },
                "bpf destinations that are never steered",
                destination_text(*net).to_string(),
            )),
            Self::Program { hook, change } => {
                let words = hook.describe(names) + &kind_text(change);
                Some((sign(change), "tc programs", words))
            }
            Self::Tunable { .. }
            | Self::Route { .. }
            | Self::Rule { .. }
            | Self::Settings { .. }
            | Self::RemoveOldLayout { .. } => None,
        }
    }
}

/// How many steps a folded line lists before it only counts the others.
const NAMED: usize = 6;

/// See [`super::Plan::lines`].
pub(super) fn folded_lines(steps: &[Step], names: &impl Names) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open: Option<(char, &'static str, Vec<String>)> = None;
    for step in steps {
        match (step.fold(names), &mut open) {
            (Some((sign, heading, words)), Some((open_sign, open_heading, all)))
                if sign == *open_sign && heading == *open_heading =>
            {
                all.push(words);
            }
            (Some((sign, heading, words)), _) => {
                lines.extend(open.take().map(folded_line));
                open = Some((sign, heading, vec![words]));
            }
            (None, _) => {
                lines.extend(open.take().map(folded_line));
                lines.push(step.describe(names));
            }
        }
    }
    lines.extend(open.map(folded_line));
    lines
}

fn folded_line((sign, heading, words): (char, &'static str, Vec<String>)) -> String {
    let named = words.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let more = match words.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{sign} {heading} ({}): {}{more}",
        words.len(),
        named.join(", ")
    )
}

fn kind_text(change: &Change<Program>) -> String {
    let kind = match subject(change) {
        Some(Program::Seen(attached)) => Some(attached.kind),
        Some(Program::Wanted(wanted)) => wanted.kind,
        None => None,
    };
    kind.map(|kind: AttachKind| format!(" {kind}"))
        .unwrap_or_default()
}

fn row_text(row: &EniRow) -> String {
    let down = if row.up { "" } else { " down" };
    format!(" mode {} mtu {}{down}", row.mode, row.mtu)
}

fn next_hop_text(hop: &NextHop) -> String {
    match hop {
        NextHop::OnLink { .. } => String::new(),
        NextHop::Via { gateway, .. } => format!(" via {gateway}"),
        NextHop::Refuse => " refused".to_owned(),
    }
}
