//! The text of each error: which object it is about, and what to do.

use crate::{
    desired::{Absence, Desired, PolicyError},
    fake::{fake_host, index},
    model::{Family, Host, Mac, Priority, TableId, TunableKind},
    ownership::{GROUP, MIN_BAND, Ownership},
    policy::{Balance, EniPolicy, GatewayChoice, Policy, Selector},
};

/// A host with two ENIs that allows the policy of both.
fn two_enis() -> Host {
    fake_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .eni(3, "eth1", &["172.16.20.177/24"])
        .route("default via 172.16.20.253 dev eth0")
}

fn managing(names: &[&str]) -> Policy {
    let enis = names
        .iter()
        .map(|name| EniPolicy::new(Selector::from(*name)));
    Policy {
        enis: enis.collect(),
        ..Policy::default()
    }
}

fn both() -> Policy {
    managing(&["eth0", "eth1"])
}

/// The error and its hint, one line each.
fn refused(host: &Host, policy: &Policy) -> String {
    refused_by(host, policy, Absence::Error)
}

fn refused_by(host: &Host, policy: &Policy, absence: Absence) -> String {
    let error = Desired::for_host(host, policy, absence, 1).expect_err("it is refused");
    let (error, hint) = (error.to_string(), error.hint());
    assert!(!hint.is_empty(), "{error}");
    assert!(
        !error.contains('\n') && !hint.contains('\n'),
        "one line each"
    );
    format!("{error}\n{hint}")
}

/// What is not served, although the policy is allowed: the error and its hint, one line each.
fn unserved(host: &Host, policy: &Policy) -> Vec<String> {
    unserved_by(host, policy, Absence::Error)
}

fn unserved_by(host: &Host, policy: &Policy, absence: Absence) -> Vec<String> {
    let desired = Desired::for_host(host, policy, absence, 1).unwrap_or_else(|e| panic!("{e}"));
    let line = |error: &PolicyError| format!("{error}\n{}", error.hint());
    desired.unserved.iter().map(line).collect()
}

/// The sources of the rules, in their order, without those for on-link prefixes only.
fn sources(host: &Host, policy: &Policy, absence: Absence) -> Vec<String> {
    let desired = Desired::for_host(host, policy, absence, 1).unwrap_or_else(|e| panic!("{e}"));
    let on_link = desired.ownership.on_link_priority();
    let rules = desired.rules.iter().filter(|rule| rule.priority != on_link);
    let from = rules.filter_map(|rule| rule.from);
    from.map(|from| from.to_string()).collect()
}

#[test]
fn the_host_of_these_tests_allows_the_policy() {
    assert!(Desired::for_host(&two_enis(), &both(), Absence::Error, 1).is_ok());
}

#[test]
fn no_eni_is_discovered_where_no_interface_has_a_gateway() {
    let host = fake_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .virtual_link(4, "docker0", "bridge", &["172.17.0.1/16"])
        .route("default via 172.17.0.9 dev docker0");
    assert_eq!(
        refused(&host, &Policy::default()),
        "no ENI found: no physical Ethernet interface is up and has a global address and a gateway\n\
         name the ENIs: --eni eth0 --eni eth1 ('ip -br address' lists them)"
    );
}

#[test]
fn an_unknown_interface_is_named_with_those_of_the_host() {
    assert_eq!(
        refused(&two_enis(), &managing(&["eth0", "eth7"])),
        "this host has no interface eth7\nthis host has the interfaces lo, eth0, eth1"
    );
    let mac = Selector::Mac(Mac([2, 0, 0, 0, 0, 9])).to_string();
    assert!(
        refused(&two_enis(), &managing(&[&mac]))
            .starts_with("this host has no interface 02:00:00:00:00:09\n")
    );
    // One of the configuration is left out, and the others are served.
    let three = managing(&["eth0", "eth1", "eth7"]);
    assert_eq!(
        unserved_by(&two_enis(), &three, Absence::Wait),
        ["this host has no interface eth7\nthis host has the interfaces lo, eth0, eth1"]
    );
    assert_eq!(
        sources(&two_enis(), &three, Absence::Wait),
        ["172.16.20.177/32"]
    );
    // Unless nothing is left.
    let none = Desired::for_host(&two_enis(), &managing(&["eth7"]), Absence::Wait, 1);
    let error = none.and_then(Desired::with_enis).expect_err("no ENI");
    assert_eq!(error.to_string(), "this host has no interface eth7");
    let none = Desired::for_host(&fake_host(), &Policy::default(), Absence::Wait, 1);
    let error = none.and_then(Desired::with_enis).expect_err("no ENI");
    assert_eq!(error, PolicyError::NothingFound);
}

#[test]
fn the_policy_names_an_interface_once_by_whatever_name() {
    let hint = "name eth1 once, by name or by MAC address";
    for twice in ["eth1", "02:00:00:00:00:03", "enp0s3"] {
        let mut host = two_enis();
        host.link_mut("eth1").altnames.push("enp0s3".to_owned());
        let text = refused(&host, &managing(&["eth1", twice]));
        assert_eq!(text, format!("the policy names eth1 twice\n{hint}"));
    }
}

#[test]
fn what_is_not_ethernet_is_refused_even_by_a_daemon() {
    let host = two_enis().virtual_link(5, "wg0", "wireguard", &["10.7.0.1/24"]);
    for absence in [Absence::Error, Absence::Wait] {
        for name in ["lo", "wg0"] {
            assert_eq!(
                refused_by(&host, &managing(&[name]), absence),
                format!(
                    "{name} is not an Ethernet interface\nan ENI is an Ethernet interface; name \
                     another interface"
                )
            );
        }
    }
}

#[test]
fn an_interface_that_is_down_is_named_with_the_command_to_type() {
    let host = two_enis().down("eth1");
    assert_eq!(
        unserved(&host, &both()),
        ["eth1 is down\nip link set dev eth1 up"]
    );
}

#[test]
fn an_interface_without_a_usable_address_is_named() {
    let bare = two_enis().without_address("eth1", "172.16.20.177/24");
    let mut tentative = two_enis();
    tentative.addresses[1].tentative = true;
    let link_local = bare.clone().address("eth1", "169.254.7.7/16");
    for host in [bare, tentative, link_local] {
        assert_eq!(
            unserved(&host, &both()),
            [
                "eth1 has no global address\nlook at 'ip address show dev eth1': tentative, \
                 link-local and host-scope addresses do not count"
            ]
        );
    }
}

#[test]
fn a_missing_gateway_is_named_by_eni_and_family() {
    let line = |ip, key| {
        format!(
            "eni-steer knows no {ip} gateway for eth1, so packets of its {ip} addresses follow the \
             main table\nname it: --gateway eth1=ADDRESS, or {key} = \"ADDRESS\" under [[eni]] name \
             = \"eth1\" in the configuration; eni-steer looked for one in default routes through \
             eth1, in DHCP leases and on other ENIs of the same subnet"
        )
    };
    let four = fake_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .eni(3, "eth1", &["172.16.30.177/24"])
        .route("default via 172.16.20.253 dev eth0");
    assert_eq!(unserved(&four, &both()), [line("IPv4", "gateway")]);
    assert_eq!(sources(&four, &both(), Absence::Error), [""; 0]);
    let six = two_enis()
        .address("eth1", "2001:db8::177/64")
        .route("default via 2001:db8:9::1 dev eth0");
    assert_eq!(unserved(&six, &both()), [line("IPv6", "gateway6")]);
    // The other family is served.
    assert_eq!(sources(&six, &both(), Absence::Error), ["172.16.20.177/32"]);
}

#[test]
fn a_family_without_a_default_route_anywhere_needs_no_gateway() {
    let six = two_enis().address("eth1", "2001:db8::177/64");
    let desired =
        Desired::for_host(&six, &both(), Absence::Error, 1).unwrap_or_else(|e| panic!("{e}"));
    let in_table = desired.routes.iter().filter(|r| r.table == TableId(21001));
    let defaults = in_table.filter(|route| route.is_default());
    let families: Vec<_> = defaults.map(|route| route.family()).collect();
    assert_eq!(families, [Family::V4]);
}

#[test]
fn a_gateway_that_is_the_enis_own_address_is_refused() {
    let mut policy = both();
    policy.enis[1].gateways = vec![GatewayChoice::Address(
        "172.16.20.177".parse().expect("an address"),
    )];
    assert!(
        refused(&two_enis(), &policy)
            .starts_with("the gateway 172.16.20.177 of eth1 is an address of eth1 itself\n")
    );
    // The configuration's mistake about eth1 stops nothing else, and so does one in a route.
    let named = unserved_by(&two_enis(), &policy, Absence::Wait);
    assert_eq!(named.len(), 1, "{named:?}");
    let host = two_enis().route("default via 172.16.20.177 dev eth1 metric 200");
    let named = unserved(&host, &both());
    assert!(
        named[0].starts_with("the gateway 172.16.20.177 of eth1"),
        "{named:?}"
    );
    assert_eq!(named.len(), 1, "{named:?}");
}

#[test]
fn an_interface_below_another_is_refused_and_its_master_named() {
    let mut host = two_enis().virtual_link(6, "bond0", "bond", &["172.16.20.9/24"]);
    host.link_mut("eth1").master = Some(index(6));
    let text = "eth1 belongs to the bridge, bond or VRF bond0\nthe addresses and routes are those of \
                bond0: name it instead";
    assert!(refused(&host, &both()).starts_with(text));
    // The configuration may name an interface that somebody enslaved since.
    let named = unserved_by(&host, &both(), Absence::Wait);
    assert_eq!(named.len(), 1);
    assert!(named[0].starts_with(text), "{named:?}");
}

#[test]
fn a_default_route_of_main_by_an_unmanaged_interface_is_named() {
    let alone = two_enis().route("default via 172.16.20.253 dev eth1 table 7");
    assert_eq!(
        unserved(&alone, &managing(&["eth1"])),
        [
            "eth0 carries the main table's IPv4 default route, but eni-steer does not manage it: \
             packets of eth1 that leave by eth0 are neither counted nor steered\nmanage it too: \
             --eni eth0, or [[eni]] name = \"eth0\" in the configuration"
        ]
    );
    assert_eq!(
        sources(&alone, &managing(&["eth1"]), Absence::Error),
        ["172.16.20.177/32"]
    );
    let programs_only = Policy {
        rules: false,
        ..managing(&["eth1"])
    };
    assert_eq!(unserved(&alone, &programs_only), [""; 0]);
    let tunnel = fake_host()
        .eni(3, "eth1", &["172.16.20.177/24"])
        .virtual_link(5, "wg0", "wireguard", &["10.7.0.1/24"])
        .route("default via 172.16.20.253 dev eth1 table 7")
        .route("default dev wg0");
    assert_eq!(unserved(&tunnel, &managing(&["eth1"])), [""; 0]);
}

#[test]
fn one_table_for_two_enis_is_refused() {
    let mut policy = both();
    for eni in &mut policy.enis {
        eni.table = Some(TableId(1001));
    }
    assert_eq!(
        refused(&two_enis(), &policy),
        "the policy gives table 1001 to another ENI and to eth1\ngive each ENI its own table"
    );
}

#[test]
fn the_kernels_own_tables_are_refused() {
    for table in [0, 253, 254, 255] {
        let mut policy = both();
        policy.enis[1].table = Some(TableId(table));
        assert_eq!(
            refused(&two_enis(), &policy),
            format!(
                "table {table} of eth1 is one of the kernel's own tables\nchoose another one: \
                 tables 253, 254 and 255 are default, main and local, and 0 means none"
            )
        );
    }
}

#[test]
fn a_table_with_another_programs_route_is_refused_and_the_route_shown() {
    let host = two_enis().route("10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001");
    assert_eq!(
        refused(&host, &both()),
        "another program uses table 21001 of eth1: the table has the route \
         10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001 proto 3\n\
         choose another table (--table ENI=NUMBER, --table-base NUMBER), or remove the other \
         program's rules and routes: \
         ip -4 route del 10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001 proto 3"
    );
    let ours = two_enis().route("10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001 proto 229");
    assert!(Desired::for_host(&ours, &both(), Absence::Error, 1).is_ok());
}

#[test]
fn another_programs_rule_inside_the_band_is_refused_and_shown() {
    let hint = "choose other priorities (--band FIRST-LAST), or give that rule another one";
    for priority in [20000, 20999] {
        let host = two_enis().rule(&format!("pref {priority} from 10.8.0.0/16 lookup 100"));
        assert_eq!(
            refused(&host, &both()),
            format!(
                "another program's rule has a priority between 20000 and 20999, which eni-steer \
                 needs for its own rules: \
                 ip -4 rule pref {priority} from 10.8.0.0/16 lookup 100 protocol 3\n{hint}"
            )
        );
    }
    let beside = two_enis()
        .rule("pref 19999 lookup 100")
        .rule6("pref 21000 lookup 100");
    assert!(Desired::for_host(&beside, &both(), Absence::Error, 1).is_ok());
}

#[test]
fn a_band_that_is_too_small_or_after_main_is_refused() {
    for (first, last) in [
        (0, 999),
        (20000, 20000 + MIN_BAND - 2),
        (20999, 20000),
        (32000, 32766),
    ] {
        let mut policy = both();
        policy.ownership.first = Priority(first);
        policy.ownership.last = Priority(last);
        let text = refused(&two_enis(), &policy);
        let error = format!("the priorities {first} to {last} cannot hold eni-steer's rules\n");
        assert!(text.starts_with(&error), "{text}");
        assert!(
            text.ends_with("between the rules of tables local (0) and main (32766)"),
            "{text}"
        );
    }
}

#[test]
fn an_eni_in_a_group_that_somebody_chose_is_refused() {
    let host = two_enis().tunable("eth1", TunableKind::Group, 7);
    assert_eq!(
        refused(&host, &both()),
        "eth1 is in interface group 7 already, and eni-steer does not move it\nadd --group 7 to \
         use that group, if it contains only ENIs; or take eth1 out of it: ip link set dev eth1 \
         group default"
    );
}

#[test]
fn an_interface_in_our_group_that_is_not_managed_is_refused() {
    let host = two_enis()
        .virtual_link(4, "docker0", "bridge", &["172.17.0.1/16"])
        .tunable("docker0", TunableKind::Group, GROUP.0);
    assert_eq!(
        refused(&host, &both()),
        "docker0 is in interface group 20229, which only managed ENIs may be in\n\
         choose another group (--group NUMBER), or manage docker0 too (--eni docker0)"
    );
}

#[test]
fn a_band_is_fit_if_it_has_room_and_lies_before_the_kernels_rules() {
    let with = |first, last| {
        let ownership = Ownership {
            first: Priority(first),
            last: Priority(last),
            ..Ownership::default()
        };
        let policy = Policy {
            ownership,
            ..both()
        };
        Desired::for_host(&two_enis(), &policy, Absence::Error, 1)
    };
    let room = MIN_BAND - 1;
    for (first, last) in [(1, 1 + room), (32765 - room, 32765), (5000, 5999)] {
        assert!(with(first, last).is_ok(), "{first}-{last}");
    }
    for (first, last) in [
        (0, 999),
        (1, room),
        (32766 - room, 32766),
        (6000, 5000),
        (32766, 33999),
    ] {
        let error = with(first, last).expect_err("it is refused");
        assert!(
            matches!(error, PolicyError::BandUnfit { .. }),
            "{first}-{last}: {error}"
        );
    }
}

#[test]
fn a_family_without_any_default_route_on_the_host_needs_no_gateway() {
    let dual = || {
        fake_host()
            .eni(2, "eth0", &["172.16.20.176/24", "2001:db8::176/64"])
            .eni(3, "eth1", &["172.16.20.177/24", "2001:db8::177/64"])
            .route("default via 172.16.20.253 dev eth0")
    };
    let all_served = |host: &Host| unserved(host, &both()).is_empty();
    assert!(all_served(&dual()));
    // With a default route, packets of the other ENI's IPv6 addresses would leave by it. One that
    // refuses packets, or that eni-steer made, leads nowhere.
    let elsewhere = fake_host()
        .eni(2, "eth0", &["172.16.20.176/24", "2001:db8::176/64"])
        .eni(3, "eth1", &["172.16.21.177/24", "2001:db8:1::177/64"])
        .route("default via 172.16.20.253 dev eth0")
        .route("default via 172.16.21.253 dev eth1 metric 200");
    assert!(all_served(&elsewhere));
    let routed = elsewhere.clone().route("default6 via 2001:db8::1 dev eth0");
    let named = unserved(&routed, &both());
    assert!(
        named[0].starts_with("eni-steer knows no IPv6 gateway for eth1"),
        "{named:?}"
    );
    let nowhere = elsewhere.route("unreachable default6 dev lo metric 4294967295");
    assert!(all_served(&nowhere));
}

#[test]
fn what_is_desired_carries_the_numbers_of_the_policy() {
    let ownership = Ownership {
        first: Priority(5000),
        last: Priority(5999),
        ..Ownership::default()
    };
    let policy = Policy {
        ownership: ownership.clone(),
        ..both()
    };
    let desired = Desired::for_host(&two_enis(), &policy, Absence::Error, 1);
    assert_eq!(desired.expect("it is allowed").ownership, ownership);
    assert_eq!(Desired::empty(ownership.clone()).ownership, ownership);
}

#[test]
fn without_rules_tables_priorities_and_groups_do_not_matter() {
    let host = two_enis()
        .rule("pref 20100 lookup 100")
        .route("10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001")
        .tunable("eth1", TunableKind::Group, 7);
    let policy = Policy {
        rules: false,
        ..both()
    };
    assert!(Desired::for_host(&host, &policy, Absence::Error, 1).is_ok());
}

/// What can be said of a host that does not allow the policy: names of the ENIs, and all errors,
/// those that are about one ENI last.
fn despite(host: &Host, policy: &Policy) -> (Vec<String>, Vec<String>) {
    let (desired, errors) = Desired::despite_errors(host, policy, 1);
    let names = desired.enis.iter().map(|eni| eni.name.clone()).collect();
    let errors = errors.iter().chain(&desired.unserved);
    (names, errors.map(ToString::to_string).collect())
}

#[test]
fn what_can_be_said_is_said_whatever_is_wrong_with_the_rest() {
    let fine = despite(&two_enis(), &both());
    assert_eq!(
        fine,
        (vec!["eth0".to_owned(), "eth1".to_owned()], Vec::new())
    );
    // An interface that is not there does not keep the others from being shown.
    let (names, errors) = despite(&two_enis(), &managing(&["eth9", "eth0", "lo"]));
    assert_eq!(names, ["eth0"]);
    assert_eq!(
        errors,
        [
            "lo is not an Ethernet interface",
            "this host has no interface eth9"
        ]
    );
    // If nothing is left of what the policy names, no other ENI is shown in its place.
    let (names, errors) = despite(&two_enis(), &managing(&["lo"]));
    assert_eq!(names, [""; 0]);
    assert_eq!(errors, ["lo is not an Ethernet interface"]);
    // An ENI that is named twice is shown once.
    let (names, errors) = despite(&two_enis(), &managing(&["eth0", "eth1", "eth1"]));
    assert_eq!(names, ["eth0", "eth1"]);
    assert_eq!(errors, ["the policy names eth1 twice"]);
    // An error that is about no ENI leaves out rules only, whether the policy names ENIs or
    // eni-steer discovers them.
    let unbalanced = |policy: Policy| Policy {
        balance: Some(Balance::default()),
        ..policy
    };
    for policy in [unbalanced(both()), unbalanced(Policy::default())] {
        let (desired, errors) = Desired::despite_errors(&two_enis(), &policy, 1);
        assert_eq!(desired.enis.len(), 2);
        assert_eq!(desired.rules, []);
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(errors, ["balance needs source rules for the primary ENI"]);
    }
    // Another program's rule in the band: everything is shown, and the rule is named.
    let band = two_enis().rule("pref 20500 from 10.9.9.9 lookup 77");
    let (names, errors) = despite(&band, &both());
    assert_eq!(names, ["eth0", "eth1"]);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].contains("20500"), "{errors:?}");
    let (desired, _) = Desired::despite_errors(&band, &both(), 1);
    assert!(
        !desired.rules.is_empty(),
        "what the rules should be is still known"
    );
    let down = two_enis().down("eth1");
    let (names, errors) = despite(&down, &both());
    assert_eq!(names, ["eth0", "eth1"]);
    assert_eq!(errors, ["eth1 is down"]);
    let bare = two_enis().without_address("eth1", "172.16.20.177/24");
    let (_, errors) = despite(&bare, &both());
    assert!(errors[0].contains("eth1"), "{errors:?}");
    // Two mistakes are two errors.
    let mut twice = both();
    twice.enis[0].table = Some(TableId(254));
    let (names, errors) = despite(&band, &twice);
    assert_eq!(names, ["eth0", "eth1"]);
    assert_eq!(errors.len(), 1, "the first conflict is named: {errors:?}");
    // A policy that gives one table to two ENIs.
    let mut tables = both();
    tables.enis[0].table = Some(TableId(1001));
    tables.enis[1].table = Some(TableId(1001));
    let (names, errors) = despite(&two_enis(), &tables);
    assert_eq!(names, ["eth0"]);
    assert_eq!(errors.len(), 1, "{errors:?}");
}
