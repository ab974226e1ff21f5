//! Addresses that the host answers for although they are not on an ENI: those of load balancers, of
//! failover tools, and on the loopback.

use eni_steer_tests::{Lab, Shape, Steer, expect_symmetry, ip, ping, read_sysctl, write_sysctl};

use crate::common::{BRIEFLY, WAYS, address};

/// Promises that the host's answers from these addresses leave by eth1, and that nothing is left of
/// the addresses in what `status` reports.
#[track_caller]
fn expect_owned_by_eth1(lab: &Lab, addresses: &[&str]) {
    let steer = Steer::new();
    for way in WAYS {
        steer.apply(lab, way);
        for text in addresses {
            expect_symmetry(lab, 1, address(text));
        }
        let status = steer.run(lab, &["status"]).stdout;
        assert!(!status.contains("not on an ENI: replies"), "{status}");
        steer.ok(lab, &["remove"]);
    }
}

/// Google's and Azure's agents add such routes for forwarded addresses.
#[test]
fn a_load_balancers_address_leaves_by_the_eni_that_its_local_route_names() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    let named = ["198.51.100.7", "2001:db8:7::7"];
    for text in named {
        lab.allow(1, text);
        ip(
            &lab.host,
            &format!("route add to local {text} dev eth1 proto 66"),
        );
    }
    write_sysctl(&lab.host, "net.ipv6.ip_nonlocal_bind", 1);
    expect_owned_by_eth1(&lab, &named);
}

/// keepalived puts its address on a macvlan of the interface (`use_vmac`). The router asks for it
/// by ARP, and learns the hardware address of the macvlan.
#[test]
fn an_address_on_a_macvlan_of_an_eni_leaves_by_that_eni() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    ip(
        &lab.host,
        "link add vrrp51 link eth1 type macvlan mode private",
    );
    ip(&lab.host, "link set vrrp51 up");
    let named = ["172.16.20.200", "fd00:20::200"];
    ip(&lab.host, "address add 172.16.20.200/32 dev vrrp51");
    ip(&lab.host, "address add fd00:20::200/128 dev vrrp51 nodad");
    for text in named {
        lab.allow(1, text);
        let family = if text.contains(':') { "-6" } else { "-4" };
        ip(&lab.router, &format!("{family} route del {text}"));
    }
    expect_owned_by_eth1(&lab, &named);
}

/// keepalived gives its addresses the scope `link`, so that no connection of the host itself starts
/// from them.
#[test]
fn an_address_of_scope_link_leaves_by_its_eni() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    ip(
        &lab.host,
        "address add 172.16.20.200/32 scope link dev eth1",
    );
    lab.allow(1, "172.16.20.200");
    expect_owned_by_eth1(&lab, &["172.16.20.200"]);
}

#[test]
fn an_address_on_the_loopback_leaves_by_the_only_eni_in_its_subnet() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    let named = ["172.16.21.200", "fd00:21::200"];
    for text in named {
        ip(&lab.host, &format!("address add {text} dev lo"));
        lab.allow(1, text);
    }
    expect_owned_by_eth1(&lab, &named);
}

/// With `arp_ignore = 1` nobody would answer for these addresses, and the router would notice when
/// its cache expires: long after an `apply --confirm` was confirmed.
#[test]
fn an_address_that_answered_arp_requests_before_apply_answers_them_after_it() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let device = &lab.eni(0).gateway_device;
    ip(&lab.host, "address add 172.16.20.202/32 dev lo");
    ip(&lab.host, "address add 198.51.100.9/32 dev lo");
    // A route that names no gateway: the router asks for the address itself.
    ip(&lab.router, &format!("route add 198.51.100.9 dev {device}"));
    let answers = |text| {
        ip(&lab.router, &format!("neighbour flush dev {device}"));
        ping(&lab.client, None, address(text), 2, BRIEFLY).received
    };
    let addresses = ["172.16.20.202", "198.51.100.9"];
    for text in addresses {
        assert_eq!(answers(text), 2, "{text} before");
    }
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    for text in addresses {
        assert_eq!(answers(text), 2, "{text} after");
    }
    let status = steer.run(&lab, &["status"]).stdout;
    for words in ["172.16.20.202 and 1 more are on lo", "leaves arp_ignore"] {
        assert!(status.contains(words), "{words}: {status}");
    }
    // Without such addresses, each ENI answers for its own addresses only.
    for text in addresses {
        ip(&lab.host, &format!("address del {text}/32 dev lo"));
    }
    steer.apply(&lab, &[]);
    let value = read_sysctl(&lab.host, "net.ipv4.conf.eth1.arp_ignore");
    assert_eq!(value, "1");
}

/// On Google's cloud an address has no on-link prefix, and only eth0 gets a default route.
#[test]
fn the_gateway_of_an_eni_is_found_in_the_route_to_its_own_subnet() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    let eth1 = lab.eni(1);
    let (own, gateway) = (eth1.v4(), eth1.gateway_v4);
    ip(&lab.host, "-4 address flush dev eth1");
    ip(&lab.host, &format!("address add {own}/32 dev eth1"));
    ip(
        &lab.host,
        &format!("route add {gateway} dev eth1 scope link"),
    );
    ip(
        &lab.host,
        &format!("route add 172.16.21.0/24 via {gateway} dev eth1"),
    );
    let steer = Steer::new();
    for way in WAYS {
        steer.apply(&lab, way);
        expect_symmetry(&lab, 1, own.into());
        steer.ok(&lab, &["remove"]);
    }
}
