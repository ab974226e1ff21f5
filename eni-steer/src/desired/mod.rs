//! What this host should have: a pure function of what it has and what the policy says.

mod access;
mod balance;
mod datapath;
mod default_in_main;
mod enis;
mod gateway;
mod handmade;
mod knobs;
mod refusal;
mod routes;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        AttachKind, Attachment, Direction, EniRow, IfIndex, Knob, NextHop, Owner, Route, Rule,
        Settings,
    },
    observe::Observed,
    ownership::Ownership,
    policy::Policy,
};

pub use enis::Eni;
pub use gateway::{Gateway, GatewaySource};
pub use handmade::Handmade;
pub use refusal::Refusal;

/// What this host should have of ours. Everything that is not in here and is ours goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The ENIs, as understood from the host and the policy.
    pub enis: Vec<Eni>,
    /// The numbers by which what is ours is recognised.
    pub ownership: Ownership,
    /// Knobs that must have a value.
    #[serde(with = "crate::model::pairs")]
    pub knobs: BTreeMap<Knob, u32>,
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
    pub attachments: BTreeMap<(IfIndex, Direction), WantedAttachment>,
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
    /// aya-log level.
    pub log_level: u32,
}

impl WantedAttachment {
    /// Whether what is attached is what is wanted.
    pub fn satisfied_by(&self, seen: &Attachment) -> bool {
        self.kind.is_none_or(|kind| kind == seen.kind)
            && self.build == seen.build
            && self.log_level == seen.log_level
    }
}

impl Desired {
    /// What the host should have under this policy, or why that can not be said.
    pub fn for_host(seen: &Observed, policy: &Policy, build: u64) -> Result<Self, Refusal> {
        let enis = enis::select(seen, policy)?;
        refusal::check_numbers(policy)?;
        if policy.rules {
            refusal::check_conflicts(seen, policy, &enis)?;
        }
        let owners = datapath::owners(&enis);
        let mut desired = Self {
            ownership: policy.ownership.clone(),
            ..Self::default()
        };
        let main = routes::main_routes(seen, policy);
        let tables: Vec<(&Eni, Vec<Route>)> = enis
            .iter()
            .map(|eni| (eni, routes::table(&main, policy, eni)))
            .collect();
        if policy.rules {
            let spread = balance::spread(seen, &main, policy, &enis)?;
            let access = access::rules(seen, policy, &enis)?;
            let added = access.into_iter().chain(spread.rules);
            desired.rules = rules::rules(policy, &enis, &owners, added);
            desired.rules.extend(rules::of_the_kernel(seen, policy));
            desired.routes = tables
                .iter()
                .filter(|(eni, _)| eni.ruled && eni.up)
                .flat_map(|(_, table)| table.iter().cloned())
                .chain(spread.routes)
                .chain(default_in_main::routes(seen, policy, &enis)?)
                .collect();
        }
        if policy.programs {
            desired.datapath = Some(datapath::wanted(policy, &tables, owners, build));
        }
        desired.knobs = knobs::knobs(seen, policy, &enis);
        desired.enis = enis;
        Ok(desired)
    }

    /// Names of interfaces that look like ENIs and are none, because no gateway is known.
    pub fn left_out<'a>(&self, seen: &'a Observed, policy: &Policy) -> Vec<&'a str> {
        enis::left_out(seen, policy, &self.enis)
    }

    /// What is ours now, as something to come back to.
    pub fn as_it_is(seen: &Observed, ownership: &Ownership) -> Self {
        let datapath = seen.datapath.settings.map(|settings| {
            let wanted = |seen: &Attachment| WantedAttachment {
                kind: Some(seen.kind),
                build: seen.build,
                log_level: seen.log_level,
            };
            let have = &seen.datapath;
            WantedDatapath {
                settings,
                enis: have.enis.clone(),
                attachments: have
                    .attachments
                    .iter()
                    .map(|(key, a)| (*key, wanted(a)))
                    .collect(),
                owners: have.owners.clone(),
                next_hops: have.next_hops.clone(),
                exempt: have.exempt.clone(),
            }
        });
        Self {
            enis: Vec::new(),
            ownership: ownership.clone(),
            knobs: seen
                .memory
                .iter()
                .filter(|(knob, memory)| seen.knobs.get(knob) == Some(&memory.ours))
                .map(|(knob, memory)| (*knob, memory.ours))
                .collect(),
            routes: seen
                .routes
                .iter()
                .filter(|route| ownership.route(route))
                .cloned()
                .collect(),
            rules: seen
                .rules
                .iter()
                .filter(|rule| ownership.rule(rule))
                .cloned()
                .collect(),
            datapath,
        }
    }

    /// Nothing of ours: what `remove` wants.
    pub fn nothing(ownership: Ownership) -> Self {
        Self {
            ownership,
            ..Self::default()
        }
    }
}
