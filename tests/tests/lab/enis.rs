//! The settings in `[[eni]]` and the exemptions take effect on packets: which interface is meant,
//! its gateway, its mode, and which packets are left alone.

use std::net::IpAddr;
use std::time::Duration;

use eni_steer_tests::{
    Counters, Lab, Ping, Shape, Steer, Way, assert_unchanged, expect_symmetry, ip, neighbours, ping,
};

const BRIEFLY: Duration = Duration::from_millis(5);
const ENIS: &str = "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n";

fn lab() -> Lab {
    Lab::builder(Shape::SameSubnet).drop_wrong_source().build()
}

#[test]
fn an_eni_is_selected_by_name_alternative_name_or_mac() {
    let lab = lab();
    let _report = lab.on_failure_print();
    ip(
        &lab.host,
        "link property add dev eth1 altname ens6-of-the-cloud-with-a-long-name",
    );
    let mac = lab.eni(1).mac.to_string().to_uppercase();
    let before = Steer::new().world(&lab);
    for select in [
        "name = 'eth1'".to_owned(),
        "name = 'ens6-of-the-cloud-with-a-long-name'".to_owned(),
        format!("mac = '{mac}'"),
    ] {
        let text = format!("[[eni]]\nname = 'eth0'\n[[eni]]\n{select}\ntable = 1001");
        let steer = Steer::configured(&text);
        steer.ok(&lab, &["apply"]);
        let rules = ip(&lab.host, "rule list");
        assert!(
            rules.contains("from 172.16.20.177 lookup 1001"),
            "{select}: {rules}"
        );
        for address in lab.eni(1).both() {
            expect_symmetry(&lab, 1, address);
        }
        steer.ok(&lab, &["remove"]);
        assert_unchanged(&before, &Steer::new().world(&lab));
    }
    // Two entries for the same interface are an error.
    let steer = Steer::configured(&format!("[[eni]]\nname = 'eth1'\n[[eni]]\nmac = '{mac}'"));
    steer.refuses(&lab, &["apply"], 8, &["eth1", "twice"]);
}

/// Checks eth1's gateway, in its table and by the packets.
#[track_caller]
fn expect_gateway(lab: &Lab, gateway: &str) {
    let table = ip(&lab.host, "route list table 21001 default");
    assert!(
        table.contains(&format!("via {gateway} dev eth1")),
        "{table}"
    );
    for address in lab.eni(1).both() {
        expect_symmetry(lab, 1, address);
    }
    let asked = neighbours(&lab.host);
    let known = asked
        .iter()
        .any(|one| one.address.to_string() == gateway && one.device == "eth1");
    assert!(known, "{gateway} was never asked for: {asked:?}");
}

#[test]
fn a_gateway_can_be_an_address_the_first_the_last_or_automatic() {
    let ipv6 = "gateway6 = 'fd00:21::253'";
    for (said, gateway) in [
        ("gateway = '172.16.21.253'", "172.16.21.253"),
        ("gateway = 'last'", "172.16.21.253"),
        ("gateway = 'first'", "172.16.21.1"),
        ("gateway = '172.16.21.77'", "172.16.21.77"),
        // Some clouds' routers are not in the ENI's subnet.
        ("gateway = '169.254.200.1'", "169.254.200.1"),
        ("gateway = 'auto'", "172.16.21.77"),
    ] {
        let lab = Lab::builder(Shape::DifferentSubnets)
            .drop_wrong_source()
            .build();
        let _report = lab.on_failure_print();
        let device = &lab.eni(1).gateway_device;
        for more in ["172.16.21.1/32", "172.16.21.77/32", "169.254.200.1/32"] {
            ip(&lab.router, &format!("address add {more} dev {device}"));
        }
        let steer = Steer::configured(&format!(
            "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n{said}\n{ipv6}"
        ));
        if said.contains("auto") {
            let told = steer.run(&lab, &["plan"]).stderr;
            assert!(told.contains("no IPv4 gateway for eth1"), "{told}");
            // If a table has a default route, the gateway is found there.
            ip(
                &lab.host,
                &format!("route add default via {gateway} dev eth1 table 77"),
            );
        }
        steer.ok(&lab, &["apply"]);
        expect_gateway(&lab, gateway);
        steer.ok(&lab, &["remove"]);
        // And without rules, with the programs' copy of the gateway.
        steer.ok(&lab, &["apply", "--rules", "off", "--mode", "steer"]);
        for address in lab.eni(1).both() {
            expect_symmetry(&lab, 1, address);
        }
    }
}

#[test]
fn each_eni_has_its_own_mode() {
    let lab = Lab::builder(Shape::SameSubnet).enis(3).build();
    let _report = lab.on_failure_print();
    // Without rules everything leaves by eth0, so eth0's mode decides, whoever owns the source.
    for (mode, left_by) in [("count", Some(0)), ("steer", Some(1)), ("drop", None)] {
        let steer = Steer::configured(&format!(
            "[policy]\nrules = false\nmode = 'steer'\n[[eni]]\nname = 'eth0'\nmode = '{mode}'\n\
             [[eni]]\nname = 'eth1'\nmode = 'drop'\n[[eni]]\nname = 'eth2'"
        ));
        steer.ok(&lab, &["apply"]);
        let seen = || [0, 1].map(|eni| lab.router_seen(eni));
        let before = seen();
        let address: IpAddr = lab.eni(1).v4().into();
        let patience = Duration::from_millis(100);
        let told = Ping::to(address)
            .count(4)
            .patience(patience)
            .run(&lab.client);
        assert_eq!(told.received > 0, left_by.is_some(), "{mode}: {told:?}");
        for (eni, before) in before.into_iter().enumerate() {
            let since = seen()[eni].since(before);
            let packets = since.right.packets + since.wrong.packets;
            assert_eq!(
                packets,
                if left_by == Some(eni) { 4 } else { 0 },
                "{mode} eth{eni}"
            );
        }
        steer.ok(&lab, &["remove"]);
    }
}

#[test]
fn an_eni_that_is_not_managed_is_left_alone_and_others_are_found() {
    let lab = Lab::builder(Shape::SameSubnet).enis(3).build();
    let _report = lab.on_failure_print();
    // The lab's ENIs are veths, which count as ENIs only if they are named.
    let steer = Steer::configured(&format!("{ENIS}[[eni]]\nname = 'eth2'\nmanaged = false"));
    let about_eth2 = |world: &str| -> Vec<String> {
        let about = world.lines().filter(|line| line.contains("eth2"));
        about.map(str::to_owned).collect()
    };
    let before = lab.dump(&lab.host);
    steer.ok(&lab, &["apply", "--mode", "steer"]);
    assert_eq!(about_eth2(&lab.dump(&lab.host)), about_eth2(&before));
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
    let seen = lab.router_seen(0);
    let told = ping(&lab.client, None, lab.eni(2).v4().into(), 3, BRIEFLY);
    assert_eq!(told.received, 3);
    assert_eq!(
        lab.router_seen(0).since(seen).wrong.packets,
        3,
        "as without us"
    );
    // A rule for an ENI that is not managed is an error in the configuration.
    steer.configure("conf.d/rule.toml", "[[rule]]\nuid = 7\neni = 'eth2'");
    steer.refuses(
        &lab,
        &["apply"],
        2,
        &["conf.d/rule.toml:3:7: ", "eth2 is not a managed ENI"],
    );
}

#[test]
fn exemptions_of_the_configuration_hold() {
    let lab = Lab::builder(Shape::SameSubnet).peer().build();
    let _report = lab.on_failure_print();
    let steer = Steer::configured(&format!(
        "[policy]\nrules = false\nmode = 'steer'\nexempt = ['192.0.2.0/24', '2001:db8:1::10']\n\
         exempt-mark = '0x40/0xf0'\n{ENIS}"
    ));
    steer.ok(&lab, &["apply"]);
    let fate = |fate| Counters::read(&steer, &lab).fate("eth0", fate);
    for address in lab.eni(1).both() {
        ping(&lab.client, None, address, 3, BRIEFLY).expect_all_answered();
    }
    assert_eq!((fate("exempt-destination"), fate("steered")), (6, 0));
    let eth1 = lab.eni(1).v4();
    for (mark, expected) in [(0x4f, (3, 0)), (0x5f, (3, 3))] {
        let told = Ping::to(lab.peer_v4(1))
            .from(eth1)
            .mark(mark)
            .count(3)
            .run(&lab.host);
        told.expect_all_answered();
        assert_eq!(
            (fate("exempt-mark"), fate("steered")),
            expected,
            "{mark:#x}"
        );
    }
    let cell = Counters::read(&steer, &lab).cell(IpAddr::from(eth1), "eth0", Way::Out);
    assert_eq!(cell.exempt.packets, 6);
}
