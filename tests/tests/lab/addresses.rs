//! Everything that an ENI owns is a source: secondary addresses, delegated prefixes that are not
//! configured on any interface, IPv6 with any kind of gateway, and many of each.

use std::net::IpAddr;
use std::time::Duration;

use eni_steer_tests::{
    Attempt, Capture, Eni, Lab, Shape, Steer, UdpServer, advertise, eventually, expect_symmetry,
    ip, ping, run, write_sysctl,
};

use crate::common::{BRIEFLY, WAYS, address};

#[test]
fn a_secondary_address_leaves_by_its_eni() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .addresses(5)
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    for way in WAYS {
        steer.apply(&lab, way);
        for eni in lab.enis() {
            expect_symmetry(&lab, eni.index, eni.v4s[4].into());
            expect_symmetry(&lab, eni.index, eni.v6s[4].into());
        }
        steer.ok(&lab, &["remove"]);
    }
}

/// `addresses`: what the cloud gives to the ENI and no interface has, as for a floating address
/// that a load balancer on the host answers.
#[test]
fn an_address_that_only_the_configuration_names_leaves_by_its_eni() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    let named = ["172.16.20.200", "fd00:20::200"];
    for text in named {
        lab.allow(1, text);
        ip(&lab.host, &format!("address add {text} dev lo"));
    }
    let steer = Steer::configured(&format!(
        "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\naddresses = {named:?}"
    ));
    for way in WAYS {
        steer.ok(&lab, &[&["apply"], way].concat());
        for text in named {
            expect_symmetry(&lab, 1, address(text));
        }
        steer.ok(&lab, &["remove"]);
    }
}

const PREFIXES: [&str; 2] = ["172.16.20.192/28", "fd00:20:0:0:77::/80"];

/// A host whose eth1 has delegated prefixes, of which no address is configured.
fn delegated() -> (Lab, Steer) {
    let lab = Lab::builder(Shape::SameSubnet)
        .container()
        .drop_wrong_source()
        .build();
    for prefix in PREFIXES {
        lab.allow(1, prefix);
    }
    let steer = Steer::configured(&format!(
        "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\nprefixes = {PREFIXES:?}"
    ));
    (lab, steer)
}

/// The host answers at every address of the prefix (AnyIP), and none of them is on an interface.
#[test]
fn a_delegated_prefix_with_no_address_of_it_assigned_leaves_by_its_eni() {
    let (lab, steer) = delegated();
    let _report = lab.on_failure_print();
    for prefix in PREFIXES {
        ip(&lab.host, &format!("route add local {prefix} dev lo"));
    }
    // Unlike IPv4, IPv6 needs this setting before a socket may use an address of such a prefix.
    write_sysctl(&lab.host, "net.ipv6.ip_nonlocal_bind", 1);
    for way in WAYS {
        steer.ok(&lab, &[&["apply"], way].concat());
        for text in ["172.16.20.193", "172.16.20.207", "fd00:20::77:0:0:5"] {
            expect_symmetry(&lab, 1, address(text));
        }
        steer.ok(&lab, &["remove"]);
    }
}

/// CNIs use prefixes like this: a container has one of the addresses.
#[test]
fn a_container_with_an_address_of_a_delegated_prefix_answers_by_its_eni() {
    let (lab, steer) = delegated();
    let _report = lab.on_failure_print();
    let pods = ["172.16.20.194", "fd00:20::77:0:0:6"];
    for pod in pods {
        ip(lab.container(), &format!("address add {pod} dev eth0"));
        let family = if pod.contains(':') { "-6" } else { "-4" };
        ip(&lab.host, &format!("{family} route add {pod} dev docker0"));
    }
    let answered = |pod| ping(&lab.client, None, address(pod), 3, BRIEFLY).received;
    for pod in pods {
        assert_eq!(
            answered(pod),
            0,
            "{pod}: without a policy the cloud drops it"
        );
    }
    for way in WAYS {
        steer.ok(&lab, &[&["apply"], way].concat());
        for pod in pods {
            let before = lab.router_seen(1);
            assert_eq!(answered(pod), 3, "{pod} {way:?}");
            assert_eq!(lab.router_seen(1).since(before).right.packets, 3, "{pod}");
        }
        steer.ok(&lab, &["remove"]);
    }
}

/// eth1 owns .178 to .191 and .192/28 and its own .177, eth0 owns .176. The cover must begin at
/// .177 and leave .176 out.
#[test]
fn sources_that_fill_a_prefix_are_one_rule_and_the_neighbour_is_not_in_it() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    let mut named = Vec::new();
    for host in 178..=191 {
        let text = format!("172.16.20.{host}");
        lab.allow(1, &text);
        ip(&lab.host, &format!("address add {text}/24 dev eth1"));
        named.push(text);
    }
    let steer = Steer::new();
    steer.apply(&lab, &["--programs", "off"]);
    let rules = ip(&lab.host, "-4 rule list");
    let sources: Vec<&str> = rules
        .lines()
        .filter(|line| line.contains("lookup 21001") && !line.contains("oif"))
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    assert_eq!(
        sources,
        [
            "172.16.20.177",
            "172.16.20.178/31",
            "172.16.20.180/30",
            "172.16.20.184/29"
        ],
        "{rules}"
    );
    for text in [&named[0], &named[6], &named[13]] {
        expect_symmetry(&lab, 1, address(text));
    }
    expect_symmetry(&lab, 0, lab.eni(0).v4().into());
    expect_symmetry(&lab, 1, lab.eni(1).v4().into());
}

#[test]
fn fifteen_enis_with_fifty_addresses_each_are_served() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .enis(15)
        .addresses(50)
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--mode", "steer"]);
    steer.exits(&lab, &["plan"], 0);
    let owned = ip(&lab.host, "-4 rule list").matches("lookup 210").count();
    assert!(owned < 14 * 50, "covered, not one by one: {owned} rules");
    for eni in [0, 1, 7, 14].map(|index| lab.eni(index)) {
        for host in [0, 49] {
            expect_symmetry(&lab, eni.index, eni.v4s[host].into());
            expect_symmetry(&lab, eni.index, eni.v6s[host].into());
        }
    }
    let verdict = steer.json(&lab, &["verify"]);
    assert_eq!(verdict["policy"]["misrouted"], serde_json::json!([]));
    // From every address: to the gateway, to a neighbour and far away; and from a socket that is
    // bound to an ENI with source rules.
    assert_eq!(verdict["policy"]["probes"], 15 * 50 * 2 * 3 + 14 * 2);
    steer.ok(&lab, &["remove"]);
}

/// The default route in an ENI's table, as `ip` prints it.
fn default6(lab: &Lab, table: u32) -> String {
    ip(&lab.host, &format!("-6 route list table {table} default"))
}

fn link_local(lab: &Lab, eni: &Eni) -> IpAddr {
    let lines = ip(
        &lab.router,
        &format!("-6 -o address show dev {} scope link", eni.gateway_device),
    );
    let word = lines
        .split_whitespace()
        .find(|word| word.starts_with("fe80"));
    let text = word.and_then(|word| word.split('/').next());
    address(text.expect("a link-local address"))
}

/// A packet leaves by eth1, to the MAC address of its gateway.
#[track_caller]
fn expect_by_the_gateway(lab: &Lab, eni: &Eni) {
    let from: IpAddr = eni.v6().into();
    let to: IpAddr = lab.client_v6().into();
    let server = UdpServer::echo(&lab.client, (to, 7001).into());
    let capture = Capture::start(&lab.host, &eni.name);
    let sent = Attempt::udp(server.address())
        .from((from, 0).into())
        .run(&lab.host);
    let frames = capture.stop();
    assert!(sent.expect("nothing refuses it").answered);
    let out: Vec<_> = frames
        .iter()
        .filter(|frame| frame.is_between(from, to))
        .collect();
    assert_eq!(out.len(), 1, "{frames:?}");
    assert_eq!(out[0].dst_mac(), eni.gateway_mac, "{}", out[0]);
}

#[test]
fn a_static_ipv6_gateway_that_is_link_local_is_used() {
    for gateway in ["fe80:ec2::1", "fe80::5"] {
        let lab = Lab::builder(Shape::DifferentSubnets)
            .drop_wrong_source()
            .build();
        let _report = lab.on_failure_print();
        let eni = lab.eni(1);
        let device = &eni.gateway_device;
        ip(
            &lab.router,
            &format!("address add {gateway}/64 dev {device} nodad"),
        );
        // The gateway has only its link-local address; a request for the global one would not be
        // answered.
        ip(
            &lab.router,
            &format!("address del {}/64 dev {device}", eni.gateway_v6),
        );
        ip(&lab.router, &format!("route add fd00:21::/64 dev {device}"));
        let steer = Steer::configured(&format!(
            "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\ngateway = 'last'\n\
             gateway6 = '{gateway}'"
        ));
        for way in WAYS {
            steer.ok(&lab, &[&["apply"], way].concat());
            for own in eni.both() {
                expect_symmetry(&lab, 1, own);
            }
            expect_by_the_gateway(&lab, eni);
            steer.ok(&lab, &["remove"]);
        }
    }
}

#[test]
fn an_ipv6_gateway_learned_from_a_router_advertisement_is_used() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    let eni = lab.eni(1);
    // 2 accepts advertisements even if forwarding is on, as it is on cloud hosts with containers.
    write_sysctl(&lab.host, "net.ipv6.conf.eth1.accept_ra", 2);
    let router = link_local(&lab, eni);
    let steer =
        Steer::configured("[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\ngateway = 'last'");
    let told = steer.run(&lab, &["plan"]).stderr;
    assert!(told.contains("no IPv6 gateway for eth1"), "{told}");
    advertise(&lab.router, &eni.gateway_device, Duration::from_secs(1800));
    let learned = || run(&lab.host, "ip", ["-6", "route", "list", "proto", "ra"]).stdout;
    assert!(
        eventually(Duration::from_secs(5), || learned().contains("default")),
        "the kernel learns it: {}",
        learned()
    );
    for way in WAYS {
        steer.ok(&lab, &[&["apply"], way].concat());
        for own in eni.both() {
            expect_symmetry(&lab, 1, own);
        }
        expect_by_the_gateway(&lab, eni);
        steer.ok(&lab, &["remove"]);
    }
    steer.ok(&lab, &["apply"]);
    let default = default6(&lab, 21001);
    assert!(
        default.contains(&format!("via {router} dev eth1")),
        "{default}"
    );
    // The copy has no lifetime, so the kernel does not remove it.
    assert!(!default.contains("expires"), "{default}");
}
