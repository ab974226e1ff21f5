//! The textbook's cure, `table = 1001` and hand-made rules: the textbook's commands show the same
//! here, and eni-steer reports what somebody typed and does not duplicate it.

use eni_steer_tests::{Lab, Shape, Steer, assert_unchanged, expect_symmetry, ip, run_ok};

const TABLE_1001: &str = "[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'\ntable = 1001";

fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).collect()
}

/// Runs the commands that a line of `status` or a hint contains, exactly as they are.
#[track_caller]
fn run_named(lab: &Lab, text: &str) {
    let commands: Vec<&str> = text
        .lines()
        .filter_map(|line| {
            line.split_once("ip -")
                .map(|(before, _)| &line[before.len()..])
        })
        .flat_map(|commands| commands.split(';'))
        .map(str::trim)
        .collect();
    assert!(!commands.is_empty(), "no command in: {text}");
    for command in commands {
        run_ok(&lab.host, "sh", ["-c", command]);
    }
}

#[test]
fn table_1001_is_what_the_textbook_shows() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    let steer = Steer::configured(TABLE_1001);
    steer.ok(&lab, &["apply", "--programs", "off"]);
    assert_eq!(
        lines(&ip(&lab.host, "route list table 1001")),
        [
            "default via 172.16.20.253 dev eth1 proto 229",
            "172.16.20.0/24 dev eth1 proto 229 scope link",
        ]
    );
    assert_eq!(
        lines(&ip(&lab.host, "rule list")),
        [
            "0:\tfrom all lookup local",
            "20000:\tfrom all lookup main suppress_prefixlength 7 suppress_ifgroup 20229 proto 229",
            "20299:\tfrom 172.16.20.176 lookup 21000 proto 229",
            "20300:\tfrom 172.16.20.177 lookup 1001 proto 229",
            "20450:\tfrom all oif eth1 lookup 1001 proto 229",
            "32766:\tfrom all lookup main",
            "32767:\tfrom all lookup default",
        ]
    );
    assert_eq!(
        lines(&ip(&lab.host, "-6 route list table 1001")),
        [
            "fd00:20::/64 dev eth1 proto 229 metric 1024 pref medium",
            "fe80::/64 dev eth1 proto 229 metric 1024 pref medium",
            "default via fd00:20::253 dev eth1 proto 229 metric 1024 pref medium",
        ]
    );
    for address in lab.eni(1).both() {
        expect_symmetry(&lab, 1, address);
    }
}

/// Returns how many rules and routes lead from eth1's address to a table and are not eni-steer's.
fn handmade(lab: &Lab) -> usize {
    let (v4, v6) = (ip(&lab.host, "-4 rule list"), ip(&lab.host, "-6 rule list"));
    let lines = v4.lines().chain(v6.lines());
    lines
        .filter(|line| line.contains("lookup 1001") && !line.contains("proto 229"))
        .count()
}

#[test]
fn a_hand_made_rule_is_reported_and_works_on_until_it_is_removed() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    lab.textbook_cure(1);
    assert_eq!(handmade(&lab), 2);
    let steer = Steer::new();
    steer.apply(&lab, &["--programs", "off"]);
    assert_eq!(handmade(&lab), 2, "the hand-made rule and route stay");
    let status = steer.ok(&lab, &["status"]);
    let named: Vec<&str> = status
        .lines()
        .filter(|line| line.contains("lookup 1001"))
        .collect();
    assert!(
        named.iter().any(|line| line.contains("172.16.20.177"))
            && named.iter().any(|line| line.contains("fd00:20::177")),
        "{status}"
    );
    for address in lab.eni(1).both() {
        expect_symmetry(&lab, 1, address);
    }
    run_named(&lab, &named.join("\n"));
    assert_eq!(handmade(&lab), 0);
    assert!(!steer.ok(&lab, &["status"]).contains("lookup 1001"));
    for address in lab.eni(1).both() {
        expect_symmetry(&lab, 1, address);
    }
    steer.exits(&lab, &["verify", "--require-traffic", "none"], 0);
}

#[test]
fn an_existing_textbook_table_is_refused_and_the_hint_clears_the_way() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    lab.textbook_cure(1);
    let steer = Steer::configured(TABLE_1001);
    let told = steer.refuses(&lab, &["apply"], 8, &["1001", "eth1", "172.16.20.253"]);
    run_named(&lab, &told);
    assert_eq!(handmade(&lab), 0);
    steer.ok(&lab, &["apply"]);
    let rules = ip(&lab.host, "-4 rule list");
    assert_eq!(
        rules.matches("from 172.16.20.177 lookup 1001").count(),
        1,
        "not twice: {rules}"
    );
    for address in lab.eni(1).both() {
        expect_symmetry(&lab, 1, address);
    }
}

/// The way without a gap that docs/configuration.md describes: eni-steer first, in its own table;
/// then delete the hand-made rules and routes; then `table = 1001`.
#[test]
fn moving_to_the_textbooks_table_leaves_no_gap() {
    let lab = Lab::builder(Shape::SameSubnet).drop_wrong_source().build();
    let _report = lab.on_failure_print();
    let before = Steer::new().world(&lab);
    lab.textbook_cure(1);
    let answers = || {
        for address in lab.eni(1).both() {
            expect_symmetry(&lab, 1, address);
        }
    };
    let steer = Steer::configured("[[eni]]\nname = 'eth0'\n[[eni]]\nname = 'eth1'");
    steer.ok(&lab, &["apply", "--programs", "off"]);
    answers();
    run_named(&lab, &steer.ok(&lab, &["status"]));
    answers();
    steer.configure("config.toml", TABLE_1001);
    steer.ok(&lab, &["apply", "--programs", "off"]);
    answers();
    assert!(ip(&lab.host, "-4 rule list").contains("from 172.16.20.177 lookup 1001 proto 229"));
    assert_eq!(
        ip(&lab.host, "-4 route list table all")
            .matches("table 21001")
            .count(),
        0
    );
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}
