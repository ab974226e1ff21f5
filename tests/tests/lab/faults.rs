//! What a daemon must survive: being killed at any moment, storms of events, and people who
//! remove what it depends on.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use eni_steer_tests::{
    Background, Call, DefaultRoute, Kept, Lab, SOON, Shape, Steer, all_ours, assert_unchanged,
    attach_kinds, eventually, ip, kernel_has_tcx, ping, run_ok,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
};

const STEER: [&str; 7] = ["run", "--eni", "eth0", "--eni", "eth1", "--mode", "steer"];
const SOURCE_RULE: &str = "-4 rule del from 172.16.20.177 lookup 21001";

/// Runs many lines of `ip` in one process.
#[track_caller]
fn ip_batch(lab: &Lab, lines: &str) {
    let batch = Call::new("ip").args(["-force", "-batch", "-"]).stdin(lines);
    drop(batch.timeout(Duration::from_secs(120)).run(&lab.host));
}

fn answered(kept: &Kept) -> bool {
    let to = kept.lab.eni(1).v4().into();
    ping(&kept.lab.client, None, to, 2, Duration::from_millis(5)).all_answered()
}

/// Lets the process run for this long and kills it, at whatever instruction it is.
fn kill_after(mut process: Background, time: Duration) {
    std::thread::sleep(time);
    process.signal(Signal::SIGKILL);
    process.wait(SOON);
}

#[test]
fn killed_at_200_moments_of_applying_removing_and_healing_it_converges_with_nothing_left() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    let nothing = steer.world(&lab);
    let apply = ["apply", "--eni", "eth0", "--eni", "eth1", "--mode", "steer"];
    let time = |args: &[&str]| {
        let began = std::time::Instant::now();
        steer.ok(&lab, args);
        began.elapsed()
    };
    // The moments cover the whole length of each in steps, whatever the machine's speed.
    let whole = [time(&apply), time(&["remove"])];
    assert_unchanged(&nothing, &steer.world(&lab));
    steer.ok(&lab, &apply);
    let rules = all_ours(&lab.host);
    let pins = steer.bpffs().pins();
    steer.ok(&lab, &["remove"]);
    let args: [&[&str]; 3] = [&apply, &["remove"], &STEER];
    for round in 0..200u32 {
        let which = round as usize % 3;
        let length = whole[which % 2];
        // 7 and 67 have no common divisor, so the moments are spread over all rounds.
        let moment = length * (round * 7 % 67) / 60;
        let process = steer.call(args[which]).start_in_background(&lab.host);
        kill_after(process, moment);
        if round % 20 == 19 {
            steer.ok(&lab, &apply);
            steer.exits(&lab, &["plan"], 0);
            assert_eq!(all_ours(&lab.host), rules, "none missing, none twice");
            assert_eq!(steer.bpffs().pins(), pins, "none missing, none twice");
            steer.ok(&lab, &["remove"]);
            assert_unchanged(&nothing, &steer.world(&lab));
        }
    }
}

#[test]
fn a_storm_of_routes_that_overruns_the_socket_hides_nothing() {
    let kept = Kept::by(&STEER);
    let before = all_ours(&kept.lab.host);
    // The daemon is stopped, so that the socket fills up however fast it reads.
    kept.daemon.signal(Signal::SIGSTOP);
    let storm: String = (0..12_000)
        .map(|n| {
            let net = format!("100.{}.{}.0/24", 64 + n / 256, n % 256);
            format!("route add {net} dev lo table 77\nroute del {net} dev lo table 77\n")
        })
        .collect();
    ip_batch(&kept.lab, &storm);
    // The event of this deletion finds the socket full.
    kept.ip(SOURCE_RULE);
    kept.daemon.signal(Signal::SIGCONT);
    kept.heals(&before, "a rule deleted in the storm");
    let overruns = || kept.report()["overruns"].as_u64().unwrap_or(0);
    assert!(eventually(SOON, || overruns() >= 1), "{}", kept.report());
    assert!(answered(&kept));
}

#[test]
fn a_bpffs_unmounted_and_mounted_again_gets_programs_and_maps_back() {
    let kept = Kept::by(&STEER);
    let (rules, pins) = (all_ours(&kept.lab.host), kept.steer.bpffs().pins());
    kept.steer.bpffs().unmount();
    kept.daemon.signal(Signal::SIGHUP);
    // The daemon may not mount a bpffs itself any more, and says so; routing stays as it was.
    assert!(
        eventually(SOON, || kept
            .daemon
            .output()
            .contains("(bpffs) is mounted at")),
        "{}",
        kept.daemon.output()
    );
    assert_eq!(all_ours(&kept.lab.host), rules);
    kept.steer.bpffs().mount();
    assert!(
        eventually(SOON, || kept.steer.bpffs().pins() == pins),
        "{:?}\n{}",
        kept.steer.bpffs().pins(),
        kept.daemon.output()
    );
    kept.settles("everything");
    // The programs are still on their hooks and keep symmetry without the rule.
    kept.ip("-4 rule add pref 100 lookup main");
    assert!(answered(&kept));
}

#[test]
fn pins_removed_by_hand_come_back_with_the_next_pass() {
    let kept = Kept::by(&STEER);
    let pins = kept.steer.bpffs().pins();
    let under = |part: &str| {
        let root = kept.steer.bpffs().path();
        let of_part = pins.iter().filter(move |pin| pin.contains(part));
        of_part.map(|pin| root.join(pin)).collect::<Vec<_>>()
    };
    // Links first, then maps, then everything; filters of clsact have no pins.
    assert_eq!(under("links/").is_empty(), !kernel_has_tcx(), "{pins:?}");
    let links = kernel_has_tcx().then_some("links/");
    for part in links.into_iter().chain(["maps/", "s/"]) {
        let files = under(part);
        assert!(!files.is_empty(), "no pin has {part} in its path: {pins:?}");
        for file in files {
            std::fs::remove_file(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
        kept.daemon.signal(Signal::SIGHUP);
        assert!(
            eventually(SOON, || kept.steer.bpffs().pins() == pins),
            "after {part}: {:?}\n{}",
            kept.steer.bpffs().pins(),
            kept.daemon.output()
        );
        kept.settles(part);
        kept.ip("-4 rule add pref 100 lookup main");
        assert!(answered(&kept), "after {part}");
        kept.ip("-4 rule del pref 100 lookup main");
    }
}

#[test]
fn a_lease_that_cannot_be_read_changes_nothing_and_is_reported_until_it_can_be_read() {
    let leases = own_leases();
    let lab = Lab::builder(Shape::DifferentSubnets).build();
    let eni = lab.eni(1).clone();
    ip(&lab.host, "-6 addr flush dev eth1 scope global");
    let index = run_ok(&lab.host, "ip", ["-j", "link", "show", "eth1"]);
    let index: serde_json::Value = serde_json::from_str(&index).expect("ip writes JSON");
    let lease = leases.join(index[0]["ifindex"].to_string());
    let say = |gateway: Ipv4Addr| {
        let text = format!("ADDRESS={}\nROUTER={gateway}\n", eni.v4());
        std::fs::write(&lease, text).expect("a lease can be written");
    };
    let leads_by = |lab: &Lab, gateway: Ipv4Addr| {
        let route = format!("default via {gateway} dev eth1 table 21001");
        all_ours(&lab.host)
            .iter()
            .any(|line| line.starts_with(&route))
    };
    // Nothing else names the gateway.
    say(eni.gateway_v4);
    let kept = Kept::on(
        lab,
        Steer::new(),
        &["run", "--eni", "eth0", "--eni", "eth1"],
    );
    let before = all_ours(&kept.lab.host);
    assert!(leads_by(&kept.lab, eni.gateway_v4), "{before:#?}");
    let told = || kept.report()["warnings"].to_string();
    assert_eq!(told(), "[]");

    // A directory in its place can not be read as a file.
    std::fs::remove_file(&lease).expect("it is there");
    std::fs::create_dir(&lease).expect("it can be made");
    kept.daemon.signal(Signal::SIGHUP);
    let name = format!(
        "{} of eth1 is ignored, because it is not a regular",
        lease.display()
    );
    assert!(
        eventually(SOON, || told().contains(&name)),
        "{name} {}",
        told()
    );
    assert_eq!(all_ours(&kept.lab.host), before);
    // Not even when the kernel has dropped the route that names the gateway.
    kept.ip("link set eth1 down");
    assert!(eventually(SOON, || !leads_by(&kept.lab, eni.gateway_v4)));
    kept.ip("link set eth1 up");
    kept.heals(&before, "the table of eth1");

    // When the lease can be read again, the daemon uses it.
    std::fs::remove_dir(&lease).expect("it is there");
    let other = Ipv4Addr::from(u32::from(eni.gateway_v4) - 1);
    say(other);
    kept.daemon.signal(Signal::SIGHUP);
    assert!(
        eventually(SOON, || leads_by(&kept.lab, other)),
        "{:#?}",
        all_ours(&kept.lab.host)
    );
    assert!(eventually(SOON, || told() == "[]"), "{}", told());
}

/// Makes a `/run` that only this thread sees, with the threads and programs it starts, and in it
/// the directory of systemd-networkd's leases.
#[track_caller]
fn own_leases() -> PathBuf {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).expect("mounts can be made private");
    mount(none, "/run", Some("tmpfs"), MsFlags::empty(), none).expect("a tmpfs");
    let leases = PathBuf::from("/run/systemd/netif/leases");
    std::fs::create_dir_all(&leases).expect("a directory can be made");
    leases
}

#[test]
fn a_run_directory_that_cannot_be_written_stops_only_changes_that_must_be_recorded() {
    let kept = Kept::by(&STEER);
    let before = all_ours(&kept.lab.host);
    let run = kept.steer.run_dir().to_owned();
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    let none = None::<&str>;
    mount(Some(&run), &run, none, MsFlags::MS_BIND, none).expect("a bind mount");
    mount(none, &run, none, read_only, none).expect("a bind mount can be made read-only");
    let unmount = Unmount(&run);
    kept.ip(SOURCE_RULE);
    kept.heals(&before, "a rule");
    assert!(answered(&kept));
    // A command could not keep others away nor save what it changes, so it changes nothing.
    let Kept { lab, steer, daemon } = kept;
    kill_after(daemon, Duration::ZERO);
    let world = steer.world(&lab);
    let refused = ["apply", "--group", "4711"];
    let told = steer.refuses(&lab, &refused, 1, &["changes.lock"]);
    assert!(told.contains("cannot write"), "{told}");
    assert_unchanged(&world, &steer.world(&lab));
    drop(unmount);
    steer.ok(&lab, &refused);
}

#[test]
fn remove_empties_a_run_directory_that_is_a_mount_and_leaves_it() {
    let (lab, steer) = (Lab::builder(Shape::SameSubnet).build(), Steer::new());
    let run = steer.run_dir();
    let none = None::<&str>;
    mount(Some(run), run, none, MsFlags::MS_BIND, none).expect("a bind mount");
    let _unmount = Unmount(run);
    let before = steer.world(&lab);
    steer.apply(&lab, &[]);
    steer.ok(&lab, &["remove"]);
    assert_unchanged(&before, &steer.world(&lab));
}

#[test]
fn remove_deletes_what_a_killed_writer_left_in_the_run_directory() {
    let Kept { daemon, lab, steer } = Kept::by(&STEER);
    let mut directories = std::fs::read_dir(steer.run_dir()).expect("the run directory");
    let directory = directories.next().expect("the namespace's").expect("it");
    let directory = directory.path();
    kill_after(daemon, Duration::ZERO);
    for name in ["state", "daemon", "unconfirmed"] {
        let half = directory.join(name).with_extension("new");
        std::fs::write(half, "{\n  \"half").expect("what was written so far");
    }
    steer.ok(&lab, &["remove"]);
    assert!(!directory.exists(), "{}", directory.display());
}

/// Unmounts a directory when it is dropped.
struct Unmount<'a>(&'a std::path::Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        if let Err(e) = nix::mount::umount2(self.0, nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("can not unmount {}: {e}", self.0.display());
        }
    }
}

#[test]
fn a_thousand_hot_plugs_leak_nothing() {
    let lab = Lab::builder(Shape::DifferentSubnets)
        .default_route(DefaultRoute::AllWithMetric(200))
        .build();
    let mut args = STEER.to_vec();
    args.extend(["--eni", "eth7"]);
    let kept = Kept::on(lab, Steer::new(), &args);
    let plug = "link add eth7 type veth peer name r7\naddr add 172.16.27.10/24 dev eth7\n\
                link set r7 up\nlink set eth7 up\n\
                route add default via 172.16.27.253 dev eth7 metric 900\n";
    let taken_in = || {
        let ours = all_ours(&kept.lab.host);
        ours.iter().any(|line| line.contains("172.16.27.10"))
    };
    let (rules, pins) = (all_ours(&kept.lab.host), kept.steer.bpffs().pins());
    let plug_and_wait = || {
        ip_batch(&kept.lab, plug);
        assert!(eventually(SOON, taken_in), "{}", kept.daemon.output());
        ip_batch(&kept.lab, "link del eth7\n");
        kept.heals(&rules, "what was before");
        assert!(
            eventually(SOON, || kept.steer.bpffs().pins() == pins),
            "{:?}",
            kept.steer.bpffs().pins()
        );
    };
    // What is allocated only once is allocated now.
    plug_and_wait();
    let process = format!("/proc/{}", kept.daemon.pid());
    let open = || std::fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count);
    // The fewest of many looks: a pass opens some for a moment.
    let descriptors = || {
        let looks = (0..50).map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            open()
        });
        looks.min().unwrap_or_default()
    };
    // Not counting pages of the binary, which are loaded as they are used.
    let resident = || {
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.and_then(|kilobytes| kilobytes.parse::<u64>().ok())
    };
    let (fds, memory) = (descriptors(), resident().expect("it runs"));
    // Some interfaces are gone before the daemon sees them, some while it sets them up; the test
    // waits for each fiftieth.
    for _ in 0..20 {
        ip_batch(&kept.lab, &format!("{plug}link del eth7\n").repeat(49));
        plug_and_wait();
    }
    assert!(
        eventually(SOON, || descriptors() == fds),
        "{}",
        descriptors()
    );
    let now = resident().expect("it runs");
    assert!(now < memory + 4096, "{memory} kB before, {now} kB after");
    assert!(answered(&kept));
    kept.settles("the policy");
}

#[test]
fn a_clsact_qdisc_deleted_by_hand_comes_back_with_its_filters() {
    let kinds = attach_kinds();
    assert!(kinds.contains(&"clsact"), "{kinds:?}");
    let mut args = STEER.to_vec();
    args.extend(["--attach", "clsact"]);
    let kept = Kept::by(&args);
    kept.ip("-4 rule add pref 100 lookup main");
    for eni in ["eth0", "eth1"] {
        let words = ["qdisc", "del", "dev", eni, "clsact"];
        run_ok(&kept.lab.host, "tc", words);
    }
    kept.settles("what was on the qdisc");
    assert!(eventually(SOON, || answered(&kept)), "it steers again");
}
