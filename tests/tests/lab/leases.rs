//! Gateways from the files of DHCP clients: which lease counts, and how soon a new one does.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, lchown},
    path::PathBuf,
};

use eni_steer_tests::{
    Background, Call, Lab, Output, SOON, Shape, Steer, attach_kinds, eventually, ip,
};
use nix::sys::signal::Signal;

/// A host whose eth1 has no other source of a gateway than a lease of systemd-networkd, which lies
/// below a directory of its own.
struct Leased {
    lab: Lab,
    steer: Steer,
    root: tempfile::TempDir,
}

impl Leased {
    fn new() -> Self {
        let leased = Self {
            lab: Lab::builder(Shape::DifferentSubnets).build(),
            steer: Steer::new(),
            root: tempfile::tempdir().expect("a directory"),
        };
        let directory = leased.file();
        let directory = directory.parent().expect("a parent");
        fs::create_dir_all(directory).expect("it is made");
        // Only IPv4 has leases here.
        ip(&leased.lab.host, "-6 addr flush dev eth1");
        leased
    }

    fn file(&self) -> PathBuf {
        let index = ip(&self.lab.host, "-o link show eth1");
        let index = index.split(':').next().expect("a number").to_owned();
        self.root
            .path()
            .join("run/systemd/netif/leases")
            .join(index)
    }

    fn write(&self, more: &str) {
        let address = self.lab.eni(1).v4();
        fs::write(self.file(), format!("ADDRESS={address}\n{more}\n")).expect("it is ours");
    }

    fn call(&self, words: &[&str]) -> Call {
        self.steer
            .call(words)
            .env("ENI_STEER_ROOT", self.root.path())
    }

    fn run(&self, words: &[&str]) -> Output {
        self.call(words).run(&self.lab.host)
    }

    /// The default route of eth1's table.
    fn default(&self) -> String {
        ip(
            &self.lab.host,
            "-4 route show table all default dev eth1 proto 229",
        )
    }
}

const APPLY: [&str; 5] = ["apply", "--eni", "eth0", "--eni", "eth1"];

#[test]
fn option_121_comes_before_option_3() {
    let leased = Leased::new();
    let gateway = leased.lab.eni(1).gateway_v4.to_string();
    leased.write(&format!(
        "ROUTER=172.16.30.9\nROUTES=10.0.0.0/8,{gateway} 0.0.0.0/0,{gateway}"
    ));
    drop(leased.run(&APPLY).expect_success());
    assert!(leased.default().contains(&gateway), "{}", leased.default());
}

#[test]
fn a_lease_that_anybody_could_have_written_is_ignored_and_said_so() {
    let leased = Leased::new();
    let gateway = leased.lab.eni(1).gateway_v4.to_string();
    leased.write(&format!("ROUTER={gateway}"));
    let file = leased.file();
    let mode = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let directory = file.parent().expect("a parent").to_owned();
    let ignored = |because: &str| {
        // eth1 is not served, and the rest is.
        let applied = leased.run(&APPLY).expect_success();
        assert!(
            applied.stderr.contains("no IPv4 gateway for eth1"),
            "{applied}"
        );
        assert_eq!(leased.default(), "");
        let status = leased.run(&["status", "-j"]).json();
        let findings = status["findings"].as_array().expect("a list").iter();
        let mut whys = findings.filter(|finding| finding["code"] == "lease-ignored");
        let why = whys.next().unwrap_or_else(|| panic!("{status:#}"))["why"].to_string();
        assert!(why.contains(because) && why.contains("eth1"), "{why}");
    };
    lchown(&file, Some(65534), None).expect("root may");
    ignored("it belongs to");
    lchown(&file, Some(0), None).expect("root may");
    mode(&directory, 0o775);
    ignored("its directory can be written by other users");
    mode(&directory, 0o755);
    fs::remove_file(&file).expect("it is there");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).expect("a FIFO");
    ignored("not a regular file");
    fs::remove_file(&file).expect("it is there");
    leased.write("ROUTER=127.0.0.1");
    ignored("a loopback address");
    leased.write("ROUTER=203.0.113.1");
    ignored("not a neighbour");
    leased.write(&format!("ROUTER={gateway}"));
    drop(leased.run(&APPLY).expect_success());
}

#[test]
fn the_daemon_follows_a_lease_that_changes_its_router() {
    let leased = Leased::new();
    let gateway = leased.lab.eni(1).gateway_v4.to_string();
    leased.write(&format!("ROUTER={gateway}"));
    let words = [
        "run",
        "--eni",
        "eth0",
        "--eni",
        "eth1",
        "--attach",
        attach_kinds()[0],
    ];
    let mut daemon: Background = leased.call(&words).start_in_background(&leased.lab.host);
    assert!(
        eventually(SOON, || leased.default().contains(&gateway)),
        "{}",
        daemon.output()
    );
    let other = match leased.lab.eni(1).v4().octets() {
        [a, b, c, _] => format!("{a}.{b}.{c}.200"),
    };
    // As a client does it: a new file takes the place of the old one. SOON is far less than the
    // minute after which the daemon reads everything again.
    let beside = leased.file().with_extension("new");
    let address = leased.lab.eni(1).v4();
    fs::write(&beside, format!("ADDRESS={address}\nROUTER={other}\n")).expect("it is ours");
    fs::rename(&beside, leased.file()).expect("it is ours");
    assert!(
        eventually(SOON, || leased.default().contains(&other)),
        "{}",
        daemon.output()
    );
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait(SOON).success());
}
