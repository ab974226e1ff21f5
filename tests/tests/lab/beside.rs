//! eni-steer beside other programs that install rules: it does not touch their rules, the traffic
//! of each side goes its own way, and `verify` names a foreign rule where it wins.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use eni_steer_tests::{
    Lab, Shape, Steer, TcpTransfer, Tunnel, assert_unchanged, eventually, expect_symmetry, ip,
    ping, run,
};
use serde_json::Value;

const BRIEFLY: Duration = Duration::from_millis(5);
/// Far longer than any pass of the daemon takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(15);
const BOTH: [&str; 2] = ["-4", "-6"];

fn both(lab: &Lab, words: &str) {
    for family in BOTH {
        ip(&lab.host, &format!("{family} {words}"));
    }
}

/// Returns the rules that are not eni-steer's, as `ip` lists them.
fn theirs(lab: &Lab) -> String {
    let all = BOTH.map(|family| ip(&lab.host, &format!("{family} rule list")));
    let lines = all.iter().flat_map(|text| text.lines());
    let theirs = lines.filter(|line| !line.contains("proto 229"));
    theirs.map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn expect_all_symmetric(lab: &Lab) {
    for eni in lab.enis() {
        for address in eni.both() {
            expect_symmetry(lab, eni.index, address);
        }
    }
}

/// A peer connects to every address of the host.
#[track_caller]
fn expect_reached_by(lab: &Lab, peer: &eni_steer_tests::NetNs) {
    for address in lab.enis().iter().flat_map(|eni| eni.both()) {
        let there = SocketAddr::new(address, 8080);
        let transfer = TcpTransfer::of(10_000).run(&lab.host, there, peer, there);
        assert!(transfer.complete, "{address}: {transfer:?}");
    }
}

/// `verify` finds everything in place.
#[track_caller]
fn expect_in_place(steer: &Steer, lab: &Lab) {
    steer.exits(lab, &["verify", "--require-traffic", "none"], 0);
    steer.exits(lab, &["plan"], 0);
}

/// `verify` finds addresses that leave by the wrong ENI because of a rule of this tool, and names
/// the rule.
#[track_caller]
fn expect_named(steer: &Steer, lab: &Lab, tool: &str, priority: u32) -> String {
    let verify = steer
        .run(lab, &["verify", "--require-traffic", "none"])
        .expect_code(3);
    assert!(verify.stdout.contains(tool), "{tool}: {verify}");
    let report = steer.json(lab, &["verify"]);
    let misrouted = report["policy"]["misrouted"].as_array().expect("a list");
    let of_theirs = |one: &Value| {
        one["rule"]["priority"] == priority
            && one["rule_owner"] == tool
            && one["rule_is_ours"] == false
    };
    assert!(misrouted.iter().any(of_theirs), "{report:#}");
    // eni-steer must not change the rule.
    steer.exits(lab, &["plan"], 0);
    verify.stdout
}

/// A host on which something is set up before `apply`, and is unharmed by apply, use and remove.
fn host(set_up: impl FnOnce(&Lab)) -> (Lab, Steer, String) {
    let lab = Lab::builder(Shape::SameSubnet)
        .masquerade()
        .drop_wrong_source()
        .build();
    set_up(&lab);
    let before = Steer::new().world(&lab);
    let others = theirs(&lab);
    let steer = Steer::configured("[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'");
    steer.ok(&lab, &["apply"]);
    assert_unchanged(&others, &theirs(&lab));
    (lab, steer, before)
}

/// Does what wg-quick does for a tunnel that takes everything: `AllowedIPs = 0.0.0.0/0, ::/0`.
fn wg_quick_up(lab: &Lab) {
    both(lab, "route add default dev wg0 table 51820");
    both(lab, "rule add not fwmark 51820 table 51820");
    both(lab, "rule add table main suppress_prefixlength 0");
}

/// Does what wg-quick does to take the tunnel down: it deletes by pattern, as often as the
/// pattern is listed.
fn wg_quick_down(lab: &Lab) {
    for family in BOTH {
        let list = || ip(&lab.host, &format!("{family} rule list"));
        while list().contains("lookup 51820") {
            ip(&lab.host, &format!("{family} rule del table 51820"));
        }
        while list().contains("from all lookup main suppress_prefixlength 0") {
            ip(
                &lab.host,
                &format!("{family} rule del table main suppress_prefixlength 0"),
            );
        }
        ip(
            &lab.host,
            &format!("{family} route del default dev wg0 table 51820"),
        );
    }
}

#[test]
fn beside_a_wg_quick_that_came_first_each_keeps_its_traffic() {
    let mut tunnel = None;
    let (lab, steer, before) = host(|lab| {
        tunnel = Some(Tunnel::open(lab, "wg0"));
        wg_quick_up(lab);
    });
    let _report = lab.on_failure_print();
    let tunnel = tunnel.expect("it was set up");
    // The tunnel's rules come after eni-steer's and would take eth0's answers from main, so eth0 has
    // rules of its own.
    let status = steer.ok(&lab, &["status"]);
    assert!(status.contains("sends its packets by wg0"), "{status}");
    expect_all_symmetric(&lab);
    expect_reached_by(&lab, &tunnel.peer);
    expect_in_place(&steer, &lab);
    // Packets without a source go through the tunnel, as its user wants.
    let far: IpAddr = "198.51.100.1".parse().expect("an address");
    ip(&tunnel.peer, "address add 198.51.100.1/32 dev lo");
    ping(&lab.host, None, far, 3, BRIEFLY).expect_all_answered();
    // Taking the tunnel down deletes nothing of eni-steer's. The primary needs its table no longer.
    let ours = |lab: &Lab| {
        let all = ip(&lab.host, "rule list");
        all.lines()
            .filter(|line| line.contains("proto 229"))
            .count()
    };
    let before_down = ours(&lab);
    wg_quick_down(&lab);
    assert_eq!(ours(&lab), before_down);
    expect_all_symmetric(&lab);
    steer.ok(&lab, &["apply"]);
    expect_in_place(&steer, &lab);
    expect_all_symmetric(&lab);
    wg_quick_up(&lab);
    steer.ok(&lab, &["remove"]);
    assert!(!before.is_empty());
    assert!(!theirs(&lab).is_empty() && theirs(&lab).contains("lookup 51820"));
}

/// eni-steer's rules of the IPv4 list: the lowest and the highest priority.
fn band(lab: &Lab) -> (u32, u32) {
    let list = ip(&lab.host, "-4 rule list");
    let ours = list.lines().filter(|line| line.contains("proto 229"));
    let priorities: Vec<u32> = ours
        .filter_map(|line| line.split(':').next()?.trim().parse().ok())
        .collect();
    let (first, last) = (priorities.iter().min(), priorities.iter().max());
    (
        *first.expect("there are rules"),
        *last.expect("there are rules"),
    )
}

/// Packets without a source go through the tunnel, as its user wants.
#[track_caller]
fn expect_sourceless_by_tunnel(lab: &Lab) {
    let far: IpAddr = "198.51.100.1".parse().expect("an address");
    ping(&lab.host, None, far, 3, BRIEFLY).expect_all_answered();
}

/// Its rules name no priority, so the kernel puts them before eni-steer's. `apply` puts eni-steer's
/// in front of them; until then `status` and `verify` say what is wrong.
#[test]
fn a_wg_quick_that_comes_later_is_named_and_apply_comes_in_front_of_it() {
    let (lab, steer, before) = host(|_| {});
    let _report = lab.on_failure_print();
    expect_in_place(&steer, &lab);
    let tunnel = Tunnel::open(&lab, "wg0");
    ip(&tunnel.peer, "address add 198.51.100.1/32 dev lo");
    wg_quick_up(&lab);
    let others = theirs(&lab);
    let verify = steer
        .run(&lab, &["verify", "--require-traffic", "none"])
        .expect_code(3);
    assert!(verify.stdout.contains("wg-quick"), "{verify}");
    assert!(
        verify
            .stdout
            .contains("put eni-steer's rules in front of it: eni-steer apply"),
        "{verify}"
    );
    let status = steer.ok(&lab, &["status"]);
    assert!(status.starts_with("ATTENTION"), "{status}");
    assert!(status.contains("names no priority"), "{status}");
    steer.ok(&lab, &["apply"]);
    assert_unchanged(&others, &theirs(&lab));
    assert!(band(&lab).1 < 19998, "{:?}", band(&lab));
    expect_all_symmetric(&lab);
    expect_sourceless_by_tunnel(&lab);
    expect_reached_by(&lab, &tunnel.peer);
    expect_in_place(&steer, &lab);
    let status = steer.ok(&lab, &["status"]);
    assert!(
        status.contains("rules begin at 18988 instead of 20000"),
        "{status}"
    );
    // Down: the band may return. Up again: the same once more.
    wg_quick_down(&lab);
    expect_all_symmetric(&lab);
    steer.ok(&lab, &["apply"]);
    assert_eq!(band(&lab).0, 20000);
    expect_in_place(&steer, &lab);
    wg_quick_up(&lab);
    steer.ok(&lab, &["apply"]);
    expect_all_symmetric(&lab);
    expect_sourceless_by_tunnel(&lab);
    wg_quick_down(&lab);
    ip(&lab.host, "link del wg0");
    drop(tunnel);
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}

/// With the daemon, the order of starting does not matter: before, after, down, up.
#[test]
fn beside_a_daemon_wg_quick_may_come_and_go_at_any_time() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    let tunnel = Tunnel::open(&lab, "wg0");
    ip(&tunnel.peer, "address add 198.51.100.1/32 dev lo");
    let steer = Steer::configured("[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'");
    wg_quick_up(&lab);
    let daemon = steer.call(&["run"]).start_in_background(&lab.host);
    let settles = || {
        let in_place = || steer.run(&lab, &["plan"]).code() == Some(0);
        assert!(eventually(SOON, in_place), "{}", daemon.output());
    };
    settles();
    for round in 0..2 {
        expect_all_symmetric(&lab);
        expect_sourceless_by_tunnel(&lab);
        expect_reached_by(&lab, &tunnel.peer);
        wg_quick_down(&lab);
        settles();
        assert_eq!(band(&lab).0, 20000, "round {round}");
        expect_all_symmetric(&lab);
        wg_quick_up(&lab);
        settles();
        assert!(band(&lab).1 < 19998, "round {round}: {:?}", band(&lab));
    }
    expect_all_symmetric(&lab);
    expect_sourceless_by_tunnel(&lab);
}

/// `up ip rule add from ... table 1001` of an ifupdown script, after each flap of the link. Its rule
/// sends the answers to containers out of eth1, if it comes first.
#[test]
fn beside_a_daemon_an_ifupdown_script_breaks_no_container_after_a_flap() {
    let lab = Lab::builder(Shape::SameSubnet).container().build();
    let _report = lab.on_failure_print();
    let script = |verb: &str| {
        if verb == "add" {
            ip(
                &lab.host,
                "route replace default via 172.16.20.253 dev eth1 table 1001",
            );
        }
        ip(
            &lab.host,
            &format!("rule {verb} from 172.16.20.177 table 1001"),
        );
    };
    script("add");
    let steer = Steer::configured("[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'");
    let daemon = steer.call(&["run"]).start_in_background(&lab.host);
    let settles = || {
        let in_place = || steer.run(&lab, &["plan"]).code() == Some(0);
        assert!(eventually(SOON, in_place), "{}", daemon.output());
    };
    settles();
    let reaches = |what: &str| {
        let there = SocketAddr::new(lab.eni(1).v4().into(), 8080);
        let transfer = TcpTransfer::of(10_000).run(&lab.host, there, lab.container(), there);
        assert!(transfer.complete, "{what}: {transfer:?}");
        expect_symmetry(&lab, 1, lab.eni(1).v4().into());
    };
    reaches("before the flap");
    for round in 0..2 {
        script("del");
        ip(&lab.host, "link set eth1 down");
        ip(&lab.host, "link set eth1 up");
        script("add");
        settles();
        reaches(&format!("after flap {round}"));
        let status = steer.ok(&lab, &["status"]);
        assert!(!status.contains("decides first"), "{status}");
    }
}

/// A program that adds such rules again and again is not fought for ever.
#[test]
fn the_band_does_not_move_again_and_again_within_a_minute() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::configured("[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'");
    let daemon = steer.call(&["run"]).start_in_background(&lab.host);
    let in_place = || steer.run(&lab, &["plan"]).code() == Some(0);
    assert!(eventually(SOON, in_place), "{}", daemon.output());
    let waits = || {
        daemon
            .output()
            .contains("it waits before it does so once more")
    };
    let mut added = 0;
    while !waits() {
        assert!(added < 13, "it moves for ever: {}", daemon.output());
        added += 1;
        let before = band(&lab);
        ip(
            &lab.host,
            &format!("-4 rule add from 10.9.0.{added} table 77"),
        );
        let moved = || band(&lab).0 < before.0 && in_place();
        assert!(
            eventually(SOON, || waits() || moved()),
            "{}",
            daemon.output()
        );
    }
    assert!(added > 1, "it moves at all");
    let at = band(&lab);
    ip(&lab.host, "-4 rule add from 10.9.1.1 table 77");
    let status = steer.ok(&lab, &["status"]);
    assert!(status.contains("from 10.9.1.1 lookup 77"), "{status}");
    assert_eq!(band(&lab), at);
}

/// Prefixes that full-tunnel VPNs route in the main table instead of a default route: two halves,
/// OpenVPN's (`redirect-gateway def1 ipv6`), and WireGuard's list that leaves out the private ranges, as far as the client is in it.
const FULL_TUNNELS: [&[&str]; 3] = [
    &["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"],
    &["0.0.0.0/1", "128.0.0.0/1", "::/3", "2000::/4", "3000::/4"],
    &["128.0.0.0/3", "196.0.0.0/6", "200.0.0.0/5", "2000::/3"],
];

/// Main's specific routes still count: answers to a peer of the VPN go through the VPN, also for
/// prefixes as short as 10.0.0.0/8 and fc00::/7.
#[test]
fn an_enis_address_never_answers_into_a_full_tunnel_made_of_parts_of_a_default_route() {
    let (lab, steer, _) = host(|_| {});
    let _report = lab.on_failure_print();
    let tunnel = Tunnel::open(&lab, "wg0");
    ip(&tunnel.peer, "address add 198.51.100.1/32 dev lo");
    ip(&tunnel.peer, "address add 10.7.0.1/32 dev lo");
    ip(&tunnel.peer, "address add fd77::1/128 dev lo");
    ip(&lab.host, "route add 10.0.0.0/8 via 10.99.0.2 dev wg0");
    ip(&lab.host, "route add fc00::/7 via fd00:99::2 dev wg0");
    let far: IpAddr = "198.51.100.1".parse().expect("an address");
    for parts in FULL_TUNNELS {
        let each = |verb: &str| {
            for part in parts {
                let via = if part.contains(':') {
                    "fd00:99::2"
                } else {
                    "10.99.0.2"
                };
                ip(&lab.host, &format!("route {verb} {part} via {via} dev wg0"));
            }
        };
        each("add");
        steer.ok(&lab, &["apply"]);
        expect_all_symmetric(&lab);
        expect_in_place(&steer, &lab);
        for (from, to) in [
            ("10.7.0.1", lab.eni(1).v4().into()),
            ("fd77::1", lab.eni(1).v6().into()),
        ] {
            let from = Some(from.parse().expect("an address"));
            ping(&tunnel.peer, from, to, 3, BRIEFLY).expect_all_answered();
        }
        // Packets without a source go through the tunnel, as its user wants.
        ping(&lab.host, None, far, 3, BRIEFLY).expect_all_answered();
        // Without its condition on the length, the first rule answers into the tunnel.
        let first = "pref 20000 lookup main suppress_ifgroup 20229 protocol 229";
        both(&lab, &format!("rule add {first}"));
        for (family, length) in [("-4", 7), ("-6", 6)] {
            let words = format!("{family} rule del {first} suppress_prefixlength {length}");
            ip(&lab.host, &words);
        }
        let report = steer.json(&lab, &["verify"]);
        let misrouted = report["policy"]["misrouted"].as_array().expect("a list");
        let by_tunnel = |one: &&Value| one["by"] == "wg0" && one["probe"] == "far";
        assert!(
            misrouted.iter().filter(by_tunnel).count() >= 4,
            "{report:#}"
        );
        assert!(
            !report["policy"]["drift"]
                .as_array()
                .expect("a list")
                .is_empty()
        );
        steer.ok(&lab, &["apply"]);
        expect_all_symmetric(&lab);
        each("del");
    }
}

/// Installs Tailscale's rules, and its table 52 with the addresses of its peers.
fn tailscale_up(lab: &Lab) {
    for rule in [
        "pref 5210 fwmark 0x80000/0xff0000 lookup main",
        "pref 5230 fwmark 0x80000/0xff0000 lookup default",
        "pref 5250 fwmark 0x80000/0xff0000 unreachable",
        "pref 5270 lookup 52",
    ] {
        both(lab, &format!("rule add {rule}"));
    }
    ip(
        &lab.host,
        "-4 route add 100.64.0.0/10 dev tailscale0 table 52",
    );
    ip(
        &lab.host,
        "-6 route add fd7a:115c:a1e0::/48 dev tailscale0 table 52",
    );
}

#[test]
fn beside_tailscale_its_peers_and_ours_are_served_and_an_exit_node_is_named() {
    let mut tunnel = None;
    let (lab, steer, _) = host(|lab| {
        let open = Tunnel::open(lab, "tailscale0");
        ip(&open.peer, "address add 100.64.0.2/32 dev lo");
        tunnel = Some(open);
        tailscale_up(lab);
    });
    let _report = lab.on_failure_print();
    let tunnel = tunnel.expect("it was set up");
    expect_all_symmetric(&lab);
    expect_reached_by(&lab, &tunnel.peer);
    // A peer that only table 52 knows.
    let peer: IpAddr = "100.64.0.2".parse().expect("an address");
    for eni in lab.enis() {
        ping(&tunnel.peer, Some(peer), eni.v4().into(), 3, BRIEFLY).expect_all_answered();
    }
    expect_in_place(&steer, &lab);
    // An exit node takes everything.
    both(&lab, "route add default dev tailscale0 table 52");
    expect_named(&steer, &lab, "Tailscale", 5270);
    both(&lab, "route del default dev tailscale0 table 52");
    expect_in_place(&steer, &lab);
}

/// The Amazon VPC CNI: a pod has an address of eth1's prefix. There are rules to it, for marked
/// packets, and from it to a table of eth1's.
#[test]
fn beside_the_amazon_vpc_cni_pods_and_host_are_served() {
    const POD: &str = "172.16.20.194";
    let (lab, steer, before) = host(|lab| {
        lab.allow(1, "172.16.20.192/28");
        ip(lab.container(), &format!("address add {POD} dev eth0"));
        for line in [
            &format!("route add {POD} dev docker0")[..],
            "route add 172.16.20.253 dev eth1 scope link table 2",
            "route add default via 172.16.20.253 dev eth1 table 2",
            &format!("rule add pref 512 to {POD} lookup main"),
            "rule add pref 1024 fwmark 0x80/0x80 lookup main",
            &format!("rule add pref 1536 from {POD} lookup 2"),
        ] {
            ip(&lab.host, &format!("-4 {line}"));
        }
    });
    let _report = lab.on_failure_print();
    let pod: IpAddr = POD.parse().expect("an address");
    let by_eth1 = |what: &str| {
        let before = lab.router_seen(1);
        ping(&lab.client, None, pod, 3, BRIEFLY).expect_all_answered();
        assert_eq!(lab.router_seen(1).since(before).right.packets, 3, "{what}");
    };
    by_eth1("by their rule");
    expect_all_symmetric(&lab);
    expect_reached_by(&lab, lab.container());
    expect_in_place(&steer, &lab);
    // The prefix belongs to eth1 for eni-steer too: both have a rule for it, and theirs comes
    // first.
    let named = "[[eni]]\nname = 'eth1'\nprefixes = ['172.16.20.192/28']";
    steer.configure("conf.d/prefix.toml", named);
    steer.ok(&lab, &["apply"]);
    by_eth1("by both");
    ip(&lab.host, "-4 rule del pref 1536");
    by_eth1("by ours alone");
    ip(
        &lab.host,
        &format!("-4 rule add pref 1536 from {POD} lookup 2"),
    );
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &Steer::new().world(&lab));
}

/// Installs what cloud-init does: a rule without a priority and a table 101 with a default route
/// and the subnet.
fn cloud_init_up(lab: &Lab) {
    for line in [
        "-4 route add default via 172.16.20.253 dev eth1 table 101",
        "-4 route add 172.16.20.0/24 dev eth1 table 101",
        "-6 route add default via fd00:20::253 dev eth1 table 101",
        "-6 route add fd00:20::/64 dev eth1 table 101",
        "-4 rule add from 172.16.20.177 table 101",
        "-6 rule add from fd00:20::177 table 101",
    ] {
        ip(&lab.host, line);
    }
}

#[test]
fn our_rules_come_before_cloud_inits_if_they_were_there_first() {
    let (lab, steer, before) = host(cloud_init_up);
    let _report = lab.on_failure_print();
    expect_all_symmetric(&lab);
    // Its rule alone would send a container's answer out of eth1.
    expect_reached_by(&lab, lab.container());
    expect_in_place(&steer, &lab);
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &Steer::new().world(&lab));
}

/// If its rule is added later it comes first. It uses the same ENI, which does no harm to
/// symmetry, but it breaks the answers to containers.
#[test]
fn cloud_inits_rule_that_came_later_is_named_for_what_it_breaks() {
    let (lab, steer, _) = host(|_| {});
    let _report = lab.on_failure_print();
    cloud_init_up(&lab);
    expect_all_symmetric(&lab);
    let there = SocketAddr::new(lab.eni(1).v4().into(), 8080);
    let reach = |patience| {
        let transfer = TcpTransfer::of(10).timeout(patience);
        transfer.run(&lab.host, there, lab.container(), there)
    };
    let transfer = reach(Duration::from_millis(700));
    assert!(!transfer.connected, "{transfer:?}");
    let verify = steer
        .run(&lab, &["verify", "--require-traffic", "none"])
        .expect_code(3);
    assert!(verify.stdout.contains("cloud-init"), "{verify}");
    let status = steer.ok(&lab, &["status"]);
    assert!(
        !status.contains("you can remove it"),
        "it is not harmless: {status}"
    );
    steer.ok(&lab, &["apply"]);
    let transfer = reach(SOON);
    assert!(transfer.connected, "{transfer:?}");
    expect_all_symmetric(&lab);
    expect_in_place(&steer, &lab);
}

/// Installs what a transparent proxy needs: packets for other hosts are delivered here.
#[test]
fn a_table_that_keeps_packets_here_is_named_where_it_wins() {
    let (lab, steer, before) = host(|_| {});
    both(&lab, "rule add pref 50 from all lookup 100");
    both(&lab, "route add local default dev lo table 100");
    let report = steer.json(&lab, &["verify"]);
    let misrouted = report["policy"]["misrouted"].as_array().expect("a list");
    assert!(!misrouted.is_empty(), "{report:#}");
    for one in misrouted {
        assert_eq!(one["rule"]["priority"], 50, "{one:#}");
    }
    both(&lab, "rule del pref 50");
    both(&lab, "route del local default dev lo table 100");
    expect_in_place(&steer, &lab);
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}

/// Returns whether this kernel has VRFs. The machine that runs the lab may lack them; the kernels
/// of `cargo xtask test --kernel` have them.
fn kernel_has_vrf(lab: &Lab) -> bool {
    let add = ["link", "add", "red", "type", "vrf", "table", "10"];
    let told = run(&lab.host, "ip", add);
    assert!(
        told.success() || told.stderr.contains("Unknown device type"),
        "neither a VRF nor a kernel without: {told}"
    );
    told.success()
}

/// A VRF with its own interface, its rule (1000, l3mdev) and its table.
#[test]
fn a_vrf_and_its_rule_are_not_touched() {
    let mut has_vrf = false;
    let (lab, steer, before) = host(|lab| {
        has_vrf = kernel_has_vrf(lab);
        eprintln!("this kernel has VRFs: {has_vrf}");
        if has_vrf {
            let tunnel = Tunnel::open(lab, "red0");
            ip(&lab.host, "link set red up");
            ip(&lab.host, "link set red0 master red");
            std::mem::forget(tunnel);
        }
    });
    let _report = lab.on_failure_print();
    assert_eq!(theirs(&lab).contains("l3mdev"), has_vrf);
    expect_all_symmetric(&lab);
    expect_in_place(&steer, &lab);
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &Steer::new().world(&lab));
}
