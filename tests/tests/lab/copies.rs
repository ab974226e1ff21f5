//! The tables of the ENIs answer as the main table would if it had that ENI only, whatever managers
//! of interfaces make of it: which prefixes are on the link, which router is the right one, and how
//! little of it is enough. The kernel's own lookups and packets are the judges.

use std::net::IpAddr;

use eni_steer_tests::{
    Call, Lab, SOON, Shape, Steer, eventually, expect_symmetry, ip, write_sysctl,
};

use super::main_table::next_hop_by_eth1;

const ENIS: &str = "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n";
const BOTH: &str = "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\ngateway = 'last'\n\
                    gateway6 = 'fd00:21::253'";

fn table(lab: &Lab, family: &str) -> String {
    ip(&lab.host, &format!("{family} route show table 21001"))
}

/// Which way packets of eth1's address go, in the words of `ip route get`: a line for each
/// destination.
fn ways<S: AsRef<str>>(lab: &Lab, to: &[S]) -> Vec<String> {
    let mut batch = String::new();
    for to in to {
        let to = to.as_ref();
        let from: IpAddr = match to.contains(':') {
            false => lab.eni(1).v4().into(),
            true => lab.eni(1).v6().into(),
        };
        batch.push_str(&format!("route get {to} from {from}\n"));
    }
    let asked = Call::new("ip")
        .args(["-oneline", "-batch", "-"])
        .stdin(batch);
    let asked = asked.run(&lab.host);
    assert!(asked.success(), "{}", asked.stderr);
    let ways: Vec<String> = asked.stdout.lines().map(str::to_owned).collect();
    assert_eq!(ways.len(), to.len());
    ways
}

/// Gives the addresses of both ENIs to a manager that adds the routes of their prefixes itself, with
/// metrics, as NetworkManager does. `prefix_of` are the ENIs for which it does.
fn managed(lab: &Lab, prefix_of: &[usize]) {
    for eni in [0, 1] {
        let (dev, v4, v6) = (&lab.eni(eni).name, lab.eni(eni).v4(), lab.eni(eni).v6());
        for (family, address, length) in [("-4", IpAddr::from(v4), 24), ("-6", v6.into(), 64)] {
            ip(
                &lab.host,
                &format!("{family} address del {address}/{length} dev {dev}"),
            );
            let flags = if family == "-6" {
                "nodad noprefixroute"
            } else {
                "noprefixroute"
            };
            let words = format!("{family} address add {address}/{length} dev {dev} {flags}");
            ip(&lab.host, &words);
            if prefix_of.contains(&eni) {
                let net = if family == "-6" {
                    "fd00:20::/64"
                } else {
                    "172.16.20.0/24"
                };
                let metric = 100 + eni;
                let words = format!("route add {net} dev {dev} proto kernel metric {metric}");
                ip(&lab.host, &words);
            }
        }
    }
    ip(
        &lab.host,
        "-4 route replace default via 172.16.20.253 dev eth0 metric 100",
    );
    ip(
        &lab.host,
        "-6 route replace default via fd00:20::253 dev eth0 metric 100",
    );
}

#[test]
fn prefixes_whose_routes_a_manager_adds_are_on_the_link() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    managed(&lab, &[0, 1]);
    let steer = Steer::configured(ENIS);
    steer.ok(&lab, &["apply"]);
    let both = [table(&lab, "-4"), table(&lab, "-6")].concat();
    for line in ["172.16.20.0/24 dev eth1", "fd00:20::/64 dev eth1"] {
        assert!(both.contains(line), "{line}: {both}");
    }
    for own in lab.eni(1).both() {
        expect_symmetry(&lab, 1, own);
    }
    assert_eq!(steer.plan(&lab, &[]).code(), Some(0));
    steer.ok(&lab, &["remove"]);
    // Without rules, the gateway of eth0 is found by the same prefixes.
    steer.ok(&lab, &["apply", "--rules", "off", "--mode", "steer"]);
    for own in lab.eni(1).both() {
        expect_symmetry(&lab, 1, own);
    }
}

/// The kernel refuses an IPv6 route through a gateway that the main table reaches by another ENI,
/// even if the route says that the gateway is on the link.
#[test]
fn a_gateway_that_main_reaches_by_another_eni_only_is_used() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    managed(&lab, &[0]);
    let gateways = "gateway = '172.16.20.253'\ngateway6 = 'fd00:20::253'";
    let steer = Steer::configured(&format!("{ENIS}{gateways}"));
    steer.ok(&lab, &["apply"]);
    for own in lab.eni(1).both() {
        expect_symmetry(&lab, 1, own);
    }
    let six = table(&lab, "-6");
    assert!(six.contains("fd00:20::253 dev eth1"), "{six}");
    assert!(!six.contains("fd00:20::/64"), "{six}");
    steer.ok(&lab, &["remove"]);
    // With balance, both ENIs' gateways are in one table.
    let text = format!(
        "[policy]\nprimary = 'full'\n{ENIS}{gateways}\n[balance]\nweights = {{ eth0 = 1, eth1 = 1 }}"
    );
    let steer = Steer::configured(&text);
    steer.ok(&lab, &["apply"]);
    let balance = ip(&lab.host, "-6 route show table 21999");
    for dev in ["eth0", "eth1"] {
        assert!(
            balance.contains(&format!("via fd00:20::253 dev {dev}")),
            "{balance}"
        );
    }
}

/// A router can advertise a prefix for addresses and say that its hosts are not on the link. The
/// kernel then adds no route for the prefix, and the address does not show it.
#[test]
fn a_prefix_that_is_not_on_the_link_is_reached_through_the_router() {
    let lab = Lab::builder(Shape::DifferentSubnets).peer().build();
    let _report = lab.on_failure_print();
    let neighbour: IpAddr = "fd00:21::50".parse().expect("an address");
    let steer = Steer::configured(BOTH);
    steer.ok(&lab, &["apply"]);
    assert_eq!(next_hop_by_eth1(&lab, neighbour), Some(lab.peer_mac(1)));
    ip(&lab.host, "-6 route del fd00:21::/64 dev eth1");
    steer.ok(&lab, &["apply"]);
    let gateway = Some(lab.eni(1).gateway_mac);
    assert_eq!(
        next_hop_by_eth1(&lab, neighbour),
        gateway,
        "{}",
        table(&lab, "-6")
    );
    steer.ok(&lab, &["remove"]);
    steer.ok(&lab, &["apply", "--rules", "off", "--mode", "steer"]);
    ip(
        &lab.host,
        "-6 route add default via fd00:20::253 dev eth0 metric 1",
    );
    assert_eq!(next_hop_by_eth1(&lab, neighbour), gateway);
}

#[test]
fn the_prefix_of_a_point_to_point_address_is_the_peers() {
    let lab = Lab::builder(Shape::DifferentSubnets).build();
    let _report = lab.on_failure_print();
    ip(
        &lab.host,
        "address add 10.77.0.2 peer 10.78.0.1/24 dev eth1",
    );
    ip(&lab.host, "address add 10.79.0.2 peer 10.79.0.1 dev eth1");
    let steer = Steer::configured(BOTH);
    steer.ok(&lab, &["apply"]);
    for (to, is_neighbour) in [
        ("10.78.0.9", true),
        ("10.79.0.1", true),
        ("10.77.0.9", false),
    ] {
        let way = ways(&lab, &[to]).concat();
        assert!(way.contains("dev eth1 table 21001"), "{way}");
        assert_eq!(!way.contains("via"), is_neighbour, "{way}");
    }
}

#[test]
fn an_address_without_a_prefix_reaches_its_gateway_by_the_route_that_main_has() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    for (family, own, length, gateway) in [
        ("-4", IpAddr::from(lab.eni(1).v4()), 24, "172.16.21.253"),
        ("-6", lab.eni(1).v6().into(), 64, "fd00:21::253"),
    ] {
        ip(
            &lab.host,
            &format!("{family} address del {own}/{length} dev eth1"),
        );
        let flags = if family == "-6" { "nodad" } else { "" };
        ip(
            &lab.host,
            &format!("{family} address add {own} dev eth1 {flags}"),
        );
        ip(&lab.host, &format!("{family} route add {gateway} dev eth1"));
        let words =
            format!("{family} route add default via {gateway} dev eth1 metric 2000 mtu 1400");
        ip(&lab.host, &words);
    }
    let steer = Steer::configured(ENIS);
    steer.ok(&lab, &["apply"]);
    for own in lab.eni(1).both() {
        expect_symmetry(&lab, 1, own);
    }
    for family in ["-4", "-6"] {
        let shown = table(&lab, family);
        assert!(
            shown.contains("mtu 1400") && !shown.contains("onlink"),
            "{shown}"
        );
    }
}

/// Ten thousand routes of main, most of them through one gateway.
fn many_routes(lab: &Lab) -> Vec<String> {
    let mut batch = String::new();
    let mut destinations = Vec::new();
    for n in 0..5000u32 {
        let (a, b) = (n >> 8, n & 0xff);
        let way4 = match n % 97 {
            0 => "via 172.16.21.50",
            1 => "via 172.16.21.253 mtu 1300",
            _ => "via 172.16.21.253",
        };
        batch.push_str(&format!(
            "route add 20.{a}.{b}.0/24 {way4} dev eth1 proto bgp\n"
        ));
        let way6 = match n % 89 {
            0 => "via fd00:21::50",
            1 => "via fd00:21::253 pref high",
            _ => "via fd00:21::253",
        };
        batch.push_str(&format!(
            "route add 3fff:{n:x}::/32 {way6} dev eth1 proto bgp\n"
        ));
        if n % 7 == 0 {
            destinations.push(format!("20.{a}.{b}.9"));
            destinations.push(format!("3fff:{n:x}::9"));
        }
        if n % 101 == 0 {
            // More specific: back to the common gateway, on the link, and for a TOS only.
            batch.push_str(&format!(
                "route add 20.{a}.{b}.128/25 via 172.16.21.253 dev eth1\n"
            ));
            batch.push_str(&format!("route add 20.{a}.{b}.64/28 dev eth1\n"));
            batch.push_str(&format!(
                "route add 20.{a}.{b}.0/26 tos 0x10 via 172.16.21.50 dev eth1\n"
            ));
            batch.push_str(&format!(
                "route add 20.{a}.{b}.32/28 via 172.16.21.253 dev eth1\n"
            ));
            destinations.extend([130, 65, 33, 3].map(|last| format!("20.{a}.{b}.{last}")));
        }
    }
    let added = Call::new("ip")
        .args(["-batch", "-"])
        .stdin(batch)
        .run(&lab.host);
    assert!(added.success(), "{}", added.stderr);
    destinations
}

#[test]
fn of_ten_thousand_routes_through_one_gateway_only_those_that_differ_are_copied() {
    let lab = Lab::builder(Shape::DifferentSubnets).peer().build();
    let _report = lab.on_failure_print();
    let destinations = many_routes(&lab);
    let with = |mirror: &str| {
        let steer = Steer::configured(&format!(
            "[policy]\nmirror = '{mirror}'\nprograms = false\n{BOTH}"
        ));
        steer.ok(&lab, &["apply"]);
        assert_eq!(steer.plan(&lab, &[]).code(), Some(0));
        let routes = [table(&lab, "-4"), table(&lab, "-6")].map(|shown| shown.lines().count());
        let ways = ways(&lab, &destinations);
        steer.ok(&lab, &["remove"]);
        (routes, ways)
    };
    let (exact, wanted) = with("exact");
    let (needed, ways) = with("needed");
    assert!(exact.iter().all(|routes| *routes >= 5000), "{exact:?}");
    assert!(needed.iter().all(|routes| *routes < 400), "{needed:?}");
    for (way, wanted) in ways.iter().zip(&wanted) {
        assert_eq!(way, wanted);
    }
}

/// The programs' map of next hops has room for fewer.
#[test]
fn what_is_steered_is_known_among_ten_thousand_routes() {
    let lab = Lab::builder(Shape::DifferentSubnets).peer().build();
    let _report = lab.on_failure_print();
    many_routes(&lab);
    let steer = Steer::configured(&format!("[policy]\nrules = false\nmode = 'steer'\n{BOTH}"));
    steer.ok(&lab, &["apply"]);
    for (to, by_peer) in [
        ("20.0.0.9", true),
        ("20.0.2.9", false),
        ("20.0.0.130", false),
    ] {
        ip(
            &lab.host,
            &format!("route add {to} via 172.16.20.253 dev eth0"),
        );
        let to = to.parse().expect("an address");
        let wanted = if by_peer {
            lab.peer_mac(1)
        } else {
            lab.eni(1).gateway_mac
        };
        assert_eq!(next_hop_by_eth1(&lab, to), Some(wanted), "{to}");
    }
}

/// With `nexthop_compat_mode=0`, routes name nexthop objects and not where they lead. The kernel
/// then reports a replaced object and not the routes that point to it.
#[test]
fn routes_by_nexthop_objects_are_copied_and_follow_their_objects() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .peer()
        .drop_wrong_source()
        .build();
    let _report = lab.on_failure_print();
    write_sysctl(&lab.host, "net.ipv4.nexthop_compat_mode", 0);
    for words in [
        "nexthop add id 11 via 172.16.21.253 dev eth1",
        "nexthop add id 12 via 172.16.21.50 dev eth1",
        "nexthop add id 20 group 11,3/12",
        "nexthop add id 61 via fd00:21::253 dev eth1",
        "nexthop add id 62 via fd00:21::50 dev eth1",
        "nexthop add id 13 blackhole",
        "-4 route add default nhid 11 metric 2000",
        "-6 route add default nhid 61 metric 2000",
        "-4 route add 198.51.100.0/24 nhid 12",
        "-6 route add 3fff:1::/48 nhid 62",
        "-4 route add 198.51.101.0/24 nhid 20",
        "-4 route add 198.51.102.0/24 nhid 13",
    ] {
        ip(&lab.host, words);
    }
    let steer = Steer::configured(ENIS);
    let daemon = steer.call(&["run"]).start_in_background(&lab.host);
    let settled = || steer.run(&lab, &["plan"]).code() == Some(0);
    assert!(eventually(SOON, settled), "{}", daemon.output());
    for own in lab.eni(1).both() {
        expect_symmetry(&lab, 1, own);
    }
    let four = table(&lab, "-4");
    for words in [
        "198.51.100.0/24 via 172.16.21.50 dev eth1",
        "nexthop via 172.16.21.253 dev eth1 weight 3",
    ] {
        assert!(four.contains(words), "{words}: {four}");
    }
    for (object, to) in [("12", "198.51.100.7"), ("62", "3fff:1::7")] {
        let family = if to.contains(':') {
            "fd00:21::"
        } else {
            "172.16.21."
        };
        let leads_to = |last: &str| ways(&lab, &[to])[0].contains(&format!("via {family}{last} "));
        assert!(leads_to("50"), "{:?}", ways(&lab, &[to]));
        let replaced = format!("nexthop replace id {object} via {family}51 dev eth1");
        ip(&lab.host, &replaced);
        assert!(
            eventually(SOON, || leads_to("51")),
            "{replaced}: {}",
            daemon.output()
        );
        ip(&lab.host, &format!("nexthop del id {object}"));
        assert!(
            eventually(SOON, || leads_to("253")),
            "{object}: {}",
            daemon.output()
        );
    }
}
