//! The command in the lab: the verdict, its exit code, and fixes that work.

use eni_steer_tests::{Lab, Output, Shape, Steer, assert_unchanged, ip, run_ok};
use serde_json::Value;

/// A lab in which a source check would drop what leaves by the wrong ENI, with the policy applied
/// and a rule that somebody made by hand ahead of eni-steer's.
fn overruled() -> (Lab, Steer) {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    ip(&lab.host, "-4 rule add pref 100 lookup main");
    (lab, steer)
}

/// From eth1's address to the client.
fn explain(lab: &Lab, steer: &Steer, more: &[&str]) -> Output {
    let (from, to) = (lab.eni(1).v4().to_string(), lab.client_v4().to_string());
    let mut args = vec!["explain", from.as_str(), "--to", to.as_str()];
    args.extend(more);
    steer.run(lab, &args)
}

fn fixes(report: &Value) -> Vec<String> {
    let fixes = report["fixes"].as_array().expect("a list of fixes");
    let command = |fix: &Value| fix["command"].as_str().expect("a command").to_owned();
    fixes.iter().map(command).collect()
}

#[test]
fn a_rule_of_somebody_else_that_wins_is_named_and_the_exit_code_is_3() {
    let (lab, steer) = overruled();
    let _report = lab.on_failure_print();
    let before = steer.world(&lab);
    let output = explain(&lab, &steer, &[]).expect_code(3);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(
        lines[0],
        "WRONG ENI   172.16.20.177 -> 192.0.2.10 leaves by eth0; the address is eth1's"
    );
    for line in [
        "  kernel   eth0  via 172.16.20.253",
        "  wanted   eth1  via 172.16.20.253",
        "         0  from all lookup local                           no route, continue",
        "  >    100  from all lookup main                            WINS: default dev eth0",
        "     20000  from all lookup main suppress_prefixlength 7 suppress_ifgroup 20229",
        "     32766  from all lookup main                            not reached",
    ] {
        assert!(
            lines.iter().any(|shown| shown.starts_with(line)),
            "{line}: {output}"
        );
    }
    assert!(
        output.stdout.contains("Rule 100 is not eni-steer's"),
        "{output}"
    );
    assert!(
        output.stdout.contains("eth0 egress, mode count:"),
        "{output}"
    );
    assert!(output.stdout.contains("Exit code 3"), "{output}");
    assert_unchanged(&before, &steer.world(&lab));
}

/// Each fix, typed as it is shown, makes the packet leave by its ENI.
#[test]
fn every_fix_works() {
    let (lab, steer) = overruled();
    let report = explain(&lab, &steer, &["-j"]).expect_code(3).json();
    assert_eq!(report["verdict"], "wrong-eni");
    let all = fixes(&report);
    assert_eq!(all.len(), 3, "{all:?}");
    for command in &all {
        let (lab, steer) = overruled();
        let _report = lab.on_failure_print();
        match command.strip_prefix("eni-steer ") {
            Some(args) => {
                let args: Vec<&str> = args.split(' ').collect();
                steer.ok(&lab, &args);
            }
            None => drop(run_ok(&lab.host, "sh", ["-c", command])),
        }
        let output = explain(&lab, &steer, &[]).expect_code(0);
        assert!(output.stdout.starts_with("OK "), "{command}: {output}");
    }
}

#[test]
fn without_any_policy_routing_is_explained_and_a_broken_configuration_does_not_matter() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    for steer in [Steer::new(), Steer::configured("this is = not [toml")] {
        let output = explain(&lab, &steer, &[]).expect_code(3);
        assert!(
            output.stdout.contains("eni-steer has no rules here"),
            "{output}"
        );
        assert!(output.stdout.contains("eni-steer apply"), "{output}");
        let primary = lab.eni(0).v4().to_string();
        let output = steer.run(&lab, &["explain", &primary]).expect_code(0);
        assert!(output.stdout.starts_with("OK "), "{output}");
    }
}

#[test]
fn both_families_are_right_once_applied_and_with_link_local_gateways() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    for address in lab.eni(1).both() {
        let (from, to) = (address.to_string(), lab.client_address(address).to_string());
        let output = steer
            .run(&lab, &["explain", &from, "--to", &to])
            .expect_code(0);
        assert!(
            output.stdout.contains("ours, WINS: default dev eth1"),
            "{output}"
        );
    }
    ip(&lab.host, "-6 route replace default via fe80::1 dev eth0");
    let (from, to) = (lab.eni(0).v6().to_string(), lab.client_v6().to_string());
    let output = steer
        .run(&lab, &["explain", &from, "--to", &to])
        .expect_code(0);
    assert!(output.stdout.contains("via fe80::1"), "{output}");
}

#[test]
fn without_a_source_the_kernels_choice_is_shown() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let to = lab.client_v4().to_string();
    let report = steer.json(&lab, &["explain", "--to", &to]);
    assert_eq!(report["source"], lab.eni(0).v4().to_string());
    assert_eq!(
        (&report["verdict"], &report["source_chosen"]),
        (&"ok".into(), &true.into())
    );
}

#[test]
fn a_source_of_nobody_is_refused_and_a_forwarded_one_has_no_right_way() {
    let lab = Lab::builder(Shape::SameSubnet).container().build();
    let steer = Steer::new();
    let output = steer.run(&lab, &["explain", "192.0.2.200"]).expect_code(3);
    assert!(output.stdout.starts_with("REFUSED "), "{output}");
    assert!(
        output
            .stdout
            .contains("No interface of this host has 192.0.2.200"),
        "{output}"
    );
    let container = lab.container_v4().to_string();
    let args = ["explain", &container, "--iif", "docker0"];
    let output = steer.run(&lab, &args).expect_code(7);
    assert!(output.stdout.starts_with("CANNOT TELL "), "{output}");
}

/// What leaves eth1's address for a container does not leave by an ENI at all.
#[test]
fn what_main_sends_by_no_eni_is_right() {
    let lab = Lab::builder(Shape::SameSubnet).container().build();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    let (from, to) = (lab.eni(1).v4().to_string(), lab.container_v4().to_string());
    let output = steer
        .run(&lab, &["explain", &from, "--to", &to])
        .expect_code(0);
    assert!(
        output
            .stdout
            .contains("leaves by docker0, which is not an ENI"),
        "{output}"
    );
}

/// The kernel asks for far addresses on the interface that the socket is bound to.
#[test]
fn a_socket_bound_to_an_interface_without_a_route_is_refused() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let to = lab.client_v4().to_string();
    let args = ["explain", "--to", &to, "--oif", "eth1"];
    let output = steer.run(&lab, &args).expect_code(3);
    assert!(output.stdout.contains("no route by eth1"), "{output}");
    let args = ["explain", "--to", &to, "--oif", "eth9"];
    let output = steer.run(&lab, &args).expect_code(8);
    assert!(
        output.stderr.contains("this host has no interface eth9"),
        "{output}"
    );
}

#[test]
fn a_gateway_that_does_not_answer_is_no_success() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    ip(&lab.host, "neigh replace 172.16.20.253 dev eth0 nud failed");
    let source = lab.eni(0).v4().to_string();
    let output = steer.run(&lab, &["explain", &source]).expect_code(7);
    assert!(output.stdout.contains("does not answer"), "{output}");
}

#[test]
fn refusing_routes_and_what_decides_are_named() {
    for kind in ["blackhole", "unreachable", "prohibit"] {
        let lab = Lab::builder(Shape::SameSubnet).build();
        let steer = Steer::new();
        ip(&lab.host, &format!("route add {kind} 192.0.2.0/24"));
        let output = explain(&lab, &steer, &[]).expect_code(3);
        assert!(output.stdout.starts_with("REFUSED "), "{output}");
        assert!(
            output
                .stdout
                .contains(&format!("WINS: {kind} 192.0.2.0/24")),
            "{output}"
        );
    }
}

/// Real lookups, as the kernel's tracepoint shows them; where it has none, the reason.
#[test]
fn live_shows_which_tables_real_lookups_used_or_says_why_it_can_not() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    let has_types = std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    for source in lab.eni(1).both() {
        let (from, to) = (source.to_string(), lab.client_address(source).to_string());
        let args = ["explain", &from, "--live", "3s", "-j"];
        let mut watcher = steer.call(&args).start_in_background(&lab.host);
        while watcher.ended().is_none() {
            ip(&lab.host, &format!("route get {to} from {from}"));
        }
        let status = watcher.wait(std::time::Duration::from_secs(1));
        if !has_types {
            assert_eq!(status.code(), Some(5), "{}", watcher.output());
            assert!(
                watcher.output().contains("/sys/kernel/btf"),
                "{}",
                watcher.output()
            );
            continue;
        }
        assert_eq!(status.code(), Some(0), "{}", watcher.output());
        let seen: Value = serde_json::from_str(&watcher.output()).expect("JSON");
        let lookups = seen["lookups"].as_array().expect("a list").iter();
        let mut decided = lookups.filter(|lookup| lookup["table"] == 21001);
        let decided = decided.next().expect("lookups in eth1's table");
        assert_eq!(decided["answer"], "dev eth1", "{seen}");
        assert!(decided["count"].as_u64() > Some(0), "{seen}");
    }
}
