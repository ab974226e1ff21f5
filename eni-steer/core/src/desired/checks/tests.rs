//! What each refusal says: which object, and what to do.

use crate::desired::Absence;
use crate::{
    desired::Desired,
    fake::{fake_host, index},
    model::{Family, Host, Mac, Priority, TableId, TunableKind},
    ownership::{GROUP, MIN_BAND},
    policy::{EniPolicy, GatewayChoice, Policy, Selector},
};

/// Two ENIs that can be served.
fn good() -> Host {
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

/// The refusal and its hint, a line each.
fn refused(seen: &Host, policy: &Policy) -> String {
    refused_by(seen, policy, Absence::Error)
}

fn refused_by(seen: &Host, policy: &Policy, absence: Absence) -> String {
    let refusal = Desired::for_host(seen, policy, absence, 1).expect_err("it is refused");
    let (error, hint) = (refusal.to_string(), refusal.hint());
    assert!(!hint.is_empty(), "{error}");
    assert!(
        !error.contains('\n') && !hint.contains('\n'),
        "one line each"
    );
    format!("{error}\n{hint}")
}

#[test]
fn the_host_of_these_tests_is_served() {
    assert!(Desired::for_host(&good(), &both(), Absence::Error, 1).is_ok());
}

#[test]
fn nothing_is_found_where_no_interface_has_a_gateway() {
    let seen = fake_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .virtual_link(4, "docker0", "bridge", &["172.17.0.1/16"])
        .route("default via 172.17.0.9 dev docker0");
    assert_eq!(
        refused(&seen, &Policy::default()),
        "no ENI found: no up, non-virtual Ethernet interface has a global address and a gateway\n\
         name the ENIs: --eni eth0 --eni eth1 ('ip -br address' lists them)"
    );
}

#[test]
fn an_unknown_interface_is_named_beside_those_there_are() {
    assert_eq!(
        refused(&good(), &managing(&["eth0", "eth7"])),
        "there is no interface eth7\ninterfaces here: lo, eth0, eth1"
    );
    let mac = Selector::Mac(Mac([2, 0, 0, 0, 0, 9])).to_string();
    assert!(
        refused(&good(), &managing(&[&mac]))
            .starts_with("there is no interface 02:00:00:00:00:09\n")
    );
}

#[test]
fn an_interface_is_selected_once_only_by_whatever_name() {
    let hint = "name eth1 once, by name or by MAC address";
    for twice in ["eth1", "02:00:00:00:00:03", "enp0s3"] {
        let mut seen = good();
        seen.link_mut("eth1").altnames.push("enp0s3".to_owned());
        let text = refused(&seen, &managing(&["eth1", twice]));
        assert_eq!(text, format!("eth1 is selected twice\n{hint}"));
    }
}

#[test]
fn what_is_not_ethernet_is_refused_even_by_a_daemon() {
    let seen = good().virtual_link(5, "wg0", "wireguard", &["10.7.0.1/24"]);
    for absence in [Absence::Error, Absence::Wait] {
        for name in ["lo", "wg0"] {
            assert_eq!(
                refused_by(&seen, &managing(&[name]), absence),
                format!(
                    "{name} is not an Ethernet interface\nENIs are Ethernet interfaces; name another one"
                )
            );
        }
    }
}

#[test]
fn an_interface_that_is_down_is_named_with_the_command_to_type() {
    let seen = good().down("eth1");
    assert_eq!(
        refused(&seen, &both()),
        "eth1 is down\nip link set dev eth1 up"
    );
    assert!(Desired::for_host(&seen, &both(), Absence::Wait, 1).is_ok());
}

#[test]
fn an_interface_without_a_usable_address_is_refused() {
    let bare = good().without_address("eth1", "172.16.20.177/24");
    let mut tentative = good();
    tentative.addresses[1].tentative = true;
    let link_local = bare.clone().address("eth1", "169.254.7.7/16");
    for seen in [bare, tentative, link_local] {
        assert_eq!(
            refused(&seen, &both()),
            "eth1 has no global address\nip address show dev eth1; addresses that are \
             tentative, link-local or of host scope do not count"
        );
    }
}

#[test]
fn a_missing_gateway_is_named_by_eni_and_family() {
    let hint = "name it: --gateway eth1=ADDRESS; looked for in default routes through eth1, \
                DHCP leases and the same subnet on other ENIs";
    let four = fake_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .eni(3, "eth1", &["172.16.30.177/24"])
        .route("default via 172.16.20.253 dev eth0");
    assert_eq!(
        refused(&four, &both()),
        format!("no IPv4 gateway is known for eth1\n{hint}")
    );
    let six = good()
        .address("eth1", "2001:db8::177/64")
        .route("default via 2001:db8:9::1 dev eth0");
    assert_eq!(
        refused(&six, &both()),
        format!("no IPv6 gateway is known for eth1\n{hint}")
    );
}

#[test]
fn a_family_without_a_default_route_anywhere_needs_no_gateway() {
    let six = good().address("eth1", "2001:db8::177/64");
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
        refused(&good(), &policy).starts_with("gateway 172.16.20.177 of eth1 is its own address\n")
    );
}

#[test]
fn an_interface_below_another_is_refused_and_its_master_named() {
    let mut seen = good().virtual_link(6, "bond0", "bond", &["172.16.20.9/24"]);
    seen.link_mut("eth1").master = Some(index(6));
    assert!(
        refused(&seen, &both()).starts_with(
            "eth1 is enslaved to bond0\nroutes and addresses belong to bond0: name it"
        )
    );
}

#[test]
fn secondaries_alone_are_refused_while_mains_default_leaves_by_an_unmanaged_interface() {
    assert_eq!(
        refused(&good(), &managing(&["eth1"])),
        "main's IPv4 default route leaves by eth0, which is no managed ENI: the rules of eth1 \
         would never be asked\nmanage eth0 too: --eni eth0 (the primary ENI keeps to main)"
    );
    let programs_only = Policy {
        rules: false,
        ..managing(&["eth1"])
    };
    let alone = good().route("default via 172.16.20.253 dev eth1 table 7");
    assert!(Desired::for_host(&alone, &programs_only, Absence::Error, 1).is_ok());
    let tunnel = fake_host()
        .eni(3, "eth1", &["172.16.20.177/24"])
        .virtual_link(5, "wg0", "wireguard", &["10.7.0.1/24"])
        .route("default via 172.16.20.253 dev eth1 table 7")
        .route("default dev wg0");
    assert!(Desired::for_host(&tunnel, &managing(&["eth1"]), Absence::Error, 1).is_ok());
}

#[test]
fn one_table_for_two_enis_is_refused() {
    let mut policy = both();
    for eni in &mut policy.enis {
        eni.table = Some(TableId(1001));
    }
    assert_eq!(
        refused(&good(), &policy),
        "table 1001 of eth1 belongs to another ENI already\ngive each ENI a table of its own"
    );
}

#[test]
fn the_kernels_own_tables_are_refused() {
    for table in [0, 253, 254, 255] {
        let mut policy = both();
        policy.enis[1].table = Some(TableId(table));
        assert_eq!(
            refused(&good(), &policy),
            format!(
                "table {table} of eth1 is one of the kernel's own\n\
                 tables 0 and 253 to 255 are default, main and local; choose another one"
            )
        );
    }
}

#[test]
fn a_table_with_a_route_of_somebody_else_is_refused_and_the_route_shown() {
    let seen = good().route("10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001");
    assert_eq!(
        refused(&seen, &both()),
        "table 21001 of eth1 is used by someone else: it has the route \
         10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001 proto 3\n\
         choose another table (--table ENI=NUMBER, --table-base NUMBER), or remove what is there: \
         ip -4 route del 10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001 proto 3"
    );
    let ours = good().route("10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001 proto 229");
    assert!(Desired::for_host(&ours, &both(), Absence::Error, 1).is_ok());
}

#[test]
fn a_rule_of_somebody_else_inside_the_band_is_refused_and_shown() {
    let hint = "choose another band (--band FIRST-LAST) or move that rule";
    for priority in [20000, 20999] {
        let seen = good().rule(&format!("pref {priority} from 10.8.0.0/16 lookup 100"));
        assert_eq!(
            refused(&seen, &both()),
            format!(
                "a rule of someone else stands inside eni-steer's priorities 20000 to 20999: \
                 ip -4 rule pref {priority} from 10.8.0.0/16 lookup 100 protocol 3\n{hint}"
            )
        );
    }
    let beside = good()
        .rule("pref 19999 lookup 100")
        .rule6("pref 21000 lookup 100");
    assert!(Desired::for_host(&beside, &both(), Absence::Error, 1).is_ok());
}

#[test]
fn a_band_that_is_too_small_or_behind_main_is_refused() {
    for (first, last) in [
        (0, 999),
        (20000, 20000 + MIN_BAND - 2),
        (20999, 20000),
        (32000, 32766),
    ] {
        let mut policy = both();
        policy.ownership.first = Priority(first);
        policy.ownership.last = Priority(last);
        let text = refused(&good(), &policy);
        let error = format!("the priorities {first} to {last} can not hold eni-steer's rules\n");
        assert!(text.starts_with(&error), "{text}");
        assert!(
            text.ends_with("lies between local (0) and main (32766)"),
            "{text}"
        );
    }
}

#[test]
fn an_eni_in_a_group_somebody_chose_is_refused() {
    let seen = good().tunable("eth1", TunableKind::Group, 7);
    assert_eq!(
        refused(&seen, &both()),
        "eth1 is in interface group 7, which is not eni-steer's\n--group 7 makes eni-steer use \
         that group, if only ENIs are in it; or 'ip link set ... group default'"
    );
}

#[test]
fn a_stranger_in_our_group_is_refused() {
    let seen = good()
        .virtual_link(4, "docker0", "bridge", &["172.17.0.1/16"])
        .tunable("docker0", TunableKind::Group, GROUP.0);
    assert_eq!(
        refused(&seen, &both()),
        "docker0 is in interface group 20229 but is no managed ENI\n\
         choose another group (--group NUMBER), or manage docker0 too"
    );
}

#[test]
fn without_rules_places_that_only_rules_need_are_not_asked_for() {
    let seen = good()
        .rule("pref 20100 lookup 100")
        .route("10.1.0.0/16 via 172.16.20.9 dev eth0 table 21001")
        .tunable("eth1", TunableKind::Group, 7);
    let policy = Policy {
        rules: false,
        ..both()
    };
    assert!(Desired::for_host(&seen, &policy, Absence::Error, 1).is_ok());
}
