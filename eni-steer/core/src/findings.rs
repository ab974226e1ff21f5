//! Findings: what an administrator should know about a host, as one type for every command.
//!
//! `status`, `verify`, `apply` and the daemon show findings of this module, so each warning has one
//! wording. A finding is not drift: drift is what the plan will change, and eni-steer changes
//! nothing because of a finding.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    desired::{Absence, Desired, Eni, GatewaySource, PolicyError, RoutedBy},
    known_tools,
    model::{Family, Host, IfIndex, Owner, RouteKind, TableId, destination_text},
    policy::{Policy, PrimaryPolicy},
};

/// The kind of a finding. Its identifier never changes: monitoring and documentation refer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The host does not allow the policy.
    PolicyRefused,
    /// The configuration has a mistake or cannot be read.
    ConfigurationWrong,
    /// The kernel's rule that looks up the main table is gone.
    MainRuleMissing,
    /// eni-steer could not read a source of gateways, such as a lease file.
    SourceUnavailable,
    /// A DHCP lease does not count: anybody could have written it, it has expired, or its router
    /// cannot be right.
    LeaseIgnored,
    /// Sources name different gateways for an ENI.
    GatewayConflict,
    /// The file with the values from before eni-steer's changes cannot be understood.
    StateDamaged,
    /// Two ENIs have the same address.
    AddressOnTwoEnis,
    /// Another program's rule does what a rule of eni-steer does.
    RedundantRule,
    /// An interface looks like an ENI, but eni-steer knows no gateway for it.
    InterfaceLeftOut,
    /// This host answers for an address that is not on an ENI, and nothing says which ENI owns it.
    AddressOwnedByNoEni,
    /// An ENI answers ARP requests for addresses that are not on it, so eni-steer leaves its
    /// `arp_ignore` as it is.
    ArpIgnoreLeftAlone,
    /// eni-steer's programs and maps are damaged or cannot be read.
    ProgramsUnreadable,
    /// A change waits for its confirmation, and no process is left that would undo it.
    ConfirmationWithoutGuard,
    /// The process that undid an unconfirmed change was killed before it was done.
    UndoInterrupted,
    /// eni-steer has undone the last change, because nobody confirmed it or a probe failed.
    ChangeUndone,
    /// eni-steer could not undo all of an unconfirmed change.
    UndoFailed,
    /// eni-steer cannot do for an ENI what the policy asks for; it serves the others.
    NotServed,
    /// Another program's rule without a priority of its own stands before eni-steer's.
    RulePlacedBefore,
    /// A VPN that takes everything also has routes that look like specific destinations.
    TunnelTakesReplies,
    /// eni-steer's rules stand in front of rules that have no priority of their own.
    BandMoved,
    /// The primary ENI has rules of its own, and why.
    PrimaryHasRules,
    /// What eni-steer installed for the primary ENI needs the daemon to stay right.
    PrimaryNeedsDaemon,
    /// Another tool's program runs before eni-steer's on a hook.
    ProgramRunsFirst,
    /// Another tool's program runs after eni-steer's on a hook.
    ProgramRunsAfter,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is wrong, but it helps to know this.
    Info,
    /// Something may be wrong, or eni-steer cannot tell.
    Warning,
    /// Something does not work now.
    Failure,
}

/// Something that an administrator should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// How much it matters; commands show the most severe findings first.
    pub severity: Severity,
    /// Kind of the finding.
    pub code: Code,
    /// The interface, address, rule or file that the finding is about.
    pub object: String,
    /// What eni-steer found and what follows from it: a sentence without a full stop.
    pub why: String,
    /// Commands that resolve it, or a sentence that says what to do; empty: nothing to do.
    pub remedy: Vec<String>,
}

impl fmt::Display for Finding {
    /// The reason, then the remedy after a semicolon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy.join("; "))?;
        }
        Ok(())
    }
}

/// The findings that need no policy, only the host.
pub fn of_host(host: &Host) -> Vec<Finding> {
    let main_rules = Family::BOTH
        .into_iter()
        .filter(|family| !host.has_main_rule(*family))
        .map(main_rule_missing);
    let sources = host.unavailable.iter().map(|source| Finding {
        severity: Severity::Warning,
        code: Code::SourceUnavailable,
        object: source.clone(),
        why: format!("could not read {source}; eni-steer keeps the last value it had from there"),
        remedy: Vec::new(),
    });
    let ignored = host.rejected_leases.iter().map(|lease| Finding {
        severity: match lease.expired {
            true => Severity::Info,
            false => Severity::Warning,
        },
        code: Code::LeaseIgnored,
        object: format!("/{}", lease.file),
        why: format!(
            "the DHCP lease /{} of {} is ignored, because {}",
            lease.file,
            host.name(lease.index),
            lease.why
        ),
        remedy: Vec::new(),
    });
    let damaged = host.damaged_state.iter().map(|error| Finding {
        severity: Severity::Warning,
        code: Code::StateDamaged,
        object: "state file".to_owned(),
        why: error.clone(),
        remedy: vec![
            "'eni-steer apply' and 'eni-steer remove' set the file aside and do everything else"
                .to_owned(),
        ],
    });
    let of_files = sources.chain(ignored).chain(damaged);
    main_rules.chain(of_files).collect()
}

/// The finding that the host does not allow the policy.
pub fn of_error(error: &PolicyError) -> Finding {
    Finding {
        severity: Severity::Failure,
        code: Code::PolicyRefused,
        object: "policy".to_owned(),
        why: error.to_string(),
        remedy: vec![error.hint()],
    }
}

/// The finding that the configuration is wrong: eni-steer goes by the policy that was applied last.
pub fn of_configuration(error: &str, hint: Option<&str>) -> Finding {
    Finding {
        severity: Severity::Failure,
        code: Code::ConfigurationWrong,
        object: "configuration".to_owned(),
        why: format!("{error}; this report goes by the policy that was applied last"),
        remedy: hint.map(str::to_owned).into_iter().collect(),
    }
}

/// The finding that the programs and maps cannot be read: the report is without them.
pub fn programs_unreadable(error: &str, hint: Option<&str>) -> Finding {
    Finding {
        severity: Severity::Failure,
        code: Code::ProgramsUnreadable,
        object: "programs".to_owned(),
        why: format!(
            "eni-steer cannot read its programs and maps, so it does not know what they count or \
             steer: {error}"
        ),
        remedy: vec![
            hint.unwrap_or(
                "if no other eni-steer command runs: 'eni-steer remove', then 'eni-steer apply'",
            )
            .to_owned(),
        ],
    }
}

/// The finding that nobody would undo a change that waits for its confirmation.
pub fn confirmation_without_guard() -> Finding {
    Finding {
        severity: Severity::Failure,
        code: Code::ConfirmationWithoutGuard,
        object: "confirmation".to_owned(),
        why: "the process that would undo the unconfirmed change was killed, so the change stays"
            .to_owned(),
        remedy: vec!["'eni-steer confirm' keeps it, 'eni-steer undo' undoes it now".to_owned()],
    }
}

/// The finding that an undo was begun and not completed.
pub fn undo_interrupted() -> Finding {
    Finding {
        severity: Severity::Failure,
        code: Code::UndoInterrupted,
        object: "confirmation".to_owned(),
        why: "the process that undid an unconfirmed change was killed before it was done"
            .to_owned(),
        remedy: vec!["'eni-steer undo' completes it".to_owned()],
    }
}

/// The finding that the last change was undone.
pub fn change_undone(reason: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        code: Code::ChangeUndone,
        object: "confirmation".to_owned(),
        why: format!("eni-steer undid the last 'apply --confirm', because {reason}"),
        remedy: Vec::new(),
    }
}

/// The finding that a change could not be undone completely.
pub fn undo_failed(reason: &str, error: &str) -> Finding {
    Finding {
        severity: Severity::Failure,
        code: Code::UndoFailed,
        object: "confirmation".to_owned(),
        why: format!(
            "eni-steer wanted to undo the last 'apply --confirm', because {reason}, and could not \
             undo all of it: {error}"
        ),
        remedy: vec!["'eni-steer remove' deletes everything that eni-steer installed".to_owned()],
    }
}

/// All findings about a host under a policy, the most severe first.
pub(crate) fn of_policy(
    host: &Host,
    policy: &Policy,
    absence: Absence,
    desired: &Desired,
) -> Vec<Finding> {
    let mut findings = of_host(host);
    findings.extend(addresses_on_two_enis(desired));
    findings.extend(gateway_conflicts(host, desired));
    findings.extend(redundant_rules(host, desired));
    findings.extend(addresses_of_no_eni(host, policy, absence, desired));
    findings.extend(arp_ignore_left_alone(host, policy, desired));
    findings.extend(left_out(host, policy, absence, desired));
    findings.extend(placed_rules(host, policy, desired));
    findings.extend(tunnels(host, desired));
    findings.extend(primary_rules(desired));
    findings.extend(foreign_programs(host, desired));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

/// What eni-steer leaves out on this host, while it serves the rest. Commands that apply the policy
/// warn of it, and the daemon logs it.
pub fn left_out(host: &Host, policy: &Policy, absence: Absence, desired: &Desired) -> Vec<Finding> {
    let unserved = desired.unserved.iter();
    let unserved = unserved.map(|error| not_served(host, desired, error));
    let interfaces = desired.left_out(host, policy, absence).into_iter();
    unserved.chain(interfaces.map(interface_left_out)).collect()
}

/// VPNs that take everything by parts of a default route, of which some are so long that they could
/// be specific destinations: WireGuard's list without the private ranges has 193.0.0.0/8. The first
/// rule leaves those to main.
fn tunnels(host: &Host, desired: &Desired) -> Vec<Finding> {
    let mut found: BTreeMap<(IfIndex, Family), (bool, Vec<IpNet>)> = BTreeMap::new();
    let is_eni = |index| desired.enis.iter().any(|eni| eni.index == index);
    let in_main = host.routes.iter().filter(|route| {
        route.table == TableId::MAIN && route.kind == RouteKind::Unicast && !route.is_default()
    });
    for route in in_main {
        let [hop] = route.hops.as_slice() else {
            continue;
        };
        let net = route.destination;
        let is_wide = net.prefix_len() <= WIDE && !is_private(net);
        if is_eni(hop.out) || !is_wide {
            continue;
        }
        let (has_part, long) = found.entry((hop.out, route.family())).or_default();
        match route.counts_as_default() {
            true => *has_part = true,
            false => long.push(net),
        }
    }
    let full = found
        .into_iter()
        .filter(|(_, (has_part, long))| *has_part && !long.is_empty());
    full.map(|((out, _), (_, long))| {
        let name = host.name(out);
        let named: Vec<String> = long.iter().take(3).map(ToString::to_string).collect();
        let more = match long.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Finding {
            severity: Severity::Warning,
            code: Code::TunnelTakesReplies,
            object: name.clone(),
            why: format!(
                "main sends nearly all destinations by {name}, but {}{more} look like specific \
                 ones: replies of ENIs to these go by {name} too",
                named.join(", ")
            ),
            remedy: vec![
                "let the VPN use a default route or 0.0.0.0/1 and 128.0.0.0/1 (WireGuard: \
                 AllowedIPs = 0.0.0.0/0, ::/0)"
                    .to_owned(),
            ],
        }
    })
    .collect()
}

/// No network of one owner is as wide as this; it is a part of a list.
const WIDE: u8 = 13;

/// Whether a prefix is in a range for private use.
fn is_private(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => {
            let [a, b, ..] = net.network().octets();
            net.network().is_private() || a == 127 || (a == 100 && (64..128).contains(&b))
        }
        IpNet::V6(net) => net.network().octets()[0] & 0xfe == 0xfc,
    }
}

/// Rules that the kernel placed before eni-steer's, because they name no priority.
pub fn placed_rules(host: &Host, policy: &Policy, desired: &Desired) -> Vec<Finding> {
    let placed = desired.placed_rules(host, policy);
    let behind = policy.ownership.last.0.saturating_add(1);
    let before = placed.before.iter().filter(|_| !desired.rules.is_empty());
    let mut findings: Vec<Finding> = before
        .map(|rule| {
            let family = rule.family;
            let owner = known_tools::probable_owner(rule);
            let owner = owner.map(|owner| format!(" (made by {owner}?)"));
            let mut own = (*rule).clone();
            own.priority = crate::model::Priority(behind);
            let by_hand = format!(
                "or give it a priority of its own: ip {family} rule add {own} && ip {family} rule \
                 del {rule}"
            );
            let apply = "put eni-steer's rules in front of it: eni-steer apply (the daemon does it \
                         at once)";
            let remedy = match placed.moves {
                true => vec![apply.to_owned(), by_hand],
                false => vec![by_hand],
            };
            Finding {
                severity: Severity::Warning,
                code: Code::RulePlacedBefore,
                object: format!("ip {family} rule {rule}"),
                why: format!(
                    "the rule '{rule}'{} names no priority, so the kernel placed it directly before \
                     eni-steer's rules: it decides first",
                    owner.unwrap_or_default()
                ),
                remedy,
            }
        })
        .collect();
    findings.extend(placed.moved.map(|first| Finding {
        severity: Severity::Info,
        code: Code::BandMoved,
        object: "policy".to_owned(),
        why: format!(
            "eni-steer's rules begin at {first} instead of {}, in front of rules that name no \
             priority and that the kernel had placed before them",
            policy.ownership.first
        ),
        remedy: Vec::new(),
    }));
    findings
}

/// Why the primary has rules of its own.
fn primary_rules(desired: &Desired) -> Vec<Finding> {
    let mut findings = Vec::new();
    for eni in &desired.enis {
        let is_same = eni.ipv4 == eni.ipv6;
        let families = Family::BOTH.into_iter();
        for family in families.filter(|family| *family == Family::V4 || !is_same) {
            let routing = eni.routing(family);
            let Some(why) = routing.why.as_ref().filter(|_| routing.primary) else {
                continue;
            };
            let name = &eni.name;
            let ip = if is_same { "IPv4 and IPv6" } else { ip(family) };
            let why = match routing.by {
                RoutedBy::Main => continue,
                RoutedBy::OnLink => format!(
                    "{name} is the primary ENI for {ip}; its own subnet is in table {}, because \
                     {why}; the main table decides about everything else",
                    eni.table
                ),
                RoutedBy::Table => format!(
                    "{name} is the primary ENI for {ip}, and has source rules and table {}, \
                     because {why}",
                    eni.table
                ),
            };
            findings.push(Finding {
                severity: Severity::Info,
                code: Code::PrimaryHasRules,
                object: name.clone(),
                why,
                remedy: Vec::new(),
            });
        }
    }
    findings
}

/// Without the daemon, a default route in the primary's table stays as it is while main's changes.
pub(crate) fn primary_needs_daemon(desired: &Desired, policy: &Policy) -> Vec<Finding> {
    let has_default = |eni: &&Eni| {
        let mut families = Family::BOTH.into_iter();
        families.any(|family| eni.routing(family).primary && eni.has_table(family))
    };
    let by_auto = policy.primary == PrimaryPolicy::Auto && policy.rules;
    let enis = desired.enis.iter().filter(|_| by_auto).filter(has_default);
    enis.map(|eni| Finding {
        severity: Severity::Warning,
        code: Code::PrimaryNeedsDaemon,
        object: eni.name.clone(),
        why: format!(
            "the daemon does not run, so the default route in table {} of the primary {} does not \
             follow the main table: if its gateway changes, replies of its addresses are lost",
            eni.table, eni.name
        ),
        remedy: vec!["systemctl enable --now eni-steer".to_owned()],
    })
    .collect()
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

fn not_served(host: &Host, desired: &Desired, error: &PolicyError) -> Finding {
    let has_gateway = |name: &str| {
        let mut enis = desired.enis.iter();
        enis.any(|eni| eni.name == name && !eni.gateways.is_empty())
    };
    let severity = match error {
        PolicyError::SameMac { .. } => Severity::Warning,
        // The other family of the ENI is served.
        PolicyError::NoGateway { eni, .. } if has_gateway(eni) => Severity::Warning,
        PolicyError::DefaultUnmanaged { link, .. } if !shares_subnet(host, desired, link) => {
            Severity::Warning
        }
        _ => Severity::Failure,
    };
    Finding {
        severity,
        code: Code::NotServed,
        object: error.object(),
        why: error.to_string(),
        remedy: vec![error.hint()],
    }
}

/// Whether an interface has an address in the subnet of an ENI.
fn shares_subnet(host: &Host, desired: &Desired, name: &str) -> bool {
    let Some(link) = host.link_named(name) else {
        return false;
    };
    let nets_of = |eni: &Eni| {
        let families = Family::BOTH.into_iter();
        families
            .flat_map(|family| eni.on_link(family))
            .collect::<Vec<_>>()
    };
    desired.enis.iter().flat_map(nets_of).any(|net| {
        let mut own = host.usable_addresses(link.index);
        own.any(|address| net.contains(&address.ip()))
    })
}

/// Without this rule, the host's default routing does not work.
fn main_rule_missing(family: Family) -> Finding {
    let command = format!("ip {family} rule add pref 32766 lookup main");
    Finding {
        severity: Severity::Failure,
        code: Code::MainRuleMissing,
        object: format!("ip {family} rule pref 32766"),
        why: format!(
            "the kernel's own rule for the main table is gone ({}): packets that no other rule \
             matches have no route",
            ip(family)
        ),
        remedy: vec![command],
    }
}

pub(crate) fn addresses_on_two_enis(desired: &Desired) -> Vec<Finding> {
    let owners = desired
        .datapath
        .iter()
        .flat_map(|datapath| &datapath.owners);
    owners
        .filter(|(_, owner)| **owner == Owner::Ambiguous)
        .map(|(net, _)| {
            let holders: Vec<&str> = desired
                .enis
                .iter()
                .filter(|eni| eni.owned.contains(net))
                .map(|eni| eni.name.as_str())
                .collect();
            let net = destination_text(*net).to_string();
            Finding {
                severity: Severity::Warning,
                code: Code::AddressOnTwoEnis,
                why: format!(
                    "{net} is on {}: eni-steer cannot tell which of them owns it, so it counts its \
                     packets and never steers them",
                    holders.join(" and ")
                ),
                object: net,
                remedy: Vec::new(),
            }
        })
        .collect()
}

/// Leases that name another gateway than the one an ENI uses. The policy decides without asking.
fn gateway_conflicts(host: &Host, desired: &Desired) -> Vec<Finding> {
    let mut findings = Vec::new();
    for eni in &desired.enis {
        for gateway in &eni.gateways {
            let family = Family::of(gateway.address);
            let others: Vec<String> = host
                .leases
                .iter()
                .filter(|lease| lease.index == eni.index && Family::of(lease.gateway) == family)
                .filter(|lease| lease.gateway != gateway.address)
                .map(|lease| format!("the DHCP lease /{} says {}", lease.file, lease.gateway))
                .collect();
            if gateway.source == GatewaySource::Policy || others.is_empty() {
                continue;
            }
            let source = match &gateway.source {
                GatewaySource::Policy => "the policy".to_owned(),
                GatewaySource::DefaultRoute => "its default route".to_owned(),
                GatewaySource::Lease(file) => format!("the DHCP lease /{file}"),
                GatewaySource::SameSubnet(name) => format!("{name} in the same subnet"),
                GatewaySource::Earlier => "the apply before".to_owned(),
                GatewaySource::SubnetRoute(net) => format!("the route to {net}"),
            };
            findings.push(Finding {
                severity: Severity::Warning,
                code: Code::GatewayConflict,
                object: eni.name.clone(),
                why: format!(
                    "{} uses the gateway {} of {source}, but {}",
                    eni.name,
                    gateway.address,
                    others.join(" and ")
                ),
                remedy: vec![format!(
                    "to decide, name the right one: --gateway {}=ADDRESS",
                    eni.name
                )],
            });
        }
    }
    findings
}

fn redundant_rules(host: &Host, desired: &Desired) -> Vec<Finding> {
    let redundant = desired.redundant_rules(host).into_iter();
    redundant
        .map(|redundant| Finding {
            severity: Severity::Info,
            code: Code::RedundantRule,
            object: format!("ip {} rule {}", redundant.rule.family, redundant.rule),
            why: format!(
                "the rule '{}', made by hand or by a script, does the same for {} as eni-steer's \
                 own rule; you can remove it",
                redundant.rule, redundant.eni
            ),
            remedy: redundant.commands,
        })
        .collect()
}

fn interface_left_out(link: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        code: Code::InterfaceLeftOut,
        object: link.to_owned(),
        why: format!(
            "{link} has a global address, but eni-steer does not manage it, because it knows no \
             gateway for it"
        ),
        remedy: vec![format!(
            "to manage it, name it: --eni {link} --gateway {link}=ADDRESS"
        )],
    }
}

/// One finding for each interface that has such addresses: there can be thousands on it.
fn addresses_of_no_eni(
    host: &Host,
    policy: &Policy,
    absence: Absence,
    desired: &Desired,
) -> Vec<Finding> {
    if desired.enis.is_empty() {
        return Vec::new();
    }
    let mut by_place: BTreeMap<Option<IfIndex>, Vec<IpNet>> = BTreeMap::new();
    for (place, net) in desired.addresses_of_no_eni(host, policy, absence) {
        by_place.entry(place).or_default().push(net);
    }
    let primary = desired.enis.iter().find(|eni| eni.primary);
    let leaves = primary.map_or_else(
        || "leave as the main table says".to_owned(),
        |eni| format!("leave by {}, as the main table says", eni.name),
    );
    by_place
        .into_iter()
        .filter_map(|(place, nets)| {
            let first = destination_text(*nets.first()?).to_string();
            let place = place.map_or("a local route".to_owned(), |index| host.name(index));
            let (is, them) = match nets.len() {
                1 => (format!("{first} is"), "it"),
                n => (format!("{first} and {} more are", n - 1), "them"),
            };
            let example = desired.enis.iter().find(|eni| !eni.primary);
            let example = example.map_or("ENI", |eni| eni.name.as_str());
            Some(Finding {
                severity: Severity::Info,
                code: Code::AddressOwnedByNoEni,
                why: format!(
                    "{is} on {place}, not on an ENI: replies from {them} {leaves}, and the programs \
                     never steer them"
                ),
                object: first.clone(),
                remedy: vec![format!(
                    "if requests for it arrive at {example}: --address {example}={first}, or \
                     addresses = [\"{first}\"] in [[eni]] of the configuration"
                )],
            })
        })
        .collect()
}

fn arp_ignore_left_alone(host: &Host, policy: &Policy, desired: &Desired) -> Option<Finding> {
    let (enis, net) = desired.arp_ignore_left_alone(host, policy)?;
    let enis = enis.join(" and ");
    let net = destination_text(net);
    Some(Finding {
        severity: Severity::Info,
        code: Code::ArpIgnoreLeftAlone,
        why: format!(
            "{enis} may answer ARP requests for each other's addresses: eni-steer leaves arp_ignore \
             as it is, because with 1 nobody would answer for {net}, which is not on an ENI"
        ),
        object: enis,
        remedy: Vec::new(),
    })
}

/// Programs of other tools on the hooks of ENIs.
pub(crate) fn foreign_programs(host: &Host, desired: &Desired) -> Vec<Finding> {
    let managed = |index| desired.enis.iter().any(|eni| eni.index == index);
    let hooks = host.foreign_programs.iter();
    hooks
        .filter(|(hook, _)| managed(hook.interface()))
        .flat_map(|(hook, programs)| programs.iter().map(move |program| (hook, program)))
        .map(|(hook, program)| {
            let place = hook.describe(host);
            let name = format!("{} ({}, id {})", program.name, program.kind, program.id);
            let hides = program.before_ours && host.datapath.attachments.contains_key(hook);
            let (severity, code, why) = if hides {
                (
                    Severity::Warning,
                    Code::ProgramRunsFirst,
                    format!(
                        "program {name} runs before eni-steer's on {place}: eni-steer does not \
                         count the packets that it drops or redirects there"
                    ),
                )
            } else {
                (
                    Severity::Info,
                    Code::ProgramRunsAfter,
                    format!("program {name} runs on {place} too, after eni-steer's"),
                )
            };
            Finding {
                severity,
                code,
                object: place,
                why,
                remedy: Vec::new(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fake::{fake_host, index},
        model::{AttachKind, Attachment, Direction, ForeignProgram, Hook},
    };

    fn two_enis() -> Host {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24"])
            .eni(3, "eth1", &["172.16.20.177/24"])
            .route("default via 172.16.20.253 dev eth0")
    }

    fn found(host: &Host) -> Vec<Finding> {
        let policy = Policy::default();
        let desired = Desired::for_host(host, &policy, Absence::Error, 1).expect("it is allowed");
        let mut findings = of_policy(host, &policy, Absence::Error, &desired);
        findings.retain(|finding| finding.code != Code::PrimaryHasRules);
        findings
    }

    fn only(host: &Host) -> Finding {
        let mut all = found(host);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn a_healthy_host_has_none() {
        assert_eq!(found(&two_enis()), []);
        assert_eq!(of_host(&two_enis()), []);
    }

    #[test]
    fn a_vpns_list_without_the_private_ranges_is_named_as_far_as_it_takes_replies() {
        let vpn = |routes: &[&str]| {
            let host = two_enis().virtual_link(9, "wg0", "wireguard", &["10.8.0.6/24"]);
            let add = |host: Host, net: &&str| host.route(&format!("{net} via 10.8.0.1 dev wg0"));
            found(&routes.iter().fold(host, add))
        };
        let list = [
            "8.0.0.0/7",
            "11.0.0.0/8",
            "192.0.0.0/9",
            "193.0.0.0/8",
            "172.0.0.0/12",
        ];
        let all = vpn(&list);
        let of_vpn: Vec<_> = all
            .iter()
            .filter(|one| one.code == Code::TunnelTakesReplies)
            .collect();
        let [one] = of_vpn.as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!(one.object, "wg0");
        assert!(
            one.why
                .contains("11.0.0.0/8, 192.0.0.0/9, 193.0.0.0/8 and 1 more"),
            "{one}"
        );
        for routes in [
            &["0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8"][..],
            &["11.0.0.0/8"],
        ] {
            let all = vpn(routes);
            let has = all.iter().any(|one| one.code == Code::TunnelTakesReplies);
            assert!(!has, "{routes:?}: {all:?}");
        }
    }

    #[test]
    fn status_says_why_the_primary_has_rules_and_what_they_need() {
        let both = |host: &Host| {
            let policy = Policy::default();
            let desired = Desired::for_host(host, &policy, Absence::Error, 1).expect("allowed");
            let mut findings = of_policy(host, &policy, Absence::Error, &desired);
            findings.extend(primary_needs_daemon(&desired, &policy));
            let lines = findings
                .iter()
                .map(|finding| (finding.code, finding.to_string()));
            lines.collect::<Vec<_>>()
        };
        let on_link = "eth0 is the primary ENI for IPv4; its own subnet is in table 21000, because \
                       eth1 is on the same subnet; the main table decides about everything else";
        assert_eq!(
            both(&two_enis()),
            [(Code::PrimaryHasRules, on_link.to_owned())]
        );
        let equal = two_enis().route("default via 172.16.20.253 dev eth1");
        let lines = both(&equal);
        assert_eq!(
            lines[0],
            (
                Code::PrimaryHasRules,
                "eth0 is the primary ENI for IPv4, and has source rules and table 21000, because \
                 main has a default route by eth1 too"
                    .to_owned()
            )
        );
        assert_eq!(lines[1].0, Code::PrimaryNeedsDaemon);
        assert!(lines[1].1.contains("table 21000"), "{lines:?}");
    }

    #[test]
    fn a_finding_is_its_reason_and_then_what_to_do() {
        let mut host = two_enis();
        host.rules.retain(|rule| rule.priority.0 != 32766);
        let all = of_host(&host);
        assert_eq!(all.len(), 2, "one for each family");
        assert_eq!(all[0].code, Code::MainRuleMissing);
        assert_eq!(all[0].severity, Severity::Failure);
        assert_eq!(
            all[0].to_string(),
            "the kernel's own rule for the main table is gone (IPv4): packets that no other rule \
             matches have no route; ip -4 rule add pref 32766 lookup main"
        );
        let mut without = all[1].clone();
        assert!(without.why.contains("IPv6"), "{without}");
        without.remedy.clear();
        assert_eq!(without.to_string(), without.why);
    }

    #[test]
    fn a_source_that_could_not_be_read_is_named() {
        let mut host = two_enis();
        host.unavailable = vec!["/run/leases/eth1".to_owned()];
        let finding = only(&host);
        assert_eq!(finding.code, Code::SourceUnavailable);
        assert_eq!(finding.object, "/run/leases/eth1");
    }

    #[test]
    fn a_lease_that_does_not_count_is_named_with_the_reason() {
        let mut host = two_enis();
        host.rejected_leases = vec![crate::model::RejectedLease {
            index: index(3),
            file: "run/leases/3".to_owned(),
            why: "it belongs to nobody (uid 65534)".to_owned(),
            expired: false,
        }];
        let finding = only(&host);
        assert_eq!(
            (finding.code, finding.severity),
            (Code::LeaseIgnored, Severity::Warning)
        );
        assert_eq!(
            finding.why,
            "the DHCP lease /run/leases/3 of eth1 is ignored, because it belongs to nobody (uid \
             65534)"
        );
        host.rejected_leases[0].expired = true;
        assert_eq!(only(&host).severity, Severity::Info);
    }

    #[test]
    fn a_lease_that_contradicts_the_gateway_in_use_is_named_with_who_says_what() {
        let mut host = two_enis();
        let lease = |gateway: &str| crate::model::Lease {
            index: index(3),
            gateway: gateway.parse().expect("an address"),
            file: "run/leases/3".to_owned(),
        };
        host.leases = vec![lease("172.16.20.1")];
        host = host.route("default via 172.16.20.253 dev eth1 metric 200");
        let finding = only(&host);
        assert_eq!(finding.code, Code::GatewayConflict);
        assert_eq!(
            finding.why,
            "eth1 uses the gateway 172.16.20.253 of its default route, but the DHCP lease \
             /run/leases/3 says 172.16.20.1"
        );
        host.leases = vec![lease("172.16.20.253")];
        assert_eq!(found(&host), []);
    }

    #[test]
    fn an_address_on_two_enis_is_named_with_both() {
        let host = two_enis()
            .address("eth0", "172.16.20.9/24")
            .address("eth1", "172.16.20.9/24");
        let finding = only(&host);
        assert_eq!(finding.code, Code::AddressOnTwoEnis);
        assert_eq!(finding.object, "172.16.20.9");
        assert!(
            finding.why.starts_with("172.16.20.9 is on eth0 and eth1:"),
            "{finding}"
        );
    }

    #[test]
    fn a_rule_that_does_the_same_is_named_with_the_commands_that_remove_it() {
        let host = two_enis()
            .route("default via 172.16.20.253 dev eth1 table 1001")
            .rule("pref 32000 from 172.16.20.177 lookup 1001 protocol 0");
        let finding = only(&host);
        assert_eq!(
            (finding.code, finding.severity),
            (Code::RedundantRule, Severity::Info)
        );
        assert!(finding.why.contains("does the same for eth1"), "{finding}");
        assert_eq!(finding.remedy.len(), 2, "{finding}");
    }

    #[test]
    fn an_interface_without_a_gateway_is_left_out_and_named() {
        let host = two_enis().eni(4, "eth2", &["10.9.9.9/24"]);
        let finding = only(&host);
        assert_eq!(finding.code, Code::InterfaceLeftOut);
        assert_eq!(finding.object, "eth2");
    }

    #[test]
    fn addresses_on_the_loopback_are_named_once_with_the_line_that_gives_them_an_owner() {
        let mut host = two_enis().route("local 198.51.100.9 dev lo table 255 proto 66");
        host.local_routes = host.routes.split_off(host.routes.len() - 1);
        let host = host
            .address("lo", "172.16.20.202/32")
            .address("lo", "198.51.100.7/32");
        let all = found(&host);
        let rows: Vec<_> = all
            .iter()
            .map(|finding| (finding.code, finding.object.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                (Code::AddressOwnedByNoEni, "172.16.20.202"),
                (Code::ArpIgnoreLeftAlone, "eth0 and eth1"),
            ]
        );
        assert_eq!(
            all[0].to_string(),
            "172.16.20.202 and 2 more are on lo, not on an ENI: replies from them leave by eth0, as \
             the main table says, and the programs never steer them; if requests for it arrive at \
             eth1: --address eth1=172.16.20.202, or addresses = [\"172.16.20.202\"] in [[eni]] of \
             the configuration"
        );
        assert!(
            all[1].why.contains("for 172.16.20.202, which"),
            "{}",
            all[1]
        );
        assert!(all.iter().all(|finding| finding.severity == Severity::Info));
    }

    #[test]
    fn a_program_that_runs_first_is_a_warning_and_one_that_runs_after_is_not() {
        let hook = |n, direction| Hook::Tc {
            eni: index(n),
            direction,
        };
        let program = |before_ours| ForeignProgram {
            id: 7,
            name: "cil_from_netdev".to_owned(),
            kind: AttachKind::Tcx,
            before_ours,
        };
        let mut host = two_enis().virtual_link(9, "docker0", "bridge", &["172.17.0.1/16"]);
        let (first, after) = (hook(3, Direction::Egress), hook(2, Direction::Ingress));
        host.foreign_programs.insert(first, vec![program(true)]);
        host.foreign_programs.insert(after, vec![program(false)]);
        let unmanaged = hook(9, Direction::Ingress);
        host.foreign_programs.insert(unmanaged, vec![program(true)]);
        for hook in [first, after] {
            let ours = Attachment {
                kind: AttachKind::Tcx,
                build: 1,
                log_level: 0,
            };
            host.datapath.attachments.insert(hook, ours);
        }
        let all = found(&host);
        let rows: Vec<_> = all
            .iter()
            .map(|finding| (finding.severity, finding.code, finding.object.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                (Severity::Warning, Code::ProgramRunsFirst, "eth1 egress"),
                (Severity::Info, Code::ProgramRunsAfter, "eth0 ingress"),
            ]
        );
        // Where eni-steer has no program, none can run before it.
        host.datapath.attachments.clear();
        let all = found(&host);
        assert!(
            all.iter()
                .all(|finding| finding.code == Code::ProgramRunsAfter)
        );
    }
}
