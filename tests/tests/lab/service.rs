//! `eni-steer run` as a service manager sees it, and `eni-steer persist`.

use std::{os::unix::net::UnixDatagram, path::Path, time::Duration};

use eni_steer_tests::{Call, Lab, SOON, Shape, Steer, binary, expect_error};
use nix::sys::signal::Signal;

/// The service manager's end of sd_notify(3).
struct Manager {
    socket: UnixDatagram,
    directory: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        let patience = socket.set_read_timeout(Some(SOON));
        patience.expect("a timeout can be set");
        Self { socket, directory }
    }

    fn address(&self) -> std::path::PathBuf {
        self.directory.path().join("notify")
    }

    /// Waits for a message with this line, ignoring others.
    #[track_caller]
    fn expects(&self, line: &str) {
        let mut buffer = [0; 4096];
        loop {
            let length = self.socket.recv(&mut buffer);
            let length = length.unwrap_or_else(|e| panic!("no {line} came: {e}"));
            let message = String::from_utf8_lossy(&buffer[..length]);
            if message.lines().any(|said| said == line) {
                return;
            }
        }
    }
}

#[test]
fn the_daemon_notifies_the_service_manager_when_it_is_ready_alive_reloading_and_stopping() {
    let (lab, steer, manager) = (
        Lab::builder(Shape::SameSubnet).build(),
        Steer::new(),
        Manager::new(),
    );
    let mut daemon = steer
        .call(&["run", "--eni", "eth0", "--eni", "eth1"])
        .env("NOTIFY_SOCKET", manager.address())
        .env("WATCHDOG_USEC", "400000")
        .start_in_background(&lab.host);
    manager.expects("READY=1");
    // Ready means applied: services that are ordered after it find the network as it should be.
    steer.exits(&lab, &["plan"], 0);
    manager.expects("WATCHDOG=1");
    daemon.signal(Signal::SIGHUP);
    manager.expects("RELOADING=1");
    manager.expects("READY=1");
    daemon.signal(Signal::SIGTERM);
    manager.expects("STOPPING=1");
    assert!(daemon.wait(SOON).success(), "{}", daemon.output());
}

#[test]
fn what_it_writes_is_readable_by_root_only() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::builder(Shape::SameSubnet).build();
    let steer = Steer::new();
    steer.apply(&lab, &[]);
    let mode = |path: &Path| {
        let metadata = std::fs::metadata(path).expect("it is there");
        metadata.permissions().mode() & 0o077
    };
    let mut met = 0;
    let mut open = vec![
        steer.run_dir().to_owned(),
        steer.bpffs().path().join("eni-steer"),
    ];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                open.push(path.clone());
            }
            assert_eq!(mode(&path), 0, "{}", path.display());
            met += 1;
        }
    }
    assert!(met > 10, "{met} files and pins");
}

#[test]
fn where_systemd_does_not_run_persist_says_what_to_do_and_writes_nothing() {
    let lab = Lab::builder(Shape::SameSubnet).build();
    let units = tempfile::tempdir().expect("a temporary directory");
    // In a mount namespace in which nothing in /run shows that systemd runs.
    let script = "mount -t tmpfs none /run && exec \"$0\" persist --unit-dir \"$1\"";
    let persist = Call::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(binary())
        .arg(units.path());
    let output = persist.run(&lab.host);
    assert_eq!(output.code(), Some(5), "{output}");
    expect_error(&output, &["systemd does not run here"]);
    assert!(output.stderr.contains("eni-steer run"), "{output}");
    let mut written = std::fs::read_dir(units.path()).expect("it is there");
    assert!(written.next().is_none());
}

#[test]
fn the_unit_is_one_that_systemd_understands_and_that_runs_this_command() {
    let (lab, steer) = (Lab::builder(Shape::SameSubnet).build(), Steer::new());
    let unit = steer.ok(&lab, &["persist", "--dry-run"]);
    assert!(
        unit.contains(&format!("ExecStart={} run", binary().display())),
        "{unit}"
    );
    for line in [
        "Type=notify",
        "WatchdogSec=30s",
        "Before=network-online.target",
        "RuntimeDirectoryMode=0700",
        // The saved state must outlive the daemon, because `remove` needs it.
        "RuntimeDirectoryPreserve=yes",
        "WantedBy=multi-user.target",
    ] {
        assert!(unit.lines().any(|one| one == line), "no {line} in {unit}");
    }
    let units = tempfile::tempdir().expect("a temporary directory");
    let file = units.path().join("eni-steer.service");
    std::fs::write(&file, &unit).expect("it can be written");
    let analyze = |words: &[&str]| {
        let call = Call::new("systemd-analyze").args(words.iter().copied());
        let output = call
            .arg(&file)
            .timeout(Duration::from_secs(60))
            .run(&lab.host);
        output.expect_success()
    };
    let verified = analyze(&["verify", "--man=no"]);
    assert_eq!(
        verified.stderr, "",
        "systemd-analyze complains about nothing"
    );
    // In tenths; 0 is safest.
    drop(analyze(&[
        "security",
        "--offline=true",
        "--threshold=15",
        "--no-pager",
    ]));
}
