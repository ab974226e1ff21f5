//! What a person at a terminal sees: colours unless they want none, and lines of at most 80 columns.

use std::time::Duration;

use eni_steer_tests::{Lab, Shape, Steer, ip, ping};

const VIEWS: [&[&str]; 8] = [
    &["status"],
    &["status", "-v"],
    &["status", "--all"],
    &["verify"],
    &["doctor"],
    &["doctor", "ES0401"],
    &["explain", "172.16.21.177"],
    &["explain", "fd00:21::177", "-v"],
];

/// Runs the command on a terminal that script(1) makes, and returns what it shows.
fn on_terminal(steer: &Steer, lab: &Lab, words: &[&str], no_color: bool) -> String {
    let command = eni_steer_tests::binary();
    let line = format!("{} {}", command.display(), words.join(" "));
    let call = steer.call(&[]).env("TERM", "xterm");
    let call = match no_color {
        true => call.env("NO_COLOR", "1"),
        false => call,
    };
    let output = call
        .instead("script", &["-qec", &line, "/dev/null"])
        .run(&lab.host);
    output.stdout.replace('\r', "")
}

/// A text without escape sequences (`ESC [ ... letter`).
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\x1b') {
        out.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic());
        rest = &after[end.map_or(after.len(), |end| end + 1)..];
    }
    out + rest
}

#[test]
fn every_view_fits_80_columns_with_dual_stack_enis_and_colours_add_nothing() {
    let lab = Lab::builder(Shape::DifferentSubnets).container().build();
    let _report = lab.on_failure_print();
    let steer = Steer::new();
    let look = |when: &str| {
        for view in VIEWS {
            let shown = on_terminal(&steer, &lab, view, false);
            assert!(!shown.is_empty(), "{when}: {view:?}");
            let text = plain(&shown);
            // An error stays one line, also on a terminal: whoever reports it copies it.
            let is_error = |line: &&str| {
                let starts = ["error: ", "caused by: ", "hint: ", "warning: "];
                starts.iter().any(|start| line.starts_with(start))
            };
            let long: Vec<&str> = text
                .lines()
                .filter(|line| !is_error(line))
                .filter(|line| line.chars().count() > 80)
                .collect();
            assert!(long.is_empty(), "{when}: {view:?}: {long:#?}");
        }
    };
    look("nothing is applied");
    steer.apply(&lab, &["--mode", "steer"]);
    let briefly = Duration::from_millis(2);
    for address in lab.eni(1).both() {
        drop(ping(&lab.client, None, address, 4, briefly));
    }
    look("all is well");
    for family in ["-4", "-6"] {
        ip(
            &lab.host,
            &format!("{family} rule add pref 100 lookup main"),
        );
    }
    for address in lab.eni(1).both() {
        drop(ping(&lab.client, None, address, 4, briefly));
    }
    look("another rule wins");
    let red = on_terminal(&steer, &lab, &["status"], false);
    assert!(
        red.contains("\x1b[") && plain(&red).starts_with("ATTENTION"),
        "{red:?}"
    );
    let none = on_terminal(&steer, &lab, &["status"], true);
    assert!(!none.contains('\x1b'), "NO_COLOR is respected: {none:?}");
    let piped = steer.run(&lab, &["status"]);
    assert!(!piped.stdout.contains('\x1b'), "{piped}");
    let json = on_terminal(&steer, &lab, &["status", "-j"], false);
    assert!(!json.contains('\x1b'), "{json:?}");
}
