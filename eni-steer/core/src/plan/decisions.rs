//! What is decided, case by case: a folder of `testdata/plan` each, named for what happened.
//!
//! `observed.txt` tells the host's history in the words of `ip`, `policy.json` what is wanted
//! (without it: `remove`), and `plan.txt` holds the plan that follows. A plan that comes out
//! differently fails the test of that name; `SNAPSHOTS=overwrite cargo test` writes down what
//! comes out now, to be read before it is committed.

use crate::desired::Absence;
use std::{collections::BTreeSet, fs, path::PathBuf};

use super::Plan;
use crate::{
    apply::apply,
    desired::Desired,
    fake::FakeExecutor,
    fake::{fake_host, index},
    model::Rule,
    model::{Datapath, Host, Lease, TunableKind},
    ownership::Ownership,
    ownership::PROTOCOL,
    policy::Policy,
};

const BUILD: u64 = 1;

macro_rules! cases {
    ($($name:ident)*) => {
        const CASES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
    };
}

cases! {
    a_daemon_keeps_the_rules_of_a_link_that_is_down
    a_delegated_prefix_is_one_rule
    a_duplicate_rule_is_thinned
    a_foreign_rule_inside_the_band_is_refused
    a_foreign_rule_outside_the_band_is_left_alone
    a_gateway_only_our_table_names_is_kept
    a_gateway_outside_the_subnet_is_onlink
    a_gateway_the_plan_would_forget_is_none
    a_tunable_that_another_program_changed_since_stays
    a_second_eni_appears
    a_static_route_of_main_follows_its_eni
    a_table_of_1001_is_the_textbooks
    a_vanished_link_took_its_routes_along
    addresses_that_fill_a_prefix_are_one_rule
    an_address_moved_to_the_other_eni
    an_address_on_two_enis_has_no_owner
    an_address_was_removed
    an_eni_is_taken_out
    an_eni_speaks_ipv6_only
    an_upgrade_replaces_the_programs
    fresh_host_with_enis_on_different_subnets
    fresh_host_with_enis_on_one_subnet
    leftover_rules_of_an_earlier_band_are_moved
    leftovers_in_main_go
    nothing_happened
    primary_full_rules_the_primary_too
    programs_only_installs_no_rules
    removal_restores_every_tunable
    rules_only_attaches_no_programs
    sysctls_off_turns_the_group_only
    the_gateway_changed
    the_link_is_up_again
    the_mode_becomes_steer
    the_route_to_docker_stays_in_main
    the_rules_were_flushed
    the_textbooks_rule_is_there_already
    the_textbooks_table_is_there_already
}

fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/plan")
        .join(case)
}

/// A policy, and what to do about an ENI that is missing (`"absence": "wait"`).
fn policy(case: &str, file: &str) -> Option<(Policy, Absence)> {
    let path = folder(case).join(file);
    let text = fs::read_to_string(&path).ok()?;
    let value: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let absence = match value["absence"].as_str() {
        Some("wait") => Absence::Wait,
        _ => Absence::Error,
    };
    let policy = serde_json::from_value(value);
    let policy = policy.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some((policy, absence))
}

/// Carries out the steps on the model, as an earlier run of ours would have.
fn carry_out(plan: &Plan, seen: Host) -> Host {
    let mut kernel = FakeExecutor { host: seen };
    let report = apply(plan, &mut kernel);
    assert!(report.is_complete(), "{:?}", report.failed);
    kernel.host
}

/// The host after its history, a line an event.
fn observed(case: &str) -> Host {
    let path = folder(case).join("observed.txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut seen = fake_host();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let words: Vec<&str> = rest.split_whitespace().collect();
        let number = |n: usize| words[n].parse().unwrap_or_else(|e| panic!("{line}: {e}"));
        let kind = |name: &str| match name {
            "group" => TunableKind::Group,
            "rp_filter" => TunableKind::RpFilter,
            "arp_ignore" => TunableKind::ArpIgnore,
            "arp_announce" => TunableKind::ArpAnnounce,
            other => panic!("there is no tunable {other}"),
        };
        seen = match verb {
            "eni" => seen.eni(number(0), words[1], &words[2..]),
            "link" => seen.virtual_link(number(0), words[1], words[2], &words[3..]),
            "address" => seen.address(words[0], words[1]),
            "no-address" => seen.without_address(words[0], words[1]),
            "down" => seen.down(words[0]),
            "up" => {
                let link = seen.link_mut(words[0]);
                (link.up, link.carrier) = (true, true);
                seen
            }
            "gone" => seen.gone(words[0]),
            "route" => seen.route(rest),
            "no-route" => seen.without_route(rest),
            "rule" => seen.rule(rest),
            "rule6" => seen.rule6(rest),
            "tunable" => seen.tunable(words[0], kind(words[1]), number(2)),
            "all" => {
                seen.all.insert(kind(words[0]), number(1));
                seen
            }
            "lease" => {
                let (link, gateway) = (index(number(0)), words[1].parse().expect("a gateway"));
                let file = format!("run/systemd/netif/leases/{link}");
                seen.leases.push(Lease {
                    index: link,
                    gateway,
                    file,
                });
                seen
            }
            // An earlier run of ours, under this policy or the one of the file named.
            "applied" => {
                let file = words.first().unwrap_or(&"policy.json");
                let (policy, absence) =
                    policy(case, file).unwrap_or_else(|| panic!("{case} has no {file}"));
                let desired =
                    Desired::for_host(&seen, &policy, absence, BUILD).expect("it was applied");
                carry_out(&Plan::between(&desired, &seen), seen)
            }
            // Our rules once more, as a request without NLM_F_EXCL makes them.
            "doubled" => {
                let ours = |rule: &Rule| rule.protocol == PROTOCOL;
                let again: Vec<Rule> = seen.rules.iter().filter(|r| ours(r)).cloned().collect();
                seen.rules.extend(again);
                seen.rules.sort_by_key(|rule| (rule.family, rule.priority));
                seen
            }
            // `ip rule flush`, which spares only the table local.
            "rules-flushed" => {
                seen.rules.retain(|rule| rule.priority.0 == 0);
                seen
            }
            "upgraded" => {
                let Datapath { attachments, .. } = &mut seen.datapath;
                attachments
                    .values_mut()
                    .for_each(|attachment| attachment.build = 0);
                seen
            }
            other => panic!("what is {other} in {}?", path.display()),
        };
    }
    seen
}

fn check(case: &str) {
    let seen = observed(case);
    let desired = match policy(case, "policy.json") {
        Some((policy, absence)) => Desired::for_host(&seen, &policy, absence, BUILD),
        None => Ok(Desired::empty(Ownership::default())),
    };
    let now = match &desired {
        Ok(desired) => {
            let plan = Plan::between(desired, &seen);
            plan.steps
                .iter()
                .map(|step| step.describe(&seen) + "\n")
                .collect()
        }
        Err(refusal) => format!("error: {refusal}\nhint: {}\n", refusal.hint()),
    };
    let path = folder(case).join("plan.txt");
    if std::env::var("SNAPSHOTS").is_ok_and(|what| what == "overwrite") {
        fs::write(&path, &now).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == now,
        "the plan is not the one in eni-steer/core/testdata/plan/{case}/plan.txt. \
         Written there:\n{written}\nIt is now:\n{now}"
    );
}

#[test]
fn every_folder_is_a_case() {
    let folders: BTreeSet<String> = fs::read_dir(folder(""))
        .expect("testdata/plan can be read")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    assert_eq!(
        folders,
        CASES.iter().map(|case| (*case).to_owned()).collect()
    );
}

/// The kernel lets duplicates be made: what is to be come back to has the rule once.
#[test]
fn a_rule_that_stood_twice_when_it_was_written_down_is_wanted_once() {
    let seen = fake_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .rule("pref 20300 from 172.16.20.176 lookup 21000 protocol 229")
        .rule("pref 20300 from 172.16.20.176 lookup 21000 protocol 229");
    let desired = Desired::from_host(&seen, &Ownership::default());
    let plan = Plan::between(&desired, &seen);
    let lines: Vec<_> = plan.steps.iter().map(|step| step.describe(&seen)).collect();
    assert_eq!(
        lines,
        ["- ip -4 rule del pref 20300 from 172.16.20.176 lookup 21000 protocol 229"]
    );
}
