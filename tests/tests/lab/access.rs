//! `[[rule]]`: which packets it matches, and how it refuses them; and `mode = "drop"`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use eni_steer_tests::{
    Attempt, Counters, Lab, Shape, Steer, UdpServer, Way, assert_unchanged, ip, ping,
};
use nix::errno::Errno;

const BRIEFLY: Duration = Duration::from_millis(5);
const ENIS: &str = "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\n";

/// The ports on which the client echoes.
const PORTS: [u16; 3] = [53, 443, 8443];

/// A host with these rules, and a client that echoes.
struct Ruled {
    lab: Lab,
    steer: Steer,
    _servers: Vec<UdpServer>,
}

fn ruled(rules: &str) -> Ruled {
    let lab = Lab::builder(Shape::SameSubnet)
        .masquerade()
        .drop_wrong_source()
        .build();
    let steer = Steer::configured(&format!("[policy]\nprograms = false\n{ENIS}{rules}"));
    steer.ok(&lab, &["apply"]);
    let client = [IpAddr::from(lab.client_v4()), lab.client_v6().into()];
    let there = client
        .into_iter()
        .flat_map(|ip| PORTS.map(|port| (ip, port)));
    let servers = there.map(|there| UdpServer::echo(&lab.client, there.into()));
    Ruled {
        _servers: servers.collect(),
        lab,
        steer,
    }
}

impl Ruled {
    fn v4(&self, port: u16) -> Attempt {
        Attempt::udp((self.lab.client_v4(), port).into())
    }

    fn v6(&self, port: u16) -> Attempt {
        Attempt::udp((self.lab.client_v6(), port).into())
    }

    /// The attempt is answered, and its packet left by this ENI. Returns the source address that
    /// it had.
    #[track_caller]
    fn passes(&self, attempt: &Attempt, eni: usize) -> IpAddr {
        let before = self.lab.router_seen(eni);
        let sent = attempt.run(&self.lab.host);
        let sent = sent.unwrap_or_else(|errno| panic!("{errno}: {attempt:?}"));
        assert!(sent.answered, "{sent:?} {attempt:?}");
        let seen = self.lab.router_seen(eni).since(before);
        assert_eq!(seen.right.packets, 1, "not by eth{eni}: {attempt:?}");
        sent.source.ip()
    }

    #[track_caller]
    fn refused(&self, attempt: &Attempt, errno: Errno) {
        assert_eq!(attempt.run(&self.lab.host), Err(errno), "{attempt:?}");
    }
}

/// The values of `action`, and the error that a program on this host gets for each.
const ACTIONS: [(&str, Errno); 3] = [
    ("prohibit", Errno::EACCES),
    ("unreachable", Errno::ENETUNREACH),
    ("blackhole", Errno::EINVAL),
];

#[test]
fn each_action_refuses_what_this_host_sends_as_the_kernel_does() {
    for (action, errno) in ACTIONS {
        let host = ruled(&format!(
            "[[rule]]\nproto = 'udp'\ndport = 443\naction = '{action}'"
        ));
        let _report = host.lab.on_failure_print();
        for eni in host.lab.enis() {
            let [v4, v6] = eni.both().map(|ip| SocketAddr::new(ip, 0));
            // Whoever owns the source, and also without a source.
            host.refused(&host.v4(443).from(v4), errno);
            host.refused(&host.v6(443).from(v6), errno);
            host.passes(&host.v4(53).from(v4), eni.index);
            host.passes(&host.v6(53).from(v6), eni.index);
        }
        host.refused(&host.v4(443), errno);
        host.refused(&host.v6(443), errno);
        let there = SocketAddr::from((host.lab.client_v4(), 443));
        // With another protocol the client refuses, because nothing listens there; the rule does
        // not.
        let tcp = Attempt::tcp(there).run(&host.lab.host);
        assert_eq!(tcp, Err(Errno::ECONNREFUSED));
    }
}

/// Forwarded traffic: the container gets an ICMP error, or nothing at all.
#[test]
fn each_action_refuses_what_this_host_forwards_as_the_kernel_does() {
    for (action, v4, v6) in [
        // ICMP "communication administratively prohibited".
        ("prohibit", Err(Errno::EHOSTUNREACH), Err(Errno::EACCES)),
        // ICMP "network unreachable"; ICMPv6 "no route to destination".
        (
            "unreachable",
            Err(Errno::ENETUNREACH),
            Err(Errno::ENETUNREACH),
        ),
        ("blackhole", Ok(false), Ok(false)),
    ] {
        let host = ruled(&format!(
            "[[rule]]\niif = 'docker0'\nfrom = '172.17.0.0/16'\ndport = '400-500'\naction = \
             '{action}'\n[[rule]]\niif = 'docker0'\nto = '2001:db8:1::/48'\ndport = \
             '400-500'\naction = '{action}'"
        ));
        let _report = host.lab.on_failure_print();
        let answered =
            |attempt: Attempt| attempt.run(host.lab.container()).map(|sent| sent.answered);
        assert_eq!(answered(host.v4(443)), v4, "{action}");
        assert_eq!(answered(host.v6(443)), v6, "{action}");
        assert_eq!(answered(host.v4(53)), Ok(true), "{action}");
        assert_eq!(answered(host.v6(53)), Ok(true), "{action}");
        // The host's own packets do not come from docker0.
        host.passes(&host.v4(443), 0);
    }
}

/// A selector of a rule, an attempt that it matches, and one that it does not match.
type Selects = (&'static str, fn(&Ruled) -> Attempt, fn(&Ruled) -> Attempt);

fn from(host: &Ruled, eni: usize, port: u16) -> SocketAddr {
    (host.lab.eni(eni).v4(), port).into()
}

#[test]
fn each_selector_selects() {
    let cases: [Selects; 8] = [
        (
            "from = '172.16.20.177'",
            |host| host.v4(53).from(from(host, 1, 0)),
            |host| host.v4(53).from(from(host, 0, 0)),
        ),
        (
            "to = '192.0.2.0/28'",
            |host| host.v4(53),
            |host| host.v6(53),
        ),
        (
            "proto = 'udp'",
            |host| host.v4(53),
            |host| {
                // Not by UDP. The client refuses, because nothing listens there, so the packet
                // got past the rule.
                Attempt::tcp((host.lab.client_v4(), 22).into())
            },
        ),
        (
            "proto = 17\nsport = '5000-5010'",
            |host| host.v4(53).from(from(host, 0, 5010)),
            |host| host.v4(53).from(from(host, 0, 5011)),
        ),
        (
            "proto = 'udp'\ndport = 443",
            |host| host.v4(443),
            |host| host.v4(8443),
        ),
        (
            "uid = '1000-1999'",
            |host| host.v4(53).uid(1999),
            |host| host.v4(53).uid(2000),
        ),
        (
            "mark = '0x7/0xf'",
            |host| host.v4(53).mark(0x17),
            |host| host.v4(53).mark(0x16),
        ),
        (
            "iif = 'lo'\nto = '192.0.2.10'",
            |host| host.v4(53),
            |host| host.v6(53),
        ),
    ];
    for (selector, taken, left) in cases {
        let host = ruled(&format!("[[rule]]\n{selector}\naction = 'prohibit'"));
        let _report = host.lab.on_failure_print();
        host.refused(&taken(&host), Errno::EACCES);
        let told = left(&host).run(&host.lab.host);
        let reached = match told {
            Ok(sent) => sent.answered,
            Err(errno) => errno == Errno::ECONNREFUSED,
        };
        assert!(reached, "{selector}: {told:?}");
    }
}

/// `iif = 'lo'` matches what this host sends, but not what it forwards.
#[test]
fn iif_lo_matches_what_this_host_sends_and_not_what_it_forwards() {
    let host = ruled("[[rule]]\niif = 'lo'\nuid = 0\nto = '192.0.2.0/24'\naction = 'prohibit'");
    host.refused(&host.v4(53), Errno::EACCES);
    let forwarded = host
        .v4(53)
        .run(host.lab.container())
        .map(|sent| sent.answered);
    assert_eq!(forwarded, Ok(true));
}

#[test]
fn rules_hold_in_the_order_of_the_file() {
    let host = ruled(
        "[[rule]]\nuid = 1000\ndport = 53\naction = 'unreachable'\n\
         [[rule]]\nuid = '1000-1999'\naction = 'prohibit'",
    );
    host.refused(&host.v4(53).uid(1000), Errno::ENETUNREACH);
    host.refused(&host.v4(443).uid(1000), Errno::EACCES);
    host.refused(&host.v4(53).uid(1001), Errno::EACCES);
    host.passes(&host.v4(53), 0);
}

/// A rule with an ENI chooses the ENI for packets without a source. Packets with a source stay
/// with its owner.
#[test]
fn a_rule_with_an_eni_leads_new_connections_out_by_it_and_keeps_them_symmetric() {
    let host =
        ruled("[[rule]]\nuid = '1000-1999'\neni = 'eth1'\n[[rule]]\ndport = 443\neni = 'eth1'");
    let _report = host.lab.on_failure_print();
    let (eth0, eth1) = (host.lab.eni(0), host.lab.eni(1));
    for (attempt, own) in [
        (host.v4(53).uid(1000), IpAddr::from(eth1.v4())),
        (host.v6(53).uid(1000), eth1.v6().into()),
        (host.v4(443), eth1.v4().into()),
    ] {
        assert_eq!(host.passes(&attempt, 1), own, "{attempt:?}");
    }
    for (attempt, own) in [
        (host.v4(53), IpAddr::from(eth0.v4())),
        (host.v6(53), eth0.v6().into()),
        // The source has an owner already.
        (host.v4(443).from((eth0.v4(), 0).into()), eth0.v4().into()),
    ] {
        assert_eq!(host.passes(&attempt, 0), own, "{attempt:?}");
    }
    // The same user reaches the host's container as before.
    let container = SocketAddr::from((host.lab.container_v4(), 53));
    let _echo = UdpServer::echo(host.lab.container(), container);
    let sent = Attempt::udp(container).uid(1000).run(&host.lab.host);
    assert!(sent.expect("main's own way").answered);
}

/// The containers of a network leave by eth1, through a rule for forwarded traffic.
#[test]
fn a_rule_with_an_eni_leads_forwarded_traffic_out_by_it() {
    let host = ruled("[[rule]]\niif = 'docker0'\neni = 'eth1'");
    let _report = host.lab.on_failure_print();
    for attempt in [host.v4(53), host.v6(53)] {
        let before = host.lab.router_seen(1);
        let sent = attempt.run(host.lab.container()).expect("it is sent");
        assert!(sent.answered, "{attempt:?}");
        // They are masqueraded with eth1's own address, so the source check accepts them.
        assert_eq!(host.lab.router_seen(1).since(before).right.packets, 1);
    }
}

/// `verify` asks the kernel to look up what each rule is for.
#[test]
fn verify_tries_every_rule_and_names_the_foreign_one_that_takes_its_packets() {
    let host = ruled(
        "[[rule]]\nuid = '1000-1999'\naction = 'prohibit'\n\
         [[rule]]\nfrom = '172.16.20.177'\nto = '203.0.113.0/24'\naction = 'unreachable'\n\
         [[rule]]\nproto = 'tcp'\ndport = '25-30'\nmark = '0x7/0xf'\neni = 'eth1'\n\
         [[rule]]\nfrom = '172.17.0.0/16'\neni = 'eth1'\n\
         [[rule]]\niif = 'docker0'\nto = '3fff:1::/48'\neni = 'eth0'",
    );
    let _report = host.lab.on_failure_print();
    let verify = |code| {
        host.steer
            .run(&host.lab, &["verify", "--require-traffic", "none"])
            .expect_code(code)
            .stdout
    };
    // From eth1's address to a far destination, which the second rule refuses.
    let text = verify(0);
    assert!(
        text.contains("; 1 more is refused, as configured."),
        "{text}"
    );
    let report = host.steer.json(&host.lab, &["verify"]);
    assert_eq!(report["policy"]["refused"], 1);
    assert_eq!(
        report["policy"]["notes"],
        serde_json::json!([]),
        "{report:#}"
    );
    for (theirs, ours, packet) in [
        (
            "-4 rule add pref 100 uidrange 1500-1500 lookup main",
            None,
            "",
        ),
        (
            "-4 rule add pref 100 uidrange 1000-1000 lookup main",
            Some(20010),
            "203.0.113.113 uid 1000",
        ),
        (
            "-4 rule add pref 100 fwmark 7 lookup main",
            Some(20500),
            "203.0.113.113 mark 0x7 ipproto 6 dport 25",
        ),
        (
            "-4 rule add pref 100 iif docker0 lookup main",
            Some(20501),
            "203.0.113.113 from 172.17.0.2 iif docker0",
        ),
        (
            "-6 rule add pref 100 iif docker0 prohibit",
            Some(20502),
            "3fff:1::1 from fd00:17::2 iif docker0",
        ),
    ] {
        ip(&host.lab.host, theirs);
        match ours {
            // `verify` tries only the first value of a range.
            None => drop(verify(0)),
            Some(ours) => {
                let text = verify(3);
                let mut lines = text
                    .lines()
                    .skip_while(|line| !line.contains("has no effect"));
                let line = lines.next().unwrap_or_else(|| panic!("{theirs}: {text}"));
                for part in [&format!("pref {ours} ")[..], packet] {
                    assert!(line.contains(part), "{part}: {line}");
                }
                let cause = lines.next().unwrap_or_default();
                for part in ["caused by: ", "before eni-steer's: ", "pref 100 "] {
                    assert!(cause.contains(part), "{part}: {cause}");
                }
                let report = host.steer.json(&host.lab, &["verify"]);
                let overruled = report["policy"]["overruled"].as_array().expect("a list");
                let [one] = overruled.as_slice() else {
                    panic!("{theirs}: {report:#}");
                };
                assert_eq!(one["overruled"]["priority"], ours);
                assert_eq!(one["packet"], packet);
                assert_eq!(one["rule"]["priority"], 100);
                assert_eq!(one["rule_is_ours"], false);
            }
        }
        ip(&host.lab.host, &theirs.replace(" add ", " del "));
    }
    verify(0);
    // Packets to be forwarded, on a host that does not forward.
    eni_steer_tests::write_sysctl(&host.lab.host, "net.ipv4.ip_forward", 0);
    let text = verify(3);
    assert!(text.contains("or forwarding is off"), "{text}");
}

/// If another rule of the configuration decides, that is the configuration's own order. If the
/// kernel can not look a packet up, `verify` reports that it did not try the rule.
#[test]
fn verify_notes_a_rule_that_is_never_reached_and_one_that_can_not_be_tried() {
    let host = ruled(
        "[[rule]]\ndport = '1-1023'\naction = 'prohibit'\n\
         [[rule]]\ndport = 25\naction = 'unreachable'\n\
         [[rule]]\nto = '172.17.0.0/16'\naction = 'prohibit'\n\
         [[rule]]\nproto = 'sctp'\naction = 'prohibit'\n\
         [[rule]]\niif = 'wg7'\naction = 'prohibit'\n\
         [[rule]]\ndport = 2000\neni = 'eth1'",
    );
    let _report = host.lab.on_failure_print();
    let text = host
        .steer
        .ok(&host.lab, &["verify", "--require-traffic", "none"]);
    // The second rule refuses as the first does; `verify` can not tell which of them refused.
    for note in [
        "Note: 172.17.0.2: 'ip -4 rule pref 20000 from all lookup main suppress_prefixlength 7 \
         suppress_ifgroup 20229 \
         protocol 229' decides before 'ip -4 rule pref 20012 from all to 172.17.0.0/16 prohibit \
         protocol 229'",
        "Note: not tested, because the kernel cannot look up packets of IP protocol 132: ip -4 rule \
         pref 20013 ",
        "Note: not tested, because this host has no interface wg7: ip -6 rule pref 20014 ",
    ] {
        assert!(text.contains(note), "{note}\n{text}");
    }
    assert_eq!(text.matches("Note: ").count(), 5, "{text}");
}

#[test]
fn remove_deletes_access_rules_without_a_trace() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let before = Steer::new().world(&lab);
    let steer = Steer::configured(&format!(
        "{ENIS}[[rule]]\nproto = 'sctp'\nsport = '1-9'\nmark = 5\naction = 'blackhole'\n\
         [[rule]]\niif = 'eth0'\nto = '10.0.0.0/8'\neni = 'eth1'\n\
         [[rule]]\nuid = 7\nproto = 'ipv6-icmp'\naction = 'unreachable'"
    ));
    steer.ok(&lab, &["apply"]);
    steer.exits(&lab, &["plan"], 0);
    let rules = ip(&lab.host, "-4 rule list") + &ip(&lab.host, "-6 rule list");
    for expected in [
        "20010:\tfrom all fwmark 0x5 ipproto sctp sport 1-9 blackhole proto 229",
        "20011:\tfrom all uidrange 7-7 ipproto ipv6-icmp unreachable proto 229",
        "20500:\tfrom all to 10.0.0.0/8 iif eth0 lookup 21001 proto 229",
    ] {
        assert!(rules.contains(expected), "{expected}\n{rules}");
    }
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}

/// Mode `drop` on one ENI: packets that leave by it with another ENI's source are dropped and
/// counted. Everything else leaves as before.
#[test]
fn mode_drop_drops_and_counts_what_leaves_by_the_wrong_eni() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::configured(
        "[policy]\nrules = false\n[[eni]]\nname = 'eth0'\nmode = 'drop'\n[[eni]]\nname = 'eth1'",
    );
    steer.ok(&lab, &["apply"]);
    // Without rules eth1's answers leave by eth0.
    for address in lab.eni(1).both() {
        let patience = Duration::from_millis(100);
        let pings = eni_steer_tests::Ping::to(address)
            .count(5)
            .patience(patience);
        assert_eq!(pings.run(&lab.client).received, 0, "{address}");
        let cell = Counters::read(&steer, &lab).cell(address, "eth0", Way::Out);
        assert_eq!(
            (cell.passed.packets, cell.dropped.packets),
            (0, 5),
            "{address}"
        );
    }
    assert_eq!(lab.router_seen(0).wrong.packets, 0);
    assert_eq!(Counters::read(&steer, &lab).fate("eth0", "dropped"), 10);
    for address in lab.eni(0).both() {
        ping(&lab.client, None, address, 3, BRIEFLY).expect_all_answered();
    }
    let (text, code) = {
        let verify = steer.run(&lab, &["verify", "--require-traffic", "none"]);
        (verify.stdout.clone(), verify.code())
    };
    assert!(text.contains("5 dropped"), "{text}");
    assert_eq!(
        code,
        Some(4),
        "packets were dropped, and the kernel would send eth1's by eth0: {text}"
    );
}
