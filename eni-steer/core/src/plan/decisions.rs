//! Which plan follows from which host and policy, case by case. Each folder of `testdata/plan` is a
//! case, named for what happened.
//!
//! `observed.txt` is the host's history in the words of `ip`, `policy.json` the policy (without it:
//! `remove`), and `plan.txt` the plan that follows. If the plan changes, the test of that name
//! fails. `SNAPSHOTS=overwrite cargo test` writes the new plan to the file; read the difference
//! before you commit it.

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
    the_first_rule_of_an_earlier_version_is_replaced
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

/// The policy in a file, and what to do about a missing ENI (`"absence": "wait"`).
fn policy(case: &str, file: &str) -> Option<(Policy, Absence)> {
    let path = folder(case).join(file);
    let text = fs::read_to_string(&path).ok()?;
    let value: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let absence = match value["absence"].as_str() {
        Some("wait") => Absence::Wait,
        _ => Absence::Error,
    };
    let policy =
        serde_json::from_value(value).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some((policy, absence))
}

/// The host after an earlier `apply`.
fn carry_out(plan: &Plan, host: Host) -> Host {
    let mut kernel = FakeExecutor { host };
    let report = apply(plan, &mut kernel);
    assert!(report.is_complete(), "{:?}", report.failed);
    kernel.host
}

/// The host after its history, one event in each line.
fn observed(case: &str) -> Host {
    let path = folder(case).join("observed.txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut host = fake_host();
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
        host = match verb {
            "eni" => host.eni(number(0), words[1], &words[2..]),
            "link" => host.virtual_link(number(0), words[1], words[2], &words[3..]),
            "address" => host.address(words[0], words[1]),
            "no-address" => host.without_address(words[0], words[1]),
            "down" => host.down(words[0]),
            "up" => {
                let link = host.link_mut(words[0]);
                (link.up, link.carrier) = (true, true);
                host
            }
            "gone" => host.gone(words[0]),
            "route" => host.route(rest),
            "no-route" => host.without_route(rest),
            "rule" => host.rule(rest),
            "rule6" => host.rule6(rest),
            "tunable" => host.tunable(words[0], kind(words[1]), number(2)),
            "all" => {
                host.all.insert(kind(words[0]), number(1));
                host
            }
            "lease" => {
                let (link, gateway) = (index(number(0)), words[1].parse().expect("a gateway"));
                let file = format!("run/systemd/netif/leases/{link}");
                host.leases.push(Lease {
                    index: link,
                    gateway,
                    file,
                });
                host
            }
            // An earlier `apply`, under this policy or the one in the named file.
            "applied" => {
                let file = words.first().unwrap_or(&"policy.json");
                let (policy, absence) =
                    policy(case, file).unwrap_or_else(|| panic!("{case} has no {file}"));
                let desired =
                    Desired::for_host(&host, &policy, absence, BUILD).expect("it was applied");
                carry_out(&Plan::between(&desired, &host), host)
            }
            // A second copy of eni-steer's rules, as a request without NLM_F_EXCL creates it.
            "doubled" => {
                let ours = |rule: &Rule| rule.protocol == PROTOCOL;
                let again: Vec<Rule> = host.rules.iter().filter(|r| ours(r)).cloned().collect();
                host.rules.extend(again);
                host.rules.sort_by_key(|rule| (rule.family, rule.priority));
                host
            }
            // `ip rule flush`, which keeps only the rule for the table local.
            "rules-flushed" => {
                host.rules.retain(|rule| rule.priority.0 == 0);
                host
            }
            "upgraded" => {
                let Datapath { attachments, .. } = &mut host.datapath;
                attachments
                    .values_mut()
                    .for_each(|attachment| attachment.build = 0);
                host
            }
            other => panic!("what is {other} in {}?", path.display()),
        };
    }
    host
}

fn check(case: &str) {
    let host = observed(case);
    let desired = match policy(case, "policy.json") {
        Some((policy, absence)) => Desired::for_host(&host, &policy, absence, BUILD),
        None => Ok(Desired::empty(Ownership::default())),
    };
    let now = match &desired {
        Ok(desired) => {
            let plan = Plan::between(desired, &host);
            let steps = plan.steps.iter().map(|step| step.describe(&host) + "\n");
            let unserved = desired.unserved.iter();
            let unserved = unserved.map(|e| format!("unserved: {e}\nhint: {}\n", e.hint()));
            steps.chain(unserved).collect()
        }
        Err(error) => format!("error: {error}\nhint: {}\n", error.hint()),
    };
    let path = folder(case).join("plan.txt");
    if std::env::var("SNAPSHOTS").is_ok_and(|what| what == "overwrite") {
        fs::write(&path, &now).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == now,
        "the plan differs from eni-steer/core/testdata/plan/{case}/plan.txt. \
         The file has:\n{written}\nThe plan is now:\n{now}"
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

/// The kernel allows duplicate rules; the state to restore has each rule once.
#[test]
fn a_duplicate_rule_is_restored_once() {
    let host = fake_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .rule("pref 20300 from 172.16.20.176 lookup 21000 protocol 229")
        .rule("pref 20300 from 172.16.20.176 lookup 21000 protocol 229");
    let desired = Desired::from_host(&host, &Ownership::default());
    let plan = Plan::between(&desired, &host);
    let lines: Vec<_> = plan.steps.iter().map(|step| step.describe(&host)).collect();
    assert_eq!(
        lines,
        ["- ip -4 rule del pref 20300 from 172.16.20.176 lookup 21000 protocol 229"]
    );
}
