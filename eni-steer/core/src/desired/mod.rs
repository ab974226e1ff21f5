//! What this host should have: a pure function of what it has and what the policy says.

mod access;
mod balance;
mod checks;
mod datapath;
mod default_in_main;
mod discover;
mod error;
mod gateway;
mod redundant_rules;
mod routes;
mod rules;
mod tunables;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        AttachKind, Attachment, EniRow, Hook, Host, IfIndex, NextHop, Owner, Route, Rule, Settings,
        Tunable,
    },
    ownership::Ownership,
    policy::Policy,
};

pub use discover::Eni;
pub use error::PolicyError;
pub use gateway::{Gateway, GatewaySource};
pub use redundant_rules::RedundantRule;

/// What this host should have of ours. Everything that is not in here and is ours goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The ENIs, as understood from the host and the policy.
    pub enis: Vec<Eni>,
    /// The numbers by which what is ours is recognised.
    pub ownership: Ownership,
    /// Knobs that must have a value.
    #[serde(with = "crate::model::pairs")]
    pub tunables: BTreeMap<Tunable, u32>,
    /// Routes of ours.
    pub routes: BTreeSet<Route>,
    /// Rules of ours.
    pub rules: Vec<Rule>,
    /// What the programs are told; `None`: no programs, no maps.
    pub datapath: Option<WantedDatapath>,
}

/// What the programs should be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedDatapath {
    /// Settings for all ENIs.
    pub settings: Settings,
    /// ENIs.
    pub enis: BTreeMap<IfIndex, EniRow>,
    /// Programs, both directions of each ENI.
    #[serde(with = "crate::model::pairs")]
    pub attachments: BTreeMap<Hook, WantedAttachment>,
    /// Owners of addresses and prefixes.
    pub owners: BTreeMap<IpNet, Owner>,
    /// Each ENI's table.
    #[serde(with = "crate::model::pairs")]
    pub next_hops: BTreeMap<(IfIndex, IpNet), NextHop>,
    /// Destinations that are never steered.
    pub exempt: BTreeSet<IpNet>,
}

/// A program as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WantedAttachment {
    /// How; `None`: either will do, TCX is tried first.
    pub kind: Option<AttachKind>,
    /// Object the program comes from.
    pub build: u64,
    /// Log level of the program (aya-log); `None`: any will do.
    pub log_level: Option<u32>,
}

impl WantedAttachment {
    /// Whether what is attached is what is wanted.
    pub fn satisfied_by(&self, attached: &Attachment) -> bool {
        self.kind.is_none_or(|kind| kind == attached.kind)
            && self.build == attached.build
            && self
                .log_level
                .is_none_or(|level| level == attached.log_level)
    }
}

/// What a plan does about an ENI that the policy names and that is missing, down or without an
/// address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absence {
    /// It is an error: right for a command that somebody typed.
    #[default]
    Error,
    /// eni-steer leaves the ENI out until it comes back: right for a daemon.
    Wait,
}

/// What every decision reads: the host, the policy, and what to do about a missing ENI.
#[derive(Clone, Copy)]
struct Context<'a> {
    host: &'a Host,
    policy: &'a Policy,
    absence: Absence,
}

impl Desired {
    /// What the host should have under this policy. `build` is the hash of the BPF object whose
    /// programs should be attached.
    ///
    /// # Errors
    /// [`PolicyError`] if the host does not allow the policy; nothing has been changed then.
    pub fn for_host(
        host: &Host,
        policy: &Policy,
        absence: Absence,
        build: u64,
    ) -> Result<Self, PolicyError> {
        let cx = &Context {
            host,
            policy,
            absence,
        };
        let enis = discover::select(cx)?;
        checks::check_numbers(cx)?;
        if policy.rules {
            checks::check_conflicts(cx, &enis)?;
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
            let balance = balance::plan(cx, &main, &enis)?;
            let access = access::rules(cx, &enis)?;
            let added = access.into_iter().chain(balance.rules);
            desired.rules = rules::rules(cx, &enis, &owners, added);
            desired.rules.extend(rules::kernel_default_rules(cx));
            desired.routes = tables
                .iter()
                .filter(|(eni, _)| eni.has_source_rules && eni.up)
                .flat_map(|(_, table)| table.iter().cloned())
                .chain(balance.routes)
                .chain(default_in_main::routes(cx, &enis)?)
                .collect();
        }
        if policy.programs {
            desired.datapath = Some(datapath::wanted(cx, &tables, owners, build));
        }
        desired.tunables = tunables::tunables(cx, &enis);
        desired.enis = enis;
        Ok(desired)
    }

    /// Names of interfaces that look like ENIs but are left out, because eni-steer knows no
    /// gateway for them.
    pub fn left_out<'a>(
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

    /// What eni-steer has on this host now, as a state to come back to.
    pub fn from_host(host: &Host, ownership: &Ownership) -> Self {
        let have = &host.datapath;
        let datapath = have.settings.map(|settings| {
            let wanted = |attached: &Attachment| WantedAttachment {
                kind: Some(attached.kind),
                build: attached.build,
                log_level: Some(attached.log_level),
            };
            WantedDatapath {
                settings,
                enis: have.enis.clone(),
                attachments: have
                    .attachments
                    .iter()
                    .map(|(hook, attached)| (*hook, wanted(attached)))
                    .collect(),
                owners: have.owners.clone(),
                next_hops: have.next_hops.clone(),
                exempt: have.exempt.clone(),
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
        }
    }

    /// Nothing of eni-steer's: what `remove` wants.
    pub fn empty(ownership: Ownership) -> Self {
        Self {
            ownership,
            ..Self::default()
        }
    }
}
