//! What this host should have, computed from what it has and from the policy.

mod access;
mod balance;
mod band;
mod checks;
mod context;
mod datapath;
mod default_in_main;
mod discover;
mod elsewhere;
mod eni;
mod error;
mod gateway;
mod hands_off;
mod mirror;
mod primary;
mod redundant_rules;
mod removal;
mod routes;
mod rules;
mod selector;
mod tables;
mod tunables;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    model::{Attachment, Host, IfIndex, Priority, Route, Rule, Tunable, TunableKind},
    ownership::Ownership,
    policy::{Discover, Policy},
};

use context::Context;
use redundant_rules::RedundantRule;

pub use context::Absence;
pub(crate) use datapath::METADATA;
pub use eni::{Eni, Gateway, GatewaySource, RoutedBy, Routing};
pub use error::PolicyError;
pub use wanted::{WantedAttachment, WantedDatapath};

/// What eni-steer should have on this host. The plan removes everything of eni-steer's that is not
/// in here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The managed ENIs.
    pub enis: Vec<Eni>,
    /// The numbers by which eni-steer recognises its own routes and rules.
    pub ownership: Ownership,
    /// Tunables that should have a certain value, and that value.
    #[serde(with = "crate::model::pairs")]
    pub tunables: BTreeMap<Tunable, u32>,
    /// eni-steer's routes, of all tables.
    pub routes: BTreeSet<Route>,
    /// eni-steer's rules, and the kernel's own ones that the policy wants back.
    pub rules: Vec<Rule>,
    /// The programs and the contents of their maps; `None`: neither programs nor maps.
    pub datapath: Option<WantedDatapath>,
    /// What the policy asks for and this host does not allow now. eni-steer serves the rest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unserved: Vec<PolicyError>,
}

/// Rules of other programs that name no priority, and what eni-steer does about them.
pub(crate) struct PlacedRules<'a> {
    /// Rules that stand directly before eni-steer's band now.
    pub(crate) before: Vec<&'a Rule>,
    /// Whether the plan moves the band in front of them.
    pub(crate) moves: bool,
    /// Where the band stands, if it has moved in front of such rules.
    pub(crate) moved: Option<Priority>,
}

/// The policy, with the band where it should stand on this host.
fn placed(host: &Host, policy: &Policy) -> Policy {
    Policy {
        ownership: band::place(host, &policy.ownership),
        ..policy.clone()
    }
}

impl Desired {
    /// What the host should have under this policy. `build` is the hash of the BPF object whose
    /// programs should be attached.
    ///
    /// # Errors
    /// [`PolicyError`] if the host does not allow the policy.
    pub fn for_host(
        host: &Host,
        policy: &Policy,
        absence: Absence,
        build: u64,
    ) -> Result<Self, PolicyError> {
        let policy = &placed(host, policy);
        let cx = &Context {
            host,
            policy,
            absence,
        };
        let mut unserved = Vec::new();
        let enis = discover::select(cx, &mut unserved)?;
        checks::check_numbers(cx)?;
        if policy.rules {
            checks::check_conflicts(cx, &enis)?;
        }
        Self::of_enis(cx, enis, unserved, build)
    }

    /// Refuses a policy under which eni-steer would manage no ENI at all. For commands; a daemon
    /// waits for the first ENI.
    ///
    /// # Errors
    /// [`PolicyError`]: why there is none.
    pub fn with_enis(self) -> Result<Self, PolicyError> {
        if !self.enis.is_empty() {
            return Ok(self);
        }
        let first = self.unserved.into_iter().next();
        Err(first.unwrap_or(PolicyError::NothingFound))
    }

    /// As much as can be said where the host does not allow the policy, with every reason why it
    /// does not. For commands that report: nothing may be changed by it.
    pub fn despite_errors(host: &Host, policy: &Policy, build: u64) -> (Self, Vec<PolicyError>) {
        let mut errors = Vec::new();
        let mut policy = placed(host, policy);
        // Each round leaves out what the last error was about: an ENI of the policy, or at last
        // the rules.
        loop {
            let cx = &Context {
                host,
                policy: &policy,
                absence: Absence::Wait,
            };
            let mut unserved = Vec::new();
            let selected = discover::select(cx, &mut unserved);
            let desired = selected.and_then(|enis| {
                let checks = [
                    checks::check_numbers(cx),
                    checks::check_conflicts(cx, &enis),
                ];
                let found = checks.into_iter().filter(|_| policy.rules);
                for error in found.filter_map(Result::err) {
                    if !errors.contains(&error) {
                        errors.push(error);
                    }
                }
                Self::of_enis(cx, enis, unserved, build)
            });
            let error = match desired {
                Ok(desired) => return (desired, errors),
                Err(error) => error,
            };
            let about = |eni: &crate::policy::EniPolicy| {
                let named = selector::link(cx, &eni.select);
                named.is_some_and(|link| error.eni() == Some(&link.name))
            };
            let at = policy.enis.iter().rposition(about);
            errors.push(error);
            match at {
                // Without a name, eni-steer would discover ENIs that the policy does not name.
                Some(_) if policy.enis.len() == 1 && policy.discover != Discover::Always => break,
                Some(at) => drop(policy.enis.remove(at)),
                None if policy.rules => policy.rules = false,
                None => break,
            }
        }
        let nothing = Self::empty(policy.ownership.clone());
        (nothing, errors)
    }

    fn of_enis(
        cx: &Context<'_>,
        enis: Vec<Eni>,
        mut unserved: Vec<PolicyError>,
        build: u64,
    ) -> Result<Self, PolicyError> {
        let policy = cx.policy;
        if policy.rules {
            unserved.extend(checks::unmanaged_defaults(cx, &enis));
        }
        let owners = datapath::owners(&enis);
        let mut desired = Self {
            ownership: policy.ownership.clone(),
            ..Self::default()
        };
        let main = routes::main_routes(cx);
        let tables: Vec<(&Eni, Vec<Route>)> = enis
            .iter()
            .map(|eni| (eni, routes::table(cx, &main, eni)))
            .collect();
        if policy.rules {
            let balance = balance::plan(cx, &main, &enis, &mut unserved)?;
            let access = access::rules(cx, &enis, &mut unserved)?;
            let added = access.into_iter().chain(balance.rules);
            desired.rules = rules::rules(cx, &enis, &owners, added);
            desired.rules.extend(rules::kernel_default_rules(cx));
            desired.routes = tables
                .iter()
                .filter(|(eni, _)| eni.up)
                .flat_map(|(eni, table)| routes::installed(eni, table))
                .chain(balance.routes)
                .chain(default_in_main::routes(cx, &enis, &mut unserved)?)
                .collect();
        }
        if policy.programs {
            desired.datapath = Some(datapath::wanted(cx, &tables, owners, build));
        }
        desired.tunables = tunables::tunables(cx, &enis);
        desired.enis = enis;
        desired.unserved = unserved;
        Ok(desired)
    }

    /// Names of interfaces that look like ENIs but are not managed, because eni-steer knows no
    /// gateway for them.
    pub(crate) fn left_out<'a>(
        &self,
        host: &'a Host,
        policy: &'a Policy,
        absence: Absence,
    ) -> Vec<&'a str> {
        let cx = Context {
            host,
            policy,
            absence,
        };
        discover::left_out(&cx, &self.enis)
    }

    /// Addresses that this host answers for and that neither its own configuration nor the policy
    /// gives to an ENI, each with the interface that has it.
    pub(crate) fn addresses_of_no_eni(
        &self,
        host: &Host,
        policy: &Policy,
        absence: Absence,
    ) -> Vec<(Option<IfIndex>, IpNet)> {
        let cx = Context {
            host,
            policy,
            absence,
        };
        let unclaimed = elsewhere::unclaimed(&cx, &self.indexes()).into_iter();
        unclaimed
            .filter(|one| one.eni.is_none())
            .map(|one| (one.place, one.net))
            .collect()
    }

    /// The ENIs whose `arp_ignore` eni-steer would set to 1 if they did not have to answer for an
    /// address that is not on them, and such an address.
    pub(crate) fn arp_ignore_left_alone(
        &self,
        host: &Host,
        policy: &Policy,
    ) -> Option<(Vec<&str>, IpNet)> {
        let is_concerned = policy.sysctls && policy.rules && eni::share_subnet(&self.enis);
        let elsewhere = elsewhere::elsewhere(host, &self.ownership, &self.indexes());
        let first = elsewhere.iter().find(|one| !one.answering.is_empty());
        let first = first.filter(|_| is_concerned)?;
        let is_left = |eni: &&Eni| {
            let of_all = host.all.get(&TunableKind::ArpIgnore).copied().unwrap_or(0);
            let tunable = Tunable {
                index: eni.index,
                kind: TunableKind::ArpIgnore,
            };
            let own = host.tunables.get(&tunable).copied().unwrap_or(0);
            own.max(of_all) == 0
                && elsewhere
                    .iter()
                    .any(|one| one.answering.contains(&eni.index))
        };
        let left = self.enis.iter().filter(is_left);
        let names: Vec<&str> = left.map(|eni| eni.name.as_str()).collect();
        (!names.is_empty()).then_some((names, first.net))
    }

    fn indexes(&self) -> BTreeSet<IfIndex> {
        self.enis.iter().map(|eni| eni.index).collect()
    }

    /// Other programs' rules that decide before eni-steer's because the kernel placed them there,
    /// and those that eni-steer has moved, or will move, its band in front of.
    pub(crate) fn placed_rules<'a>(&self, host: &'a Host, policy: &'a Policy) -> PlacedRules<'a> {
        let ours = &policy.ownership;
        let now = band::current(host, ours).unwrap_or(ours.first);
        PlacedRules {
            before: band::placed_before(host, ours, now),
            moves: self.ownership.first < now,
            moved: (now < ours.first && self.ownership.first == now).then_some(now),
        }
    }

    /// Where eni-steer's band stands on a host now.
    pub fn band_now(host: &Host, ownership: &Ownership) -> Option<Priority> {
        band::current(host, ownership)
    }

    /// Other programs' rules that eni-steer's own source rules make redundant.
    pub(crate) fn redundant_rules(&self, host: &Host) -> Vec<RedundantRule> {
        redundant_rules::redundant_rules(host, &self.ownership, &self.enis)
    }

    /// What eni-steer has on this host now, as a state that a later plan can restore.
    pub fn from_host(host: &Host, ownership: &Ownership) -> Self {
        let current = &host.datapath;
        let datapath = current.settings.map(|settings| {
            let wanted = |attached: &Attachment| WantedAttachment {
                kind: Some(attached.kind),
                build: attached.build,
                log_level: Some(attached.log_level),
            };
            WantedDatapath {
                settings,
                enis: current.enis.clone(),
                attachments: current
                    .attachments
                    .iter()
                    .map(|(hook, attached)| (*hook, wanted(attached)))
                    .collect(),
                owners: current.owners.clone(),
                next_hops: current.next_hops.clone(),
                exempt: current.exempt.clone(),
            }
        });
        let routes = host.routes.iter().filter(|route| ownership.route(route));
        let rules = host.rules.iter().filter(|rule| ownership.rule(rule));
        Self {
            enis: Vec::new(),
            ownership: ownership.clone(),
            tunables: host
                .saved
                .iter()
                .filter(|(tunable, saved)| host.tunables.get(tunable) == Some(&saved.ours))
                .map(|(tunable, saved)| (*tunable, saved.ours))
                .collect(),
            routes: routes.cloned().collect(),
            rules: rules.cloned().collect(),
            datapath,
            unserved: Vec::new(),
        }
    }

    /// Nothing: the state that `remove` wants.
    pub fn empty(ownership: Ownership) -> Self {
        Self {
            ownership,
            ..Self::default()
        }
    }
}
