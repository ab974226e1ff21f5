//! Each condition has its code, and a healthy host has none.

use super::*;
use crate::{
    desired::Absence,
    fake::{fake_host, index},
    model::{Link, Reachability, Tunable, TunableKind},
    policy::EniPolicy,
    verify::{GatewayCheck, Inspection},
};

fn two_enis() -> Host {
    fake_host()
        .eni(2, "eth0", &["172.16.20.176/24"])
        .eni(3, "eth1", &["172.16.30.177/24"])
        .route("default via 172.16.20.253 dev eth0")
        .route("default via 172.16.30.253 dev eth1 metric 200")
}

fn machine() -> Facts {
    Facts {
        kernel: "6.1.0".to_owned(),
        root: true,
        bpffs_mounted: true,
        btf: true,
        open_files: 1024,
        cpus: 1,
        service_enabled: true,
        ..Facts::default()
    }
}

fn doctor(host: &Host, facts: &Facts, policy: &Policy) -> DoctorReport {
    let (desired, errors) = match Desired::for_host(host, policy, Absence::Error, 1) {
        Ok(desired) => (desired, Vec::new()),
        Err(_refused) => Desired::despite_errors(host, policy, 1),
    };
    let verdict = Inspection::new(&desired, host).judge(&[]);
    DoctorReport::new(&DoctorInputs {
        facts,
        host,
        policy,
        source: "configuration config.toml".to_owned(),
        applied: None,
        desired: &desired,
        errors: &errors,
        findings: Vec::new(),
        verdict: &verdict,
        traffic: None,
        daemon: None,
        off: false,
        unconfirmed: None,
        unreadable: &[],
    })
}

fn codes_of(report: &DoctorReport) -> Vec<&'static str> {
    report
        .checks
        .iter()
        .filter_map(|check| check.code)
        .collect()
}

/// The codes beside that nothing is applied.
fn codes(host: &Host, facts: &Facts) -> Vec<&'static str> {
    let mut codes = codes_of(&doctor(host, facts, &Policy::default()));
    codes.retain(|code| *code != "ES0505");
    codes
}

#[test]
fn a_healthy_host_has_no_findings() {
    assert_eq!(codes(&two_enis(), &machine()), Vec::<&str>::new());
    let report = doctor(&two_enis(), &machine(), &Policy::default());
    assert_eq!((report.failures, report.warnings), (0, 0));
    assert_eq!(report.verdict(), "ok");
    assert_eq!(report.primary.as_deref(), Some("eth0"));
}

#[test]
fn each_interface_that_is_left_out_is_named_with_the_condition_that_it_lacks() {
    let mut host = two_enis()
        .virtual_link(9, "docker0", "bridge", &["172.17.0.1/16"])
        .eni(4, "eth2", &[])
        .eni(5, "eth3", &["10.9.9.9/24"])
        .eni(6, "eth4", &["10.8.8.8/24"])
        .down("eth4");
    let tunnel = Link {
        index: index(10),
        name: "tun0".to_owned(),
        mac: None,
        ..host.links[&index(9)].clone()
    };
    host.links.insert(index(10), tunnel);
    let report = doctor(&host, &machine(), &Policy::default());
    let texts: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| ["ES0201", "ES0202"].contains(&check.code.unwrap_or_default()))
        .map(|check| check.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "eth3 looks like an ENI, but no gateway is known for it",
            "left out: eth4 (down)",
            "left out: eth2 (no global address)",
            "left out: tun0 (not Ethernet)",
            "left out: docker0 (virtual)",
        ]
    );
    let named = Policy {
        enis: vec![EniPolicy::new("eth0".into())],
        ..Policy::default()
    };
    let report = doctor(&two_enis(), &machine(), &named);
    let left = report
        .checks
        .iter()
        .find(|check| check.code == Some("ES0201"));
    let left = left.expect("eth1 is left out");
    assert_eq!(left.text, "left out: eth1 (the policy names others)");
}

#[test]
fn sysctls_mtus_and_devices_have_their_codes() {
    let strict = two_enis().tunable("eth1", TunableKind::RpFilter, 1);
    assert_eq!(codes(&strict, &machine()), ["ES0206"]);
    let mut by_all = two_enis().tunable("eth1", TunableKind::RpFilter, 0);
    by_all.all.insert(TunableKind::RpFilter, 1);
    assert_eq!(codes(&by_all, &machine()), ["ES0206"]);
    let shared = two_enis().address("eth1", "172.16.20.178/24");
    assert_eq!(codes(&shared, &machine()), ["ES0222", "ES0207"]);
    let mut small = two_enis();
    small.links.get_mut(&index(3)).expect("eth1").mtu = 1400;
    assert_eq!(codes(&small, &machine()), ["ES0208"]);
    let mut large = two_enis();
    large.routes[0].mtu = Some(9001);
    assert_eq!(codes(&large, &machine()), ["ES0209"]);
    let device = |device: Device| Facts {
        devices: [(index(3), device)].into(),
        cpus: 2,
        ..machine()
    };
    let xdp = Device {
        xdp: true,
        ..Device::default()
    };
    assert_eq!(codes(&two_enis(), &device(xdp)), ["ES0214"]);
    let chain = Device {
        chains: vec!["netdev t c (egress)".to_owned()],
        ..Device::default()
    };
    assert_eq!(codes(&two_enis(), &device(chain)), ["ES0215"]);
    let offload = Device {
        offloads: vec!["hw-tc-offload".to_owned()],
        ..Device::default()
    };
    assert_eq!(codes(&two_enis(), &device(offload)), ["ES0216"]);
    let queue = Device {
        queues: 1,
        ..Device::default()
    };
    assert_eq!(codes(&two_enis(), &device(queue)), ["ES0217"]);
}

#[test]
fn rules_that_do_nothing_or_stand_where_nobody_put_them_are_told_apart() {
    let dead = two_enis().rule("pref 100 from 172.16.30.177 lookup 1001 protocol 0");
    assert_eq!(codes(&dead, &machine()), ["ES0302"]);
    let placed = |rule: &str| {
        let host = two_enis().route("default via 172.16.30.253 dev eth1 table 1001");
        codes(&host.rule(rule), &machine())
    };
    let other = "from 10.0.0.9 lookup 1001 protocol 0";
    assert_eq!(placed(&format!("pref 32765 {other}")), ["ES0303"]);
    assert_eq!(placed(&format!("pref 19999 {other}")), ["ES0303"]);
    assert_eq!(placed(&format!("pref 30000 {other}")), Vec::<&str>::new());
    let mut without = two_enis();
    without.rules.retain(|rule| rule.priority.0 != 32766);
    assert_eq!(codes(&without, &machine()), ["ES0305", "ES0305"]);
}

#[test]
fn a_silent_gateway_is_a_failure_and_other_managers_are_named_only_if_they_run() {
    let (host, policy) = (two_enis(), Policy::default());
    let desired = Desired::for_host(&host, &policy, Absence::Error, 1);
    let desired = desired.unwrap_or_else(|error| panic!("{error}"));
    let mut verdict = Inspection::new(&desired, &host).judge(&[]);
    verdict.gateways = vec![GatewayCheck {
        eni: "eth1".to_owned(),
        gateway: "172.16.30.253".parse().expect("an address"),
        addresses: 1,
        state: Reachability::Failed,
    }];
    let facts = Facts {
        processes: ["systemd-network", "keepalived"].map(str::to_owned).into(),
        networkd_deletes_rules: true,
        ..machine()
    };
    let report = DoctorReport::new(&DoctorInputs {
        facts: &facts,
        host: &host,
        policy: &policy,
        source: String::new(),
        applied: Some(&policy),
        desired: &desired,
        errors: &[],
        findings: Vec::new(),
        verdict: &verdict,
        traffic: None,
        daemon: None,
        off: false,
        unconfirmed: Some(7),
        unreadable: &["the counters: gone".to_owned()],
    });
    assert_eq!(
        codes_of(&report),
        [
            "ES0107", "ES0506", "ES0507", "ES0210", "ES0401", "ES0407", "ES0502", "ES0510"
        ]
    );
    assert_eq!(report.exits, [EXIT_DRIFT]);
    assert_eq!(report.failures, 3);
    let none = Facts {
        networkd_deletes_rules: true,
        ..machine()
    };
    assert_eq!(codes(&host, &none), Vec::<&str>::new(), "it does not run");
}

/// A report about gateways in this state.
fn with_gateways(states: &[Reachability], probes: usize) -> DoctorReport {
    let (host, policy) = (two_enis(), Policy::default());
    let desired = Desired::for_host(&host, &policy, Absence::Error, 1);
    let desired = desired.unwrap_or_else(|error| panic!("{error}"));
    let mut verdict = Inspection::new(&desired, &host).judge(&[]);
    verdict.probes = probes;
    let gateways = ["eth0", "eth1"].iter().zip(states);
    verdict.gateways = gateways
        .map(|(eni, state)| GatewayCheck {
            eni: (*eni).to_owned(),
            gateway: "172.16.30.253".parse().expect("an address"),
            addresses: 1,
            state: *state,
        })
        .collect();
    DoctorReport::new(&DoctorInputs {
        facts: &machine(),
        host: &host,
        policy: &policy,
        source: String::new(),
        applied: Some(&policy),
        desired: &desired,
        errors: &[],
        findings: Vec::new(),
        verdict: &verdict,
        traffic: None,
        daemon: None,
        off: false,
        unconfirmed: None,
        unreadable: &[],
    })
}

#[test]
fn what_was_not_tested_is_not_called_fine() {
    let is_fine = |report: &DoctorReport, area: &str| {
        let mut checks = report.checks.iter();
        checks.any(|check| check.area == area && check.severity.is_none())
    };
    let both = [Reachability::Reachable; 2];
    let tested = with_gateways(&both, 7);
    assert!(is_fine(&tested, "gateway") && is_fine(&tested, "routing"));
    assert!(!is_fine(&with_gateways(&both, 0), "routing"));
    for states in [
        &[][..],
        &[Reachability::Unknown; 2],
        &[Reachability::Reachable, Reachability::Unknown],
        &[Reachability::Reachable, Reachability::Failed],
    ] {
        let report = with_gateways(states, 7);
        assert!(!is_fine(&report, "gateway"), "{states:?}");
        let unknown = states.contains(&Reachability::Unknown);
        assert_eq!(codes_of(&report).contains(&"ES0211"), unknown);
    }
}

#[test]
fn an_eni_that_answers_for_another_address_is_not_a_warning_that_apply_would_end() {
    let shared = |host: Host| host.address("eth1", "172.16.20.178/24");
    let warned = |host: &Host| codes(host, &machine()).contains(&"ES0207");
    let apply = |mut host: Host| {
        for n in [2, 3] {
            let tunable = |kind| Tunable {
                index: index(n),
                kind,
            };
            host.tunables.insert(tunable(TunableKind::ArpAnnounce), 2);
        }
        host
    };
    let plain = apply(shared(two_enis()));
    assert!(warned(&plain), "arp_ignore is 0, and apply would set it");
    let needed = plain.address("lo", "172.16.20.202/32");
    assert!(!warned(&needed), "apply leaves it alone");
}
