//! What `verify` and `status` say in an incident: loss is never a success, silence is never a
//! success, and the report is best when the host is broken.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use eni_steer_tests::{Lab, Shape, Steer, UdpServer, ping, run_ok};
use serde_json::Value;

const BRIEFLY: Duration = Duration::from_millis(2);
/// An address of the subnet that no host has.
const NOBODY: &str = "172.16.20.99";

fn ip(lab: &Lab, words: &str) {
    run_ok(&lab.host, "ip", words.split(' '));
}

/// Sends pings to eth1's IPv4 address; returns how many were answered.
fn pings(lab: &Lab, count: u16) -> usize {
    let eth1 = lab.eni(1).v4().into();
    let seen = ping(&lab.client, None, eth1, count, BRIEFLY);
    usize::try_from(seen.received).expect("a small number")
}

/// What `verify` says, as text and as JSON. Traffic must be judged by the same period in both.
fn verify(steer: &Steer, lab: &Lab, code: i32) -> (String, Value) {
    let report = steer.run(lab, &["verify", "-j"]).expect_code(code).json();
    let text = steer.run(lab, &["verify"]).expect_code(code).stdout;
    (text, report)
}

/// The verdict on eth1's IPv4 address.
fn verdict(report: &Value) -> &str {
    let all = report["traffic"]["addresses"].as_array();
    let mut all = all.unwrap_or_else(|| panic!("{report:#}")).iter();
    let row = all.find(|row| row["address"] == "172.16.20.177/32");
    let row = row.unwrap_or_else(|| panic!("{report:#}"));
    row["verdict"].as_str().expect("a word")
}

fn exits(report: &Value) -> Vec<u64> {
    let exits = report["exits"].as_array().expect("a list").iter();
    exits.map(|exit| exit.as_u64().expect("a number")).collect()
}

#[test]
fn a_gateway_that_answers_nobody_is_named_and_loss_is_no_success() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let gateway = format!("eth1={NOBODY}");
    steer.apply(&lab, &["--gateway", &gateway]);
    assert_eq!(pings(&lab, 5), 0, "the replies are lost");
    let (text, report) = verify(&steer, &lab, 4);
    assert_eq!(verdict(&report), "no-replies");
    assert_eq!(exits(&report), [4, 3]);
    let cause = format!("eth1: gateway {NOBODY} does not answer ARP");
    assert!(text.contains(&cause), "{text}");
    assert!(text.contains("--gateway eth1="), "{text}");
    let status = steer.ok(&lab, &["status"]);
    assert!(status.starts_with("ATTENTION"), "{status}");
    assert!(status.contains("NO REPLIES"), "{status}");
    steer.exits(&lab, &["status", "--check"], 2);
    // The right gateway: what was lost is history.
    steer.apply(&lab, &["--gateway", "eth1=172.16.20.253"]);
    assert_eq!(pings(&lab, 3), 3);
    let (_, report) = verify(&steer, &lab, 0);
    assert_eq!(verdict(&report), "symmetric");
}

#[test]
fn packets_that_are_steered_to_a_dead_gateway_are_unsent() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let gateway = format!("eth1={NOBODY}");
    steer.apply(&lab, &["--gateway", &gateway, "--mode", "steer"]);
    ip(&lab, "rule add pref 100 lookup main");
    assert_eq!(pings(&lab, 5), 0);
    let (_, report) = verify(&steer, &lab, 4);
    assert_eq!(verdict(&report), "unsent");
}

#[test]
fn packets_that_mode_drop_drops_are_no_success() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--rules", "off", "--mode", "drop"]);
    assert_eq!(pings(&lab, 4), 0);
    let (text, report) = verify(&steer, &lab, 4);
    assert_eq!(verdict(&report), "dropped", "{text}");
    assert!(exits(&report).contains(&4), "{report:#}");
}

#[test]
fn a_udp_server_that_answers_from_another_address_has_the_wrong_source() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &["--mode", "steer"]);
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 5353));
    let server = UdpServer::echo(&lab.host, everywhere);
    let asked = SocketAddr::from((lab.eni(1).v4(), 5353));
    let sources = lab.client.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        let patience = Some(Duration::from_secs(2));
        socket.set_read_timeout(patience).expect("a time");
        (0..5)
            .map(|_| {
                socket.send_to(b"?", asked).expect("it is sent");
                let mut answer = [0; 8];
                socket.recv_from(&mut answer).expect("an answer").1.ip()
            })
            .collect::<Vec<_>>()
    });
    drop(server);
    assert!(
        sources.iter().all(|source| *source != asked.ip()),
        "{sources:?}"
    );
    let (text, report) = verify(&steer, &lab, 4);
    assert_eq!(verdict(&report), "wrong-source");
    assert!(
        text.contains("asked at 172.16.20.177, answered from 172.16.20.176"),
        "{text}"
    );
}

#[test]
fn once_its_cause_is_gone_wrong_traffic_is_history() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    ip(&lab, "rule add pref 100 lookup main");
    assert_eq!(pings(&lab, 4), 4, "this lab's cloud drops nothing");
    let (_, report) = verify(&steer, &lab, 4);
    assert_eq!(verdict(&report), "asymmetric");
    let status = steer.ok(&lab, &["status"]);
    assert!(status.starts_with("ATTENTION"), "{status}");
    assert!(status.contains("pref 100"), "{status}");
    ip(&lab, "rule del pref 100");
    assert_eq!(pings(&lab, 4), 4);
    let (_, report) = verify(&steer, &lab, 0);
    assert_eq!(verdict(&report), "symmetric");
    let status = steer.ok(&lab, &["status", "--check"]);
    assert!(status.starts_with("OK"), "{status}");
}

#[test]
fn once_its_cause_is_gone_wrong_traffic_is_history_although_nobody_looked_in_between() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    ip(&lab, "rule add pref 100 lookup main");
    assert_eq!(pings(&lab, 4), 4);
    ip(&lab, "rule del pref 100");
    // What shows that it is over is a request that comes later than the last wrong packet.
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(pings(&lab, 4), 4);
    let (text, report) = verify(&steer, &lab, 0);
    assert_eq!(verdict(&report), "symmetric");
    assert!(text.contains("before: 4 by another ENI"), "{text}");
}

#[test]
fn an_address_that_moved_to_another_eni_is_not_asymmetric_from_then_on() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    ip(&lab, "addr add 172.16.20.200/24 dev eth0");
    steer.apply(&lab, &[]);
    let address = "172.16.20.200".parse().expect("an address");
    let answered = || ping(&lab.client, None, address, 4, BRIEFLY).all_answered();
    lab.allow(0, "172.16.20.200");
    assert!(answered());
    ip(&lab, "addr del 172.16.20.200/24 dev eth0");
    ip(&lab, "addr add 172.16.20.200/24 dev eth1");
    steer.ok(&lab, &["apply"]);
    lab.allow(1, "172.16.20.200");
    assert!(answered());
    let (text, report) = verify(&steer, &lab, 0);
    let all = report["traffic"]["addresses"].as_array().expect("a list");
    let row = all.iter().find(|row| row["address"] == "172.16.20.200/32");
    let row = row.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(row["owner"], "eth1", "{text}");
    assert_eq!(row["verdict"], "symmetric", "{text}");
}

#[test]
fn nothing_measured_is_no_success_unless_the_caller_accepts_it() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    for programs in ["off", "on"] {
        steer.apply(&lab, &["--programs", programs]);
        steer.exits(&lab, &["verify"], 7);
        steer.exits(&lab, &["verify", "--require-traffic", "none"], 0);
    }
    assert_eq!(pings(&lab, 3), 3);
    steer.exits(&lab, &["verify"], 0);
    steer.exits(&lab, &["verify", "--require-traffic", "all"], 7);
    let all = ["verify", "--require-traffic", "all"];
    let report = steer.json(&lab, &all);
    assert_eq!(report["ok"], false);
}

#[test]
fn the_log_level_of_a_command_is_not_drift() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    for level in ["-v", "-vvv"] {
        steer.exits(&lab, &[level, "verify", "--require-traffic", "none"], 0);
        steer.exits(&lab, &[level, "plan"], 0);
    }
}

#[test]
fn what_another_program_sees_first_is_not_measured() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    run_ok(&lab.host, "tc", ["qdisc", "add", "dev", "eth1", "clsact"]);
    let add = "filter add dev eth1 ingress prio 1 bpf bytecode";
    let add = add.split(' ').chain(["1,6 0 0 4294967295"]);
    run_ok(&lab.host, "tc", add);
    steer.apply(&lab, &["--attach", "clsact"]);
    pings(&lab, 3);
    let (text, report) = verify(&steer, &lab, 7);
    assert_eq!(verdict(&report), "not-measured", "{text}");
}

#[test]
fn status_answers_whatever_is_broken_and_names_every_problem() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::configured(
        "[policy]\nmode = 'count'\n[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n",
    );
    steer.ok(&lab, &["apply"]);
    assert_eq!(pings(&lab, 3), 3);
    let shows = |parts: &[&str]| {
        let status = steer.ok(&lab, &["status"]);
        assert!(status.starts_with("ATTENTION"), "{status}");
        for part in parts {
            assert!(status.contains(part), "no {part} in {status}");
        }
        for eni in ["\neth0 ", "\neth1 "] {
            assert!(status.contains(eni), "the ENIs are shown: {status}");
        }
        steer.exits(&lab, &["status", "--check"], 2);
    };
    // Another program's rule inside the band, and a route of another program in eth1's table.
    ip(&lab, "rule add pref 20400 from 10.9.9.9 lookup main");
    shows(&["20400"]);
    ip(&lab, "rule del pref 20400");
    ip(&lab, "route add 10.77.0.0/16 dev eth1 table 21001");
    shows(&["10.77.0.0/16", "21001"]);
    ip(&lab, "route del 10.77.0.0/16 dev eth1 table 21001");
    // A typo in the configuration: the policy that is in force is shown.
    steer.configure("config.toml", "[policy]\nmoed = 'count'\n");
    shows(&["moed", "applied last"]);
    steer.configure(
        "config.toml",
        "[policy]\nmode = 'count'\n[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n",
    );
    // An interface that is down.
    ip(&lab, "link set eth1 down");
    shows(&["eth1 is down", "DOWN"]);
    ip(&lab, "link set eth1 up");
    // One that the configuration names and the host does not have.
    steer.configure(
        "config.toml",
        "[policy]\nmode = 'count'\n[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n[[eni]]\nname = 'eth7'\n",
    );
    shows(&["eth7"]);
}

#[test]
fn a_change_that_waits_for_its_confirmation_is_the_first_word_of_status() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let words = [
        "apply",
        "--eni",
        "eth0",
        "--eni",
        "eth1",
        "--confirm",
        "60s",
    ];
    let mut apply = steer.call(&words).start_in_background(&lab.host);
    let asked = || apply.output().contains("eni-steer confirm");
    assert!(eni_steer_tests::eventually(Duration::from_secs(20), asked));
    let status = steer.ok(&lab, &["status"]);
    assert!(status.starts_with("UNCONFIRMED"), "{status}");
    steer.exits(&lab, &["status", "--check"], 1);
    steer.ok(&lab, &["confirm"]);
    assert!(apply.wait(Duration::from_secs(20)).success());
    let status = steer.ok(&lab, &["status"]);
    assert!(!status.starts_with("UNCONFIRMED"), "{status}");
}

/// Address translation rewrites the source after the kernel chose the route, so rules are right and
/// replies go wrong all the same. A packet that needs no answer, such as a reset, shows nothing.
#[test]
fn a_late_packet_that_needs_no_answer_does_not_make_wrong_replies_right() {
    let lab = Lab::builder(Shape::SameSubnet).container().build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let there = SocketAddr::new(lab.container_v4().into(), 80);
    let listener = lab
        .container()
        .run(|| TcpListener::bind(there).expect("a socket"));
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        connection.write_all(b"hello").expect("it is sent");
        // Until the reset.
        connection.read(&mut [0; 8])
    });
    for statement in [
        "add table ip late".to_owned(),
        "add chain ip late pre { type nat hook prerouting priority dstnat; }".to_owned(),
        format!(
            "add rule ip late pre ip daddr {} tcp dport 8080 dnat to {}:80",
            lab.eni(1).v4(),
            lab.container_v4()
        ),
    ] {
        run_ok(&lab.host, "nft", [statement]);
    }
    steer.apply(&lab, &[]);
    let asked = SocketAddr::new(lab.eni(1).v4().into(), 8080);
    lab.client.run(|| {
        let mut connection = TcpStream::connect(asked).expect("this lab's cloud drops nothing");
        connection.read_exact(&mut [0; 5]).expect("an answer");
        std::thread::sleep(Duration::from_millis(300));
        let socket = socket2::SockRef::from(&connection);
        socket.set_linger(Some(Duration::ZERO)).expect("an option");
    });
    assert!(server.join().expect("it ends").is_err(), "a reset");
    assert!(lab.router_seen(0).wrong.packets > 0, "replies left by eth0");
    let (_, report) = verify(&steer, &lab, 4);
    assert_eq!(verdict(&report), "asymmetric");
    let status = steer.ok(&lab, &["status"]);
    assert!(status.starts_with("ATTENTION"), "{status}");
}
