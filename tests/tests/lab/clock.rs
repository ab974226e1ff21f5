//! The wall clock jumps, years at a time, and no decision depends on it. The tests set the clock
//! in a virtual machine only, which belongs to them: `cargo xtask test --kernel 6.1 --test
//! clock`.

use std::time::{Duration, Instant};

use eni_steer_tests::{Background, Kept, Lab, Shape, Steer, all_ours, eventually, ping};
use nix::time::{ClockId, clock_gettime, clock_settime};

const YEAR: i64 = 365 * 24 * 3600;
/// Seconds: forward, back to before the start, and forward again.
const JUMPS: [i64; 4] = [YEAR, -3 * YEAR, 10 * YEAR, -8 * YEAR];
const BRIEFLY: Duration = Duration::from_millis(20);

/// The machine's clock. The tests may set it if the machine's first process says so.
struct Clock;

impl Clock {
    fn ours() -> Self {
        let ours = std::env::var_os("ENI_STEER_OWN_CLOCK");
        assert!(
            ours.is_some(),
            "this would set the clock of a machine that others use\n\
             hint: cargo xtask test --kernel 6.1 --test clock"
        );
        Self
    }

    fn jump(&self, seconds: i64) {
        let now = Duration::from(clock_gettime(ClockId::CLOCK_REALTIME).expect("a time"));
        let then = now.as_secs().saturating_add_signed(seconds);
        let then = Duration::from_secs(then).into();
        clock_settime(ClockId::CLOCK_REALTIME, then).expect("root may set the clock");
    }
}

#[test]
#[ignore = "sets the clock; runs in virtual machines: cargo xtask test --kernel 6.1 --test clock"]
fn what_is_deleted_after_the_clock_has_jumped_comes_back() {
    let clock = Clock::ours();
    let run = Kept::by(&["run", "--eni", "eth0", "--eni", "eth1"]);
    let before = all_ours(&run.lab.host);
    assert!(before.len() > 6, "{before:#?}");
    for jump in JUMPS {
        clock.jump(jump);
        // Only once: repeated deletion counts as a fight.
        run.ip("-4 rule del from 172.16.20.177 lookup 21001");
        run.ip("-6 route flush table 21001");
        run.heals(&before, &format!("what was deleted after {jump} s"));
        let daemon = run.report();
        assert!(daemon["error"].is_null(), "{daemon}");
        assert_eq!(daemon["pid"], run.daemon.pid(), "{daemon}");
        assert_eq!(
            daemon["paused"].as_array().map(Vec::len),
            Some(0),
            "{daemon}"
        );
    }
}

#[test]
#[ignore = "sets the clock; runs in virtual machines: cargo xtask test --kernel 6.1 --test clock"]
fn the_age_of_counts_is_right_after_the_clock_has_jumped() {
    let clock = Clock::ours();
    // Without rules, eth0 answers requests to eth1; the report shows how long ago.
    let run = Kept::by(&["run", "--eni", "eth0", "--eni", "eth1", "--rules", "off"]);
    let eth1 = run.lab.eni(1).v4();
    for jump in JUMPS {
        drop(ping(&run.lab.client, None, eth1.into(), 2, BRIEFLY));
        clock.jump(jump);
        let status = run.steer.run(&run.lab, &["status"]).stdout;
        let line = |line: &&str| line.starts_with(&eth1.to_string());
        let line = status.lines().find(line).unwrap_or_default();
        assert!(line.contains(" ago"), "{status}");
        for far in ["year", "month", "day", "h "] {
            assert!(!line.contains(far), "after {jump} s: {line}");
        }
    }
}

#[test]
#[ignore = "sets the clock; runs in virtual machines: cargo xtask test --kernel 6.1 --test clock"]
fn a_confirmation_has_its_full_time_when_the_clock_jumps() {
    let clock = Clock::ours();
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let nothing = all_ours(&lab.host);
    let time = Duration::from_secs(30);
    let args = "apply --eni eth0 --eni eth1 --programs off --confirm 30s";
    let args: Vec<&str> = args.split(' ').collect();
    let apply = steer.call(&args).start_in_background(&lab.host);
    waits(&apply);
    let began = Instant::now();
    for jump in JUMPS {
        clock.jump(jump);
        std::thread::sleep(Duration::from_secs(2));
        // On a machine that slept meanwhile, the time may be over.
        let over = began.elapsed() + Duration::from_secs(5) >= time;
        assert!(
            over || all_ours(&lab.host) != nothing,
            "undone too early: {}",
            apply.output()
        );
    }
    let undone = || all_ours(&lab.host) == nothing;
    assert!(
        eventually(4 * time, undone),
        "never undone: {}",
        apply.output()
    );
    assert!(
        began.elapsed() + Duration::from_secs(5) >= time,
        "{:?}",
        began.elapsed()
    );
}

#[track_caller]
fn waits(apply: &Background) {
    let said = || apply.output().contains("Run 'eni-steer confirm'");
    assert!(
        eventually(Duration::from_secs(120), said),
        "{}",
        apply.output()
    );
}
